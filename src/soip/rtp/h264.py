"""H.264 over RTP (RFC 6184): access units from payloads, payloads from access units.

Received are single NAL units, STAP-A and FU-A (packetization modes 0 and 1); sent are single NAL units and
FU-A only, since some phones show no STAP-A. The interleaved types (STAP-B, MTAP, FU-B) need mode 2, which is
never negotiated.

An access unit ends at the marker bit or where the timestamp changes (RFC 6184 §5.1). Two habits of cameras
are borne: the marker after parameter sets alone does not end an access unit, and parameter sets that come
under a timestamp of their own join the picture that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(slots=True)
class AccessUnit:
    """One picture's NAL units, in decoding order, without start codes or length prefixes. Read only."""

    nals: list[bytes | bytearray]
    timestamp: int
    """90 kHz ticks, extended to 64 bits: the presentation time, in decoding order."""
    keyframe: bool
    """It carries an IDR slice."""
    arrival: float
    """Monotonic seconds at which its first packet was read."""
    lost: int = 0
    """Packets missing before or in it; over a stream the sum is the number of packets lost."""

    @property
    def size(self) -> int:
        """Bytes of all NAL units."""
        return sum(map(len, self.nals))


class Depacketiser:
    """Payloads in sequence order → access units, collected in ``ready``; the caller takes them out.

    A NAL unit of which a fragment is missing is dropped whole (RFC 6184 §5.8).
    """

    def __init__(self) -> None:
        self.ready: list[AccessUnit] = []
        self.malformed = 0
        """Payloads of unknown or broken shape, dropped."""
        self.oversize = 0
        """Access units dropped for their size."""
        self.raw = -1
        """The timestamp of the access unit under way as it stands in the packets; −1 before the first."""
        self.fragment: bytearray | None = None
        """The NAL unit under way in fragments: the receive loop appends to it by itself."""
        self._ticks = 0
        self._nals: list[bytes | bytearray] = []
        self._size = 0
        self._picture = False
        self._keyframe = False
        self._arrival = 0.0
        self._lost = 0

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
            self._lost += lost
            self.fragment = None
            return
        indicator, header = data[start], data[start + 1]
        if lost:
            self._gap(indicator, header, timestamp, lost)
        if timestamp != self.raw:
            self._turn(timestamp, arrival)
        kind = indicator & 0x1F
        if kind == TYPE_FU_A:
            fragment = self.fragment
            if header & 0x80:
                fragment = self._start(indicator, header, data[start + 1 : end])
            elif fragment is not None:
                fragment += data[start + 2 : end]
                if len(fragment) > MAX_ACCESS_UNIT:
                    fragment = None
                    self._overflow()
            if header & 0x40 and fragment is not None:
                self.fragment = None
                self._append(fragment[0] & 0x1F, fragment)
        else:
            self.fragment = None
            if 0 < kind < TYPE_STAP_A:
                self._append(kind, bytes(data[start:end]))
            elif kind == TYPE_STAP_A:
                self._aggregate(data[start + 1 : end])
            else:
                self.malformed += 1
        if marker and self._picture:
            self._finish()

    def complete(self, nal: bytearray, marker: int) -> None:
        """The NAL unit under way in fragments is whole: the receive loop found its end by itself."""
        self.fragment = None
        self._append(nal[0] & 0x1F, nal)
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

    def _start(self, indicator: int, header: int, content: memoryview) -> bytearray | None:
        """Begin a NAL unit in fragments (RFC 6184 §5.8); ``content`` begins with the FU header."""
        kind = header & 0x1F
        if 0 < kind < TYPE_STAP_A:
            self.fragment = bytearray(content)
            self.fragment[0] = indicator & 0xE0 | kind
        else:
            self.malformed += 1
            self.fragment = None
        return self.fragment

    def _append(self, kind: int, nal: bytes | bytearray) -> None:
        self._nals.append(nal)
        self._size += len(nal)
        if kind <= TYPE_IDR:
            self._picture = True
            self._keyframe = self._keyframe or kind == TYPE_IDR
        if self._size > MAX_ACCESS_UNIT or len(self._nals) > MAX_NALS:
            self._overflow()

    def _overflow(self) -> None:
        self.oversize += 1
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
                self.malformed += 1
                return
            nal = bytes(content[at : at + size])
            at += size
            kind = nal[0] & 0x1F
            if 0 < kind < TYPE_STAP_A:
                self._append(kind, nal)
            else:
                self.malformed += 1
        if at != len(content):
            self.malformed += 1

    def _gap(self, indicator: int, header: int, timestamp: int, lost: int) -> None:
        """Account for lost packets: to the picture under way as far as it lacks its end, else to the next."""
        self.fragment = None
        if timestamp == self.raw or not self._picture:
            self._lost += lost
            return
        beheaded = indicator & 0x1F == TYPE_FU_A and not header & 0x80
        self._lost += lost - beheaded
        self._finish()
        self._lost += beheaded

    def _turn(self, timestamp: int, arrival: float) -> None:
        """Begin the access unit of a new timestamp."""
        if self._picture:
            self._finish()
        elif self._nals:  # what else there is described a picture that was lost
            self._nals = [nal for nal in self._nals if nal[0] & 0x1F in (TYPE_SPS, TYPE_PPS)]
            self._size = sum(map(len, self._nals))
        self.fragment = None
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

    def _finish(self) -> None:
        self.ready.append(AccessUnit(self._nals, self._ticks, self._keyframe, self._arrival, self._lost))
        self._lost = 0
        self._drop()

    def _drop(self) -> None:
        self._nals = []
        self._size = 0
        self.fragment = None
        self._picture = self._keyframe = False


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


def packetise(nals: Sequence[bytes | bytearray], packet_size: int = PACKET_SIZE) -> list[PayloadRun]:
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


def is_keyframe(nals: Sequence[bytes | bytearray]) -> bool:
    """Tell whether NAL units contain an IDR slice."""
    return any(nal[0] & 0x1F == TYPE_IDR for nal in nals if nal)


def length_prefixed(nals: Sequence[bytes | bytearray]) -> list[bytes | bytearray]:
    """Return NAL units as the chunks of an MP4 sample: each after its length in 4 bytes (ISO/IEC 14496-15
    §5.3).
    """
    chunks: list[bytes | bytearray] = []
    for nal in nals:
        chunks += (len(nal).to_bytes(4, "big"), nal)
    return chunks


def split_length_prefixed(sample: bytes | memoryview) -> list[bytes]:
    """Return the NAL units of an MP4 sample with 4-byte lengths; a cut-off tail is left out."""
    view = memoryview(sample)
    nals = []
    at = 0
    while at + 4 < len(view):
        size = int.from_bytes(view[at : at + 4], "big")
        at += 4
        if not size or at + size > len(view):
            break
        nals.append(bytes(view[at : at + size]))
        at += size
    return nals


def split_annex_b(stream: bytes) -> list[bytes]:
    """Return the NAL units of a byte stream with start codes (ITU-T H.264 Annex B), trailing zeros
    removed.
    """
    pieces = stream.split(b"\x00\x00\x01")
    return [nal for piece in pieces[1:] if (nal := piece.rstrip(b"\x00"))]
