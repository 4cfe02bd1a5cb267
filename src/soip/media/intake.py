"""From a camera's RTP to pictures and sound that know their time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from soip.media.walltime import WallClock
from soip.net.rtpway import RtpWay
from soip.rtp.alignment import Alignment
from soip.rtp.clock import MediaClock
from soip.rtp.codec import CODINGS, Codec, learn
from soip.rtp.decodetime import DecodeTime
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import H264
from soip.rtp.nal import CLOCK_RATE, AccessUnit, Coding, Nal
from soip.rtp.packet import extend_timestamp
from soip.rtp.receiver import AudioFrame, StreamReceiver, VideoReceiver
from soip.rtp.rtcp import SenderReport
from soip.rtp.sound import SoundFormat


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
    """One frame of sound, what it is coded with, and the server's UTC of its beginning."""

    frame: AudioFrame
    utc_us: int
    format: SoundFormat


class VideoIntake:
    """The video of one call. `picture` gets every access unit from the first keyframe on, in decoding order.

    `sprop` are parameter sets known beforehand, `also` further payload types that were agreed on. Left out are
    pictures that refer to what was before the first keyframe (ITU-T H.265 §8.1.3: RASL).
    """

    def __init__(
        self,
        payload_type: int,
        sprop: tuple[bytes, ...],
        wall: WallClock,
        picture: Callable[[Picture], None],
        also: Collection[int] = (),
        coding: Coding = H264,
    ) -> None:
        self.receiver = VideoReceiver(payload_type, also, coding)
        self.clock = MediaClock(CLOCK_RATE)
        self.codec: Codec | None = None
        self.last_arrival: float | None = None
        self.alignment: Alignment | None = None
        """Told what the sender reports, where the call has sound too."""
        self.ask: Callable[[list[int]], None] | None = None
        """Asks the camera for packets again, by their numbers."""
        self._wall = wall
        self._picture = picture
        self._decode = DecodeTime()
        self._base: int | None = None
        self._started = False
        self._opening = True
        """The pictures that come now still belong to the keyframe it began with."""
        self._highest = 0
        self._ticks: int | None = None
        self._learn(coding, sprop)

    def readable(self, pair: RtpWay, buffer: memoryview, now: float) -> None:
        """The socket has datagrams."""
        for unit in pair.drain(self.receiver, buffer, now):
            self.take(unit)
        if self.ask is not None and (missing := self.receiver.wanted(now)):
            self.ask(missing)

    def take(self, unit: AccessUnit) -> None:
        """One access unit, in decoding order."""
        if unit.keyframe:
            self._complete(unit)
            self._opening = not self._started
            self._started = self._started or self.codec is not None
        if not self._started or (self._opening and unit.leading):
            return
        ticks = self._ticks = unit.timestamp
        arrival = self.last_arrival = unit.arrival
        arrival_us = self._wall.utc_us(arrival)
        utc_us = self.clock.observe(ticks, arrival_us)
        fresh = self._base is None or self.clock.broken
        if fresh:
            self._begin_anew(ticks, arrival_us)
            utc_us = arrival_us
        assert self.codec is not None
        assert self._base is not None
        pts = self._base + ticks
        if pts > self._highest:
            self._highest = pts
        self._picture(Picture(unit, self.codec, self._decode.next(pts), pts, utc_us, fresh))

    def restart_clock(self) -> None:
        """The wall clock was stepped: what was learned of its offset does not hold any more."""
        self._base = None

    def sender_report(self, report: SenderReport) -> None:
        """What the camera says the time was. Its UTC is noted, not believed."""
        if self._ticks is None or not report.ntp:  # RFC 3550 §6.4.1: 0 of who has no clock
            return
        ticks = extend_timestamp(self._ticks, report.timestamp)
        self.clock.sender_report(ticks, report.utc_us)
        if self.alignment is not None:
            self.alignment.video(ticks, report.utc_us, self._ticks)

    def _begin_anew(self, ticks: int, arrival_us: int) -> None:
        """Relate media time to UTC by this picture alone."""
        self.clock.reset(ticks, arrival_us)
        # Viewers and browsers take media time that runs back for a broken stream; UTC is told beside it.
        self._base = max(arrival_us * CLOCK_RATE // 1_000_000, self._highest + 1) - ticks
        self._decode.reset()

    def _complete(self, unit: AccessUnit) -> None:
        """Learn the parameter sets of a keyframe, or put them before one that came without."""
        nals: list[Nal] = [*unit.nals]
        self._learn(CODINGS[unit.encoding], nals)
        if self.codec is not None and (whole := self.codec.complete(nals)):
            unit.hold(whole)

    def _learn(self, coding: Coding, nals: Iterable[Nal]) -> None:
        """Take over parameter sets; of one kind alone, with the other kinds as they were."""
        known = self.codec
        try:
            codec = learn(coding, nals, known)
        except RtpParseError:
            return  # Unreadable sets are no reason to drop the ones that worked so far.
        if codec is None or codec is known:
            return
        self.codec = codec
        self._decode = DecodeTime(codec.info.reorder_depth, codec.info.ticks_per_frame)


class AudioIntake:
    """The audio of one call. `sound` gets every frame in order, placed beside the pictures of `video`."""

    def __init__(
        self,
        payload_type: int,
        form: SoundFormat,
        wall: WallClock,
        sound: Callable[[Sound], None],
        video: VideoIntake,
    ) -> None:
        self.receiver = form.receiver(payload_type)
        self.format = form
        self.clock = MediaClock(self.receiver.clock_rate)
        self.alignment = video.alignment = Alignment(video.clock, self.clock)
        self._wall = wall
        self._sound = sound

    def readable(self, pair: RtpWay, buffer: memoryview, now: float) -> None:
        """The socket has datagrams."""
        for frame in pair.drain(self.receiver, buffer, now):
            self.take(frame)

    def take(self, frame: AudioFrame) -> None:
        """One frame, in order."""
        arrival_us = self._wall.utc_us(frame.arrival)
        self.clock.observe(frame.timestamp, arrival_us)
        if self.clock.broken:
            self.clock.reset(frame.timestamp, arrival_us)
        self._sound(Sound(frame, self.alignment.utc_us(frame.timestamp), self.format))

    def sender_report(self, report: SenderReport) -> None:
        """What the camera says the time was."""
        latest = self.receiver.ticks
        if latest is not None and report.ntp:
            self.alignment.audio(extend_timestamp(latest, report.timestamp), report.utc_us, latest)

    def restart_clock(self) -> None:
        """The wall clock was stepped."""
        self.clock.broken = True


class Intake(Protocol):
    """What a call has of each RTP stream that comes in."""

    @property
    def receiver(self) -> StreamReceiver: ...

    def readable(self, pair: RtpWay, buffer: memoryview, now: float) -> None: ...

    def sender_report(self, report: SenderReport) -> None: ...

    def restart_clock(self) -> None: ...
