"""From the datagrams of a program stream to pictures and sound with their times."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from soip.agents.psmux import SOUND, Muxer, packets, payload_run
from soip.media.intake import Picture, Sound
from soip.media.programintake import ProgramIntake
from soip.media.walltime import WallClock
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE, RtpSocketPair, open_pair
from soip.rtp.rtcp import SenderReport, us_to_ntp
from soip.rtp.sender import SendStream
from soip.rtp.sound import PCMA, PCMU, SoundFormat
from tests.media.material import FRAME
from tests.mp4.material import audio, video
from tests.rtp.test_adts import frame

AAC = SoundFormat.of_aac(b"\x14\x08")
NOW_US = 1_795_168_800_000_000
TONE = bytes(range(0x80, 0xD0)) * 4


@pytest.fixture
def pair() -> Iterator[RtpSocketPair]:
    pair = open_pair(PortPairs(27_700, 27_799), "127.0.0.1", lambda: 0.0)
    pair.allow(["127.0.0.1"])
    yield pair
    pair.close()


class Desk:
    """A camera that sends by a socket, an intake, and what came out of it. The wall clock begins at zero."""

    def __init__(self, pair: RtpSocketPair, *, listens: bool = True) -> None:
        self.pair = pair
        self.system_us = NOW_US
        self.wall = WallClock(0.0, lambda: self.system_us)
        self.pictures: list[Picture] = []
        self.sounds: list[Sound] = []
        heard = self.sounds.append if listens else None
        self.intake = ProgramIntake(96, self.wall, self.pictures.append, heard)
        self.stream = SendStream(96, 7, 65_530, 12_345)
        self._camera = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._buffer = memoryview(bytearray(DATAGRAM_SIZE))

    def send(self, part: bytes, ticks: int, at: float) -> None:
        for datagrams in self.stream.stamp([payload_run(part)], ticks, 1):
            self._camera.sendto(datagrams, ("127.0.0.1", self.pair.port))
        self.intake.readable(self.pair, self._buffer, at)

    def close(self) -> None:
        self._camera.close()


@pytest.fixture
def desk(pair: RtpSocketPair) -> Iterator[Desk]:
    desk = Desk(pair)
    yield desk
    desk.close()


@pytest.fixture
def deaf(pair: RtpSocketPair) -> Iterator[Desk]:
    desk = Desk(pair, listens=False)
    yield desk
    desk.close()


def test_pictures_and_sound_come_with_times_beside_each_other(desk: Desk) -> None:
    muxer, film = Muxer("H264", PCMA), video(100)
    for number, nals in enumerate(film.frames):
        at = number / 25
        desk.send(muxer.picture(nals, number * FRAME, film.keys[number]), number * FRAME, at)
        # Sound waits 200 ms in the camera: arrival alone would place it too late.
        desk.send(muxer.sound(TONE, number * FRAME), number * FRAME, at + 0.2)
    assert len(desk.pictures) == 100
    assert [[bytes(nal) for nal in one.unit.nals] for one in desk.pictures] == film.frames
    assert b"".join(one.frame.payload for one in desk.sounds) == TONE * 100
    assert {one.format.encoding for one in desk.sounds} == {"PCMA"}
    steps = [later.frame.timestamp - one.frame.timestamp for one, later in itertools.pairwise(desk.sounds)]
    assert set(steps) == {160}
    apart = [desk.sounds[2 * number].utc_us - desk.pictures[number].utc_us for number in range(60, 90)]
    assert max(map(abs, apart)) < 20_000, apart
    assert desk.intake.format is not None
    assert desk.intake.format.encoding == "PCMA"


def test_the_maps_word_on_sound_is_known_with_the_first_picture(desk: Desk) -> None:
    before = desk.intake.format
    desk.send(Muxer("H264", PCMU).picture(video(1).frames[0], 0, True), 0, 0.0)
    assert (before, desk.intake.format) == (None, PCMU)


def test_aac_comes_with_its_configuration(desk: Desk) -> None:
    _, frames = audio(1)
    muxer = Muxer("H264", AAC)
    desk.send(muxer.picture(video(1).frames[0], 0, True), 0, 0.0)
    for number, one in enumerate(frames):
        desk.send(muxer.sound(one, number * 5760), number * 5760, number * 0.064)
    assert [one.frame.payload for one in desk.sounds] == frames
    form = desk.sounds[0].format
    assert (form.clock_rate, form.channels) == (16_000, 1)
    assert desk.intake.format == form
    steps = {later.frame.timestamp - one.frame.timestamp for one, later in itertools.pairwise(desk.sounds)}
    assert steps == {1024}


def test_aac_that_cannot_be_taken_is_none(desk: Desk) -> None:
    desk.send(Muxer("H264", AAC).picture(video(1).frames[0], 0, True), 0, 0.0)
    desk.send(packets(SOUND, frame(b"at 96 kHz", rate=0), 0), 0, 0.0)
    assert not desk.sounds
    assert desk.intake.format is None


def test_sound_that_nobody_wants_is_dropped(deaf: Desk) -> None:
    muxer = Muxer("H264", PCMA)
    for number, nals in enumerate(video(10).frames):
        deaf.send(muxer.picture(nals, number * FRAME, not number), number * FRAME, number / 25)
        deaf.send(muxer.sound(TONE, number * FRAME), number * FRAME, number / 25)
    assert len(deaf.pictures) == 10
    assert deaf.intake.format is None


def test_what_the_camera_says_the_time_was_is_noted(desk: Desk) -> None:
    """A report tells of the RTP timestamp, which has another origin than the PTS."""
    muxer = Muxer()
    for number, nals in enumerate(video(10).frames):
        desk.send(muxer.picture(nals, 900_000 + number * FRAME, not number), number * FRAME, number / 25)
    ahead = SenderReport(7, us_to_ntp(NOW_US + 5_000_000), 12_345, 1, 1)
    desk.intake.sender_report(ahead)
    assert desk.intake.video.clock.sender_offset_us == pytest.approx(5_000_000, abs=2000)
    desk.intake.sender_report(SenderReport(7, 0, 12_345, 1, 1))
    assert desk.intake.video.clock.sender_offset_us == pytest.approx(5_000_000, abs=2000)


def test_a_step_of_the_wall_clock_moves_both(desk: Desk) -> None:
    muxer, film = Muxer("H264", PCMU), video(100)
    for number, nals in enumerate(film.frames):
        if number == 50:
            desk.system_us += 2_000_000 + 3_600_000_000
            assert desk.wall.follow(2.0)
            desk.intake.restart_clock()
        desk.send(muxer.picture(nals, number * FRAME, film.keys[number]), number * FRAME, number / 25)
        desk.send(muxer.sound(TONE, number * FRAME), number * FRAME, number / 25)
    assert desk.pictures[-1].utc_us - desk.pictures[0].utc_us == pytest.approx(99 * 40_000 + 3_600_000_000, abs=90_000)
    assert desk.sounds[-1].utc_us - desk.sounds[0].utc_us == pytest.approx(3_603_980_000, abs=90_000)


def test_a_report_before_any_picture_says_nothing(desk: Desk) -> None:
    desk.intake.sender_report(SenderReport(7, us_to_ntp(NOW_US), 5, 1, 1))
    assert desk.intake.video.clock.sender_offset_us is None


def test_what_is_missing_is_asked_for_and_waited_for(desk: Desk) -> None:
    muxer, film = Muxer("H264", None), video(8)
    asked: list[list[int]] = []
    desk.intake.receiver.ask_again()
    desk.intake.ask = asked.append
    parts = [muxer.picture(nals, number * FRAME, film.keys[number]) for number, nals in enumerate(film.frames)]
    wire = [
        (datagram, number / 25)
        for number, part in enumerate(parts)
        for datagram in desk.stream.stamp([payload_run(part)], number * FRAME, 1)
    ]
    missing = next(at for at, (_, when) in enumerate(wire) if when > 0.1)

    def carry(datagram: bytes, at: float) -> None:
        desk._camera.sendto(datagram, ("127.0.0.1", desk.pair.port))
        desk.intake.readable(desk.pair, desk._buffer, at)

    for number, (datagram, at) in enumerate(wire):
        if number != missing:
            carry(datagram, at)
        if number == missing + 1:
            carry(*wire[missing])
    assert asked[0] == [65_530 + missing & 0xFFFF]
    assert desk.intake.receiver.lost == 0
    assert len(desk.pictures) == len(parts)
    assert not any(picture.unit.damaged for picture in desk.pictures)
