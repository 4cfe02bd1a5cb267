"""The receive path of one stream: datagrams in, access units (video) or frames (audio) out.

Order of calls: the shell reads a socket whenever it is readable and calls ``take`` per batch, or ``receive``
per datagram; what they return is complete and in decoding order. ``flush`` at the end gives the picture under way.

Checks per packet (RFC 3550 §A.1): version, payload type, SSRC, sequence number. The first valid packet
latches the SSRC; others are dropped and counted, until the latched one has been silent for ``SSRC_SILENCE``.
Source addresses are the shell's concern. A packet that is not the next one waits in a bounded window; a gap
that stays is counted as lost.

``VideoReceiver.take`` is the hot path: the fragments of a NAL unit that follow its first, which nearly every packet
is, are compared with what they should be and appended all at once, without a line of Python per packet. Everything
else takes the plain path, which alone is complete: with the fast branch removed nothing changes but the speed
(``tests/rtp/test_receiver_twin.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from soip.rtp.batch import START_SIZE, DatagramBatch
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import CLOCK_RATE, MAX_ACCESS_UNIT, TYPE_FU_A, AccessUnit, Depacketiser
from soip.rtp.packet import HEADER, HEADER_SIZE, extend_timestamp, payload_bounds, sequence_distance
from soip.rtp.reorder import ReorderWindow

SSRC_SILENCE = 2.0
"""Seconds of silence after which another SSRC from the same source is taken: a camera's encoder was
restarted."""
MAX_DROPOUT = 3000
MAX_MISORDER = 100

_MARKER = 0x0080_0000
_NO_MARKER = 0xFFFF_FFFF ^ _MARKER
_END = 0x40
"""The end bit of the FU header (RFC 6184 §5.8)."""


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
        self._transit: float | None = None

    @property
    def highest(self) -> int:
        """The extended highest sequence number received in order (RFC 3550 §6.4.1)."""
        return self._expected - 1

    @property
    def expected_packets(self) -> int:
        """Packets expected since the SSRC was latched (RFC 3550 §A.3)."""
        return self._expected - self._base

    def _packet(self, view: memoryview, size: int, now: float) -> None:
        """The plain path of one datagram in ``view[:size]``."""
        if size < HEADER_SIZE or view[0] & 0xC0 != 0x80:
            self.malformed += 1
            return
        _, second, sequence, timestamp, ssrc = HEADER.unpack_from(view)
        payload_type = second & 0x7F
        if payload_type not in self._types or (ssrc != self.ssrc and not self._latch(ssrc, sequence, now)):
            self.foreign += 1
            return
        self.payload_type = payload_type  # RFC 3264 §6.1: any that was agreed on, and it may change at any time
        self._last = now
        if sequence == self._expected & 0xFFFF and not self._window:
            self._expected += 1
            self._payload(view, size, second & 0x80, timestamp, now, 0)
        else:
            self._out_of_order(view, size, sequence, now)

    def _payload(self, view: memoryview, size: int, marker: int, timestamp: int, now: float, lost: int) -> None:
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
        self._deliver(view, start, end, marker, timestamp, now, lost)

    def _latch(self, ssrc: int, sequence: int, now: float) -> bool:
        """Take a first SSRC, or a new one after silence; tell whether it is taken."""
        if self.ssrc is not None and now - self._last < SSRC_SILENCE:
            return False
        self.ssrc = ssrc
        self._resync(sequence)
        self._base = self._expected
        self.lost = self.late = 0
        self._restart()
        return True

    def _resync(self, sequence: int) -> None:
        self._expected = sequence
        self._suspect = -1
        self._window.clear()

    def _out_of_order(self, view: memoryview, size: int, sequence: int, now: float) -> None:
        """A packet that is not the next one, or any packet while a gap is open."""
        distance = sequence_distance(sequence, self._expected & 0xFFFF)
        if distance > MAX_DROPOUT or distance < -MAX_MISORDER:
            self._jump(view, size, sequence, distance, now)
            return
        self._suspect = -1
        if distance < 0:
            self.late += 1
            return
        if not self._window.hold(self._expected + distance, bytes(view[:size]), now):
            self.late += 1
        if self._release(now, 0):
            self._window.still_waiting(now)
        elif self._window.gap_is_final(now):
            missing = self._window.lowest() - self._expected
            self.lost += missing
            self._expected += missing
            self._release(now, missing)
            self._window.still_waiting(now)

    def _release(self, now: float, lost: int) -> bool:
        """Deliver what is next in order; tell whether there was any."""
        released = False
        while (packet := self._window.take(self._expected)) is not None:
            _, second, _, timestamp, _ = HEADER.unpack_from(packet)
            self._expected += 1
            self._payload(memoryview(packet), len(packet), second & 0x80, timestamp, now, lost)
            lost = 0
            released = True
        return released

    def _jump(self, view: memoryview, size: int, sequence: int, distance: int, now: float) -> None:
        """A wild number is believed when a second packet follows it (RFC 3550 §A.1): a restart, or a long
        outage."""
        if sequence != self._suspect:
            self._suspect = (sequence + 1) & 0xFFFF
            self.late += 1
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
        self._payload(view, size, second & 0x80, timestamp, now, missing)

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
        self, view: memoryview, start: int, end: int, marker: int, timestamp: int, now: float, lost: int
    ) -> None:
        """Take the payload ``view[start:end]`` of the next packet; ``lost`` packets are missing before it."""

    @abstractmethod
    def _restart(self) -> None:
        """Another SSRC begins."""


class VideoReceiver(StreamReceiver):
    """The receive path of an H.264 stream. ``also`` are payload types that may come as well as ``payload_type``."""

    def __init__(self, payload_type: int, also: Collection[int] = ()) -> None:
        super().__init__(payload_type, CLOCK_RATE, also)
        self._depacketiser = Depacketiser()

    @property
    def broken_payloads(self) -> int:
        """Payloads and access units that were dropped for their shape or size."""
        return self._depacketiser.malformed + self._depacketiser.oversize

    def receive(self, datagram: bytes | memoryview, now: float) -> list[AccessUnit]:
        """Take one datagram; return the access units it completed."""
        view = memoryview(datagram)
        self._packet(view, len(view), now)
        return self._take()

    def take(self, batch: DatagramBatch, now: float) -> list[AccessUnit]:
        """Take the datagrams of a batch; return the access units they completed."""
        if not batch.uniform:  # datagrams too short to be RTP
            for slot, size in zip(batch.slots, batch.sizes, strict=False):
                self._packet(slot, size, now)
            return self._take()
        depacketiser = self._depacketiser
        starts = batch.starts()
        words, origins, headers = starts[::3], starts[1::3], starts[2::3]
        slots, sizes, count = batch.slots, batch.sizes, batch.count
        at = 0
        while at < count:
            if depacketiser.fragment is not None:
                end = self._go_on(batch, words, origins, headers, at)
                if end > at:
                    self._last = now
                    at = end
                    continue
            word, origin, size = words[at], origins[at], sizes[at]
            next_word = 0x8000_0000 | self.payload_type << 16 | self._expected & 0xFFFF
            in_order = word & _NO_MARKER == next_word and origin & 0xFFFF_FFFF == self.ssrc and not self._window
            if in_order and size >= HEADER_SIZE and not self._unusable:
                self._expected += 1
                self._last = now
                depacketiser.push(slots[at], HEADER_SIZE, size, word & _MARKER, origin >> 32, now)
            else:
                self._packet(slots[at], size, now)
            at += 1
        return self._take()

    def _go_on(
        self, batch: DatagramBatch, words: Sequence[int], origins: Sequence[int], headers: Sequence[int], at: int
    ) -> int:
        """Take the rest of the NAL unit under way, from the ``at``-th datagram on, as far as the batch has it.

        Return the number of the first datagram not taken: ``at`` where any of these is not simply the next one.
        """
        depacketiser = self._depacketiser
        fragment = depacketiser.fragment
        if fragment is None or self._window or self._unusable or len(fragment) > MAX_ACCESS_UNIT:
            return at
        nal = fragment[0]
        middle = (nal & 0xE0 | TYPE_FU_A) << 8 | nal & 0x1F
        try:
            last = headers.index(middle | _END, at)
            end = last + 1
        except ValueError:
            last = end = batch.count
        # Version 2, no padding, extension or CSRC: of a run without gaps the first words are consecutive numbers.
        word = 0x8000_0000 | self.payload_type << 16 | self._expected & 0xFFFF
        marker = words[last] & _MARKER if last < end else 0
        if (
            headers[at:last].count(middle) != last - at
            or origins[at:end].count(depacketiser.raw << 32 | (self.ssrc or 0)) != end - at
            or words[at:last] != tuple(range(word, word + last - at))
            or (last < end and words[last] != word + last - at | marker)
            or min(sizes := batch.sizes[at:end]) < START_SIZE
        ):
            return at
        if sizes.count(sizes[0]) >= last - at:
            bodies = batch.bodies(sizes[0])[at:last]
        else:
            bodies = [slot[START_SIZE:size] for slot, size in zip(batch.slots[at:last], sizes, strict=False)]
        if last < end:
            bodies.append(batch.slots[last][START_SIZE : sizes[-1]])
        fragment += b"".join(bodies)
        self._expected += end - at
        if last < end:
            depacketiser.complete(fragment, marker)
        return end

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
        self, view: memoryview, start: int, end: int, marker: int, timestamp: int, now: float, lost: int
    ) -> None:
        self._depacketiser.push(view, start, end, marker, timestamp, now, lost)

    def _restart(self) -> None:
        self._transit = None
        self._depacketiser.restart()


@dataclass(slots=True)
class AudioFrame:
    """One packet's audio."""

    payload: bytes
    timestamp: int
    """Ticks of the media clock, extended to 64 bits."""
    arrival: float
    lost: int


class AudioReceiver(StreamReceiver):
    """The receive path of an audio stream: a frame per packet."""

    def __init__(self, payload_type: int, clock_rate: int = 8000) -> None:
        super().__init__(payload_type, clock_rate)
        self._ready: list[AudioFrame] = []
        self._ticks: int | None = None

    def receive(self, datagram: bytes | memoryview, now: float) -> list[AudioFrame]:
        """Take one datagram; return the frames that are next in order."""
        view = memoryview(datagram)
        self._packet(view, len(view), now)
        return self._take()

    def take(self, batch: DatagramBatch, now: float) -> list[AudioFrame]:
        """Take the datagrams of a batch; return the frames that are next in order."""
        for slot, size in zip(batch.slots, batch.sizes, strict=False):
            self._packet(slot, size, now)
        return self._take()

    def _take(self) -> list[AudioFrame]:
        ready, self._ready = self._ready, []
        return ready

    def _deliver(
        self, view: memoryview, start: int, end: int, marker: int, timestamp: int, now: float, lost: int
    ) -> None:
        ticks = (1 << 32) + timestamp if self._ticks is None else extend_timestamp(self._ticks, timestamp)
        self._ticks = ticks
        self._arrived(now, ticks)
        if end > start:
            self._ready.append(AudioFrame(bytes(view[start:end]), ticks, now, lost))

    def _restart(self) -> None:
        self._transit = None
        self._ticks = None
