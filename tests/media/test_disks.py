"""Several disks: which takes a camera's next file, what one that fails costs, who stops first where all are full."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from soip.media.disks import STALL_S, Disks, Health, Place, target
from soip.policy.retention import ranks
from soip.store import journal
from soip.store.disk import DiskWriter
from soip.store.root import IDENTITY, Root
from tests.media.house import until
from tests.media.material import START_US
from tests.media.test_recorder import SECOND, Desk, numbers, seconds

CAMERAS = [f"cam-{number}" for number in range(40)]


def wait(event: threading.Event) -> None:
    """What a system call on a disk that hangs does to its thread."""
    assert event.wait(60)


class Clock:
    """Monotonic seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pair:
    """Two disks, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.paths = [folder / "one", folder / "two"]
        roots = [Root.open(path, "m1", reserve_bytes=0, room_bytes=0) for path in self.paths]
        self.places = [Place(DiskWriter(root), "m1", "m1-0", 600, 2) for root in roots]
        self.disks = Disks(self.places, self.clock, 1000)
        self.disks.start()

    async def look(self) -> None:
        """Ask the disks, and wait for the answers of those that give one."""
        self.disks.look()
        await until(lambda: any(disk.asked is None for disk in self.disks.all), True)

    async def look_at_all(self) -> None:
        """The same, of all: asked after this was called."""
        await until(lambda: all(disk.asked is None for disk in self.disks.all), True)
        self.disks.look()
        await until(lambda: all(disk.asked is None for disk in self.disks.all), True)

    def used(self) -> list[int]:
        """How many cameras each disk has now."""
        chosen = [self.disks.choose(camera) for camera in CAMERAS]
        return [sum(place is each for place in chosen) for each in self.places]

    @contextmanager
    def stalled(self, number: int) -> Iterator[None]:
        """A disk whose thread hangs in a system call."""
        thawed = threading.Event()
        self.places[number].disk.submit(partial(wait, thawed), 0)
        try:
            yield
        finally:
            thawed.set()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    assert await pair.disks.close(20)


async def test_cameras_are_spread_and_each_stays_where_it_is(pair: Pair) -> None:
    assert min(pair.used()) > 8
    before = [pair.disks.choose(camera) for camera in CAMERAS]
    await pair.look_at_all()
    assert [pair.disks.choose(camera) for camera in CAMERAS] == before


async def test_a_stalled_disk_takes_no_new_file_until_it_answers(pair: Pair) -> None:
    await pair.look_at_all()
    before = pair.used()
    with pair.stalled(0):
        await pair.look()
        assert pair.used() == before, "it may answer in a moment"
        pair.clock.now += STALL_S
        await pair.look()
        assert pair.disks.all[0].state(pair.clock.now) == "slow"
        assert pair.used() == [0, len(CAMERAS)]
    await pair.look_at_all()
    assert pair.used() == before


async def test_a_disk_that_vanished_takes_nothing_and_comes_back(pair: Pair) -> None:
    before = pair.used()
    away = pair.paths[0].rename(pair.paths[0].with_name("away"))
    with capture_logs() as logs:
        await pair.look_at_all()
        pair.disks.look()
    assert pair.used() == [0, len(CAMERAS)]
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["a disk is away"]
    assert "mount its disk" in pair.disks.all[0].health.problem
    away.rename(pair.paths[0])
    await pair.look_at_all()
    assert pair.used() == before


async def test_a_foreign_disk_is_never_written_to(pair: Pair) -> None:
    (pair.paths[0] / IDENTITY).write_bytes((pair.paths[1] / IDENTITY).read_bytes())
    other = pair.paths[0] / "other"
    other.write_bytes((pair.paths[1] / IDENTITY).read_bytes())
    other.replace(pair.paths[0] / IDENTITY)  # As when another disk is mounted: another inode, another identity.
    await pair.look_at_all()
    assert pair.used() == [0, len(CAMERAS)]
    assert "another disk" in pair.disks.all[0].health.problem


async def test_what_was_refused_is_looked_at_before_it_is_used_again(pair: Pair) -> None:
    before = pair.used()
    with pair.stalled(0):
        pair.disks.refused(pair.places[0])
        assert pair.used() == [0, len(CAMERAS)], "at once, without waiting for an answer"
    await until(pair.used, before)


async def test_a_queue_that_refuses_one_camera_is_there_for_the_others(pair: Pair) -> None:
    before = pair.used()
    chosen = pair.disks.choose("cam-1")
    assert chosen is not None
    with pair.stalled(pair.places.index(chosen)):
        pair.disks.refused(chosen, "cam-1")
        assert pair.disks.choose("cam-1") not in (None, chosen)
        assert sum(pair.used()) == len(CAMERAS)
        assert abs(pair.used()[0] - before[0]) == 1
    await until(pair.used, before)


async def test_an_answer_from_before_a_refusal_says_nothing(pair: Pair) -> None:
    with pair.stalled(0):
        pair.disks.look()  # This question lies before the refusal in the queue.
        with pair.stalled(0):
            pair.disks.refused(pair.places[0])
        assert pair.disks.all[0].refused
    await pair.look_at_all()
    assert not pair.disks.all[0].refused


async def test_where_no_disk_is_left_the_reason_is_told(pair: Pair) -> None:
    for path in pair.paths:
        path.rename(path.with_name(path.name + "-away"))
    await pair.look_at_all()
    assert pair.disks.choose("cam-1") is None
    assert pair.disks.why("cam-1").count("mount its disk") == 2


async def test_journals_go_to_a_disk_that_is_there(pair: Pair, tmp_path: Path) -> None:
    pair.paths[0].rename(tmp_path / "away")
    await pair.look_at_all()
    for camera in CAMERAS:
        pair.disks.journal(camera, journal.Entry("gap", "g", START_US, START_US + 1, "disk"))
    await pair.look_at_all()
    assert all(journal.read(pair.places[1].disk.root, camera, START_US) for camera in CAMERAS)
    assert not pair.paths[0].exists()


# -- when nothing more may expire


def prioritised(pair: Pair, free: int) -> list[bool]:
    """Whether cameras of the priorities 1, 5 and 9 are recorded, with so much free where 1000 bytes should be."""
    rank_of = ranks([1, 5, 9])
    pair.disks.ranks = {f"cam-{priority}": rank for priority, rank in rank_of.items()}
    for disk in pair.disks.all:
        disk.health, disk.exhausted = Health(free, 1_000_000, True), True
    return [pair.disks.choose(f"cam-{priority}") is not None for priority in (1, 5, 9)]


@pytest.mark.parametrize(
    ("free", "expected"),
    [(1000, [True, True, True]), (999, [False, True, True]), (499, [False, False, True]), (0, [False, False, True])],
)
async def test_the_least_important_stop_first(pair: Pair, free: int, expected: list[bool]) -> None:
    assert prioritised(pair, free) == expected
    if not expected[0]:
        assert "higher priority" in pair.disks.why("cam-1")
        assert not pair.disks.keeps("cam-1", pair.places[0]), "also one that is recording"
        pair.disks.all[1].exhausted = False
        assert pair.disks.choose("cam-1") is pair.places[1]


async def test_as_long_as_something_expires_nobody_stops(pair: Pair) -> None:
    prioritised(pair, 0)
    for disk in pair.disks.all:
        disk.exhausted = False
    assert pair.disks.choose("cam-1") is not None


async def test_a_reserve_that_a_journal_needed_is_not_recorded_into(tmp_path: Path) -> None:
    root = Root.open(tmp_path / "one", "m1", reserve_bytes=4096, room_bytes=0)
    place = Place(DiskWriter(root), "m1", "m1-0", 600, 2)
    disks = Disks([place], Clock())
    disks.start()

    async def look() -> None:
        disks.look()
        await until(lambda: disks.all[0].asked is None, True)

    await look()
    assert disks.choose("cam-1") is place
    room, root._room_bytes = root._room_bytes, 1 << 60  # The disk is full: so it stays without.
    root.release_reserve()
    await look()
    assert not disks.keeps("cam-1", place)
    assert disks.choose("cam-1") is None
    assert "free some space" in disks.why("cam-1")
    root._room_bytes = room
    await look()
    assert disks.choose("cam-1") is place
    assert await disks.close(20)


def test_how_much_is_to_be_free() -> None:
    assert target(Health(total=1 << 40, wanted=10), 1 << 30) == 1 << 30
    assert target(Health(total=1000, wanted=10), 1 << 30) == 100, "of a small disk a tenth"
    assert target(Health(total=1000, wanted=300), 1 << 30) == 300, "and what recording needs to start"


# -- the recorder between disks


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A recorder that has two disks, of which the first is `desk.disk`."""
    writers = [DiskWriter(Root.open(tmp_path / name, "m1", reserve_bytes=0, room_bytes=0)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    desk = Desk(writers[0])
    desk.use(writers[1])
    yield desk
    for writer in writers:
        await asyncio.to_thread(writer.close, 20)


def first_of(desk: Desk) -> DiskWriter:
    place = desk.disks.choose("cam1")
    assert place is not None
    return place.disk


async def everywhere(desk: Desk) -> None:
    """Wait until both disks have done all, and their events have come."""
    for disk in desk.disks.all:
        desk.disk = disk.place.disk
        await desk.settle()


async def test_a_vanished_disk_costs_what_was_on_its_way_and_no_more(desk: Desk) -> None:
    gone = first_of(desk).root.path
    desk.on()
    desk.show(0, 51)
    await everywhere(desk)
    desk.recorder.interrupt()
    await everywhere(desk)
    gone.rename(gone.with_name("away"))
    desk.recorder.begin(None)
    desk.show(75, 51)  # a second and more until the first fragment reaches the disk that is not there
    await everywhere(desk)
    desk.show(126, 100)
    desk.recorder.stop()
    await everywhere(desk)
    rows = desk.files
    assert [Path(row.root).name == gone.name for row in rows] == [True, False]
    ((start, end, cause),) = desk.spans
    assert (start, cause) == (3.0, "disk"), "from the first picture on that was lost"
    assert end == seconds(rows[1].start_us) <= 7.0
    assert not gone.exists()
    (entry,) = journal.read(next(d.root for d in desk.disks.all if d.root.path != gone), "cam1", START_US)
    assert entry.cause == "disk"


async def test_a_full_queue_turns_to_the_other_disk_with_the_next_keyframe(desk: Desk) -> None:
    slow = first_of(desk)
    slow.limit_bytes = 400_000
    thawed = threading.Event()
    slow.submit(partial(wait, thawed), 0)
    desk.on()
    desk.show(0, 301)  # 75 kB a second: five of them fit into the queue.
    assert desk.recorder.running
    thawed.set()
    await everywhere(desk)
    desk.recorder.stop()
    await everywhere(desk)
    assert [Path(row.root) == slow.root.path for row in desk.files] == [True, False]
    assert [span[2] for span in desk.spans] == ["disk"]
    (gap,) = desk.explained.values()
    assert gap.detail == "the disk does not keep up"
    assert (gap.start_us, gap.end_us) == (desk.files[0].end_us, desk.files[1].start_us)
    assert gap.end_us - gap.start_us <= 2 * SECOND
    missing = set(range(302)) - set(numbers(desk.frames()))
    assert len(missing) <= 51


async def test_a_camera_gives_way_to_more_important_ones_and_goes_on_when_there_is_room(desk: Desk) -> None:
    rank_of = ranks([1, 9])
    desk.disks.ranks = {"cam1": rank_of[1]}
    desk.disks._min_free = 1 << 60
    desk.on()
    desk.show(0, 60)
    for disk in desk.disks.all:
        disk.health = replace(disk.health, total=1 << 60)  # of which a tenth should be free
        disk.exhausted = True
    with capture_logs() as logs:
        desk.recorder.tick()
    assert not desk.recorder.running
    assert [entry["log_level"] for entry in logs if entry["event"] == "recording stops"] == ["error"]
    desk.show(60, 40)
    assert not desk.recorder.wants_keyframe
    for disk in desk.disks.all:
        disk.exhausted = False
    desk.show(100, 50)
    desk.recorder.stop()
    await everywhere(desk)
    assert [row.sealed for row in desk.files] == [True, True]
    (gap,) = desk.explained.values()
    assert gap.cause == "disk"
    assert "higher priority" in gap.detail
    assert (gap.start_us, gap.end_us) == (desk.files[0].end_us, desk.files[1].start_us)


def test_the_queue_takes_less_of_who_matters_less(tmp_path: Path) -> None:
    disk = DiskWriter(Root.open(tmp_path / "media", "m1", reserve_bytes=0, room_bytes=0), queue_bytes=1000)
    assert disk.submit(lambda: None, 700, 0.75)
    assert not disk.submit(lambda: None, 100, 0.75)
    assert disk.submit(lambda: None, 100)
    disk.start()
    assert disk.close(20)


def test_time_is_not_needed_to_ask_a_disk(tmp_path: Path) -> None:
    """`health_of` of a folder that is no root: told, not raised."""
    root = Root.open(tmp_path / "media", "m1", reserve_bytes=0, room_bytes=0)
    disks = Disks([Place(DiskWriter(root), "m1", "m1-0", 600, 2)], time.monotonic)
    assert disks.all[0].state(time.monotonic()) == "ready"
    os.unlink(root.path / IDENTITY)
    assert Disks([disks.all[0].place], time.monotonic).all[0].state(0.0) == "away"
