"""The receive path of one stream: datagrams in, access units (video) or frames (audio) out.

Order of calls: the shell reads a socket whenever it is readable and calls ``take`` per batch, or ``receive``
per datagram; what they return is complete and in decoding order. ``flush`` at the end gives the picture under way.

Checks per packet (RFC 3550 §A.1): version, payload type, SSRC, sequence number. The first valid packet
latches the SSRC; others are dropped and counted, until the latched one has been silent for ``SSRC_SILENCE``.
Source addresses are the shell's concern. A packet that is not the next one waits in a bounded window; a gap
that stays is counted as lost. What a batch brings has the time it came, which may be a while before it is read;
the window counts from when a gap is seen, since only then anybody can be asked for what is missing.

``VideoReceiver.take`` is the hot path: the fragments of a NAL unit, which nearly every packet is, are compared with
what they should be and put in their place all at once, without a line of Python per packet. Everything else takes the
plain path, which alone is complete: with the fast branch removed nothing changes but the speed
(``tests/rtp/test_receiver_twin.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from soip.rtp.batch import DatagramBatch
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import H264
from soip.rtp.nal import CLOCK_RATE, AccessUnit, Coding, Depacketiser
from soip.rtp.packet import HEADER, HEADER_SIZE, extend_timestamp, payload_bounds, sequence_distance
from soip.rtp.reorder import MAX_HELD_ASKED, PATIENCE, ReorderWindow
from soip.rtp.retransmission import MOST_ASKED, Requests

SSRC_SILENCE = 2.0
"""Seconds of silence after which another SSRC from the same source is taken: a camera's encoder was
restarted."""
MAX_DROPOUT = 3000
MAX_MISORDER = 100

_BEGIN, _END = 0x80, 0x40
"""Bits of the FU header (RFC 6184 §5.8, RFC 7798 §4.4.3), which is the last byte of a fragment's start."""


_Start = tuple[int, int, tuple[int, int, int], int, int, int, int, int, int, int, int]


@cache
def _start(coding: Coding) -> _Start:
    """The start of a datagram that is a fragment, as one number: RTP header, NAL unit header, FU header.

    Returned are its bytes; its bits; how that of the last fragment in a row may differ from those in the middle; the
    places of the marker bit and of the RTP header's lowest bit; the bits of the NAL unit header that say what it is,
    and what they are in a fragment; those that say something else; the lowest and the highest type that comes in
    fragments; the place of the type. A plain tuple, for one with names is taken apart more slowly.
    """
    size = HEADER_SIZE + coding.header + 1
    bits = 8 * size
    marker = bits - 9
    shift = coding.shift + 8 * (coding.header - 1)
    return (
        size,
        bits,
        (0, _END, _END | 1 << marker),
        marker,
        bits - 8 * HEADER_SIZE,
        coding.mask << shift | coding.layer,
        coding.fragment << shift,
        coding.kept,
        coding.types[0],
        coding.types[-1],
        shift,
    )


@cache
def _rows(bits: int) -> Callable[[int], tuple[int, int]]:
    """For starts of so many bits and a count: by what to multiply a start to have it so many times in a row; what to
    add to have the sequence numbers rise.
    """

    @cache
    def same_and_rising(count: int) -> tuple[int, int]:
        places = [bits * (count - 1 - number) for number in range(count)]
        rising = bits - 32
        return sum(1 << place for place in places), sum(number << place + rising for number, place in enumerate(places))

    return same_and_rising


def _stretch(sizes: Sequence[int], at: int) -> int:
    """Where the datagrams end that have the size of the ``at``-th; one that is shorter is the last of them."""
    size, end = sizes[at], len(sizes)
    if at == 0 and sizes[-1] <= size and sizes.count(size) - (sizes[-1] == size) == end - 1:
        return end  # as the kernel joins them
    for number in range(at + 1, end):
        if sizes[number] != size:
            return number + (sizes[number] < size)
    return end


class StreamReceiver(ABC):
    """SSRC lock, sequence order and loss of one stream; subclasses make frames of the payloads."""

    def __init__(self, payload_type: int, clock_rate: int, also: Collection[int] = ()) -> None:
        self.payload_type = payload_type
        """The one of the packets that come now."""
        self._types = frozenset((payload_type, *also))
        self.clock_rate = clock_rate
        self.ssrc: int | None = None
        self.lost = 0
        """Packets given up as missing."""
        self.late = 0
        """Packets that came twice, or after their gap was given up."""
        self.earlier = [0, 0, 0]
        """Packets received, lost and late of the SSRCs before this one."""
        self.disbelieved = 0
        """Packets with a wild number, dropped: nothing followed them so far (RFC 3550 §A.1)."""
        self.foreign = 0
        """Packets of another SSRC or payload type, dropped."""
        self.malformed = 0
        """Datagrams that are not RTP, dropped."""
        self.jitter = 0.0
        """Interarrival jitter in ticks (RFC 3550 §6.4.1), taken per frame rather than per packet."""
        self._expected = 0
        self._base = 0
        self._suspect = -1
        self._unusable = 0
        self._last = 0.0
        self._window = ReorderWindow()
        self.requests: Requests | None = None
        """What is asked for again; None where the peer does not send again."""
        self._transit: float | None = None

    @property
    def highest(self) -> int:
        """The extended highest sequence number received (RFC 3550 §6.4.1)."""
        return self._window.highest() if self._window else self._expected - 1

    @property
    def expected_packets(self) -> int:
        """Packets expected since the SSRC was latched (RFC 3550 §A.3)."""
        return self.highest + 1 - self._base

    @property
    def received_packets(self) -> int:
        """Packets received since then, late ones and duplicates counted (RFC 3550 §A.3): so many more than expected
        there may be.
        """
        return self._expected - self._base - self.lost + len(self._window) + self.late

    def ask_again(self) -> None:
        """The peer sends again what it is asked for: wait longer for it."""
        self.requests = Requests(PATIENCE)
        self._window = ReorderWindow(MAX_HELD_ASKED, self.requests.patience)

    def wanted(self, now: float) -> list[int]:
        """Return the numbers (16 bits) of packets to ask the peer for now; to be called when packets have come."""
        requests, window = self.requests, self._window
        if requests is None or not (window or requests.open):
            return []
        numbers = requests.due(window.missing(self._expected, MOST_ASKED + 1), now)
        window.patience = requests.patience
        return [number & 0xFFFF for number in numbers]

    @property
    def counted(self) -> tuple[int, int, int]:
        """Packets received, lost and late, of every SSRC so far; late are those with a wild number too."""
        received, lost, late = self.earlier
        taken = self.received_packets - self.late
        return received + taken, lost + self.lost, late + self.late + self.disbelieved

    @property
    @abstractmethod
    def broken_payloads(self) -> int:
        """Payloads, and frames made of them, that were dropped for their shape or size."""

    def _packet(self, view: memoryview, size: int, now: float, arrival: float) -> None:
        """The plain path of one datagram in ``view[:size]``, which is read now and came at ``arrival``."""
        if size < HEADER_SIZE or view[0] & 0xC0 != 0x80:
            self.malformed += 1
            return
        first, second, sequence, timestamp, ssrc = HEADER.unpack_from(view)
        payload_type = second & 0x7F
        if payload_type not in self._types or (ssrc != self.ssrc and not self._latch(ssrc, sequence, arrival)):
            self.foreign += 1
            return
        self.payload_type = payload_type  # RFC 3264 §6.1: any that was agreed on, and it may change at any time
        self._last = arrival
        if sequence == self._expected & 0xFFFF and not self._window:
            self._expected += 1
            if first == 0x80 and not self._unusable:
                self._deliver(view, HEADER_SIZE, size, second & 0x80, timestamp, arrival, 0)
            else:
                self._payload(view, size, second & 0x80, timestamp, arrival, 0)
        else:
            self._out_of_order(view, size, sequence, now, arrival)

    def _payload(self, view: memoryview, size: int, marker: int, timestamp: int, arrival: float, lost: int) -> None:
        start, end = HEADER_SIZE, size
        if view[0] != 0x80:
            try:
                start, end = payload_bounds(view, size)
            except RtpParseError:
                self.malformed += 1
                self._unusable += lost + 1  # its number counts as received; what it carried is missing
                return
        lost += self._unusable
        self._unusable = 0
        self._deliver(view, start, end, marker, timestamp, arrival, lost)

    def _latch(self, ssrc: int, sequence: int, arrival: float) -> bool:
        """Take a first SSRC, or a new one after silence; tell whether it is taken."""
        if self.ssrc is not None and arrival - self._last < SSRC_SILENCE:
            return False
        self.ssrc = ssrc
        self.earlier = list(self.counted)
        self._resync(sequence)
        self._base = self._expected
        self.lost = self.late = self.disbelieved = 0
        self._restart()
        return True

    def _resync(self, sequence: int) -> None:
        self._expected = sequence
        self._suspect = -1
        self._window.clear()

    def _out_of_order(self, view: memoryview, size: int, sequence: int, now: float, arrival: float) -> None:
        """A packet that is not the next one, or any packet while a gap is open."""
        distance = sequence_distance(sequence, self._expected & 0xFFFF)
        if distance > MAX_DROPOUT or distance < -MAX_MISORDER:
            self._jump(view, size, sequence, distance, arrival)
            return
        self._suspect = -1
        if self.requests is not None:
            self.requests.arrived(self._expected + distance, now)
        if distance < 0:
            self.late += 1
            return
        if not self._window.hold(self._expected + distance, bytes(view[:size]), now):
            self.late += 1
        if self._release(arrival, 0):
            self._window.still_waiting(now)
        elif self._window.gap_is_final(now):
            missing = self._window.lowest() - self._expected
            self.lost += missing
            self._expected += missing
            self._release(arrival, missing)
            self._window.still_waiting(now)

    def _release(self, arrival: float, lost: int) -> bool:
        """Deliver what is next in order; tell whether there was any."""
        released = False
        while (packet := self._window.take(self._expected)) is not None:
            _, second, _, timestamp, _ = HEADER.unpack_from(packet)
            self._expected += 1
            self._payload(memoryview(packet), len(packet), second & 0x80, timestamp, arrival, lost)
            lost = 0
            released = True
        return released

    def _jump(self, view: memoryview, size: int, sequence: int, distance: int, arrival: float) -> None:
        """A wild number is believed when a second packet follows it (RFC 3550 §A.1): a restart, or a long
        outage."""
        if sequence != self._suspect:
            self._suspect = (sequence + 1) & 0xFFFF
            self.disbelieved += 1
            return
        forward = distance & 0xFFFF
        missing = distance if distance > 0 else 1  # after a restart: the one packet that was not believed
        self._expected += forward
        self._base += forward - missing
        self._window.clear()
        self._suspect = -1
        self.lost += missing
        _, second, _, timestamp, _ = HEADER.unpack_from(view)
        self._expected += 1
        self._payload(view, size, second & 0x80, timestamp, arrival, missing)

    def _arrived(self, arrival: float, timestamp: int) -> None:
        """Update the jitter by one frame."""
        transit = arrival * self.clock_rate - timestamp
        if self._transit is not None:
            change = abs(transit - self._transit)
            # A restarted clock would drown years of measurement in one step.
            self.jitter += (min(change, 10.0 * self.clock_rate) - self.jitter) / 16
        self._transit = transit

    @abstractmethod
    def _deliver(
        self, view: memoryview, start: int, end: int, marker: int, timestamp: int, arrival: float, lost: int
    ) -> None:
        """Take the payload ``view[start:end]`` of the next packet; ``lost`` packets are missing before it."""

    @abstractmethod
    def _restart(self) -> None:
        """Another SSRC begins."""


class VideoReceiver(StreamReceiver):
    """The receive path of a video stream. ``also`` are payload types that may come as well as ``payload_type``."""

    def __init__(self, payload_type: int, also: Collection[int] = (), coding: Coding = H264) -> None:
        super().__init__(payload_type, CLOCK_RATE, also)
        self._depacketiser = Depacketiser(coding)
        self._start = _start(coding)
        self._same_and_rising = _rows(self._start[1])

    @property
    def broken_payloads(self) -> int:
        """Payloads and access units that were dropped for their shape or size."""
        return self._depacketiser.malformed + self._depacketiser.oversize

    def receive(self, datagram: bytes | memoryview, now: float) -> list[AccessUnit]:
        """Take one datagram; return the access units it completed."""
        view = memoryview(datagram)
        self._packet(view, len(view), now, now)
        return self._take()

    def take(self, batch: DatagramBatch, now: float) -> list[AccessUnit]:
        """Take the datagrams of a batch; return the access units they completed."""
        at, count, arrival = 0, batch.count, now - batch.age
        while at < count:
            end = _stretch(batch.sizes, at)
            if end - at == 1 or not self._fragments(batch, at, end, arrival):
                for number in range(at, end):
                    self._packet(batch.layout.slots[number], batch.sizes[number], now, arrival)
            at = end
        return self._take()

    def _fragments(self, batch: DatagramBatch, at: int, end: int, arrival: float) -> bool:
        """Take the datagrams from ``at`` up to ``end``, of one size but the last, if they are fragments of one NAL unit
        and each simply the next one; tell whether they are.

        Their starts, one after the other, are one large number. In it, all that a fragment's start differs in from the
        one before is the sequence number, one higher, but for the bits of the first and the last one.
        """
        start_size, bits, lasts, marker_at, rtp_at, told, fragment, kept, lowest, highest, shift = self._start
        size, last_size = batch.sizes[at], batch.sizes[end - 1]
        if self._window or self._unusable or last_size < start_size:
            return False
        count = end - at
        layout = batch.layout
        cut = layout.starts.get(start_size) or layout.cut(start_size)
        starts = int.from_bytes(b"".join(cut[at:end]), "big")
        first = starts >> bits * (count - 1)
        begins = first & _BEGIN
        middle = first ^ begins
        all_middle, rising = self._same_and_rising(count)
        rest = starts - all_middle * middle - rising - (begins << bits * (count - 1))
        if rest not in lasts:
            return False
        # Version 2, no padding, extension or CSRC, no marker.
        word = 0x8000_0000 | self.payload_type << 16 | self._expected & 0xFFFF
        rtp = middle >> rtp_at
        timestamp = rtp >> 32 & 0xFFFF_FFFF
        kind = middle & 0xFF
        indicator = middle >> 8
        header = indicator & kept | kind << shift
        depacketiser = self._depacketiser
        if (
            rtp >> 64 != word
            or rtp & 0xFFFF_FFFF != self.ssrc
            or indicator & told != fragment
            or not lowest <= kind <= highest
            or not (begins or (header == depacketiser.fragmented and timestamp == depacketiser.raw))
        ):
            return False
        bodies = layout.bodies(start_size, size)[at:end]
        if last_size != size:
            bodies[-1] = layout.slots[end - 1][start_size:last_size]
        self._last = arrival
        self._expected += count
        depacketiser.fragments(header, begins, b"".join(bodies), rest & _END, rest >> marker_at, timestamp, arrival)
        return True

    def flush(self) -> list[AccessUnit]:
        """End the stream: return the picture under way, if any."""
        self._depacketiser.flush()
        return self._take()

    def _take(self) -> list[AccessUnit]:
        ready = self._depacketiser.ready
        if not ready:
            return []  # not the list itself: it goes on to be filled
        self._depacketiser.ready = []
        for unit in ready:
            self._arrived(unit.arrival, unit.timestamp)
        return ready

    def _deliver(
        self, view: memoryview, start: int, end: int, marker: int, timestamp: int, arrival: float, lost: int
    ) -> None:
        self._depacketiser.push(view, start, end, marker, timestamp, arrival, lost)

    def _restart(self) -> None:
        self._transit = None
        self._depacketiser.restart()


@dataclass(slots=True)
class AudioFrame:
    """One frame: the audio of a packet, or an access unit of AAC."""

    payload: bytes
    timestamp: int
    """Ticks of the media clock, extended to 64 bits."""
    arrival: float
    lost: int


class Unpacker(Protocol):
    """Makes frames of payloads, `step` ticks apart where one holds several. What is none is dropped and counted."""

    malformed: int

    @property
    def step(self) -> int: ...

    def unpack(self, payload: bytes, ticks: int, marker: int, lost: int) -> list[bytes]: ...

    def restart(self) -> None: ...


class AudioReceiver(StreamReceiver):
    """The receive path of an audio stream: a frame per packet, unless an `unpacker` knows better. ``also`` are payload
    types that may come as well as ``payload_type``.
    """

    def __init__(
        self, payload_type: int, clock_rate: int = 8000, unpacker: Unpacker | None = None, also: Collection[int] = ()
    ) -> None:
        super().__init__(payload_type, clock_rate, also)
        self._unpacker = unpacker
        self._ready: list[AudioFrame] = []
        self._ticks: int | None = None

    @property
    def broken_payloads(self) -> int:
        """Payloads that were dropped for their shape."""
        return self._unpacker.malformed if self._unpacker else 0

    @property
    def ticks(self) -> int | None:
        """The extended timestamp of the last packet, None before the first."""
        return self._ticks

    def receive(self, datagram: bytes | memoryview, now: float) -> list[AudioFrame]:
        """Take one datagram; return the frames that are next in order."""
        view = memoryview(datagram)
        self._packet(view, len(view), now, now)
        return self._take()

    def take(self, batch: DatagramBatch, now: float) -> list[AudioFrame]:
        """Take the datagrams of a batch; return the frames that are next in order."""
        for slot, size in zip(batch.layout.slots, batch.sizes, strict=False):
            self._packet(slot, size, now, now - batch.age)
        return self._take()

    def _take(self) -> list[AudioFrame]:
        ready, self._ready = self._ready, []
        return ready

    def _deliver(
        self, view: memoryview, start: int, end: int, marker: int, timestamp: int, arrival: float, lost: int
    ) -> None:
        ticks = (1 << 32) + timestamp if self._ticks is None else extend_timestamp(self._ticks, timestamp)
        self._ticks = ticks
        self._arrived(arrival, ticks)
        if end == start:
            return
        payload = bytes(view[start:end])
        if self._unpacker is None:
            self._ready.append(AudioFrame(payload, ticks, arrival, lost))
            return
        for frame in self._unpacker.unpack(payload, ticks, marker, lost):
            self._ready.append(AudioFrame(frame, ticks, arrival, lost))
            ticks, lost = ticks + self._unpacker.step, 0

    def _restart(self) -> None:
        self._transit = None
        self._ticks = None
        if self._unpacker is not None:
            self._unpacker.restart()
