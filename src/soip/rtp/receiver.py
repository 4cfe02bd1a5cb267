"""The receive path of one stream: datagrams in, access units (video) or frames (audio) out.

Order of calls: the shell reads a socket whenever it is readable and calls ``take`` per batch, or ``receive``
per datagram; what they return is complete and in decoding order. ``flush`` at the end gives the picture under way.

Checks per packet (RFC 3550 §A.1): version, payload type, SSRC, sequence number. The first valid packet
latches the SSRC; others are dropped and counted, until the latched one has been silent for ``SSRC_SILENCE``.
Source addresses are the shell's concern. A packet that is not the next one waits in a bounded window; a gap
that stays is counted as lost. What a batch brings has the time it came, which may be a while before it is read;
the window counts from when a gap is seen, since only then anybody can be asked for what is missing.

``VideoReceiver.take`` is the hot path: the fragments of a NAL unit, which nearly every packet is, are compared with
what they should be and put in their place all at once, without a line of Python per packet; and where they are a
picture, with what says something of it before them, the picture is. Everything else takes the plain path, which alone
is complete: with the fast branches removed nothing changes but the speed (``tests/rtp/test_receiver_twin.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from struct import Struct
from typing import Protocol

from soip.rtp.batch import DatagramBatch, Run
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import H264
from soip.rtp.nal import CLOCK_RATE, HALF_TURN, NAL_LENGTH, NAL_STARTS, PICTURE, AccessUnit, Coding, Depacketiser, Nal
from soip.rtp.packet import HEADER, HEADER_SIZE, extend_timestamp, payload_bounds, sequence_distance
from soip.rtp.reorder import MAX_HELD_ASKED, PATIENCE, ReorderWindow
from soip.rtp.retransmission import MOST_ASKED, Requests

SSRC_SILENCE = 2.0
"""Seconds of silence after which another SSRC from the same source is taken: a camera's encoder was
restarted."""
MAX_DROPOUT = 3000
MAX_MISORDER = 100

_MARKER = 0x80
"""Of an RTP packet's second byte (RFC 3550 §5.1)."""
_MOST_KNOWN = 64
"""Fragments begin in a few ways: by their type, and by how much is decoded from them."""
_BEGIN, _END = 0x80, 0x40
"""Bits of the FU header (RFC 6184 §5.8, RFC 7798 §4.4.3), which is the last byte of a fragment's start."""


_Start = tuple[int, int, int, int, tuple[int, int, int], int]


@cache
def _start(coding: Coding) -> _Start:
    """The start of a datagram that is a fragment, as one number: RTP header, NAL unit header, FU header.

    Returned are its bytes; the places of the sequence number, of the timestamp and of the SSRC; how that of the last
    fragment in a row may differ from those in the middle; the place of the marker bit. A plain tuple, for one with
    names is taken apart more slowly.
    """
    size = HEADER_SIZE + coding.header + 1
    beyond = 8 * (size - HEADER_SIZE)
    marker = beyond + 8 * HEADER_SIZE - 9
    return size, beyond + 64, beyond + 32, beyond, (0, _END, _END | 1 << marker), marker


@cache
def _alone(coding: Coding) -> tuple[Struct, frozenset[int]]:
    """The start of a datagram that is a NAL unit by itself: the first 16 bits, sequence number, timestamp, SSRC and NAL
    unit header. Also, which such headers are of those that neither show anything nor are needed to.
    """
    bits = 8 * coding.header
    shift, mask = coding.shift + bits - 8, coding.mask
    kinds = {kind for kind in coding.types if not coding.roles[kind]}
    headers = [header for header in range(1 << bits) if header >> shift & mask in kinds and not header & coding.layer]
    return Struct(">HHII" + " BH"[coding.header]), frozenset(headers)


@cache
def _rows(coding: Coding) -> Callable[[int], tuple[int, int, int, int]]:
    """For the starts of so many fragments in a row, as one number: the place of the first one; by what to multiply a
    start to have it that often; what the sequence numbers add to that, since they rise; and what is added altogether to
    the first one so often if the fragments are a whole NAL unit, the last of its picture.
    """
    size, sequence_at, _, _, lasts, _ = _start(coding)
    bits = 8 * size

    @cache
    def row(count: int) -> tuple[int, int, int, int]:
        places = [bits * (count - 1 - number) for number in range(count)]
        rising = sum(number << place + sequence_at for number, place in enumerate(places))
        return (
            places[0],
            sum(1 << place for place in places),
            rising,
            rising + lasts[2] - sum(_BEGIN << place for place in places[1:]),
        )

    return row


class _Timed(Protocol):
    """What comes at a time, and has a timestamp in ticks."""

    @property
    def arrival(self) -> float: ...

    @property
    def timestamp(self) -> int: ...


class StreamReceiver(ABC):
    """SSRC lock, sequence order and loss of one stream; subclasses make frames of the payloads."""

    _deliver: Callable[[memoryview, int, int, int, int, float, int], None]
    """Takes the payload ``view[start:end]`` of the next packet, its marker, timestamp and arrival, and how many packets
    are missing before it. Set by the subclass, once.
    """

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
        self._held = self._window.held
        self.requests: Requests | None = None
        """What is asked for again; None where the peer does not send again."""
        self._transit: float | None = None
        self._known: dict[int, int] = {}
        """How the packets of this stream begin, as far as a subclass has found it out; emptied when that may change."""

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
        self._held = self._window.held

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
        if ssrc != self.ssrc or payload_type != self.payload_type:
            if payload_type not in self._types or (ssrc != self.ssrc and not self._latch(ssrc, sequence, arrival)):
                self.foreign += 1
                return
            self.payload_type = payload_type  # RFC 3264 §6.1: any that was agreed on, and it may change at any time
            self._known.clear()
        self._last = arrival
        if sequence == self._expected & 0xFFFF and not self._held:
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

    def _arrived(self, frames: Iterable[_Timed]) -> None:
        """Update the jitter by these frames."""
        rate, before, jitter = self.clock_rate, self._transit, self.jitter
        most = 10 * rate  # a restarted clock would drown years of measurement in one step
        for frame in frames:
            transit = frame.arrival * rate - frame.timestamp
            if before is not None:
                change = abs(transit - before)
                jitter += ((change if change < most else most) - jitter) / 16
            before = transit
        self._transit, self.jitter = before, jitter

    @abstractmethod
    def _restart(self) -> None:
        """Another SSRC begins."""


class VideoReceiver(StreamReceiver):
    """The receive path of a video stream. ``also`` are payload types that may come as well as ``payload_type``."""

    def __init__(self, payload_type: int, also: Collection[int] = (), coding: Coding = H264) -> None:
        super().__init__(payload_type, CLOCK_RATE, also)
        self._depacketiser = Depacketiser(coding)
        self._deliver = self._depacketiser.push
        self._start = _start(coding)
        self._row = _rows(coding)
        # `_known`: the NAL unit header of fragments by their start, without sequence number, timestamp and begin bit.
        self._slices: dict[int, int] = {}
        """The same of those that are of a picture that is no keyframe, with their begin bit."""
        self._alone = _alone(coding)
        self._slice = NAL_STARTS[coding.header]

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
        runs, at = batch.runs, 0
        while (at := self._pictures(runs, at, now)) < len(runs):
            if not self._fragments(runs[at], now):
                self._each(runs[at], now)
            at += 1
        return self._take()

    def _each(self, run: Run, now: float) -> None:
        """Take each datagram of a run by itself."""
        layout, first, count, size, last, age = run
        end = first + count - 1
        for slot in layout.slots[first:end]:
            self._packet(slot, size, now, now - age)
        self._packet(layout.slots[end], last, now, now - age)

    def _fragments(self, run: Run, now: float) -> bool:
        """Take the datagrams of a run if they are fragments of one NAL unit and each simply the next one; tell whether
        they are.

        Their starts, one after the other, are one large number. In it, all that a fragment's start differs in from the
        one before is the sequence number, one higher, but for the bits of the first and the last one.
        """
        layout, first, count, size, last, age = run
        start_size, sequence_at, timestamp_at, _, lasts, marker_at = self._start
        expected = self._expected & 0xFFFF
        # Where the numbers begin anew, what is carried would change the payload type.
        if count == 1 or last < start_size or self._held or self._unusable or expected + count > 0x1_0000:
            return False
        end = first + count
        starts = int.from_bytes(b"".join((layout.starts.get(start_size) or layout.cut(start_size))[first:end]), "big")
        place, ones, rising, _ = self._row(count)
        head = starts >> place
        begins = head & _BEGIN
        head ^= begins
        rest = starts - (begins << place) - head * ones - rising
        if rest not in lasts:
            return False
        timestamp = head >> timestamp_at & 0xFFFF_FFFF
        like = head - (expected << sequence_at) - (timestamp << timestamp_at)
        header = self._known.get(like)
        if header is None:
            header = self._recognise(like)
        depacketiser = self._depacketiser
        if header is None or not (begins or (header == depacketiser.fragmented and timestamp == depacketiser.raw)):
            return False
        bodies = layout.bodies(start_size, size)[first:end]
        if last != size:
            bodies[-1] = layout.slots[end - 1][start_size:last]
        self._last = arrival = now - age
        self._expected += count
        depacketiser.fragments(header, begins, b"".join(bodies), rest & _END, rest >> marker_at, timestamp, arrival)
        return True

    def _pictures(self, runs: list[Run], at: int, now: float) -> int:
        """Take the pictures that come whole in the runs from ``at`` on, one after the other: each the fragments of its
        slice, and before them NAL units by themselves that only say something of it. Return which run is the first that
        is left. What this is about is the same as in `_fragments`; here all is known before, but for the timestamp.
        """
        depacketiser, slices = self._depacketiser, self._slices
        if not self._known or self._held or self._unusable or not depacketiser.calm:
            return at
        start_size, sequence_at, timestamp_at, _, _, _ = self._start
        (alone, says), first_word, ssrc = self._alone, 0x8000 | self.payload_type, self.ssrc
        own, alone_size, pack = start_size - HEADER_SIZE - 1, start_size - 1, self._slice.pack
        expected = before = self._expected & 0xFFFF
        raw, timestamp, since = depacketiser.raw, -1, 0.0
        pieces: list[Nal] = []
        whole: list[tuple[list[Nal], int, float]] = []
        done = (at, expected, 0.0)
        for layout, first, count, size, last, age in runs[at:]:
            at += 1
            if count == 1:
                if size <= alone_size:
                    break
                slot = layout.slots[first]
                word, sequence, time, source, header = alone.unpack_from(slot)
                if word != first_word or sequence != expected or source != ssrc or header not in says:
                    break
                if not pieces:
                    timestamp, since = time, age
                elif time != timestamp:
                    break
                pieces += (NAL_LENGTH.pack(size - HEADER_SIZE), slot[HEADER_SIZE:size])
                expected += 1
                continue
            end = first + count
            starts = int.from_bytes(
                b"".join((layout.starts.get(start_size) or layout.cut(start_size))[first:end]), "big"
            )
            place, ones, _, rest = self._row(count)
            head = starts >> place
            time = head >> timestamp_at & 0xFFFF_FFFF
            kind = slices.get(head - (expected << sequence_at) - (time << timestamp_at))
            expected += count
            if kind is None or starts - head * ones != rest or last < start_size or expected > 0x1_0000:
                break
            if not pieces:
                timestamp, since = time, age
            if time != timestamp or not raw < time < raw + HALF_TURN:
                break
            pieces.append(pack(own + size * (count - 1) + last - start_size * count, kind))
            pieces += layout.bodies(start_size, size)[first:end]
            if last != size:
                pieces[-1] = layout.slots[end - 1][start_size:last]
            whole.append((pieces, time, now - since))
            raw, pieces, done = time, [], (at, expected, age)
        if whole:
            depacketiser.pictures(whole)
            at, expected, age = done
            self._expected += expected - before
            self._last = now - age
        return done[0]

    def _recognise(self, like: int) -> int | None:
        """The NAL unit header of what begins like that, but for what was taken out of it, if it is a fragment of this
        stream; it is known then.
        """
        _, sequence_at, _, ssrc_at, _, _ = self._start
        coding = self._depacketiser.coding
        shift = coding.shift + 8 * (coding.header - 1)
        # Version 2, no padding, extension or CSRC, no marker. Another sequence number than the next one shows here too.
        word = 0x8000 | self.payload_type
        indicator, kind = like >> 8 & (1 << 8 * coding.header) - 1, like & 0xFF
        if (
            self.ssrc is None
            or like >> ssrc_at != word << sequence_at + 16 - ssrc_at | self.ssrc
            or indicator & (coding.mask << shift | coding.layer) != coding.fragment << shift
            or kind not in coding.types
        ):
            return None
        if not self._known or len(self._known) >= _MOST_KNOWN:
            self._known.clear()
            self._slices.clear()
        header = self._known[like] = indicator & coding.kept | kind << shift
        if coding.roles[kind] == PICTURE:
            self._slices[like | _BEGIN] = header
        return header

    def flush(self) -> list[AccessUnit]:
        """End the stream: return the picture under way, if any."""
        self._depacketiser.flush()
        return self._take()

    def _take(self) -> list[AccessUnit]:
        ready = self._depacketiser.ready
        if not ready:
            return []  # not the list itself: it goes on to be filled
        self._depacketiser.ready = []
        self._arrived(ready)
        return ready

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
        self._deliver = self._frame
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
        for slot, size, age in batch.datagrams():
            self._packet(slot, size, now, now - age)
        return self._take()

    def _take(self) -> list[AudioFrame]:
        ready, self._ready = self._ready, []
        return ready

    def _frame(
        self, view: memoryview, start: int, end: int, marker: int, timestamp: int, arrival: float, lost: int
    ) -> None:
        ticks = (1 << 32) + timestamp if self._ticks is None else extend_timestamp(self._ticks, timestamp)
        self._ticks = ticks
        whole = AudioFrame(bytes(view[start:end]), ticks, arrival, lost)
        self._arrived((whole,))
        if end == start:
            return
        if self._unpacker is None:
            self._ready.append(whole)
            return
        for frame in self._unpacker.unpack(whole.payload, ticks, marker, lost):
            self._ready.append(AudioFrame(frame, ticks, arrival, lost))
            ticks, lost = ticks + self._unpacker.step, 0

    def _restart(self) -> None:
        self._transit = None
        self._ticks = None
        if self._unpacker is not None:
            self._unpacker.restart()
