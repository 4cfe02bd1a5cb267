"""Fuzz target: packets of a program stream."""

from __future__ import annotations

from soip.rtp.nal import MAX_ACCESS_UNIT, AccessUnit
from soip.rtp.ps import G711_PIECE, Demultiplexer, Sounding
from tests.rtp.program import AUD, PPS, SPS, annex_b, pack, pes, program_map, system

_MOST_KEPT = 1 << 17

PICTURES = [[SPS, PPS, b"\x65\x88idr"], [b"\x41\x9aslice", b"\x41\x40slice"], [AUD, b"\x41\x9aslice"]]
SAMPLES = [
    pack()
    + system()
    + program_map((0x1B, 0xE0), (0x90, 0xC0))
    + pes(0xE0, annex_b(PICTURES[0]), 900)
    + pes(0xC0, b"\xd5" * 200, 900)
    + pack(5, 3)
    + pes(0xE0, annex_b(PICTURES[1]), 4500, 4400)
    + pes(0xBD, b"private")
    + pack()
    + pes(0xE0, annex_b(PICTURES[2])),
    pack()
    + program_map((0x24, 0xE0), (0x0F, 0xC0))
    + pes(0xE0, annex_b([b"\x40\x01vps", b"\x26\x01\xafidr"]), 1)
    + pes(0xC0, b"\xff\xf1\x6c\x40\x01\x9f\xfchello" * 2, 2)
    + pes(0xE0, annex_b([b"\x02\x01\xd0p"]), 3, length=0),
]


def fuzz(data: bytes) -> None:
    """Nothing is raised, nothing exceeds its bound, and of a stream without faults the same comes out in any cut."""
    chopped, whole = Demultiplexer(), Demultiplexer()
    at = 0
    for size, marker, lost in _packets(data):
        chopped.push(memoryview(data), at, min(len(data), at + size), marker, at & 0xFFFFFFFF, 1.0, lost)
        at += size
        assert len(chopped._buffer) < _MOST_KEPT
    chopped.flush()
    assert all(_is_sound(one) for one in chopped.ready)
    whole.push(memoryview(data), 0, len(data), 0, 0, 1.0)
    whole.flush()
    single = Demultiplexer()
    for at in range(len(data)):
        single.push(memoryview(data), at, at + 1, 0, 0, 1.0)
    single.flush()
    if not single.malformed and not whole.malformed:
        assert _values(single) == _values(whole)


def _packets(data: bytes) -> list[tuple[int, int, int]]:
    """Sizes, markers and losses, by the first bytes of the input."""
    seed = int.from_bytes(data[:8].ljust(8, b"\x35"), "big") | 1
    packets = []
    left = len(data)
    while left > 0:
        seed = seed * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407 & 0xFFFF_FFFF_FFFF_FFFF
        size = (seed >> 40) % 200 + 1
        packets.append((size, seed >> 60 & 1, int(seed >> 56 & 15 == 0)))
        left -= size
    return packets


def _is_sound(one: AccessUnit | Sounding) -> bool:
    if isinstance(one, AccessUnit):
        return 0 < one.size <= MAX_ACCESS_UNIT + 4 * 512 and bool(one.nals)
    return 0 < len(one.payload) <= max(G711_PIECE, 8191)


def _values(demultiplexer: Demultiplexer) -> list[tuple[str, bytes, int]]:
    return [
        ("video", bytes(one.sample), one.timestamp)
        if isinstance(one, AccessUnit)
        else (one.encoding, one.payload, one.timestamp)
        for one in demultiplexer.ready
    ]
