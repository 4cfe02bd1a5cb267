"""Time, against clocks that drift, jump, stand still and lie: in virtual time, and measured back from a real file."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import AsyncIterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.agents.encoder import Encoder
from soip.media.intake import Picture
from soip.mp4.boxes import box_at
from soip.mp4.reader import parse_init
from soip.rtp.clock import BREAK_US, MAX_SLEW_PPM, WINDOW_US
from soip.rtp.sound import OPUS, PCMA, PCMU, SoundFormat
from soip.store.disk import DiskWriter
from soip.store.root import Root
from tests.interop.test_audio import beeps, flashes
from tests.media.clocks import RATE, START_US, Stream, VirtualCamera
from tests.media.sounds import AAC, encode
from tests.media.test_recorder import Desk

IN_STEP_US = 40_000
DRIFT = st.floats(-500, 500)
DELAY = st.floats(0.0, 0.4)
JITTER = st.floats(0.0, 0.03)
SOON = settings(max_examples=12, deadline=None)


def rises(times: list[int]) -> bool:
    return all(earlier < later for earlier, later in pairwise(times))


def files(camera: VirtualCamera) -> list[list[Picture]]:
    """Pictures by file: a new one begins with each break."""
    found: list[list[Picture]] = []
    for _, picture in camera.pictures:
        if picture.fresh:
            found.append([])
        found[-1].append(picture)
    return found


# -- sound beside pictures


@SOON
@given(DRIFT, DRIFT, DELAY, DELAY, JITTER, st.floats(-1e15, 1e15), st.floats(-300, 300), st.integers(0, 1 << 32))
def test_with_reports_sound_is_beside_its_picture_whatever_the_way_and_the_clocks(
    seen_ppm: float,
    heard_ppm: float,
    seen_delay: float,
    heard_delay: float,
    jitter: float,
    offset: float,
    ntp_ppm: float,
    seed: int,
) -> None:
    camera = VirtualCamera(
        Stream(90_000, seen_ppm, seen_delay, jitter),
        Stream(8000, heard_ppm, heard_delay, jitter),
        lambda second: START_US + offset + second * (1e6 + ntp_ppm),
        seed=seed,
    )
    camera.run(60)
    assert camera.audio_in.alignment.settled
    assert camera.apart_us(since=15.0) <= IN_STEP_US
    assert rises([sound.utc_us for _, sound in camera.sounds])
    assert rises([picture.utc_us for _, picture in camera.pictures])


@SOON
@given(DRIFT, DRIFT, DELAY, DELAY, JITTER)
def test_without_reports_sound_is_as_far_from_its_picture_as_their_ways_differ(
    seen_ppm: float, heard_ppm: float, seen_delay: float, heard_delay: float, jitter: float
) -> None:
    camera = VirtualCamera(Stream(90_000, seen_ppm, seen_delay, jitter), Stream(8000, heard_ppm, heard_delay, jitter))
    camera.run(60)
    assert not camera.audio_in.alignment.settled
    assert camera.audio_in.alignment.shift_us == 0
    # The first packet may be the latest of all, and that is made up for slowly.
    assert camera.apart_us(since=15.0) <= abs(seen_delay - heard_delay) * 1e6 + 15 * jitter * 1e6 + 20_000
    assert rises([sound.utc_us for _, sound in camera.sounds])


def lie_whole_seconds(second: float) -> float:
    return START_US + math.floor(second / 1.7) * 1_700_000


def lie_standing(_second: float) -> float:
    return START_US - 5e12


def lie_random(second: float) -> float:
    return Random(second).uniform(0, 4e15)


@pytest.mark.parametrize("lie", [lie_whole_seconds, lie_standing, lie_random, lambda _second: -2_208_988_800_000_000])
def test_reports_that_do_not_follow_from_each_other_move_nothing(lie: object) -> None:
    camera = VirtualCamera(Stream(90_000, 50, 0.2), Stream(8000, -50, 0.02), lie)  # type: ignore[arg-type]
    camera.run(60)
    assert camera.audio_in.alignment.shift_us == 0
    assert camera.apart_us(since=15.0) <= 200_000
    assert rises([sound.utc_us for _, sound in camera.sounds])


def test_two_clocks_that_differ_by_seconds_are_not_believed() -> None:
    """Each stream's reports are sound in themselves, but they tell of two clocks."""
    camera = VirtualCamera(Stream(90_000, delay=0.2), Stream(8000, delay=0.02), lambda second: START_US + second * 1e6)
    camera.audio.first = 12_345
    reported = camera.audio_in.alignment.audio

    def of_another_clock(ticks: int, sender_us: int, latest: int) -> None:
        reported(ticks, sender_us + 3_000_000, latest)

    camera.audio_in.alignment.audio = of_another_clock  # type: ignore[method-assign]  # as a camera would have it
    camera.run(40)
    assert camera.audio_in.alignment.settled
    assert camera.audio_in.alignment.shift_us == 0


def test_a_cameras_clock_that_is_set_moves_no_sound() -> None:
    def ntp(second: float) -> float:
        return START_US + second * 1e6 + (3_600_000_000 if second > 31.5 else 0)

    camera = VirtualCamera(Stream(90_000, delay=0.3), Stream(8000, delay=0.02), ntp)
    camera.run(90)
    assert camera.apart_us(since=10.0) <= 300_000
    assert camera.apart_us(since=60.0) <= IN_STEP_US, "believed again when both have told it twice"
    assert rises([sound.utc_us for _, sound in camera.sounds])
    assert camera.video_in.clock.sender_offset_us == pytest.approx(3_600_000_000, abs=400_000)


def test_a_correction_comes_gently() -> None:
    camera = VirtualCamera(Stream(90_000, delay=0.35), Stream(8000, delay=0.02), lambda second: START_US + second * 1e6)
    camera.run(20)
    steps = [later.utc_us - earlier.utc_us for (_, earlier), (_, later) in pairwise(camera.sounds)]
    assert min(steps) >= 15_000
    assert max(steps) <= 25_001
    assert camera.audio_in.alignment.shift_us == pytest.approx(330_000, abs=5_000)


# -- one stream


@SOON
@given(st.floats(-500, 500), DELAY, JITTER, st.integers(0, 1 << 32))
def test_within_500_ppm_there_is_one_file_and_times_are_right_to_the_way(
    ppm: float, delay: float, jitter: float, seed: int
) -> None:
    camera = VirtualCamera(Stream(90_000, ppm, delay, jitter), seed=seed)
    camera.run(120)
    assert len(files(camera)) == 1
    assert rises([picture.utc_us for _, picture in camera.pictures])
    for _, error in camera.picture_errors():
        lag = abs(ppm) * 2 * WINDOW_US / 1e6 + 20_000 * abs(ppm) / MAX_SLEW_PPM * 20
        assert delay * 1e6 - lag - 25_000 <= error <= delay * 1e6 + 12 * jitter * 1e6 + lag + 25_000


@SOON
@given(st.floats(501, 20_000), st.booleans())
def test_beyond_500_ppm_files_end_before_times_are_wrong_by_much(ppm: float, slow: bool) -> None:
    camera = VirtualCamera(Stream(90_000, -ppm if slow else ppm))
    camera.run(240)
    for file in files(camera):
        assert rises([picture.utc_us for picture in file])
    grown = (ppm - MAX_SLEW_PPM) * 2 * WINDOW_US / 1e6
    assert max(abs(error) for _, error in camera.picture_errors()) <= BREAK_US + grown + 100_000


@SOON
@given(st.floats(-100, 100), st.integers(20, 60))
def test_after_a_jump_of_the_cameras_clock_times_are_right_again_within_two_windows(jump: float, when: int) -> None:
    camera = VirtualCamera(Stream(90_000, shown=lambda second: second + (jump if second >= when else 0.0), first=10**9))
    camera.run(100)
    for file in files(camera):
        assert rises(sorted({picture.utc_us for picture in file}))
    bound = min(abs(jump) * 1e6, BREAK_US)
    for at, error in camera.picture_errors():
        if at < when or at > when + 2 * WINDOW_US / 1e6 + 6:
            assert abs(error) <= bound + 1000
    assert len(files(camera)) <= 2


def test_a_clock_that_stands_still_never_leads_far_astray() -> None:
    camera = VirtualCamera(Stream(90_000, shown=lambda second: min(second, 30.0)))
    camera.run(120)
    assert max(abs(error) for _, error in camera.picture_errors()) <= 3 * WINDOW_US
    for file in files(camera):
        times = [picture.utc_us for picture in file]
        assert times == sorted(times)
        decoded = [picture.dts for picture in file]
        assert rises(decoded)


# -- through a file


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    disk = DiskWriter(Root.open(tmp_path / "media", "m1", reserve_bytes=0, room_bytes=0))
    disk.start()
    yield Desk(disk)
    await asyncio.to_thread(disk.close, 10)


def clapping_pictures(count: int) -> list[list[bytes]]:
    """White in the first fifth of each second, black else."""
    encoder = Encoder(160, 120, Fraction(RATE), gop_seconds=1)
    pictures: list[list[bytes]] = []
    for number in range(count):
        frame = VideoFrame(160, 120, "yuv420p")
        for plane, level in zip(frame.planes, (235 if number % RATE < 5 else 16, 128, 128), strict=True):
            plane.update(bytes([level]) * plane.buffer_size)
        pictures.append(list(encoder.encode(frame, number * 3600, number % RATE == 0)))
    return pictures


def clapping_sound(form: SoundFormat, seconds: int) -> list[bytes]:
    """A tone in the first fifth of each second, in frames that begin with the first second."""
    rate = form.clock_rate
    samples = array("h", bytes(2 * rate * seconds))
    for second in range(seconds):
        for at in range(rate // 5):
            samples[second * rate + at] = round(12_000 * math.sin(2 * math.pi * 1000 * at / rate))
    frames = encode(form, samples.tobytes())
    return frames[1:] if form.config else frames


@pytest.mark.parametrize("form", [AAC, OPUS, PCMU, PCMA])
@pytest.mark.parametrize("ppm", [-400, 0, 400])
async def test_lips_move_with_what_they_say_in_the_file(desk: Desk, form: SoundFormat, ppm: float) -> None:
    """The pictures come 350 ms after they were taken, the sound at once, and their clocks run apart."""
    seconds = 30
    camera = VirtualCamera(
        Stream(90_000, ppm, 0.35, 0.004),
        Stream(form.clock_rate, -ppm, 0.01, 0.004),
        lambda second: 1e12 + second * 1e6,
        form,
    )
    pictures, sound = clapping_pictures(seconds * RATE), clapping_sound(form, seconds + 1)
    camera.picture_of = pictures.__getitem__
    camera.sound_of = sound.__getitem__
    camera.samples = form.samples(sound[0])
    camera.take_picture, camera.take_sound = desk.take, desk.recorder.sound
    camera.run(12)
    desk.on(form)
    camera.run(seconds - 12, first=12)
    desk.recorder.stop()
    await desk.settle()
    (path,) = desk.paths
    seen, heard = flashes(path), beeps(path)
    assert len(seen) >= 15
    for moment in seen[1:-1]:
        offset = min((beep - moment for beep in heard), key=abs)
        assert abs(offset) * 1e6 <= IN_STEP_US, (seen, heard)


async def test_a_file_tells_how_far_the_cameras_own_clock_was(desk: Desk) -> None:
    camera = VirtualCamera(ntp=lambda second: START_US - 7_200_000_000 + second * 1e6)
    camera.run(10)
    camera.take_picture = desk.take
    desk.recorder.camera_offset_us = camera.video_in.clock.sender_offset_us
    desk.on(None)
    camera.run(5, first=10)
    desk.recorder.stop()
    await desk.settle()
    (path,) = desk.paths
    data = path.read_bytes()
    assert box_at(data, 0, len(data)).kind == b"ftyp"
    offset = parse_init(data).head.camera_offset_us
    assert offset == pytest.approx(-7_200_000_000, abs=1000)
