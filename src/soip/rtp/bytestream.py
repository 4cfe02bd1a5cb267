"""The byte stream of H.264 and H.265 (annex B of both) → NAL units → access units.

For what carries a byte stream instead of NAL units: a program stream (``rtp.ps``). Pieces come in any cut; a start
code may lie across two of them. Which of the two it is, somebody supposes, or the first parameter set shows; before
that nothing comes out, as nothing could be decoded.

An access unit ends where the first NAL unit of the next one begins (ITU-T H.264 §7.4.1.2.3, H.265 §7.4.2.4.4), or at
the RTP marker. That one is believed only of a sender that has shown, at a keyframe of several packets, that it sets
the marker at the end of an access unit and nowhere else, since some set it on every packet and some on every PES
packet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import KEYFRAME, LEADING, MAX_ACCESS_UNIT, MAX_NALS, PICTURE, Coding

_START = b"\x00\x00\x01"
_HEAD = 3
"""Bytes of a NAL unit that tell whether it begins an access unit: its header, and the byte behind it. There, the first
bit says "first slice of its picture": as the Exp-Golomb code of first_mb_in_slice 0, as
first_slice_segment_in_pic_flag."""
_HEADS = {
    "H264": frozenset((6, 7, 8, 9, 15, 16, 17, 18)),
    "H265": frozenset((*range(32, 36), 39, *range(41, 45), *range(48, 56))),
}
"""Types of NAL units that are no slice, and begin an access unit where they follow a slice."""


def sniff(head: bytes) -> Coding | None:
    """Tell by the first two bytes of a NAL unit whose first parameter set it is; None if it is none.

    An H.265 VPS of the base layer begins with 40 01: in H.264 a type that nobody uses. An H.264 SPS begins with 27, 47
    or 67 and its profile, which is never 1.
    """
    if head[:2] == b"\x40\x01":
        return H265
    if len(head) > 1 and head[0] in (0x27, 0x47, 0x67) and head[1] > 1:
        return H264
    return None


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a piece was sent and came. ``pts`` is one for all pieces of a PES packet: it holds the PTS until the first
    access unit that begins there takes it out (ITU-T H.222.0 §2.4.3.7).
    """

    pts: list[int]
    timestamp: int
    arrival: float


@dataclass(slots=True)
class Assembled:
    """An access unit, whole when it is handed out. `timestamp` and `arrival` are those of the packet it began in."""

    pts: int | None
    timestamp: int
    arrival: float
    coding: Coding
    nals: list[bytes] = field(default_factory=list)
    size: int = 0
    roles: int = 0
    """What its NAL units do, as bits (``rtp.nal``)."""
    packets: int = 0
    """How many it came in."""

    @property
    def picture(self) -> bool:
        return self.roles & PICTURE > 0

    @property
    def keyframe(self) -> bool:
        return self.roles & KEYFRAME > 0

    @property
    def leading(self) -> bool:
        return self.roles & LEADING > 0


class ByteStream:
    """Order of calls: ``feed`` for each piece, ``mark`` behind the packets that have the marker, ``lose`` where packets
    are missing. ``finished`` gets each access unit that is whole; what has a hole does not come at all.
    """

    def __init__(self, finished: Callable[[Assembled], None]) -> None:
        self.coding: Coding | None = None
        """Once it is known."""
        self._shown = False
        """A parameter set has shown it."""
        self.oversize = 0
        """Access units dropped for their size."""
        self.headless = 0
        """Slices without the beginning of their picture, dropped."""
        self._finished = finished
        self._buffer = bytearray()
        self._nal: Stamp | None = None
        """The NAL unit in the buffer: when it began; None while a start code is looked for."""
        self._judged = False
        self._before: Stamp | None = None
        """That of the piece before."""
        self._unit: Assembled | None = None
        self._habit: bool | None = None
        """Whether markers are believed; None while nothing is known."""
        self._mark = -1
        """How much of the NAL unit was there at a marker that may or may not be believed."""
        self._due = False
        """The next NAL unit begins an access unit, if markers are to be believed."""

    def suppose(self, coding: Coding) -> None:
        """Somebody says how it is coded. What the parameter sets have shown is believed more."""
        if self.coding is None:
            self.coding = coding

    def feed(self, piece: bytes | bytearray | memoryview, stamp: Stamp, packets: int = 1) -> None:
        """The next bytes of the stream, from so many packets."""
        buffer, known = self._buffer, len(self._buffer)
        buffer += piece
        searched = max(0, known - 2)
        while (at := buffer.find(_START, searched)) >= 0:
            self._end_nal(at)
            del buffer[: at + 3]
            # The first byte of a start code decides to which PES packet it belongs.
            self._nal = self._before if at < known and self._before is not None else stamp
            self._judged = False
            known, searched = known - at - 3, 0
        self._before = stamp
        if self._nal is not None and len(buffer) + (self._unit.size if self._unit else 0) > MAX_ACCESS_UNIT:
            self._overflow()
        if self._nal is None:
            self._check(len(buffer))
            del buffer[:-2]  # no start code yet: but for its own beginning nothing is of use
        elif not self._judged and len(buffer) >= _HEAD:
            self._judge(_HEAD)
        if self._unit is not None:
            self._unit.packets += packets

    def mark(self) -> None:
        """The piece that was fed last ends a packet with the marker."""
        unit = self._unit
        if unit is None or not (unit.picture or (self._nal is not None and self._is_picture(self._buffer))):
            return  # some set it behind the parameter sets
        self._check(len(self._buffer))
        if self._habit:
            self.flush()
            self._due, self._mark = True, 0
        elif self._habit is None:
            self._mark = len(self._buffer)

    def lose(self) -> None:
        """Bytes are missing here."""
        self._skip()
        self._unit = None

    def flush(self) -> None:
        """The access unit under way is whole."""
        self._end_nal(len(self._buffer))
        self._finish()
        self._skip()

    def restart(self) -> None:
        """Another stream begins."""
        self.lose()
        self._habit = self.coding = None
        self._shown = False

    def _skip(self) -> None:
        """Forget the NAL unit under way and look for a start code."""
        self._buffer.clear()
        self._nal = self._before = None
        self._mark, self._due = -1, False

    def _is_picture(self, nal: bytes | bytearray) -> bool:
        coding = self.coding
        return coding is not None and len(nal) > 0 and coding.roles[coding.kind(nal)] & PICTURE > 0

    def _check(self, end: int) -> None:
        """The bytes from the last marker up to there are of no NAL unit that begins: if they are more than the zeros
        before a start code, the marker was none of an end.
        """
        if 0 <= self._mark < end and self._buffer.count(0, self._mark, end) != end - self._mark:
            self._habit, self._mark, self._due = False, -1, False

    def _end_nal(self, at: int) -> None:
        """The NAL unit in the buffer ends there; zeros before a start code are not of it (annex B: trailing_zero_8bits,
        zero_byte).
        """
        buffer = self._buffer
        self._check(at)
        if self._mark >= 0:
            self._mark, self._due = -1, True
        if self._nal is not None and not self._judged:
            self._judge(at)
        unit = self._unit
        if unit is None or self._nal is None:
            return
        self._nal = None
        nal = bytes(memoryview(buffer)[:at]).rstrip(b"\x00")
        if not nal:
            return
        unit.nals.append(nal)
        unit.size += len(nal) + 4
        unit.roles |= unit.coding.roles[unit.coding.kind(nal)]
        if len(unit.nals) > MAX_NALS:
            self._overflow()

    def _judge(self, end: int) -> None:
        """The NAL unit under way has shown its head: does an access unit begin with it?"""
        self._judged = True
        head, stamp = bytes(self._buffer[: min(end, _HEAD)]), self._nal
        assert stamp is not None
        seen = sniff(head)
        if seen is not None and seen is not self.coding:
            if self._shown:
                self._finish()
            self._unit = None  # what was supposed was wrong
            self.coding = seen  # there are maps that say H.264 of both
        self._shown = self._shown or seen is not None
        begins = self._begins(head)
        if self._due:
            self._due = False
            if not begins:
                self._habit = False
            elif self._habit is None and self._unit is not None and self._unit.keyframe and self._unit.packets > 1:
                self._habit = True
        if begins and self.coding is not None:
            self._finish()
            pts = stamp.pts.pop() if stamp.pts else None
            self._unit = Assembled(pts, stamp.timestamp, stamp.arrival, self.coding)
        elif self._unit is None:
            self.headless += self._is_picture(head)
            self._nal = None

    def _begins(self, head: bytes) -> bool:
        """Whether a NAL unit with this head begins an access unit, what has come before being as it is."""
        coding = self.coding
        if coding is None or not head or (self._unit is not None and not self._unit.picture):
            return False
        if self._is_picture(head):
            return len(head) > coding.header and head[coding.header] & 0x80 > 0
        return coding.kind(head) in _HEADS[coding.name]

    def _finish(self) -> None:
        unit, self._unit = self._unit, None
        if unit is not None and unit.picture:
            self._finished(unit)

    def _overflow(self) -> None:
        """Drop the access unit under way."""
        self.oversize += 1
        self._unit = self._nal = None
