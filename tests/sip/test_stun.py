"""STUN keepalives: the example of RFC 5769, and what is no request."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import stun
from tests.fuzz import seeds, sip_stun

COOKIE = bytes.fromhex("2112a442")
# RFC 5769 §2.2: this transaction, from 192.0.2.1:32853, gives this attribute.
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
XOR_MAPPED = bytes.fromhex("002000080001a147e112a643")


def request(attributes: bytes = b"", *, kind: int = 1, transaction: bytes = TRANSACTION) -> bytes:
    return struct.pack(">HH", kind, len(attributes)) + COOKIE + transaction + attributes


def test_the_example_of_the_rfc() -> None:
    answer = stun.answer(request(), ("192.0.2.1", 32853))
    assert answer == bytes.fromhex("0101000c") + COOKIE + TRANSACTION + XOR_MAPPED


def test_the_example_of_the_rfc_with_ipv6() -> None:
    """RFC 5769 §2.3."""
    answer = stun.answer(request(), ("2001:db8:1234:5678:11:2233:4455:6677", 32853))
    assert answer is not None
    assert answer[20:] == bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")


@given(st.ip_addresses(), st.integers(0, 65535), st.binary(min_size=12, max_size=12))
def test_the_address_reads_back(address: object, port: int, transaction: bytes) -> None:
    answer = stun.answer(request(transaction=transaction), (str(address), port))
    assert answer is not None
    assert int.from_bytes(answer[26:28], "big") ^ 0x2112 == port
    masked = bytes(a ^ b for a, b in zip(answer[28:], COOKIE + transaction, strict=False))
    assert ip_address(masked) == address


def test_what_may_be_passed_over_is() -> None:
    fingerprint, software = bytes.fromhex("80280004deadbeef"), bytes.fromhex("8022000361626300")
    assert stun.answer(request(software + fingerprint), ("192.0.2.1", 32853)) == stun.answer(
        request(), ("192.0.2.1", 32853)
    )


def test_what_must_be_understood_and_is_not_is_named() -> None:
    answer = stun.answer(request(bytes.fromhex("000600036162630000240004000000ff")), ("192.0.2.1", 1))
    assert answer is not None
    assert answer[:2] == bytes.fromhex("0111")
    assert bytes.fromhex("00090018") + b"\0\0\x04\x14Unknown Attribute" in answer
    assert answer.endswith(bytes.fromhex("000a000400060024"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 20,
        request()[:-1],
        request() + b"\0\0\0\0",
        request(kind=0x0101),
        request().replace(COOKIE, b"\0\0\0\0"),
        request(bytes.fromhex("80220010")),
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
    ],
)
def test_what_is_no_request_is_left_alone(data: bytes) -> None:
    assert stun.answer(data, ("192.0.2.1", 1)) is None


def test_a_seeded_handful_of_the_fuzz_target() -> None:
    seeds.run(sip_stun.fuzz, list(sip_stun.SAMPLES))
