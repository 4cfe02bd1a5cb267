"""From access units to pictures with times: parameter sets from anywhere, B-frames, clocks that break."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from soip.media.intake import AudioIntake, Picture, Sound, VideoIntake
from soip.media.walltime import WallClock
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE, RtpSocketPair, open_pair
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import AccessUnit, packetise
from soip.rtp.packet import RtpPacket, build
from soip.rtp.sender import SendStream
from soip.rtp.sound import PCMU
from tests.media.material import FRAME, PPS, SPS
from tests.mp4.material import video

NOW_US = 1_795_168_800_000_000
IDR, SLICE, AUD = b"\x65idr", b"\x41slice", b"\x09\xf0"


class Desk:
    """An intake, and what came out of it. The wall clock began with the monotonic one, at zero."""

    def __init__(self, *sprop: bytes) -> None:
        self.system_us = NOW_US
        self.wall = WallClock(0.0, lambda: self.system_us)
        self.pictures: list[Picture] = []
        self.intake = VideoIntake(96, sprop, self.wall, self.pictures.append)

    def take(self, number: float, *nals: bytes, at: float | None = None) -> None:
        """A unit of picture `number` of 25/s, which arrives at its time or `at`."""
        keyframe = any(nal[0] & 31 == 5 for nal in nals)
        ticks = (1 << 32) + int(number * FRAME)
        self.intake.take(AccessUnit.of(list(nals), ticks, keyframe, number / 25 if at is None else at))


def test_nothing_comes_before_something_can_be_decoded() -> None:
    desk = Desk()
    desk.take(0, SLICE)
    desk.take(1, IDR)
    desk.take(2, SLICE)
    assert desk.pictures == []
    assert not desk.intake.last_arrival, "what nobody can decode is no picture"
    desk.take(3, SPS, PPS, IDR)
    desk.take(4, SLICE)
    assert len(desk.pictures) == 2
    assert desk.intake.last_arrival == 4 / 25
    assert [picture.fresh for picture in desk.pictures] == [True, False]


def test_parameter_sets_of_the_description_stand_before_every_keyframe() -> None:
    desk = Desk(SPS, PPS)
    desk.take(0, SLICE)
    desk.take(1, IDR)
    desk.take(2, SLICE)
    desk.take(3, AUD, IDR)
    assert [picture.unit.nals for picture in desk.pictures] == [[SPS, PPS, IDR], [SLICE], [AUD, SPS, PPS, IDR]]


def test_of_sets_that_come_alone_the_other_kind_is_added() -> None:
    desk = Desk(SPS, PPS)
    other = PPS[:-1] + b"\x55"
    desk.take(0, other, IDR)
    assert desk.pictures[0].unit.nals == [SPS, other, IDR]
    assert desk.pictures[0].codec.groups == ((SPS,), (other,))
    desk.take(1, SPS, IDR)
    assert sorted(map(bytes, desk.pictures[1].unit.nals)) == sorted([SPS, other, IDR])


def test_new_sets_in_band_are_a_new_codec_and_the_old_pictures_keep_theirs() -> None:
    desk = Desk(SPS, PPS)
    wide = video(2, width=640, height=480).frames[0]
    desk.take(0, SPS, PPS, IDR)
    desk.take(1, SPS, PPS, IDR)
    desk.take(2, *wide)
    first, same, other = [picture.codec for picture in desk.pictures]
    assert first is same
    assert (other.info.width, other.info.height) == (640, 480)
    assert other != first


def test_unreadable_sets_do_not_replace_good_ones() -> None:
    desk = Desk(SPS, PPS)
    desk.take(0, b"\x67\x42\x00", PPS, IDR)
    assert desk.pictures[0].codec.groups == ((SPS,), (PPS,))


def test_h265_is_taken_as_h264_is() -> None:
    material = video(60, gop=20, bframes=2, encoding="H265")
    pictures: list[Picture] = []
    intake = VideoIntake(96, (), WallClock(0.0, lambda: NOW_US), pictures.append, (), H265)
    for number, (nals, offset) in enumerate(zip(material.frames, material.offsets, strict=True)):
        keyframe = material.keys[number]
        if keyframe and number:
            nals = [nal for nal in nals if nal[0] >> 1 not in H265.sets]
        ticks = (1 << 32) + number * FRAME + offset
        intake.take(AccessUnit.of(list(nals), ticks, keyframe, number / 25, encoding="H265"))
    assert len(pictures) == 60
    assert all(earlier.dts < later.dts for earlier, later in itertools.pairwise(pictures))
    assert all(picture.dts <= picture.pts for picture in pictures)
    assert {picture.codec.encoding for picture in pictures} == {"H265"}
    for number in (0, 20, 40):
        assert [nal[0] >> 1 for nal in pictures[number].unit.nals if nal[0] >> 1 in H265.sets] == [32, 33, 34]


def test_pictures_that_refer_to_what_was_before_the_first_keyframe_are_left_out() -> None:
    sets = video(1, encoding="H265").frames[0][:3]
    pictures: list[Picture] = []
    intake = VideoIntake(96, tuple(sets), WallClock(0.0, lambda: NOW_US), pictures.append, (), H265)
    order = [("cra", 3), ("rasl", 1), ("rasl", 2), ("trail", 4), ("cra", 7), ("rasl", 5), ("rasl", 6)]
    for number, (kind, place) in enumerate(order):
        nals = [{"cra": b"\x2a\x01cra", "rasl": b"\x10\x01rasl", "trail": b"\x02\x01trail"}[kind]]
        ticks = (1 << 32) + place * FRAME
        unit = AccessUnit.of(nals, ticks, kind == "cra", number / 25, encoding="H265", leading=kind == "rasl")
        intake.take(unit)
    shown = [(picture.pts - pictures[0].pts) // FRAME for picture in pictures]
    assert shown == [0, 1, 4, 2, 3], "those of the second keyframe can be decoded"


def test_a_camera_that_changes_to_another_coding_is_another_codec() -> None:
    desk = Desk(SPS, PPS)
    desk.take(0, IDR)
    for number, nals in enumerate(video(3, encoding="H265").frames, 1):
        keyframe = number == 1
        desk.intake.take(AccessUnit.of(list(nals), (1 << 32) + number * FRAME, keyframe, number / 25, encoding="H265"))
    assert [picture.codec.encoding for picture in desk.pictures] == ["H264", "H265", "H265", "H265"]


def test_pictures_out_of_order_get_rising_decode_times() -> None:
    material = video(60, gop=20, bframes=2)
    desk = Desk()
    for number, (nals, offset) in enumerate(zip(material.frames, material.offsets, strict=True)):
        desk.take(number + offset / FRAME, *nals, at=number / 25)
    times = [picture.dts for picture in desk.pictures]
    assert len(times) == 60
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert all(picture.dts <= picture.pts for picture in desk.pictures)
    shown = sorted(picture.pts for picture in desk.pictures)
    assert {later - earlier for earlier, later in itertools.pairwise(shown)} == {FRAME}


def test_media_time_is_utc_and_goes_on_with_the_cameras_clock() -> None:
    desk = Desk(SPS, PPS)
    for number in range(100):
        desk.take(number, SPS, PPS, IDR, at=number / 25 + (number % 5) * 0.004)  # Jitter of up to 16 ms.
    first, last = desk.pictures[0], desk.pictures[-1]
    assert last.pts - first.pts == 99 * FRAME
    assert abs(first.pts * 100 // 9 - NOW_US) < 20_000
    assert abs(last.utc_us - NOW_US - 99 * 40_000) < 20_000


@pytest.mark.parametrize("ahead_us", [3_600_000_000, 2_000_000])
def test_a_step_of_the_wall_clock_begins_a_new_timeline(ahead_us: int) -> None:
    desk = Desk(SPS, PPS)
    for number in range(25):
        desk.take(number, SPS, PPS, IDR)
    desk.system_us += 1_000_000 + ahead_us
    assert desk.wall.follow(1.0)
    desk.intake.restart_clock()
    desk.take(25, SPS, PPS, IDR)
    desk.take(26, SLICE)
    before, after, next_one = desk.pictures[-3:]
    assert (before.fresh, after.fresh, next_one.fresh) == (False, True, False)
    assert abs(after.utc_us - before.utc_us - ahead_us - 40_000) < 1000
    assert after.pts > before.pts


@pytest.mark.parametrize("jump", [-90_000 * 60, 90_000 * 60])
def test_a_jump_of_the_cameras_clock_begins_a_new_timeline_that_does_not_run_back(jump: int) -> None:
    desk = Desk(SPS, PPS)
    for number in range(400):
        desk.take(number, SPS, PPS, IDR)
    for number in range(400, 800):
        desk.take(number + jump / FRAME, SPS, PPS, IDR, at=number / 25)
    fresh = [number for number, picture in enumerate(desk.pictures) if picture.fresh]
    assert len(fresh) == 2
    assert fresh[0] == 0
    assert 400 <= fresh[1] < 780, "the break is noticed within the clock's two windows"
    times = [picture.pts for picture in desk.pictures[fresh[1] - 1 :]]
    assert all(earlier < later for earlier, later in itertools.pairwise(times)) or jump > 0
    assert all(picture.dts > desk.pictures[fresh[1] - 1].dts - FRAME for picture in desk.pictures[fresh[1] :])
    assert abs(desk.pictures[-1].utc_us - NOW_US - 799 * 40_000) < 1000


def test_a_first_picture_that_was_held_up_does_not_make_time_run_back() -> None:
    desk = Desk(SPS, PPS)
    desk.take(0, SPS, PPS, IDR, at=2.0)  # Two seconds late, the others are not.
    for number in range(1, 50):
        desk.take(number, SLICE, at=max(2.0, number / 25))
    for number in range(50, 100):
        desk.take(number, SLICE, at=number / 25)
    times = [picture.pts for picture in desk.pictures]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert abs(desk.pictures[-1].utc_us - NOW_US - 99 * 40_000) < 500_001


@pytest.fixture
def pair() -> Iterator[RtpSocketPair]:
    pair = open_pair(PortPairs(27_600, 27_699), "127.0.0.1", lambda: 0.0)
    pair.allow(["127.0.0.1"])
    yield pair
    pair.close()


def test_from_datagrams_to_pictures(pair: RtpSocketPair) -> None:
    desk = Desk()
    stream = SendStream(96, 7, 65_530)
    buffer = memoryview(bytearray(DATAGRAM_SIZE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera:
        for number, nals in enumerate(video(30).frames):
            for run in stream.stamp(packetise(H264, nals, 10_000), number * FRAME):
                camera.sendto(run, ("127.0.0.1", pair.port))
            desk.intake.readable(pair, buffer, number / 25)
    assert len(desk.pictures) == 30
    assert desk.pictures[0].unit.keyframe
    assert [bytes(nal) for nal in desk.pictures[0].unit.nals] == video(30).frames[0]


def test_sound_gets_times_and_begins_anew_after_a_step(pair: RtpSocketPair) -> None:
    system = [NOW_US]
    wall = WallClock(0.0, lambda: system[0])
    heard: list[Sound] = []
    intake = AudioIntake(0, PCMU, wall, heard.append, Desk().intake)
    buffer = memoryview(bytearray(DATAGRAM_SIZE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera:
        for number in range(100):
            if number == 50:
                system[0] += 1_000_000 + 3_600_000_000
                assert wall.follow(1.0)
                intake.restart_clock()
            packet = RtpPacket(0, not number, number, number * 160, 9, b"\xff" * 160)
            camera.sendto(build(packet), ("127.0.0.1", pair.port))
            intake.readable(pair, buffer, number / 50)
    steps = [later.utc_us - earlier.utc_us for earlier, later in itertools.pairwise(heard)]
    assert len(heard) == 100
    assert steps.pop(49) == pytest.approx(3_600_020_000, abs=1000)
    assert set(steps) == {20_000}
