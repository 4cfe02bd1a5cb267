"""A camera in virtual time: two streams with clocks as bad as a test wants them, and what became of what it sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from soip.media.intake import AudioIntake, Picture, Sound, VideoIntake
from soip.media.walltime import WallClock
from soip.rtp.nal import AccessUnit
from soip.rtp.packet import RtpPacket, build
from soip.rtp.rtcp import SenderReport, us_to_ntp
from soip.rtp.sound import PCMU, SoundFormat
from tests.media.material import PPS, SPS

START_US = 1_795_168_800_000_000
RATE = 25
LONG_AGO = 1 << 32
KEYFRAME, REST = b"\x65" + bytes([200]) * 40, b"\x41" + bytes([200]) * 40


@dataclass
class Stream:
    """One stream's clock: `drift_ppm` fast; what is made at a second arrives `delay` and some `jitter` later (seconds).

    `ticks`: what it says at a true second, before the drift; a test may put any clock here.
    """

    rate: int
    drift_ppm: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    first: int = 12_345
    shown: Callable[[float], float] = lambda second: second

    def ticks(self, second: float) -> int:
        return self.first + round(self.shown(second) * self.rate * (1 + self.drift_ppm / 1e6))

    def arrival(self, second: float, random: Random) -> float:
        return second + self.delay + (random.expovariate(1 / self.jitter) if self.jitter else 0.0)


@dataclass
class VirtualCamera:
    """Sends pictures and sound from second to second. `ntp` is its idea of UTC (µs) at a true second; None sends no
    reports. `told` are the reports' ticks, as told of the true ones.
    """

    video: Stream = field(default_factory=lambda: Stream(90_000))
    audio: Stream = field(default_factory=lambda: Stream(8000))
    ntp: Callable[[float], float] | None = None
    form: SoundFormat = PCMU
    seed: int = 1

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.pictures: list[tuple[float, Picture]] = []
        self.sounds: list[tuple[float, Sound]] = []
        self.take_picture: Callable[[Picture], None] = lambda _picture: None
        self.take_sound: Callable[[Sound], None] = lambda _sound: None
        self.picture_of: Callable[[int], list[bytes]] = lambda number: [KEYFRAME if number % RATE == 0 else REST]
        self.sound_of: Callable[[int], bytes] = lambda _number: b"\xff" * 160
        self.samples = 160
        wall = WallClock(0.0, lambda: START_US)
        self.video_in = VideoIntake(96, (SPS, PPS), wall, self._picture)
        self.audio_in = AudioIntake(0, self.form, wall, self._sound, self.video_in)
        self._second = 0.0

    def run(self, seconds: float, first: float = 0.0) -> None:
        """In the order of arrival; what a stream sends keeps its order."""
        end = first + seconds
        happenings: list[tuple[float, int, Callable[[], None]]] = []
        latest = 0.0
        for number in range(round(first * RATE), round(end * RATE)):
            latest = max(latest, self.video.arrival(number / RATE, self.random))
            happenings.append((latest, 1, self._send_picture(number, latest)))
        latest = 0.0
        length = self.samples / self.audio.rate
        for number in range(round(first / length), round(end / length)):
            latest = max(latest, self.audio.arrival(number * length, self.random))
            happenings.append((latest, 2, self._send_sound(number, number * length, latest)))
        if self.ntp is not None:
            for count in range(round(first / 5), round(end / 5)):
                # Each stream reports when it does, after its first packets.
                happenings.append((5 * count + 1.0, 3, self._report(self.video, self.video_in, 5 * count + 0.9)))
                happenings.append((5 * count + 2.3, 3, self._report(self.audio, self.audio_in, 5 * count + 2.2)))
        for _, _, happen in sorted(happenings, key=lambda one: one[:2]):
            happen()

    def _send_picture(self, number: int, arrival: float) -> Callable[[], None]:
        def send() -> None:
            self._second = number / RATE
            nals: list[bytes | bytearray] = [*self.picture_of(number)]
            keyframe = any(nal[0] & 31 == 5 for nal in nals)
            self.video_in.take(AccessUnit.of(nals, LONG_AGO + self.video.ticks(self._second), keyframe, arrival))

        return send

    def _send_sound(self, number: int, second: float, arrival: float) -> Callable[[], None]:
        def send() -> None:
            self._second = second
            payload = self.form.packetise(self.sound_of(number), 1400)[0]
            packet = RtpPacket(0, True, number & 0xFFFF, self.audio.ticks(second) & 0xFFFFFFFF, 7, payload)
            for frame in self.audio_in.receiver.receive(build(packet), arrival):
                self.audio_in.take(frame)

        return send

    def _report(self, stream: Stream, intake: VideoIntake | AudioIntake, second: float) -> Callable[[], None]:
        def send() -> None:
            assert self.ntp is not None
            ntp = us_to_ntp(round(self.ntp(second)) % (1 << 60))
            intake.sender_report(SenderReport(7, ntp, stream.ticks(second) & 0xFFFFFFFF, 0, 0))

        return send

    def _picture(self, picture: Picture) -> None:
        self.pictures.append((self._second, picture))
        self.take_picture(picture)

    def _sound(self, sound: Sound) -> None:
        self.sounds.append((self._second, sound))
        self.take_sound(sound)

    def picture_errors(self, since: float = 0.0) -> list[tuple[float, int]]:
        """By second: how far the UTC of a picture is from when it was made."""
        return [(at, one.utc_us - START_US - round(at * 1e6)) for at, one in self.pictures if at >= since]

    def sound_errors(self, since: float = 0.0) -> list[tuple[float, int]]:
        return [(at, one.utc_us - START_US - round(at * 1e6)) for at, one in self.sounds if at >= since]

    def apart_us(self, since: float) -> int:
        """How far sound is at most from the picture that was made at the same time."""
        seen = {round(at * RATE): error for at, error in self.picture_errors(since)}
        heard = self.sound_errors(since)
        return max(abs(error - seen[round(at * RATE)]) for at, error in heard if round(at * RATE) in seen)
