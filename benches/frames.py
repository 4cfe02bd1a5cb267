"""The camera of the benchmarks: access units with the sizes of 1080p30 at 4 Mbit/s, content random."""

from __future__ import annotations

from random import Random

FRAME_RATE = 30
FRAME_TICKS = 90_000 // FRAME_RATE
BIT_RATE = 4_000_000
GOP = 60
PAYLOAD_TYPE = 96
PACKET_SIZE = 1200
"""RTP packets of about 1200 bytes: some 14 to 15 a frame."""

SPS = bytes.fromhex("6742c028da01e0089f9610000003001000000303c8f18319a0")
PPS = bytes.fromhex("68ce3c80")
_KEYFRAME_SHARE = 7
"""A keyframe is this many times as large as another picture."""


def gop(seed: int = 1, bit_rate: int = BIT_RATE) -> list[list[bytes]]:
    """Return the NAL units of one GOP's pictures; each carries a small SEI before its slice, as cameras send them."""
    random = Random(seed)
    mean = bit_rate // 8 * GOP // FRAME_RATE // (GOP - 1 + _KEYFRAME_SHARE)
    pictures = [[SPS, PPS, _nal(random, 6, 24), _nal(random, 5, mean * _KEYFRAME_SHARE)]]
    for _ in range(GOP - 1):
        pictures.append([_nal(random, 6, 24), _nal(random, 1, random.randint(mean * 3 // 4, mean * 5 // 4))])
    return pictures


def _nal(random: Random, kind: int, size: int) -> bytes:
    return bytes((0x60 | kind,)) + random.randbytes(size)
