"""H.264 over RTP (RFC 6184): access units from payloads, payloads from access units.

Received are single NAL units, STAP-A and FU-A (packetization modes 0 and 1); sent are single NAL units and
FU-A only, since some phones show no STAP-A. The interleaved types (STAP-B, MTAP, FU-B) need mode 2, which is
never negotiated.

An access unit ends at the marker bit or where the timestamp changes (RFC 6184 §5.1). Two habits of cameras
are borne: the marker after parameter sets alone does not end an access unit, and parameter sets that come
under a timestamp of their own join the picture that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct

from soip.rtp.errors import RtpBuildError
from soip.rtp.packet import HEADER_SIZE, extend_timestamp

TYPE_SLICE, TYPE_IDR, TYPE_SEI, TYPE_SPS, TYPE_PPS, TYPE_AUD = 1, 5, 6, 7, 8, 9
TYPE_STAP_A, TYPE_FU_A = 24, 28
CLOCK_RATE = 90_000

PACKET_SIZE = 1200
"""Our RTP packets, header included, in bytes: they fit through tunnels, SRTP and TURN without
fragmentation.
"""

MAX_ACCESS_UNIT = 8 << 20
"""Bytes; an access unit that grows beyond is dropped."""
MAX_NALS = 512


ARENA = 256 << 10
"""Bytes that are taken at once to put access units into."""

Nal = bytes | bytearray | memoryview
"""One NAL unit, without start code or length."""

_LENGTH = Struct(">I")
_LENGTH_HEADER = Struct(">IB")


@dataclass(slots=True, eq=False)
class AccessUnit:
    """One picture: its NAL units in decoding order, each after its length in four bytes, as MP4 stores a sample
    (ISO/IEC 14496-15 §5.3). They are ``data[start:end]``; access units that follow each other mostly lie in the same
    ``data`` one behind the other, so that they can be written without being copied. Read only.
    """

    data: bytes | bytearray
    start: int
    end: int
    timestamp: int
    """90 kHz ticks, extended to 64 bits: the presentation time, in decoding order."""
    keyframe: bool
    """It carries an IDR slice."""
    arrival: float
    """Monotonic seconds at which its first packet was read."""
    lost: int = 0
    """Packets missing before or in it; over a stream the sum is the number of packets lost."""
    damaged: bool = False
    """Something of it is missing, or of a picture it is decoded from: it cannot be shown as it was taken."""

    @property
    def size(self) -> int:
        """Bytes as a sample: of all NAL units and their lengths."""
        return self.end - self.start

    @property
    def sample(self) -> memoryview:
        """The bytes as a sample."""
        return memoryview(self.data)[self.start : self.end]

    @property
    def nals(self) -> list[memoryview]:
        """The NAL units, without their lengths."""
        return split_length_prefixed(self.sample)

    @classmethod
    def of(cls, nals: Iterable[Nal], timestamp: int, keyframe: bool, arrival: float, lost: int = 0) -> AccessUnit:
        """An access unit of these NAL units, by itself."""
        data = length_prefixed(nals)
        return cls(data, 0, len(data), timestamp, keyframe, arrival, lost)

    def hold(self, nals: Iterable[Nal]) -> None:
        """Have these NAL units instead."""
        self.data = length_prefixed(nals)
        self.start, self.end = 0, len(self.data)


class Depacketiser:
    """Payloads in sequence order → access units, collected in ``ready``; the caller takes them out.

    A NAL unit of which a fragment is missing is dropped whole (RFC 6184 §5.8). An access unit of which something was
    lost or dropped is damaged, and so are all after it up to a keyframe that is whole: they are decoded from it. Where
    it cannot be told whether a loss has reached a picture, it has.

    Each byte is put at once where it stays: into the arena, behind the access units before it.
    """

    def __init__(self) -> None:
        self.ready: list[AccessUnit] = []
        self.malformed = 0
        """Payloads of unknown or broken shape, dropped."""
        self.oversize = 0
        """Access units dropped for their size."""
        self.raw = -1
        """The timestamp of the access unit under way as it stands in the packets; −1 before the first."""
        self.fragmented = -1
        """The header of the NAL unit under way in fragments; −1 while none is."""
        self._ticks = 0
        self._arena = bytearray()
        self._view = memoryview(self._arena)
        self._start = self._nal = self._at = 0
        """Where the access unit under way begins, the NAL unit in fragments does, and the next byte goes."""
        self._count = 0
        self._picture = False
        self._keyframe = False
        self._arrival = 0.0
        self._lost = 0
        self._torn = False
        """Something of the access unit under way is missing."""
        self._doubt = False
        """Something may be missing of the next one."""
        self._unfounded = True
        """What the next picture is decoded from is damaged, or missing."""

    def push(
        self,
        data: memoryview,
        start: int,
        end: int,
        marker: int,
        timestamp: int,
        arrival: float,
        lost: int = 0,
    ) -> None:
        """Take the payload ``data[start:end]`` of the next packet; ``lost`` packets are missing before it."""
        if end - start < 2:  # a keepalive, or the end of a sequence: nothing that a file or a viewer needs
            self._abandon()
            if lost:
                self._lost += lost
                self._torn = self._doubt = True
            return
        indicator, header = data[start], data[start + 1]
        if lost:
            self._gap(data[start:end], timestamp, lost)
        if timestamp != self.raw:
            if self.raw < 0:
                self._doubt = self._doubt or not _may_begin(data[start:end])
            self._turn(timestamp, arrival)
        kind = indicator & 0x1F
        if kind == TYPE_FU_A:
            if header & 0x80:
                self._begin(indicator & 0xE0 | header & 0x1F)
            if self.fragmented >= 0:
                self._put(data[start + 2 : end])
                if header & 0x40:
                    self._complete()
        else:
            self._abandon()
            if 0 < kind < TYPE_STAP_A:
                self._append(indicator, data[start + 1 : end])
            elif kind == TYPE_STAP_A:
                self._aggregate(data[start + 1 : end])
            else:
                self._malformed()
        if marker and self._picture:
            self._finish()

    def fragments(
        self, header: int, begins: int, content: bytes, ends: int, marker: int, timestamp: int, arrival: float
    ) -> None:
        """Take the fragments of one NAL unit (of that header) that came in a row: what ``push`` does with each of them,
        at once. ``content`` is theirs without FU indicators and headers.
        """
        if begins:
            if timestamp != self.raw:
                self._turn(timestamp, arrival)
            if ends:
                self._append(header, content)
            else:
                self._begin(header)
        if self.fragmented >= 0:
            self._put(content)
            if ends:
                self._complete()
        if marker and self._picture:
            self._finish()

    def flush(self) -> None:
        """End the access unit under way: at the end of the stream."""
        if self._picture:
            self._finish()
        self.raw = -1

    def restart(self) -> None:
        """Forget the access unit under way and the timestamp: the stream begins anew from another SSRC."""
        self._drop()
        self.raw = -1
        self._torn = False
        self._unfounded = True

    def _begin(self, header: int) -> None:
        """Begin a NAL unit in fragments (RFC 6184 §5.8)."""
        self._abandon()
        if not 0 < header & 0x1F < TYPE_STAP_A:
            self._malformed()
            return
        self._room(5)
        self._nal = self._at
        self._arena[self._at + 4] = header
        self._at += 5
        self.fragmented = header

    def _abandon(self) -> None:
        """Forget the NAL unit in fragments."""
        if self.fragmented >= 0:
            self.fragmented = -1
            self._at = self._nal
            self._torn = True

    def _malformed(self) -> None:
        """Drop what has no known shape."""
        self.malformed += 1
        self._torn = True

    def _put(self, content: Nal) -> None:
        """Put bytes behind what is there."""
        at = self._at
        end = at + len(content)
        if end > len(self._arena):
            self._room(len(content))
            at = self._at
            end = at + len(content)
        self._view[at:end] = content
        self._at = end
        if end - self._start > MAX_ACCESS_UNIT:
            self._overflow()

    def _room(self, size: int) -> None:
        """Move the access unit under way to an arena that has room for ``size`` bytes more."""
        start, at = self._start, self._at
        if at + size <= len(self._arena):
            return
        arena = bytearray(max(ARENA, 2 * (at - start + size)))
        view = memoryview(arena)
        view[: at - start] = self._view[start:at]
        self._arena, self._view = arena, view
        self._nal -= start
        self._start, self._at = 0, at - start

    def _complete(self) -> None:
        """The NAL unit in fragments is whole, unless it was dropped."""
        header, self.fragmented = self.fragmented, -1
        if header < 0:
            return
        _LENGTH.pack_into(self._arena, self._nal, self._at - self._nal - 4)
        self._count_in(header & 0x1F)

    def _append(self, header: int, content: Nal) -> None:
        """Put a whole NAL unit behind what is there."""
        if self.fragmented >= 0:
            self._abandon()
        size = len(content)
        if self._at + 5 + size > len(self._view):
            self._room(5 + size)
        at = self._at
        _LENGTH_HEADER.pack_into(self._view, at, 1 + size, header)
        self._view[at + 5 : at + 5 + size] = content
        self._at = at = at + 5 + size
        self._count_in(header & 0x1F)
        if at - self._start > MAX_ACCESS_UNIT:
            self._overflow()

    def _count_in(self, kind: int) -> None:
        self._count += 1
        if kind <= TYPE_IDR:
            self._picture = True
            if kind == TYPE_IDR:
                self._keyframe = True
        if self._count > MAX_NALS:
            self._overflow()

    def _overflow(self) -> None:
        self.oversize += 1
        self._torn = True
        self._drop()

    def _aggregate(self, content: memoryview) -> None:
        """Take the NAL units out of a STAP-A (RFC 6184 §5.7.1); what is whole before a broken length is
        kept.
        """
        at = 0
        while at + 2 < len(content):
            size = content[at] << 8 | content[at + 1]
            at += 2
            if not size or at + size > len(content):
                self._malformed()
                return
            nal = content[at : at + size]
            at += size
            if 0 < nal[0] & 0x1F < TYPE_STAP_A:
                self._append(nal[0], nal[1:])
            else:
                self._malformed()
        if at != len(content):
            self._malformed()

    def _gap(self, payload: memoryview, timestamp: int, lost: int) -> None:
        """Account for packets lost before a payload: to the picture under way as far as it lacks its end, else to the
        next.
        """
        self._abandon()
        self._torn = True
        if timestamp == self.raw:
            self._lost += lost
            return
        self._doubt = not _opens(payload)
        if not self._picture:
            self._lost += lost
            return
        beheaded = payload[0] & 0x1F == TYPE_FU_A and not payload[1] & 0x80
        self._lost += lost - beheaded
        self._finish()
        self._lost += beheaded

    def _turn(self, timestamp: int, arrival: float) -> None:
        """Begin the access unit of a new timestamp."""
        if self.fragmented >= 0:
            self._abandon()
        if self._picture:
            self._finish()
        elif self._count:  # what else there is described a picture that was lost
            under_way = self._view[self._start : self._at]
            kept = [bytes(nal) for nal in split_length_prefixed(under_way) if nal[0] & 0x1F in (TYPE_SPS, TYPE_PPS)]
            self._drop()
            for nal in kept:
                self._append(nal[0], nal[1:])
        step = timestamp - self.raw
        if self.raw < 0:
            # One whole turn above the first value, so that a picture shown before the first never counts below
            # zero.
            self._ticks = (1 << 32) + timestamp
        elif 0 < step < 1 << 31:
            self._ticks += step
        else:
            self._ticks = extend_timestamp(self._ticks, timestamp)
        self.raw = timestamp
        self._arrival = arrival
        # What is torn by now and no picture was to be one.
        self._unfounded |= self._torn
        self._torn, self._doubt = self._doubt, False

    def _finish(self) -> None:
        if self.fragmented >= 0:
            self._abandon()
        start, self._start = self._start, self._at
        self._unfounded = self._torn or (self._unfounded and not self._keyframe)
        self.ready.append(
            AccessUnit(
                self._arena, start, self._at, self._ticks, self._keyframe, self._arrival, self._lost, self._unfounded
            )
        )
        self._lost = self._count = 0
        self._picture = self._keyframe = self._torn = False

    def _drop(self) -> None:
        self._at = self._start
        self._count = 0
        self.fragmented = -1
        self._picture = self._keyframe = False


def _first_nal(payload: memoryview) -> memoryview:
    """The first NAL unit of a payload, as far as it is there; of a fragment from its FU header on (RFC 6184 §5.8)."""
    kind = payload[0] & 0x1F
    return payload[1:] if kind == TYPE_FU_A else payload[3:] if kind == TYPE_STAP_A else payload


def _opens(payload: memoryview) -> bool:
    """Whether an access unit certainly begins with this payload: nothing of it that matters comes before its delimiter
    or its sequence parameter set (ITU-T H.264 §7.4.1.2.3).
    """
    nal = _first_nal(payload)
    begins = payload[0] & 0x1F != TYPE_FU_A or payload[1] & 0x80
    return bool(nal and begins and nal[0] & 0x1F in (TYPE_SPS, TYPE_AUD))


def _may_begin(payload: memoryview) -> bool:
    """Whether an access unit may begin with this payload: not with the middle of a NAL unit, nor with a slice that is
    not the picture's first. Of that one first_mb_in_slice is 0, one bit that is set (ITU-T H.264 §7.3.3, §9.1).
    """
    if payload[0] & 0x1F == TYPE_FU_A and not payload[1] & 0x80:
        return False
    nal = _first_nal(payload)
    return len(nal) < 2 or nal[0] & 0x1F > TYPE_IDR or bool(nal[1] & 0x80)


@dataclass(slots=True)
class PayloadRun:
    """Payloads that leave in one send: all of the largest size, the last one may be shorter.

    ``parts`` has three entries a packet: a place for the RTP header, the FU indicator and header (empty for
    a single NAL unit), and a view of the NAL unit's bytes. A class of viewers fills in its own headers
    (``rtp.sender``).
    """

    parts: list[bytes | bytearray | memoryview]
    count: int
    octets: int
    """Payload bytes of the whole run, for sender reports."""


def packetise(nals: Sequence[Nal], packet_size: int = PACKET_SIZE) -> list[PayloadRun]:
    """Cut an access unit into payloads for RTP packets of at most ``packet_size`` bytes (header included).

    Single NAL unit packets and FU-A (RFC 6184 §5.6, §5.8). Fragments fill their packets, so that all but the
    last of a NAL unit have one size and leave by one send. The bytes are not copied. Raises RtpBuildError
    without a NAL unit.
    """
    room = packet_size - HEADER_SIZE
    if room < 16:
        raise RtpBuildError(f"RTP packets of {packet_size} bytes leave no room for H.264")
    runs: list[PayloadRun] = []
    step = room - 2
    for nal in nals:
        size = len(nal)
        if not size:
            raise RtpBuildError("empty NAL unit")
        if size <= room:
            runs.append(PayloadRun([b"", b"", nal], 1, size))
            continue
        view = memoryview(nal)
        indicator, kind = nal[0] & 0xE0 | TYPE_FU_A, nal[0] & 0x1F
        middle = bytes((indicator, kind))
        parts: list[bytes | bytearray | memoryview] = []
        for at in range(1, size, step):
            parts += (b"", middle, view[at : at + step])
        parts[1] = bytes((indicator, kind | 0x80))
        parts[-2] = bytes((indicator, kind | 0x40))
        count = len(parts) // 3
        runs.append(PayloadRun(parts, count, size - 1 + 2 * count))
    if not runs:
        raise RtpBuildError("access unit without NAL units")
    return runs


def is_keyframe(nals: Iterable[Nal]) -> bool:
    """Tell whether NAL units contain an IDR slice."""
    return any(nal[0] & 0x1F == TYPE_IDR for nal in nals if nal)


def length_prefixed(nals: Iterable[Nal]) -> bytes:
    """Return NAL units as an MP4 sample: each after its length in 4 bytes (ISO/IEC 14496-15 §5.3)."""
    return b"".join([piece for nal in nals for piece in (_LENGTH.pack(len(nal)), nal)])


def split_length_prefixed(sample: bytes | memoryview) -> list[memoryview]:
    """Return the NAL units of an MP4 sample with 4-byte lengths; a cut-off tail is left out. Nothing is copied."""
    view = memoryview(sample)
    nals = []
    at = 0
    while at + 4 < len(view):
        (size,) = _LENGTH.unpack_from(view, at)
        at += 4
        if not size or at + size > len(view):
            break
        nals.append(view[at : at + size])
        at += size
    return nals


def split_annex_b(stream: bytes) -> list[bytes]:
    """Return the NAL units of a byte stream with start codes (ITU-T H.264 Annex B), trailing zeros
    removed.
    """
    pieces = stream.split(b"\x00\x00\x01")
    return [nal for piece in pieces[1:] if (nal := piece.rstrip(b"\x00"))]
