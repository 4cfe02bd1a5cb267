"""The recorder on a real disk: where fragments and files end, and that what is missing is a gap with its cause."""

from __future__ import annotations

import asyncio
import itertools
import math
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from soip.directory.rows import GapRow, RecordingRow
from soip.media.context import Context
from soip.media.disks import Disks, Place
from soip.media.gaps import Cause, Gaps
from soip.media.intake import Picture, Sound, VideoIntake
from soip.media.recorder import BREAK_S, FRAGMENT_BYTES, Recorder
from soip.media.walltime import WallClock
from soip.mp4.times import us_of
from soip.rtp.clock import MediaClock
from soip.rtp.codec import Codec, learn
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import parse_sps
from soip.rtp.h265 import H265
from soip.rtp.nal import AccessUnit
from soip.rtp.receiver import AudioFrame
from soip.rtp.sound import OPUS, PCMA, PCMU, SoundFormat
from soip.store import journal
from soip.store.disk import DiskWriter
from soip.store.layout import turn_us
from soip.store.reader import Frame, RecordingFile, play
from soip.store.root import Root
from tests.interop.film import decode
from tests.media.material import CODEC, START, START_US, picture
from tests.media.sounds import AAC, tone
from tests.mp4.material import video
from tests.store.recordings import probe

SECOND = 1_000_000


@dataclass
class Desk:
    """A recorder, its disk, and what became of it all. Stands in for the context: a clock, a loop, a queue of rows."""

    disk: DiskWriter
    now: int = START_US
    rows: dict[str, RecordingRow] = field(default_factory=dict)
    explained: dict[str, GapRow] = field(default_factory=dict)
    gap_saves: int = 0

    def __post_init__(self) -> None:
        self.place = Place(self.disk, "m1", "m1-0", 600, 2)
        self.use()

    def use(self, *others: DiskWriter, **changes: float) -> None:
        """Record anew, with `changes` of the place, and to `others` too."""
        places = [replace(self.place, disk=disk, **changes) for disk in (self.disk, *others)]  # type: ignore[arg-type]
        self.disks = Disks(places, time.monotonic)
        self.gaps = Gaps("cam1", "m1-0", self.save_gap, self.disks.journal_gap)
        self.recorder = Recorder(cast(Context, self), "cam1", self.disks, self.gaps)

    @property
    def later(self) -> Desk:
        return self

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def now_us(self) -> int:
        return self.now

    def save(self, row: RecordingRow) -> None:
        self.rows[row.id] = row

    def save_gap(self, row: GapRow) -> None:
        self.explained[row.id] = row
        self.gap_saves += 1

    def on(self, form: SoundFormat | None = None) -> None:
        self.recorder.enable(True)
        self.recorder.begin(form)

    def take(self, one: Picture) -> None:
        self.now = max(self.now, one.utc_us)
        self.recorder.picture(one)

    def show(self, first: int, count: int, *, gop: int = 25, size: int = 3000) -> None:
        for number in range(first, first + count):
            self.take(picture(number, gop=gop, size=size))

    async def second(self) -> None:
        """What happens each second."""
        self.recorder.tick()
        self.disks.look()
        await self.settle()

    async def settle(self) -> None:
        """Wait until the disk has done all, and its events have come."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def finished() -> None:
            loop.call_soon_threadsafe(done.set)

        self.disk.submit(finished, 0)
        async with asyncio.timeout(10):
            await done.wait()

    @property
    def files(self) -> list[RecordingRow]:
        return sorted(self.rows.values(), key=lambda row: row.start_us)

    @property
    def paths(self) -> list[Path]:
        return [Path(row.root, row.path) for row in self.files]

    @property
    def spans(self) -> list[tuple[float, float, str]]:
        """Gaps in seconds since the first picture."""
        rows = sorted(self.explained.values(), key=lambda row: row.start_us)
        return [(seconds(row.start_us), seconds(row.end_us), row.cause) for row in rows]

    def fragments(self, number: int = 0) -> list[int]:
        """Pictures in each fragment of a file."""
        with RecordingFile(self.paths[number]) as file:
            return [len(file.frames(entry)) for entry in file.index.fragments]

    def frames(self) -> list[Frame]:
        return [frame for frame in play(self.paths, 0, 1 << 60) if frame.track.handler == "vide"]


def seconds(utc_us: int) -> float:
    return round((utc_us - START_US) / SECOND, 2)


def numbers(frames: list[Frame]) -> list[int]:
    """The numbers `material.picture` wrote into the slices."""
    return [int.from_bytes(bytes(frame.nals()[-1][1:5]), "big") for frame in frames]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    disk = DiskWriter(Root.open(tmp_path / "media", "m1", reserve_bytes=0, room_bytes=0))
    disk.start()
    yield Desk(disk)
    await asyncio.to_thread(disk.close, 10)


async def test_every_picture_is_in_the_file_with_its_time(desk: Desk) -> None:
    desk.on()
    desk.show(0, 100)
    desk.recorder.interrupt()
    await desk.settle()
    frames = desk.frames()
    assert numbers(frames) == list(range(100))
    assert [frame.utc_us for frame in frames] == [START_US + number * 40_000 for number in range(100)]
    assert {frame.duration for frame in frames} == {3600}
    assert frames[0].time == START
    (row,) = desk.files
    assert (row.start_us, row.end_us, row.frames, row.sealed) == (START_US, START_US + 4 * SECOND, 100, True)
    assert (row.server_id, row.instance_id, row.trigger) == ("m1", "m1-0", "plan")
    assert desk.explained == {}


@pytest.mark.parametrize(("size", "most"), [(3000, 50), (200_000, 21)])
async def test_a_fragment_is_short_however_long_the_group_of_pictures_is(desk: Desk, size: int, most: int) -> None:
    """A keyframe every 50 s: what a killed process may cost is two seconds, or 4 MB, all the same."""
    desk.on()
    for first in range(0, 1300, 100):
        desk.show(first, 100, gop=1250, size=size)
        await desk.settle()
    desk.recorder.interrupt()
    await desk.settle()
    fragments = desk.fragments()
    assert sum(fragments) == 1300
    assert max(fragments) == most
    (path,) = desk.paths
    with RecordingFile(path) as file:
        assert [entry.utc_us for entry in file.index.fragments if entry.sync] == [START_US, START_US + 50 * SECOND]


async def test_a_fragment_ends_with_its_group_of_pictures(desk: Desk) -> None:
    desk.on()
    desk.show(0, 100, gop=20)
    desk.recorder.interrupt()
    await desk.settle()
    assert desk.fragments() == [20] * 5


async def test_a_long_group_is_cut_every_two_seconds(desk: Desk) -> None:
    desk.on()
    desk.show(0, 120, gop=1000)
    desk.recorder.interrupt()
    await desk.settle()
    assert desk.fragments() == [50, 50, 20]
    with RecordingFile(desk.paths[0]) as file:
        assert [entry.sync for entry in file.index.fragments] == [True, False, False]


async def test_large_pictures_are_cut_by_size(desk: Desk) -> None:
    desk.on()
    desk.show(0, 12, gop=1000, size=700_000)
    desk.recorder.interrupt()
    await desk.settle()
    each = math.ceil(FRAGMENT_BYTES / 700_000)
    assert desk.fragments() == [each, 12 - each]


async def test_recording_begins_with_a_keyframe(desk: Desk) -> None:
    desk.on()
    desk.show(10, 30)
    assert desk.recorder.running
    desk.recorder.interrupt()
    await desk.settle()
    assert numbers(desk.frames()) == list(range(25, 40))


async def test_files_turn_at_a_keyframe_when_their_time_is_over(desk: Desk) -> None:
    desk.use(file_seconds=4)
    desk.on()
    desk.show(0, 300)
    desk.recorder.interrupt()
    await desk.settle()
    assert numbers(desk.frames()) == list(range(300))
    for earlier, later in itertools.pairwise(desk.files):
        assert earlier.end_us == later.start_us
        assert turn_us("cam1", earlier.start_us, 4) <= later.start_us < turn_us("cam1", earlier.start_us, 4) + SECOND
    assert len(desk.files) in (3, 4)
    assert all(row.sealed and row.sha256 for row in desk.files)


async def test_a_file_whose_time_is_over_wants_a_keyframe(desk: Desk) -> None:
    """Some cameras send one when they are asked, and only then."""
    desk.use(file_seconds=4)
    desk.on()
    over = (turn_us("cam1", START_US, 4) - START_US) * 25 // SECOND + 1
    wants = []
    for number in range(over + 10):
        desk.take(picture(number, gop=1000))
        wants.append(desk.recorder.wants_keyframe)
    assert wants == [False] * over + [True] * 10
    desk.take(picture(1000, gop=1000))
    assert not desk.recorder.wants_keyframe
    desk.recorder.stop()
    await desk.settle()
    assert [row.frames for row in desk.files] == [over + 10, 1]


async def test_another_codec_is_another_file(desk: Desk) -> None:
    desk.on()
    desk.show(0, 50)
    wide = video(50, width=640, height=480).frames
    sps, pps = wide[0][0], wide[0][1]
    codec = Codec(H264, ((sps,), (pps,)), parse_sps(sps))
    for number in range(50, 100):
        desk.take(replace(picture(number), codec=codec))
    desk.recorder.interrupt()
    await desk.settle()
    assert [row.frames for row in desk.files] == [50, 50]
    with RecordingFile(desk.paths[1]) as file:
        track = file.index.init.tracks[0]
    assert (track.width, track.height) == (640, 480)
    assert desk.explained == {}


async def test_a_camera_that_changes_to_h265_begins_another_file(desk: Desk) -> None:
    """In the middle of a call: what is recorded stays whole, and each file says what it is."""
    desk.on()
    desk.show(0, 50)
    material = video(50, encoding="H265")
    codec = learn(H265, material.frames[0])
    assert codec is not None
    for number, (nals, keyframe) in enumerate(zip(material.frames, material.keys, strict=True), 50):
        one = picture(number)
        unit = AccessUnit.of(nals, one.unit.timestamp, keyframe, one.unit.arrival, encoding="H265")
        desk.take(replace(one, unit=unit, codec=codec))
    desk.recorder.interrupt()
    await desk.settle()
    assert [row.frames for row in desk.files] == [50, 50]
    assert [row.tracks[2:6] for row in desk.files] == ["avc1", "hvc1"]
    assert desk.explained == {}
    assert [decode(path) for path in desk.paths[1:]] == [50]
    assert [frame.track.encoding for frame in desk.frames()] == ["H264"] * 50 + ["H265"] * 50


async def test_a_recording_begins_without_pictures_that_refer_to_what_is_not_in_it(desk: Desk) -> None:
    """Where a file follows another they stay: who plays both decodes them."""

    def take(number: int, *, leading: bool = False) -> None:
        one = picture(number, gop=10)
        one.unit.leading = leading
        desk.take(one)

    take(10)
    desk.on()
    for number in range(11, 40):
        take(number, leading=number % 10 in (1, 2))
    desk.recorder._file.turn_us = 0  # type: ignore[union-attr]
    for number in range(40, 60):
        take(number, leading=number % 10 in (1, 2))
    desk.recorder.interrupt()
    await desk.settle()
    assert numbers(desk.frames()) == [20, *range(23, 60)]
    assert len(desk.files) == 2
    first = next(frame for frame in desk.frames() if numbers([frame]) == [20])
    assert first.duration == 3 * 3600, "what is left out leaves no hole"


async def test_a_broken_timeline_is_another_file_and_a_gap_with_cause_clock(desk: Desk) -> None:
    desk.on()
    desk.show(0, 60)
    ahead = 3600 * SECOND
    for number in range(60, 120):
        one = picture(number)
        moved = replace(one, dts=one.dts + 3600 * 90_000, pts=one.pts + 3600 * 90_000, utc_us=one.utc_us + ahead)
        desk.take(replace(moved, fresh=number == 60))
    desk.recorder.interrupt()
    await desk.settle()
    assert numbers(desk.frames()) == [*range(60), *range(75, 120)]
    assert desk.spans == [(2.4, 3603.0, "clock")]


async def test_a_new_timeline_that_begins_with_a_keyframe_loses_nothing(desk: Desk) -> None:
    desk.on()
    desk.show(0, 50)
    desk.take(replace(picture(50), fresh=True))
    desk.show(51, 20)
    desk.recorder.interrupt()
    await desk.settle()
    assert numbers(desk.frames()) == list(range(71))
    assert len(desk.files) == 2


@pytest.mark.parametrize("parameters", [False, True])
async def test_a_stream_that_breaks_again_and_again_does_not_get_a_file_each_time(desk: Desk, parameters: bool) -> None:
    """A new file costs the disk that all cameras share more than the pictures of a second do."""
    wide = video(50, width=640, height=480).frames
    other = learn(H264, wide[0])
    assert other is not None
    desk.on()
    for number in range(25 * 60):
        one = picture(number, gop=10)
        if parameters:
            one = replace(one, codec=CODEC if number // 10 % 2 else other)
        desk.take(replace(one, fresh=not number or (one.unit.keyframe and not parameters)))
    desk.recorder.stop()
    await desk.settle()
    assert 10 <= len(desk.files) <= 60 / BREAK_S + 2
    assert {span[2] for span in desk.spans} == {"clock"}
    spans = [(seconds(row.start_us), seconds(row.end_us)) for row in desk.files]
    spans = sorted(spans + [(start, end) for start, end, _ in desk.spans])
    assert spans[0][0] == 0
    assert spans[-1][1] >= 59.6
    assert all(later[0] == earlier[1] for earlier, later in itertools.pairwise(spans)), "all is recorded or explained"


async def test_after_a_calm_time_a_break_is_followed_at_once_again(desk: Desk) -> None:
    desk.on()
    for number in range(1000):
        desk.take(replace(picture(number), fresh=number in (0, 100, 500, 900)))
    desk.recorder.stop()
    await desk.settle()
    assert numbers(desk.frames()) == list(range(1000))
    assert len(desk.files) == 4


async def test_files_do_not_overlap_when_the_cameras_clock_ran_ahead(desk: Desk) -> None:
    """By up to half a second it is believed, then the timeline begins anew: at the true time, which was recorded."""
    desk.on()
    desk.show(0, 50)
    for number in range(50, 150):
        one = picture(number, gop=10)
        desk.take(replace(one, utc_us=one.utc_us - 450_000, fresh=number == 50))
    desk.recorder.stop()
    await desk.settle()
    first, second = desk.files
    assert numbers(desk.frames()) == [*range(50), *range(70, 150)]
    assert seconds(second.start_us) == 2.35
    assert desk.spans == [(2.0, 2.35, "clock")]
    assert (first.end_us, second.start_us) == (START_US + 2 * SECOND, START_US + 2_350_000)


async def test_the_first_file_of_a_call_does_not_overlap_the_last_one_of_the_call_before(desk: Desk) -> None:
    desk.on()
    desk.show(0, 50)
    desk.recorder.interrupt()
    desk.recorder.missing(Cause.OFFLINE)
    desk.recorder.begin(None)
    for number in range(50, 100):
        one = picture(number, gop=10)
        desk.take(replace(one, utc_us=one.utc_us - 300_000, fresh=number == 50))
    desk.recorder.stop()
    await desk.settle()
    assert desk.files[0].end_us < desk.files[1].start_us
    assert desk.spans == [(2.0, seconds(desk.files[1].start_us), "camera offline")]


async def test_pictures_shown_out_of_order_keep_their_offsets_and_can_be_decoded(desk: Desk) -> None:
    material = video(100, bframes=2)
    sps, pps = material.frames[0][0], material.frames[0][1]
    codec = Codec(H264, ((sps,), (pps,)), parse_sps(sps))
    desk.on()
    for number, (nals, offset) in enumerate(zip(material.frames, material.offsets, strict=True)):
        one = picture(number)
        unit = replace(one.unit, keyframe=material.keys[number])
        unit.hold(nals)
        shown = us_of(offset, 90_000)
        desk.take(replace(one, unit=unit, codec=codec, pts=one.dts + offset, utc_us=one.utc_us + shown))
    desk.recorder.interrupt()
    await desk.settle()
    assert [frame.composition_offset for frame in desk.frames()] == material.offsets
    seen = await asyncio.to_thread(probe, desk.paths[0])
    assert (seen.frames, seen.errors) == (100, "")


# -- gaps


async def test_the_camera_goes_and_comes_back(desk: Desk) -> None:
    desk.on()
    desk.show(0, 60)
    desk.recorder.interrupt()
    desk.now = START_US + 3 * SECOND
    desk.recorder.missing(Cause.OFFLINE, "the camera hung up")
    desk.now = START_US + 10 * SECOND
    desk.recorder.tick()
    assert desk.spans[0][1] >= 5, "an open gap grows, so that a crash finds it nearly as long as it was"
    desk.show(300, 30)
    desk.recorder.stop()
    await desk.settle()
    assert desk.spans == [(2.4, 12.0, "camera offline")]
    entries = journal.read(desk.disk.root, "cam1", START_US)
    assert [(entry.kind, entry.cause, entry.facts) for entry in entries] == [
        ("gap", "camera offline", {"detail": "the camera hung up"})
    ]
    assert desk.files[0].end_us == entries[0].start_us
    assert desk.files[1].start_us == entries[0].end_us


async def test_a_gap_never_begins_before_what_still_waits_for_the_disk(desk: Desk) -> None:
    held = asyncio.Event()
    loop = asyncio.get_running_loop()
    desk.disk.submit(lambda: asyncio.run_coroutine_threadsafe(held.wait(), loop).result(10) and None, 0)
    desk.on()
    desk.show(0, 100)
    desk.recorder.missing(Cause.MEDIA_LOST, "no pictures")
    desk.show(150, 50)
    desk.recorder.interrupt()
    assert desk.rows == {}, "the disk has done nothing yet"
    held.set()
    await desk.settle()
    assert desk.spans == [(4.0, 6.0, "media lost")]
    assert [(seconds(row.start_us), seconds(row.end_us)) for row in desk.files] == [(0, 4), (6, 8)]


async def test_plans_go_on_and_off(desk: Desk) -> None:
    desk.recorder.enable(False)
    desk.recorder.enable(False)
    assert desk.spans == [(0, 0, "not planned")]
    desk.show(0, 50)
    waits = [desk.recorder.wants_keyframe]
    desk.recorder.missing(Cause.OFFLINE, "it does not matter: nothing was planned")
    desk.on()
    waits.append(desk.recorder.wants_keyframe)
    assert waits == [False, True]
    desk.show(50, 50)
    desk.recorder.enable(False)
    desk.show(100, 50)
    desk.recorder.stop()
    await desk.settle()
    assert desk.spans == [(0, 2, "not planned"), (4, 5.96, "not planned")]
    assert numbers(desk.frames()) == list(range(50, 100))


async def test_the_downtime_of_the_server_reaches_to_the_first_picture(desk: Desk) -> None:
    desk.gaps.resume(START_US - 60 * SECOND)
    desk.gaps.missing(Cause.SERVER_DOWN, START_US - 60 * SECOND, START_US - SECOND)
    desk.on()
    desk.show(0, 50)
    desk.recorder.stop()
    assert desk.spans == [(-60, 0, "media server down")]


async def test_pictures_no_file_can_hold_are_a_gap_that_says_so(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    huge = replace(CODEC, info=replace(CODEC.info, width=1 << 17))
    desk.on()
    for number in range(100):
        desk.take(replace(picture(number), codec=huge))
    desk.recorder.stop()
    ((start, end, cause),) = desk.spans
    assert (start, end, cause) == (0, 3.96, "media lost")
    assert "cannot be recorded" in next(iter(desk.explained.values())).detail


async def test_a_gap_is_not_written_with_every_tick(desk: Desk) -> None:
    desk.on()
    desk.recorder.missing(Cause.OFFLINE)
    before = desk.gap_saves
    for _ in range(600):
        desk.now += SECOND // 10
        desk.recorder.tick()
    assert desk.gap_saves - before <= 13


# -- the disk


async def test_a_disk_that_does_not_keep_up_is_a_gap_from_the_first_picture_lost(tmp_path: Path) -> None:
    disk = DiskWriter(Root.open(tmp_path / "media", "m1", reserve_bytes=0, room_bytes=0), queue_bytes=400_000)
    disk.start()
    desk = Desk(disk)
    held = asyncio.Event()
    loop = asyncio.get_running_loop()
    disk.submit(lambda: asyncio.run_coroutine_threadsafe(held.wait(), loop).result(10) and None, 0)
    desk.on()
    desk.show(0, 201)  # 75 kB a second: five of them fit into the queue.
    assert not desk.recorder.running
    assert desk.spans == [(5.0, 6.0, "disk")]
    assert next(iter(desk.explained.values())).detail == "the disk does not keep up"
    desk.recorder.tick()
    desk.show(201, 50)
    assert not desk.recorder.running, "while the queue is full nobody tries again"
    held.set()
    await desk.settle()
    desk.show(251, 100)
    desk.recorder.stop()
    await desk.settle()
    assert desk.spans == [(5.0, 11.0, "disk")]
    assert numbers(desk.frames()) == [*range(125), *range(275, 351)]
    assert all(row.sealed for row in desk.files)
    await asyncio.to_thread(disk.close, 10)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "soip-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


async def test_a_full_disk_is_a_gap_and_recording_goes_on_when_there_is_room(small: Path) -> None:
    disk = DiskWriter(Root.open(small / "media", "m1", reserve_bytes=64 << 10, room_bytes=1 << 20))
    disk.start()
    desk = Desk(disk)
    ballast = small / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    desk.on()
    number = 0
    while desk.recorder.running or not number:
        desk.show(number, 25, size=6000)
        number += 25
        await desk.settle()
        assert number < 1000, "two megabytes do not hold this much"
    (row,) = desk.files
    assert row.sealed
    (gap,) = desk.explained.values()
    assert gap.cause == "disk"
    assert "full" in gap.detail
    assert gap.start_us == row.end_us
    await desk.second()
    desk.show(number, 25, size=6000)
    assert not desk.recorder.running, "there is no room yet"
    ballast.unlink()
    await desk.second()
    desk.show(number + 25, 25, size=6000)
    desk.recorder.stop()
    await desk.settle()
    again = desk.files[-1]
    (gap,) = desk.explained.values()
    assert (gap.start_us, gap.end_us) == (row.end_us, again.start_us)
    assert [entry.cause for entry in journal.read(disk.root, "cam1", START_US)] == ["disk"]
    await asyncio.to_thread(disk.close, 10)


async def test_a_root_that_went_away_is_one_gap_however_often_it_is_tried(desk: Desk) -> None:
    desk.on()
    desk.show(0, 51)
    await desk.settle()
    root = desk.disk.root.path
    desk.recorder.interrupt()
    await desk.settle()
    hidden = root.rename(root.with_name("unmounted"))
    number = 75
    for _ in range(4):
        desk.show(number, 50)
        await desk.settle()
        await desk.second()
        number += 50
    assert [span[2] for span in desk.spans] == ["disk"]
    assert not root.exists(), "nothing is written where the disk is not mounted"
    hidden.rename(root)
    await desk.second()
    desk.show(number, 50)
    desk.recorder.stop()
    await desk.settle()
    ((start, end, _),) = desk.spans
    assert start <= 3.0
    assert end == seconds(desk.files[-1].start_us)


# -- sound


def sound(number: int, late_us: int = 0) -> Sound:
    """20 ms of a tone as PCMU, packet `number` of 50/s."""
    payload = bytes(0x80 | (number * 160 + at) * 7 & 0x7F for at in range(160))
    return Sound(AudioFrame(payload, number * 160, number / 50, 0), START_US + number * 20_000 + late_us, PCMU)


async def record_with_sound(desk: Desk, count: int, hole: range = range(0)) -> list[Frame]:
    """So many pictures, two packets of sound with each; gives the AAC frames recorded."""
    desk.on(PCMU)
    for number in range(count):
        desk.take(picture(number))
        for packet in (2 * number, 2 * number + 1):
            if packet not in hole:
                desk.recorder.sound(sound(packet))
    desk.recorder.interrupt()
    await desk.settle()
    return [frame for frame in play(desk.paths, 0, 1 << 60) if frame.track.handler == "soun"]


async def test_sound_is_a_track_in_step_with_the_pictures(desk: Desk) -> None:
    heard = await record_with_sound(desk, 250)
    with RecordingFile(desk.paths[0]) as file:
        assert [track.codec[:7] for track in file.index.init.tracks] == ["avc1.42", "mp4a.40"]
    last = heard[-1]
    assert abs(heard[0].utc_us - START_US) <= 130_000
    assert abs(last.utc_us + us_of(last.duration, 8000) - START_US - 10 * SECOND) <= 130_000
    assert {later.time - earlier.time for earlier, later in itertools.pairwise(heard)} == {1024}
    assert '"mp4a.40.2"' in desk.files[0].tracks


@pytest.mark.parametrize("ppm", [50, -50])
async def test_after_twelve_hours_of_a_camera_with_a_wrong_clock_sound_is_in_step_with_the_pictures(
    desk: Desk, ppm: int
) -> None:
    """Media time is two seconds away from UTC by then, and it is media time that a file's tracks share."""
    rate = 1 + ppm / 1e6
    intake = VideoIntake(96, tuple(CODEC.sets), WallClock(0.0, lambda: START_US), desk.take)
    heard = MediaClock(8000)

    def show(at: float) -> None:
        unit = AccessUnit.of([b"\x65" + bytes([200]) * 50], (1 << 40) + round(at * rate * 90_000), True, at)
        intake.take(unit)

    def say(at: float) -> None:
        ticks = round(at * rate * 8000)
        heard.observe(ticks, START_US + round(at * SECOND))
        frame = AudioFrame(b"\xff" * 160, ticks, at, 0)
        desk.recorder.sound(Sound(frame, heard.utc_us(ticks), PCMU))

    desk.recorder.begin(PCMU)
    hours = 12 * 3600
    for second in range(0, hours, 2):  # Until then nobody records, only the clocks are followed.
        show(float(second))
        say(float(second))
    desk.recorder.enable(True)
    for number in range(50 * 20):
        if number % 2 == 0:
            show(hours + number / 50)
        say(hours + number / 50)
    desk.recorder.stop()
    await desk.settle()
    frames = list(play(desk.paths, 0, 1 << 60))
    begins = [[one.utc_us for one in frames if one.track.handler == kind] for kind in ("vide", "soun")]
    (seen, *_, last_seen), (first_heard, *_, last_heard) = begins
    assert abs(seen - START_US - hours * SECOND) < 20_000
    assert abs(first_heard - seen) < 150_000
    assert abs(last_heard - last_seen) < 250_000


async def test_after_a_hole_in_the_sound_it_is_in_step_again(desk: Desk) -> None:
    heard = await record_with_sound(desk, 250, hole=range(100, 250))
    steps = {later.time - earlier.time for earlier, later in itertools.pairwise(heard)}
    assert max(steps) > 20_000, "three seconds are missing and are not closed up"
    assert abs(heard[-1].utc_us - START_US - 10 * SECOND) <= 300_000


async def test_sound_goes_on_in_the_next_file(desk: Desk) -> None:
    desk.use(file_seconds=3)
    heard = await record_with_sound(desk, 250)
    assert len(desk.files) >= 3
    starts = [frame.utc_us for frame in heard]
    assert all(later - earlier < 400_000 for earlier, later in itertools.pairwise(starts))


async def test_without_sound_from_the_camera_there_is_no_track(desk: Desk) -> None:
    desk.on(None)
    desk.show(0, 25)
    desk.recorder.sound(sound(0))
    desk.recorder.interrupt()
    await desk.settle()
    with RecordingFile(desk.paths[0]) as file:
        assert len(file.index.init.tracks) == 1


async def test_a_packet_of_sound_costs_little(desk: Desk) -> None:
    """It is transcoded on the loop that receives: this says why that may be."""
    desk.on(PCMA)
    desk.take(picture(0))
    began = time.thread_time()
    for number in range(500):
        desk.recorder.sound(replace(sound(number), format=PCMA))
    assert (time.thread_time() - began) / 500 < 0.001


@pytest.mark.parametrize("form", [AAC, OPUS])
async def test_sound_is_kept_as_it_came_and_another_format_begins_a_file(desk: Desk, form: SoundFormat) -> None:
    """As when the camera's settings change in a call, or a stream tells its sound only when it comes."""
    frames = tone(form)
    length_us = form.samples(frames[0]) * SECOND // form.clock_rate
    desk.on(PCMU)
    told = 0
    for number in range(300):
        desk.take(picture(number))
        at_us = number * 40_000
        if number < 100:
            for packet in (2 * number, 2 * number + 1):
                desk.recorder.sound(sound(packet))
        while number >= 100 and told * length_us < at_us + 40_000:
            if told * length_us >= at_us:
                frame = AudioFrame(frames[told % len(frames)], told, number / 25, 0)
                desk.recorder.sound(Sound(frame, START_US + told * length_us, form))
            told += 1
    desk.recorder.interrupt()
    await desk.settle()
    codec = "opus" if form == OPUS else "mp4a.40.2"
    assert [row.tracks.count("mp4a.40.2") or row.tracks.count("opus") for row in desk.files] == [1, 1]
    assert codec in desk.files[1].tracks
    assert desk.spans == []
    heard = [frame for frame in play(desk.paths[1:], 0, 1 << 60) if frame.track.handler == "soun"]
    assert {bytes(frame.data) for frame in heard} <= set(frames)
    timescale = heard[0].track.timescale
    steps = {later.time - earlier.time for earlier, later in itertools.pairwise(heard)}
    assert steps == {form.samples(frames[0]) * timescale // form.clock_rate}
    assert abs(heard[0].utc_us - desk.files[1].start_us) <= 2 * length_us
    assert abs(heard[-1].utc_us - desk.files[1].end_us) <= 2 * length_us


async def test_the_newest_sound_is_in_the_file_that_ends(desk: Desk) -> None:
    """A frame's length is told by the next one; the last of a file gets the usual one and is not lost."""
    desk.use(file_seconds=3)
    frames = tone(OPUS)
    desk.on(OPUS)
    for number in range(200):
        desk.take(picture(number))
        for packet in (2 * number, 2 * number + 1):
            frame = AudioFrame(frames[packet % len(frames)], packet * 960, packet / 50, 0)
            desk.recorder.sound(Sound(frame, START_US + packet * 20_000, OPUS))
    desk.recorder.interrupt()
    await desk.settle()
    assert len(desk.files) >= 2
    heard = [frame for frame in play(desk.paths, 0, 1 << 60) if frame.track.handler == "soun"]
    assert len(heard) == 400


async def test_a_gap_does_not_grow_into_what_waits_to_be_written(desk: Desk) -> None:
    """The worker may be killed before it is: then nobody shortens the gap again."""
    desk.on()
    desk.recorder.missing(Cause.MEDIA_LOST)
    desk.show(100, 48, gop=100)
    desk.now = START_US + 9 * SECOND  # Whatever the time is, five seconds of it are over.
    desk.recorder.tick()
    assert desk.spans == [(0.0, 4.0, "media lost")]
    assert desk.files == []
    desk.show(148, 60, gop=100)
    await desk.settle()
    assert desk.spans == [(0.0, 4.0, "media lost")]
    assert seconds(desk.files[0].start_us) == 4.0
