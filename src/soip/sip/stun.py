"""STUN as SIP's keepalive over UDP: a Binding request in, the address it came from out (RFC 5626 §4.4.2, RFC 5389).

A device behind address translation keeps its way open by it, and learns when its address has changed. Nothing else of
STUN is here: no authentication, no changes of address.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

from soip.sip.flow import Address

HEADER_SIZE = 20

_HEADER = struct.Struct(">HHI12s")
_COOKIE = 0x2112A442
_REQUEST, _SUCCESS, _ERROR = 0x0001, 0x0101, 0x0111
_ERROR_CODE, _UNKNOWN_ATTRIBUTES, _XOR_MAPPED_ADDRESS = 0x0009, 0x000A, 0x0020
_OPTIONAL = 0x8000
_MOST_UNKNOWN = 8


def answer(data: bytes, source: Address) -> bytes | None:
    """The response to a Binding request from `source`, None when `data` is none (RFC 5389 §7.3).

    Attributes that a server must understand and this one does not are refused with 420 (§7.3.1).
    """
    if len(data) < HEADER_SIZE:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind != _REQUEST or cookie != _COOKIE or length % 4 or length != len(data) - HEADER_SIZE:
        return None
    unknown = _required(data)
    if unknown is None:
        return None
    if unknown:
        code = b"\0\0\4\x14Unknown Attribute   "  # class 4, number 20
        numbers = struct.pack(f">{len(unknown)}H", *unknown)
        return _message(_ERROR, transaction, (_ERROR_CODE, code), (_UNKNOWN_ATTRIBUTES, numbers))
    return _message(_SUCCESS, transaction, (_XOR_MAPPED_ADDRESS, _xor_mapped(source, transaction)))


def _required(data: bytes) -> list[int] | None:
    """Numbers of the attributes that must be understood; None when the attributes do not fit the message."""
    found: list[int] = []
    at = HEADER_SIZE
    while at < len(data):
        number, size = struct.unpack_from(">HH", data, at)
        at += 4 + size + -size % 4
        if at > len(data):
            return None
        if number < _OPTIONAL and len(found) < _MOST_UNKNOWN:
            found.append(number)
    return found


def _xor_mapped(source: Address, transaction: bytes) -> bytes:
    """RFC 5389 §15.2: hidden from translators that rewrite whatever looks like an address."""
    address = ip_address(source[0])
    mask = struct.pack(">I", _COOKIE) + transaction
    masked = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    return struct.pack(">BBH", 0, 1 if address.version == 4 else 2, source[1] ^ _COOKIE >> 16) + masked


def _message(kind: int, transaction: bytes, *attributes: tuple[int, bytes]) -> bytes:
    body = b"".join(
        struct.pack(">HH", number, len(value)) + value + bytes(-len(value) % 4) for number, value in attributes
    )
    return _HEADER.pack(kind, len(body), _COOKIE, transaction) + body
