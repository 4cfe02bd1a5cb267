"""From a camera's program stream to pictures and sound: what `intake` does for RTP of each, for both in one."""

from __future__ import annotations

from collections.abc import Callable, Collection

from soip.media.intake import AudioIntake, Picture, Sound, VideoIntake
from soip.media.walltime import WallClock
from soip.net.rtpway import RtpWay
from soip.rtp import ps
from soip.rtp.errors import RtpParseError
from soip.rtp.nal import CLOCK_RATE, AccessUnit
from soip.rtp.receiver import AudioFrame
from soip.rtp.rtcp import SenderReport
from soip.rtp.sound import PCMA, PCMU, SoundFormat

_G711 = {ps.PCMA: PCMA, ps.PCMU: PCMU}


class ProgramIntake:
    """Pictures go to `video`, and from there on as any camera's; sound to `sound`, if anybody wants it.

    Both have PTS of one clock, so sound lies beside the pictures where the camera says.
    """

    def __init__(
        self,
        payload_type: int,
        wall: WallClock,
        picture: Callable[[Picture], None],
        sound: Callable[[Sound], None] | None,
        also: Collection[int] = (),
    ) -> None:
        self.receiver = ps.PsReceiver(payload_type, also)
        self.video = VideoIntake(payload_type, (), wall, picture, also)
        self.ask: Callable[[list[int]], None] | None = None
        """Asks the camera for packets again, by their numbers."""
        self._audio: AudioIntake | None = None
        self._config = b""
        self._form: SoundFormat | None = None
        self._payload_type = payload_type
        self._wall = wall
        self._sound = sound

    @property
    def format(self) -> SoundFormat | None:
        """What the sound is coded with, as far as it is known; None where nobody wants any."""
        if self._sound is None:
            return None
        return _G711.get(self.receiver.demultiplexer.sound_encoding, self._form)

    def readable(self, pair: RtpWay, buffer: memoryview, now: float) -> None:
        """The socket has datagrams."""
        for unit in pair.drain(self.receiver, buffer, now):
            if isinstance(unit, AccessUnit):
                self._look(unit)
            elif self._sound is not None:
                self._hear(unit, self._sound)
        if self.ask is not None and (missing := self.receiver.wanted(now)):
            self.ask(missing)

    def sender_report(self, report: SenderReport) -> None:
        """What the camera says the time was, at an RTP timestamp. Its UTC is noted, not believed."""
        ticks = self.receiver.demultiplexer.ticks(report.timestamp)
        if ticks is not None and report.ntp:
            self.video.clock.sender_report(ticks, report.utc_us)

    def restart_clock(self) -> None:
        """The wall clock was stepped."""
        self.video.restart_clock()
        if self._audio is not None:
            self._audio.restart_clock()

    def _look(self, unit: AccessUnit) -> None:
        if self.video.alignment is not None:
            self.video.alignment.video(unit.timestamp, _us(unit.timestamp), unit.timestamp)
        self.video.take(unit)

    def _hear(self, heard: ps.Sounding, sound: Callable[[Sound], None]) -> None:
        if heard.config != self._config:
            self._config = heard.config
            self._form = _aac(heard.config)
        form = _G711.get(heard.encoding, self._form)
        if form is None:
            return
        if self._audio is None or self._audio.format != form:
            self._audio = AudioIntake(self._payload_type, form, self._wall, sound, self.video)
        ticks = heard.timestamp * form.clock_rate // CLOCK_RATE
        self._audio.alignment.audio(ticks, _us(heard.timestamp), ticks)
        self._audio.take(AudioFrame(heard.payload, ticks, heard.arrival, 0))


def _us(ticks: int) -> int:
    """The camera's time, by its PTS."""
    return ticks * 1_000_000 // CLOCK_RATE


def _aac(config: bytes) -> SoundFormat | None:
    try:
        return SoundFormat.of_aac(config) if config else None
    except RtpParseError:
        return None
