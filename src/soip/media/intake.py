"""From a camera's RTP to pictures and sound that know their time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from soip.media.context import Context
from soip.media.walltime import WallClock
from soip.net.rtp import RtpSocketPair
from soip.rtp.clock import MediaClock
from soip.rtp.decodetime import DecodeTime
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import CLOCK_RATE, AccessUnit, Nal
from soip.rtp.h264_sets import Sps, find_sets, parse_sps
from soip.rtp.receiver import AudioFrame, AudioReceiver, VideoReceiver

_DELIMITER = 9
"""NAL unit type of an access unit delimiter, which comes before all others (ITU-T H.264 §7.4.1.2.3)."""


@dataclass(frozen=True, slots=True)
class Codec:
    """What a decoder needs before the first picture. Two are equal when a file may hold pictures of both."""

    sps: bytes
    pps: tuple[bytes, ...]
    info: Sps

    @property
    def sets(self) -> list[bytes]:
        return [self.sps, *self.pps]


@dataclass(slots=True)
class Picture:
    """An access unit with its times.

    `dts` and `pts` are media time: 90 kHz ticks that began as UTC and go on with the camera's clock. `utc_us` is
    the server's UTC of the presentation. `fresh` marks the first picture after a break of the timeline.
    """

    unit: AccessUnit
    codec: Codec
    dts: int
    pts: int
    utc_us: int
    fresh: bool


@dataclass(slots=True)
class Sound:
    """The audio of one packet: G.711 samples, and the server's UTC of the first."""

    frame: AudioFrame
    utc_us: int


class VideoIntake:
    """The video of one call. `picture` gets every access unit from the first keyframe on, in decoding order.

    `sprop` are parameter sets known beforehand, `also` further payload types that were agreed on.
    """

    def __init__(
        self,
        payload_type: int,
        sprop: tuple[bytes, ...],
        wall: WallClock,
        picture: Callable[[Picture], None],
        also: Collection[int] = (),
    ) -> None:
        self.receiver = VideoReceiver(payload_type, also)
        self.clock = MediaClock(CLOCK_RATE)
        self.codec: Codec | None = None
        self.last_arrival: float | None = None
        self.ask: Callable[[list[int]], None] | None = None
        """Asks the camera for packets again, by their numbers."""
        self._wall = wall
        self._picture = picture
        self._decode = DecodeTime()
        self._base: int | None = None
        self._started = False
        self._highest = 0
        self._learn(sprop)

    def readable(self, pair: RtpSocketPair, buffer: memoryview, now: float) -> None:
        """The socket has datagrams."""
        for unit in pair.drain(self.receiver, buffer, now):
            self.take(unit)
        if self.ask is not None and (missing := self.receiver.wanted(now)):
            self.ask(missing)

    def take(self, unit: AccessUnit) -> None:
        """One access unit, in decoding order."""
        if unit.keyframe:
            self._complete(unit)
            self._started = self._started or self.codec is not None
        if not self._started:
            return
        assert self.codec is not None
        self.last_arrival = unit.arrival
        fresh = self._follow_clock(unit)
        assert self._base is not None
        pts = self._base + unit.timestamp
        dts = self._decode.next(pts)
        self._highest = max(self._highest, pts)
        self._picture(Picture(unit, self.codec, dts, pts, self.clock.utc_us(unit.timestamp), fresh))

    def restart_clock(self) -> None:
        """The wall clock was stepped: what was learned of its offset does not hold any more."""
        self._base = None

    def _follow_clock(self, unit: AccessUnit) -> bool:
        """Relate media time to UTC; True when the relation begins anew."""
        arrival_us = self._wall.utc_us(unit.arrival)
        self.clock.observe(unit.timestamp, arrival_us)
        if self._base is not None and not self.clock.broken:
            return False
        self.clock.reset(unit.timestamp, arrival_us)
        # Viewers and browsers take media time that runs back for a broken stream; UTC is told beside it.
        pts = max(arrival_us * CLOCK_RATE // 1_000_000, self._highest + 1)
        self._base = pts - unit.timestamp
        self._decode.reset()
        return True

    def _complete(self, unit: AccessUnit) -> None:
        """Learn the parameter sets of a keyframe, or put them before one that came without: every keyframe is then
        a place where anyone can begin to decode (RFC 6184 §8.4).
        """
        nals: list[Nal] = [*unit.nals]
        self._learn(nals)
        if self.codec is None:
            return
        there = {nal[0] & 0x1F for nal in nals}
        missing = [one for one in self.codec.sets if one[0] & 0x1F not in there]
        if missing:
            first = int(nals[0][0] & 0x1F == _DELIMITER)
            nals[first:first] = missing
            unit.hold(nals)

    def _learn(self, nals: Iterable[Nal]) -> None:
        """Take over parameter sets; of one kind alone, with the other kind as it was."""
        found, pps = find_sets(nals)
        known = self.codec
        sps = found[0] if found else known and known.sps
        pps = pps or (list(known.pps) if known else [])
        if not sps or not pps or (known and known.sps == sps and known.pps == tuple(pps)):
            return
        try:
            info = parse_sps(sps)
        except RtpParseError:
            return  # Unreadable sets are no reason to drop the ones that worked so far.
        self.codec = Codec(sps, tuple(pps), info)
        self._decode = DecodeTime(info.reorder_depth, info.ticks_per_frame)


class AudioIntake:
    """The audio of one call. `sound` gets every frame in order."""

    def __init__(self, payload_type: int, encoding: str, wall: WallClock, sound: Callable[[Sound], None]) -> None:
        self.receiver = AudioReceiver(payload_type)
        self.encoding = encoding
        self.clock = MediaClock(self.receiver.clock_rate)
        self._wall = wall
        self._sound = sound

    def readable(self, pair: RtpSocketPair, buffer: memoryview, now: float) -> None:
        """The socket has datagrams."""
        for frame in pair.drain(self.receiver, buffer, now):
            arrival_us = self._wall.utc_us(frame.arrival)
            self.clock.observe(frame.timestamp, arrival_us)
            if self.clock.broken:
                self.clock.reset(frame.timestamp, arrival_us)
            self._sound(Sound(frame, self.clock.utc_us(frame.timestamp)))

    def restart_clock(self) -> None:
        """The wall clock was stepped."""
        self.clock.broken = True


def attach(context: Context, pair: RtpSocketPair, intake: VideoIntake | AudioIntake) -> None:
    """Serve the RTP socket of `pair` to an intake whenever it is readable."""
    context.poll.add(pair.rtp, lambda: intake.readable(pair, context.buffer, context.now()))
