"""Video in NAL units over RTP: access units from payloads, payloads from access units.

RFC 6184 (H.264) and RFC 7798 (H.265) say the same in different numbers: a NAL unit goes as it is, some small ones go
together in an aggregation packet, a large one goes in fragments. The numbers are a `Coding` (``h264``, ``h265``).
Received is all that needs no interleaving; sent are single NAL units and fragments only, since some phones show no
aggregation packets.

An access unit ends at the marker bit or where the timestamp changes (RFC 6184 §5.1, RFC 7798 §4.1). Two habits of
cameras are borne: the marker after parameter sets alone does not end an access unit, and parameter sets that come
under a timestamp of their own join the picture that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct

from soip.rtp.arena import Arenas
from soip.rtp.errors import RtpBuildError
from soip.rtp.packet import HEADER_SIZE, extend_timestamp

CLOCK_RATE = 90_000

PACKET_SIZE = 1200
"""Our RTP packets, header included, in bytes: they fit through tunnels, SRTP and TURN without
fragmentation.
"""

MAX_ACCESS_UNIT = 8 << 20
"""Bytes; an access unit that grows beyond is dropped."""
MAX_NALS = 512


Nal = bytes | bytearray | memoryview
"""One NAL unit, without start code or length."""

NAL_LENGTH = Struct(">I")
NAL_STARTS = (NAL_LENGTH, Struct(">IB"), Struct(">IH"))
"""A NAL unit's length and header, by the header's size."""
HALF_TURN = 1 << 31
"""Of a timestamp: one that is less far ahead than this is later (RFC 3550 §5.1, RFC 1982)."""

PICTURE, KEYFRAME, LEADING, SET = 1, 2, 4, 8
"""What a NAL unit does, as bits: it is part of a picture; of one that can be decoded by itself; of one that is shown
before a keyframe and refers to what is before it; it is a parameter set."""


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """A way of coding video, as far as RTP and files must know it."""

    name: str
    """As in SDP."""
    header: int
    """Bytes of a NAL unit's header, whose type is ``first >> shift & mask`` of its first byte."""
    shift: int
    mask: int
    kept: int
    """Bits of the header that say other things than the type; fragments have them too."""
    layer: int
    """Bits of the header that are not 0 in what a decoder of one layer has no use for."""
    aggregate: int
    """The type of an aggregation packet."""
    fragment: int
    """The type of a fragment."""
    types: range
    """Types of NAL units that video is made of."""
    roles: bytes
    """By type, what it does."""
    sets: tuple[int, ...]
    """Types of parameter sets, in the order in which a decoder needs them."""
    delimiter: int
    """The type of an access unit delimiter, which comes before all others."""

    def kind(self, nal: Nal) -> int:
        """The type of a NAL unit, which is not empty."""
        return nal[0] >> self.shift & self.mask

    def opens(self, payload: memoryview) -> bool:
        """Whether an access unit certainly begins with this payload: nothing of it that matters comes before its
        delimiter, or before the parameter set that is the first of a keyframe's (ITU-T H.264 §7.4.1.2.3, H.265
        §7.4.2.4.4).
        """
        begins, kind, _ = self._first(payload)
        return begins and kind in (self.sets[0], self.delimiter)

    def may_begin(self, payload: memoryview) -> bool:
        """Whether an access unit may begin with this payload: not with the middle of a NAL unit, nor with a slice that
        is not the picture's first. Of that one the bit behind the NAL unit header is set: H.264's first_mb_in_slice 0
        (ITU-T H.264 §7.3.3, §9.1), H.265's first_slice_segment_in_pic_flag (ITU-T H.265 §7.3.6.1).
        """
        begins, kind, rest = self._first(payload)
        return begins and self.may_start(kind, rest)

    def may_start(self, kind: int, rest: Nal) -> bool:
        """The same of a NAL unit: its type, and what is there behind its header."""
        return not len(rest) or not self.roles[kind] & PICTURE or rest[0] & 0x80 > 0

    def _first(self, payload: memoryview) -> tuple[bool, int, memoryview]:
        """Of the first NAL unit of a payload: whether it begins there, its type (0 if it cannot be told), and what is
        there behind its header.
        """
        own, kind = self.header, self.kind(payload)
        if kind == self.fragment:
            return payload[own] & 0x80 > 0, payload[own] & self.mask, payload[own + 1 :]
        if kind == self.aggregate:
            payload = payload[own + 2 :]
            kind = self.kind(payload) if len(payload) else 0
        return True, kind, payload[own:]

    def is_keyframe(self, nals: Iterable[Nal]) -> bool:
        """Tell whether NAL units contain a slice that begins anew (H.264: IDR, H.265: IRAP)."""
        return any(self.roles[self.kind(nal)] & KEYFRAME for nal in nals if nal)

    def find_sets(self, nals: Iterable[Nal]) -> tuple[tuple[bytes, ...], ...]:
        """The parameter sets among NAL units by kind, in the order of ``sets``."""
        found: dict[int, list[bytes]] = {kind: [] for kind in self.sets}
        for nal in nals:
            if len(nal) > self.header and (group := found.get(self.kind(nal))) is not None:
                group.append(bytes(nal))
        return tuple([tuple(group) for group in found.values()])


@dataclass(slots=True, eq=False)
class AccessUnit:
    """One picture: its NAL units in decoding order, each after its length in four bytes, as MP4 stores a sample
    (ISO/IEC 14496-15 §5.3). They are ``data[start:end]``; access units that follow each other mostly lie in the same
    ``data`` one behind the other, so that they can be written without being copied. Read only.
    """

    data: memoryview
    start: int
    end: int
    timestamp: int
    """90 kHz ticks, extended to 64 bits: the presentation time, in decoding order."""
    keyframe: bool
    """Decoding can begin with it."""
    arrival: float
    """Monotonic seconds at which its first packet came."""
    lost: int = 0
    """Packets missing before or in it; over a stream the sum is the number of packets lost."""
    encoding: str = "H264"
    """The name of its `Coding`."""
    leading: bool = False
    """It is shown before the keyframe it follows, and refers to what came before that: who began there cannot decode
    it (ITU-T H.265 §3.111, RASL)."""
    damaged: bool = False
    """Something of it is missing, or of a picture it is decoded from: it cannot be shown as it was taken."""

    @property
    def size(self) -> int:
        """Bytes as a sample: of all NAL units and their lengths."""
        return self.end - self.start

    @property
    def sample(self) -> memoryview:
        """The bytes as a sample."""
        return self.data[self.start : self.end]

    @property
    def nals(self) -> list[memoryview]:
        """The NAL units, without their lengths."""
        return split_length_prefixed(self.sample)

    @classmethod
    def of(
        cls,
        nals: Iterable[Nal],
        timestamp: int,
        keyframe: bool,
        arrival: float,
        lost: int = 0,
        encoding: str = "H264",
        leading: bool = False,
        damaged: bool = False,
    ) -> AccessUnit:
        """An access unit of these NAL units, by itself."""
        data = memoryview(length_prefixed(nals))
        return cls(data, 0, len(data), timestamp, keyframe, arrival, lost, encoding, leading, damaged)

    def hold(self, nals: Iterable[Nal]) -> None:
        """Have these NAL units instead."""
        self.data = memoryview(length_prefixed(nals))
        self.start, self.end = 0, len(self.data)


class Chain:
    """Whether the pictures that others are decoded from are as they were sent. Order of calls: `follow` with each
    access unit, in decoding order; `tear` where one is missing.
    """

    def __init__(self) -> None:
        self.torn = True
        """What the next picture is decoded from is damaged, or missing."""
        self._torn_before = True
        """The same of what was before the last keyframe: leading pictures are decoded from that too."""

    def tear(self) -> None:
        """A picture is missing, or the stream begins anew."""
        self.torn = True

    def follow(self, *, keyframe: bool, leading: bool, torn: bool) -> bool:
        """The next access unit, of which something is missing if it is `torn`; whether it is damaged."""
        if keyframe:
            self._torn_before = self.torn
        self.torn = torn or (self.torn and not keyframe)
        return self.torn or (leading and self._torn_before)


_ARENAS = Arenas()
"""Of all cameras of the process."""


class Depacketiser:
    """Payloads in sequence order → access units, collected in ``ready``; the caller takes them out.

    A NAL unit of which a fragment is missing is dropped whole (RFC 6184 §5.8, RFC 7798 §4.4.3). An access unit of which
    something was lost or dropped is damaged, and so are all after it up to a keyframe that is whole: they are decoded
    from it. Where it cannot be told whether a loss has reached a picture, it has.

    Each byte is put at once where it stays: into the arena, behind the access units before it.
    """

    def __init__(self, coding: Coding) -> None:
        self.coding = coding
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
        self._arena = memoryview(b"")
        self._size = 0
        """Of the arena."""
        self._start = self._nal = self._at = 0
        """Where the access unit under way begins, the NAL unit in fragments does, and the next byte goes."""
        self._count = 0
        self._roles = 0
        """What the NAL units of the access unit under way do, all together."""
        self._arrival = 0.0
        self._lost = 0
        self._torn = False
        """Something of the access unit under way is missing."""
        self._doubt = False
        """Something may be missing of the next one."""
        self._chain = Chain()
        self._name, self._header, self._before = coding.name, coding.header, 4 + coding.header
        self._write_header = NAL_STARTS[coding.header].pack_into
        # The type stands in the header's first byte.
        self._shift, self._mask = coding.shift + 8 * (coding.header - 1), coding.mask
        self._by_type = coding.roles
        self._types, self._layer = coding.types, coding.layer

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
        size = self._header
        if end - start <= size:  # a keepalive, or the end of a sequence: nothing that a file or a viewer needs
            self._abandon()
            if lost:
                self._lost += lost
                self._torn = self._doubt = True
            return
        header = data[start] if size == 1 else data[start] << 8 | data[start + 1]
        kind = header >> self._shift & self._mask
        if lost:
            self._gap(data[start:end], timestamp, lost)
        if timestamp != self.raw:
            if self.raw < 0:
                self._doubt = self._doubt or not self.coding.may_begin(data[start:end])
            self._turn(timestamp, arrival)
        if kind in self._types and not header & self._layer:
            self._append(header, data[start + size : end])
        elif kind == self.coding.fragment:
            begin = data[start + size]
            if begin & 0x80:
                self._abandon()
                header = header & self.coding.kept | (begin & self._mask) << self._shift
                if self._usable(header):
                    self._begin(header)
                else:
                    self._malformed(header)
            if self.fragmented >= 0:
                self._put(data[start + size + 1 : end])
                if begin & 0x40:
                    self._complete()
        else:
            self._abandon()
            if kind == self.coding.aggregate:
                self._aggregate(data[start + size : end])
            else:
                self._malformed(header)
        if marker and self._roles & PICTURE:
            self._finish()

    def fragments(
        self, header: int, begins: int, content: bytes, ends: int, marker: int, timestamp: int, arrival: float
    ) -> None:
        """Take the fragments of one NAL unit (of that header) that came in a row: what ``push`` does with each of them,
        at once. ``content`` is theirs without what stands before it in each.
        """
        if begins:
            if timestamp != self.raw:
                if self.raw < 0:
                    kind = header >> self._shift & self._mask
                    self._doubt = self._doubt or not self.coding.may_start(kind, content)
                self._turn(timestamp, arrival)
            if ends:
                self._append(header, content)
            else:
                self._begin(header)
        if self.fragmented >= 0:
            self._put(content)
            if ends:
                self._complete()
        if marker and self._roles & PICTURE:
            self._finish()

    @property
    def calm(self) -> bool:
        """Whether `pictures` can be called: no access unit is under way, and nothing is or may be missing."""
        if self._at > self._start or self.raw < 0:
            return False
        return not (self._lost or self._torn or self._doubt or self._chain.torn)

    def pictures(self, whole: Iterable[tuple[list[Nal], int, float]]) -> None:
        """Take whole access units, each as the pieces it is to be stored of, its timestamp and its arrival: what
        ``push`` does with their packets, at once. Only while `calm`, which it stays; only such as are part of a picture
        and no keyframe, and whose timestamp is later than the one before.
        """
        arena, end, room = self._arena, self._at, self._size
        raw, ticks, name, ready = self.raw, self._ticks, self._name, self.ready
        for pieces, timestamp, arrival in whole:
            sample = b"".join(pieces)
            start, end = end, end + len(sample)
            if end > room:
                self._start = self._at = start
                self._room(len(sample))
                arena, room, start, end = self._arena, self._size, self._at, self._at + len(sample)
            arena[start:end] = sample
            ticks += timestamp - raw
            raw = timestamp
            self._arrival = arrival
            ready.append(AccessUnit(arena, start, end, ticks, False, arrival, 0, name))
        self._start = self._at = end
        self.raw, self._ticks = raw, ticks

    def flush(self) -> None:
        """End the access unit under way: at the end of the stream."""
        if self._roles & PICTURE:
            self._finish()
        self.raw = -1

    def restart(self) -> None:
        """Forget the access unit under way and the timestamp: the stream begins anew from another SSRC."""
        self._drop()
        self.raw = -1
        self._torn = False
        self._chain.tear()

    def _usable(self, header: int) -> bool:
        """Whether a NAL unit of that header is part of the video."""
        return header >> self._shift & self._mask in self._types and not header & self._layer

    def _begin(self, header: int) -> None:
        """Begin a NAL unit in fragments (RFC 6184 §5.8, RFC 7798 §4.4.3)."""
        if self.fragmented >= 0:
            self._abandon()
        if self._at + self._before > self._size:
            self._room(self._before)
        self._nal = at = self._at
        self._write_header(self._arena, at, 0, header)
        self._at = at + self._before
        self.fragmented = header

    def _abandon(self) -> None:
        """Forget the NAL unit in fragments."""
        if self.fragmented >= 0:
            self.fragmented = -1
            self._at = self._nal
            self._torn = True

    def _malformed(self, header: int = 0) -> None:
        """Drop what has no known shape, or is of another layer: that one is not missed."""
        self.malformed += 1
        self._torn = self._torn or not header & self._layer

    def _put(self, content: Nal) -> None:
        """Put bytes behind what is there."""
        at = self._at
        end = at + len(content)
        if end > self._size:
            self._room(len(content))
            at = self._at
            end = at + len(content)
        self._arena[at:end] = content
        self._at = end
        if end - self._start > MAX_ACCESS_UNIT:
            self._overflow()

    def _room(self, size: int) -> None:
        """Move the access unit under way to an arena that has room for ``size`` bytes more."""
        start, at = self._start, self._at
        arena = _ARENAS.take(2 * (at - start + size))
        arena[: at - start] = self._arena[start:at]
        self._arena, self._size = arena, len(arena)
        self._nal -= start
        self._start, self._at = 0, at - start

    def _complete(self) -> None:
        """The NAL unit in fragments is whole, unless it was dropped."""
        header, self.fragmented = self.fragmented, -1
        if header < 0:
            return
        NAL_LENGTH.pack_into(self._arena, self._nal, self._at - self._nal - 4)
        self._count_in(header)

    def _append(self, header: int, content: Nal) -> None:
        """Put a whole NAL unit behind what is there."""
        if self.fragmented >= 0:
            self._abandon()
        at = self._at
        begin = at + self._before
        end = begin + len(content)
        if end > self._size:
            self._room(end - at)
            at, begin, end = self._at, self._at + self._before, self._at + end - at
        self._write_header(self._arena, at, end - at - 4, header)
        self._arena[begin:end] = content
        self._at = end
        self._count_in(header)

    def _count_in(self, header: int) -> None:
        """A NAL unit is whole."""
        self._count += 1
        self._roles |= self._by_type[header >> self._shift & self._mask]
        if self._count > MAX_NALS or self._at - self._start > MAX_ACCESS_UNIT:
            self._overflow()

    def _overflow(self) -> None:
        self.oversize += 1
        self._torn = True
        self._drop()

    def _aggregate(self, content: memoryview) -> None:
        """Take the NAL units out of an aggregation packet (RFC 6184 §5.7.1, RFC 7798 §4.4.2); what is whole before a
        broken length is kept.
        """
        own = self._header
        at = 0
        while at + 2 < len(content):
            size = content[at] << 8 | content[at + 1]
            at += 2
            if not size or at + size > len(content):
                self._malformed()
                return
            nal = content[at : at + size]
            at += size
            header = int.from_bytes(nal[:own], "big")
            if size >= own and self._usable(header):
                self._append(header, nal[own:])
            else:
                self._malformed(header)
        if at != len(content):
            self._malformed()

    def _gap(self, payload: memoryview, timestamp: int, lost: int) -> None:
        """Account for packets lost before a payload: to the picture under way as far as it lacks its end, else to the
        next, of which one is when it has come beheaded: with a fragment that is not the first.
        """
        self._abandon()
        self._torn = True
        if timestamp == self.raw:
            self._lost += lost
            return
        coding = self.coding
        self._doubt = not coding.opens(payload)
        if not self._roles & PICTURE:
            self._lost += lost
            return
        beheaded = coding.kind(payload) == coding.fragment and not payload[coding.header] & 0x80
        self._lost += lost - beheaded
        self._finish()
        self._lost += beheaded

    def _turn(self, timestamp: int, arrival: float) -> None:
        """Begin the access unit of a new timestamp."""
        if self._at > self._start:
            self._leave()
        before, self.raw = self.raw, timestamp
        if 0 <= before < timestamp < before + HALF_TURN:
            self._ticks += timestamp - before
        elif before < 0:
            # One whole turn above the first value, so that a picture shown before the first never counts below
            # zero.
            self._ticks = (1 << 32) + timestamp
        else:
            self._ticks = extend_timestamp(self._ticks, timestamp)
        self._arrival = arrival
        if self._torn:  # and no picture by now: it was to be one
            self._chain.tear()
        self._torn = self._doubt
        self._doubt = False

    def _leave(self) -> None:
        """What is under way has come to its end without being told."""
        if self.fragmented >= 0:
            self._abandon()
        if self._roles & PICTURE:
            self._finish()
        elif self._count:  # what else there is described a picture that was lost
            under_way = self._arena[self._start : self._at]
            kind, own = self.coding.kind, self._header
            kept = [bytes(nal) for nal in split_length_prefixed(under_way) if self._by_type[kind(nal)] & SET]
            self._drop()
            for nal in kept:
                self._append(int.from_bytes(nal[:own], "big"), nal[own:])

    def _finish(self) -> None:
        if self.fragmented >= 0:
            self._abandon()
        start, end = self._start, self._at
        keyframe = leading = damaged = False
        if self._roles != PICTURE or self._torn or self._chain.torn:
            keyframe, leading = self._roles & KEYFRAME != 0, self._roles & LEADING != 0
            damaged = self._chain.follow(keyframe=keyframe, leading=leading, torn=self._torn)
            self._torn = False
        self.ready.append(
            AccessUnit(
                self._arena,
                start,
                end,
                self._ticks,
                keyframe,
                self._arrival,
                self._lost,
                self._name,
                leading,
                damaged,
            )
        )
        self._start = end
        self._lost = self._count = self._roles = 0

    def _drop(self) -> None:
        self._at = self._start
        self._count = self._roles = 0
        self.fragmented = -1


@dataclass(slots=True)
class PayloadRun:
    """Payloads that leave in one send: all of the largest size, the last one may be shorter.

    ``parts`` has three entries a packet: a place for the RTP header, what stands before a fragment (empty for
    a single NAL unit), and a view of the NAL unit's bytes. A class of viewers fills in its own headers
    (``rtp.sender``).
    """

    parts: list[bytes | bytearray | memoryview]
    count: int
    octets: int
    """Payload bytes of the whole run, for sender reports."""


def packetise(coding: Coding, nals: Sequence[Nal], packet_size: int = PACKET_SIZE) -> list[PayloadRun]:
    """Cut an access unit into payloads for RTP packets of at most ``packet_size`` bytes (header included).

    Single NAL unit packets and fragments (RFC 6184 §5.6, §5.8; RFC 7798 §4.4.1, §4.4.3). Fragments fill their packets,
    so that all but the last of a NAL unit have one size and leave by one send. The bytes are not copied. Raises
    RtpBuildError without a NAL unit, or for what is none.
    """
    room = packet_size - HEADER_SIZE
    if room < 16:
        raise RtpBuildError(f"RTP packets of {packet_size} bytes leave no room for video")
    runs: list[PayloadRun] = []
    own, mask, kept = coding.header, coding.mask, coding.kept
    shift = coding.shift + 8 * (own - 1)
    fragment = coding.fragment << shift
    step = room - own - 1
    for nal in nals:
        size = len(nal)
        if size < own:
            raise RtpBuildError("empty NAL unit")
        if size <= room:
            runs.append(PayloadRun([b"", b"", nal], 1, size))
            continue
        view = memoryview(nal)
        header = nal[0] if own == 1 else nal[0] << 8 | nal[1]
        start = (header & kept | fragment) << 8 | header >> shift & mask
        middle = start.to_bytes(own + 1, "big")
        parts: list[bytes | bytearray | memoryview] = []
        for at in range(own, size, step):
            parts += (b"", middle, view[at : at + step])
        parts[1] = (start | 0x80).to_bytes(own + 1, "big")
        parts[-2] = (start | 0x40).to_bytes(own + 1, "big")
        count = len(parts) // 3
        runs.append(PayloadRun(parts, count, size - own + (own + 1) * count))
    if not runs:
        raise RtpBuildError("access unit without NAL units")
    return runs


def length_prefixed(nals: Iterable[Nal]) -> bytes:
    """Return NAL units as an MP4 sample: each after its length in 4 bytes (ISO/IEC 14496-15 §5.3)."""
    return b"".join([piece for nal in nals for piece in (NAL_LENGTH.pack(len(nal)), nal)])


def split_length_prefixed(sample: bytes | memoryview) -> list[memoryview]:
    """Return the NAL units of an MP4 sample with 4-byte lengths; a cut-off tail is left out. Nothing is copied."""
    view = memoryview(sample)
    nals = []
    at = 0
    while at + 4 < len(view):
        (size,) = NAL_LENGTH.unpack_from(view, at)
        at += 4
        if not size or at + size > len(view):
            break
        nals.append(view[at : at + size])
        at += size
    return nals


def split_annex_b(stream: bytes) -> list[bytes]:
    """Return the NAL units of a byte stream with start codes (Annex B of ITU-T H.264 and of H.265), trailing zeros
    removed.
    """
    pieces = stream.split(b"\x00\x00\x01")
    return [nal for piece in pieces[1:] if (nal := piece.rstrip(b"\x00"))]
