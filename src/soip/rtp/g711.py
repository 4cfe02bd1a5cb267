"""G.711 (ITU-T G.711; RFC 3551 §4.5.14): μ-law and A-law against 16-bit linear PCM, by tables."""

from __future__ import annotations

from array import array
from functools import cache
from sys import byteorder

PCMU, PCMA = 0, 8
"""Static payload types (RFC 3551 §6)."""
CLOCK_RATE = 8000

_BIAS = 0x84


def _ulaw_to_linear(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << (code >> 4 & 7)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


def _alaw_to_linear(code: int) -> int:
    code ^= 0x55
    exponent = code >> 4 & 7
    magnitude = (code & 0x0F) << 4 | 8
    if exponent:
        magnitude = magnitude + 0x100 << exponent - 1
    return magnitude if code & 0x80 else -magnitude


@cache
def _expansion(payload_type: int) -> list[bytes]:
    """16-bit little-endian samples by code."""
    decode = {PCMU: _ulaw_to_linear, PCMA: _alaw_to_linear}[payload_type]
    return [decode(code).to_bytes(2, "little", signed=True) for code in range(256)]


@cache
def _compression(payload_type: int) -> bytes:
    """Codes by sample value + 32768: the code whose value is nearest, ties towards zero."""
    decode = {PCMU: _ulaw_to_linear, PCMA: _alaw_to_linear}[payload_type]
    # Value 0 has two codes in μ-law; 0xFF is the usual silence (RFC 3551 §4.5.14 names no other).
    values = sorted({decode(code): code for code in range(256)}.items())
    table = bytearray(65_536)
    at = 0
    for sample in range(-32_768, 32_768):
        while at + 1 < len(values) and _nearer(sample, values[at][0], values[at + 1][0]):
            at += 1
        table[sample + 32_768] = values[at][1]
    return bytes(table)


def _nearer(sample: int, low: int, high: int) -> bool:
    """Tell whether ``high`` is to be taken rather than ``low``."""
    below, above = abs(sample - low), abs(high - sample)
    return above < below or (above == below and abs(high) < abs(low))


def decode(payload: bytes | bytearray | memoryview, payload_type: int) -> bytes:
    """Return 16-bit little-endian PCM for the bytes of a PCMU or PCMA payload. Any byte is a valid sample."""
    return b"".join(map(_expansion(payload_type).__getitem__, payload))


def encode(pcm: bytes | bytearray | memoryview, payload_type: int) -> bytes:
    """Return the PCMU or PCMA payload for 16-bit little-endian PCM; an odd last byte is left out."""
    samples = array("h", bytes(pcm[: len(pcm) & ~1]))
    if byteorder == "big":
        samples.byteswap()
    table = _compression(payload_type)
    return bytes([table[sample + 32_768] for sample in samples])
