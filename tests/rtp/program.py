"""Program streams for the tests, put together by hand, with the habits of devices; and their RTP packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from soip.rtp.nal import AccessUnit
from soip.rtp.ps import Demultiplexer, Sounding

START = b"\x00\x00\x00\x01"
SPS, PPS, SEI, AUD = b"\x67\x42\x00\x1e\xab", b"\x68\xce\x3c\x80", b"\x06\x05\x01\x80", b"\x09\xf0"


def pack(clock: int = 0, stuffing: int = 0, filler: bytes = b"\xff") -> bytes:
    bits = f"01{clock >> 30 & 7:03b}1{clock >> 15 & 0x7FFF:015b}1{clock & 0x7FFF:015b}1{0:09b}1{1000:022b}11"
    return b"\x00\x00\x01\xba" + int(bits, 2).to_bytes(9, "big") + bytes([0xF8 | stuffing]) + filler * stuffing


def system() -> bytes:
    return bytes.fromhex("000001bb000c 80c350 04e1 7f e0e080 c0c020")


def program_map(*streams: tuple[int, int], current: bool = True, info: bytes = b"") -> bytes:
    """`info` are descriptors of each stream; the CRC is wrong, as that of many devices."""
    entries = b"".join(bytes([kind, number]) + len(info).to_bytes(2, "big") + info for kind, number in streams)
    content = bytes([0xE0 if current else 0x60, 0xFF, 0, 0]) + len(entries).to_bytes(2, "big") + entries + b"\1\2\3\4"
    return b"\x00\x00\x01\xbc" + len(content).to_bytes(2, "big") + content


def time(prefix: int, ticks: int) -> bytes:
    bits = f"{prefix:04b}{ticks >> 30 & 7:03b}1{ticks >> 15 & 0x7FFF:015b}1{ticks & 0x7FFF:015b}1"
    return int(bits, 2).to_bytes(5, "big")


def pes(
    number: int,
    content: bytes,
    pts: int | None = None,
    dts: int | None = None,
    *,
    length: int | None = None,
    filler: int = 0,
) -> bytes:
    """A PES packet; `length` is a wrong one, or 0 for none, `filler` bytes of stuffing stand in its header."""
    times = b"" if pts is None else time(2, pts) if dts is None else time(3, pts) + time(1, dts)
    flags = 0 if pts is None else 0x80 if dts is None else 0xC0
    rest = bytes([0x8C, flags, len(times) + filler]) + times + b"\xff" * filler + content
    told = len(rest) if length is None else length
    return b"\x00\x00\x01" + bytes([number]) + told.to_bytes(2, "big") + rest


def annex_b(nals: Iterable[bytes]) -> bytes:
    return b"".join(START + nal for nal in nals)


def nal(random: Random, kind: int, size: int, *, first: bool = True) -> bytes:
    """A NAL unit of H.264 whose bytes are chance, but for what annex B forbids: no three bytes 00 00 0x, no last 00."""
    body = bytearray(random.choices((0, 0, 1, 3, 0xBA, 0xE0, *range(256)), k=size))
    at = 0
    while 0 <= (at := body.find(b"\0\0", at)) < size - 2:
        body[at + 2] = max(body[at + 2], 4)
        at += 1
    head = bytes([0x60 | kind, 0x80 if first else 0x40])
    return head + bytes(body) + b"\x80"


def unit(random: Random, keyframe: bool, most: int = 2000) -> list[bytes]:
    """An access unit: a delimiter and SEI sometimes, one to three slices."""
    nals = [AUD] if random.random() < 0.3 else []
    if keyframe:
        nals += [SPS, PPS]
    if random.random() < 0.3:
        nals.append(SEI)
    kind = 5 if keyframe else 1
    return nals + [
        nal(random, kind, random.choice((1, 40, 700, most)), first=not n) for n in range(random.randint(1, 3))
    ]


@dataclass
class Cut:
    """A payload as it goes into a packet."""

    payload: bytes
    timestamp: int
    marker: bool


def cut(stream: bytes, timestamp: int, size: int) -> list[Cut]:
    """One picture's bytes in packets of that size, the last with the marker."""
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    return [Cut(piece, timestamp & 0xFFFFFFFF, n == len(pieces) - 1) for n, piece in enumerate(pieces)]


def chance_cut(random: Random, stream: bytes, timestamp: int) -> list[Cut]:
    """The same in packets of any sizes."""
    cuts: list[Cut] = []
    at = 0
    while at < len(stream):
        size = random.choice((1, 2, 3, 5, 20, 300, 1400))
        cuts.append(Cut(stream[at : at + size], timestamp & 0xFFFFFFFF, at + size >= len(stream)))
        at += size
    return cuts


def demultiplex(
    cuts: Sequence[Cut], missing: Iterable[int] = (), *, flush: bool = True, into: Demultiplexer | None = None
) -> list[AccessUnit | Sounding]:
    """What comes of these packets when those of some numbers are missing."""
    gone = set(missing)
    demultiplexer = into or Demultiplexer()
    lost = 0
    for number, one in enumerate(cuts):
        if number in gone:
            lost += 1
            continue
        view = memoryview(one.payload)
        demultiplexer.push(view, 0, len(view), one.marker, one.timestamp, number / 100, lost)
        lost = 0
    demultiplexer.settle()
    if flush and not lost:
        demultiplexer.flush()
    return demultiplexer.ready


def pictures(ready: Sequence[AccessUnit | Sounding]) -> list[AccessUnit]:
    return [one for one in ready if isinstance(one, AccessUnit)]


def sounds(ready: Sequence[AccessUnit | Sounding]) -> list[Sounding]:
    return [one for one in ready if isinstance(one, Sounding)]


def nals_of(one: AccessUnit) -> list[bytes]:
    return [bytes(part) for part in one.nals]
