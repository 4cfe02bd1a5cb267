"""A group of media workers in virtual time: crashes, frozen processes, partitions, clocks that disagree.

The real `Group` of each worker, a directory in memory that may be away for some of them, cameras that are recorded by
whoever `holds` them. What is asserted is what `policy/lease.py` promises: nobody records what another records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from soip.directory.errors import UnavailableError
from soip.directory.homes import Judge, Look
from soip.directory.rows import HomeRow, MediaInstance
from soip.media.group import Group, Load
from soip.policy.placement import Candidate, place

FAILOVER_S = 30.0
STEP_S = 1.0
LATE_S = 3.0
"""After which the SIP server has told who has lost a camera, or of one that has come again."""


@dataclass
class MemoryHomes:
    """What `directory.homes.Homes` does in a transaction, without a database."""

    cameras: set[str]
    instances: dict[str, MediaInstance] = field(default_factory=dict)
    homes: dict[str, HomeRow] = field(default_factory=dict)
    epoch: int = 0

    def beat(self, instance: MediaInstance, judge: Judge) -> Look:
        self.instances[instance.id] = instance
        counts = Counter(row.instance_id for row in self.homes.values())
        rows = [self.instances[name] for name in sorted(self.instances)]
        judgement = judge(rows, counts)
        stranded = {
            camera: self.homes[camera].instance_id if camera in self.homes else ""
            for camera in sorted(self.cameras)
            if camera not in self.homes or self.homes[camera].instance_id in judgement.lapsed
        }
        moves = judgement.place(list(stranded)) if stranded else {}
        self.epoch += bool(moves)
        moved = [HomeRow(camera, home, self.epoch, 0, stranded[camera]) for camera, home in moves.items()]
        self.homes.update({row.camera_id: row for row in moved})
        mine = {camera: row for camera, row in self.homes.items() if row.instance_id == instance.id}
        return Look(rows, mine, moved)


class Way:
    """A worker's way to the directory, which may be cut."""

    def __init__(self, homes: MemoryHomes) -> None:
        self.homes = homes
        self.open = True

    async def beat(self, instance: MediaInstance, judge: Judge) -> Look:
        if not self.open:
            raise UnavailableError("cut")
        return self.homes.beat(instance, judge)


class Worker:
    """One process, its clock `rate` times as fast as true time and `offset` beside it."""

    def __init__(self, world: World, name: str, server: str, rate: float = 1.0, offset: float = 0.0) -> None:
        self.world, self.name, self.server = world, name, server
        self.rate, self.offset = rate, offset
        self.way = Way(world.homes)
        self.connected = True
        self.runs = True
        self.starts = 0
        self.group: Group
        self.start()

    def clock(self) -> float:
        return self.offset + self.world.now * self.rate

    def wall_us(self) -> int:
        """The time of day, by a clock that is wrong by as much as the other."""
        return int((1e9 + self.clock()) * 1e6)

    def start(self) -> None:
        """Begin anew: nothing is known but what the directory says."""
        self.starts += 1
        at = self.wall_us()
        row = MediaInstance(self.name, self.server, 0, "", "", self.starts, at, at)
        if self.way.open:
            self.world.homes.instances[self.name] = row
        siblings = {name for name, server in self.world.plan.items() if server == self.server}
        self.group = Group(self.way, row, siblings, FAILOVER_S, lambda: self.connected, self.clock)
        self.next_beat = self.clock()
        self.runs = True

    def step(self) -> None:
        """What its tasks do when it is their turn; their order is the worst: it acts before it knows."""
        self.group.awake()
        if self.clock() < self.next_beat:
            return
        self.next_beat = self.clock() + self.group.pause_s
        with suppress(UnavailableError):
            finish(self.group.beat(Load(), self.wall_us()))

    def records(self, camera: str) -> bool:
        return self.runs and self.group.holds(camera)


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


class World:
    """Time, the workers, and the SIP server, which tells them of their losses."""

    def __init__(self, plan: dict[str, str], cameras: int = 4, clocks: dict[str, tuple[float, float]] | None = None):
        self.now = 1000.0
        self.plan = plan
        self.homes = MemoryHomes({f"cam{number}" for number in range(cameras)})
        clocks = clocks or {}
        self.workers = {
            name: Worker(self, name, server, *clocks.get(name, (1.0, 0.0))) for name, server in plan.items()
        }
        self.overlaps: list[tuple[float, str, list[str]]] = []
        self.late_s = 0.0
        """How long after it could be told somebody still recorded what was another's."""
        self._moved: dict[int, float] = {}
        self._reached: dict[str, float] = {}

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def step(self) -> None:
        self.now += STEP_S
        self.look()
        for worker in self.workers.values():
            if worker.runs:
                worker.step()
                self.look()
        self.tell()

    def tell(self) -> None:
        for name, worker in self.workers.items():
            if not (worker.runs and worker.connected):
                self._reached.pop(name, None)
        for camera, row in self.homes.homes.items():
            moved = self._moved.setdefault(row.epoch, self.now)
            for name, worker in self.workers.items():
                reached = self._reached.setdefault(name, self.now)
                reachable = worker.runs and worker.connected and self.now >= max(moved, reached) + LATE_S
                if reachable and name != row.instance_id:
                    worker.group.lost(camera, row.epoch)

    def look(self) -> None:
        """Who records what at this moment."""
        for camera in self.homes.cameras:
            who = [name for name, worker in self.workers.items() if worker.records(camera)]
            if len(who) > 1:
                self.overlaps.append((self.now, camera, who))
                row = self.homes.homes[camera]
                moved = self._moved.get(row.epoch, self.now)
                since = [max(moved, self._reached.get(name, moved)) for name in who if name != row.instance_id]
                self.late_s = max(self.late_s, *(self.now - at for at in since))

    def recorded(self) -> dict[str, str]:
        return {
            camera: name
            for camera in sorted(self.homes.cameras)
            for name, worker in self.workers.items()
            if worker.records(camera)
        }

    def whole(self) -> bool:
        return self.recorded().keys() == self.homes.cameras


TWO = {"a-0": "a", "b-0": "b"}
THREE = {"a-0": "a", "a-1": "a", "b-0": "b"}


def test_cameras_are_spread_over_workers_that_start_one_after_the_other() -> None:
    world = World({"a-0": "a", "a-1": "a"})
    world.workers["a-1"].runs = False
    world.run(3)
    world.workers["a-1"].runs = True
    world.run(3)
    assert Counter(world.recorded().values()) == {"a-0": 2, "a-1": 2}


def test_cameras_of_a_worker_that_died_move_after_the_grace_and_not_before() -> None:
    world = World(TWO)
    world.run(10)
    theirs = {camera for camera, name in world.recorded().items() if name == "a-0"}
    assert theirs
    world.workers["a-0"].runs = False
    world.run(FAILOVER_S - 6)
    assert theirs.isdisjoint(world.recorded())
    world.run(12)
    assert set(world.recorded().values()) == {"b-0"}
    assert world.whole()
    assert {world.homes.homes[camera].previous_id for camera in theirs} == {"a-0"}
    assert world.overlaps == []


def test_a_worker_that_comes_back_within_the_grace_keeps_its_cameras() -> None:
    world = World(TWO)
    world.run(10)
    before, epoch = world.recorded(), world.homes.epoch
    world.workers["a-0"].runs = False
    world.run(FAILOVER_S - 8)
    world.workers["a-0"].start()
    world.run(FAILOVER_S * 2)
    assert world.recorded() == before
    assert world.homes.epoch == epoch


def test_one_that_comes_back_late_takes_nothing_back() -> None:
    world = World(TWO)
    world.run(10)
    world.workers["a-0"].runs = False
    world.run(FAILOVER_S * 2)
    world.workers["a-0"].start()
    world.run(FAILOVER_S * 2)
    assert set(world.recorded().values()) == {"b-0"}
    world.homes.cameras.add("new")
    world.run(10)
    assert world.recorded()["new"] == "a-0", "new cameras go to who has less"
    assert world.overlaps == []


def test_a_frozen_worker_that_goes_on_records_nothing_of_what_moved() -> None:
    world = World(TWO)
    world.run(10)
    world.workers["a-0"].runs = False
    world.run(FAILOVER_S + 10)
    world.workers["a-0"].runs = True
    world.look()
    assert world.overlaps == [], "the lease ended while it slept"
    world.run(FAILOVER_S)
    assert world.overlaps == []
    assert world.whole()


def test_a_directory_that_is_away_for_all_ends_no_recording() -> None:
    for plan in (TWO, THREE, {"a-0": "a"}):
        world = World(plan)
        world.run(10)
        before = world.recorded()
        for worker in world.workers.values():
            worker.way.open = False
        for _ in range(600):
            world.step()
            assert world.recorded() == before
        for worker in world.workers.values():
            worker.way.open = True
        world.run(FAILOVER_S * 2)
        assert world.recorded() == before, "nobody was taken for dead"


def test_who_is_cut_off_altogether_stops_before_others_begin() -> None:
    world = World(TWO)
    world.run(10)
    cut = world.workers["a-0"]
    cut.way.open = cut.connected = False
    world.run(FAILOVER_S / 2 + 1)
    assert "a-0" not in world.recorded().values()
    world.run(FAILOVER_S / 2 + 10)
    assert set(world.recorded().values()) == {"b-0"}
    assert world.whole()
    assert world.overlaps == []


def test_who_is_cut_off_from_the_directory_alone_is_told() -> None:
    world = World(TWO)
    world.run(10)
    world.workers["a-0"].way.open = False
    world.run(FAILOVER_S - 6)
    assert "a-0" in world.recorded().values(), "it goes on for as long as nobody takes its cameras"
    world.run(20)
    assert set(world.recorded().values()) == {"b-0"}
    assert len({at for at, _, _ in world.overlaps}) <= LATE_S / STEP_S + 1


def test_who_lost_a_camera_that_went_on_to_a_third_is_told_as_well() -> None:
    world = World({"a-0": "a", "b-0": "b", "c-0": "c"}, cameras=9)
    world.run(10)
    first = {camera for camera, name in world.recorded().items() if name == "a-0"}
    a = world.workers["a-0"]
    a.way.open = a.connected = False
    world.run(FAILOVER_S + 10)
    second = {camera for camera in first if world.recorded()[camera] == "b-0"}
    assert second
    world.workers["b-0"].runs = False
    world.run(FAILOVER_S + 10)
    assert {world.recorded()[camera] for camera in second} == {"c-0"}
    a.connected = True  # and the directory stays away for it
    world.run(FAILOVER_S * 10)
    assert set(world.recorded().values()) == {"c-0"}
    assert world.overlaps == []


def test_a_whole_site_that_was_switched_off_keeps_its_homes() -> None:
    world = World(THREE)
    world.run(10)
    before = world.recorded()
    for worker in world.workers.values():
        worker.runs = False
    world.run(3600)
    for number, worker in enumerate(world.workers.values()):
        world.run(5 * number)
        worker.start()
    world.run(FAILOVER_S * 2)
    assert world.recorded() == before


def test_what_is_told_late_or_twice_changes_nothing() -> None:
    world = World(TWO)
    world.run(10)
    group = world.workers["a-0"].group
    camera, row = next(iter(group.mine.items()))
    group.lost(camera, row.epoch)
    assert group.holds(camera)
    group.lost(camera, row.epoch + 1)
    assert not group.holds(camera)
    world.run(10)
    assert group.holds(camera), "the directory knows better"


def test_a_row_that_was_old_when_it_was_first_seen_is_given_nothing() -> None:
    world = World({"b-0": "b"})
    old = MediaInstance("gone-0", "gone", 0, "", "", 1, 0, 0)
    world.homes.instances["gone-0"] = old
    world.run(FAILOVER_S * 2)
    assert set(world.recorded().values()) == {"b-0"}


def test_cameras_of_a_worker_whose_row_is_gone_move() -> None:
    world = World({"b-0": "b"})
    world.homes.homes["cam0"] = HomeRow("cam0", "nobody-7", 1, 0)
    world.run(10)
    assert world.recorded()["cam0"] == "b-0"


def test_a_full_disk_is_told_and_gets_no_camera() -> None:
    world = World(TWO)
    world.run(6)
    for worker in world.workers.values():
        worker.next_beat = float("inf")
    a, b = world.workers["a-0"], world.workers["b-0"]
    finish(a.group.beat(Load(accepting=False), a.wall_us()))
    world.homes.cameras |= {f"new{number}" for number in range(6)}
    finish(b.group.beat(Load(), b.wall_us()))
    assert {world.homes.homes[f"new{number}"].instance_id for number in range(6)} == {"b-0"}


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["crash", "start", "freeze", "thaw", "cut", "join", "directory away", "directory back"]),
        st.sampled_from(sorted(THREE)),
        st.integers(1, 70),
    ),
    max_size=12,
)
CLOCKS = st.fixed_dictionaries({name: st.tuples(st.floats(0.9, 1.1), st.floats(-1e5, 1e5)) for name in sorted(THREE)})


def happen(world: World, event: str, worker: Worker) -> None:
    if event == "crash":
        worker.runs = False
        worker.starts += 1000  # never the same process again
    elif event == "start" and not worker.runs and worker.way.open:
        worker.start()
    elif event == "freeze":
        worker.runs = False
    elif event == "thaw" and worker.starts < 1000:
        worker.runs = True
    elif event == "cut":
        for each in world.workers.values():  # a machine is cut off with all that runs on it
            if each.server == worker.server:
                each.way.open = each.connected = False
    elif event == "join":
        for each in world.workers.values():
            each.way.open = each.connected = True
    elif event == "directory away":
        for each in world.workers.values():
            each.way.open = False
    elif event == "directory back":
        for each in world.workers.values():
            each.way.open = each.connected  # a machine that is cut off stays so


@settings(max_examples=100, deadline=None)
@given(EVENTS, CLOCKS)
@example(  # Who was cut off first comes back after its camera has gone on from the second to a third.
    [("cut", "b-0", 66), ("cut", "a-0", 41), ("crash", "a-0", 55)],
    {"a-0": (0.9, 0.0), "a-1": (0.9, 0.0), "b-0": (0.9, 0.0)},
)
@example(  # Who was cut off is in reach again a moment before its camera moves, and has not sent a heartbeat yet.
    [("crash", "a-0", 77), ("cut", "a-0", 1), ("crash", "a-0", 29)],
    {"a-0": (1.0, 0.0), "a-1": (0.9375, 0.0), "b-0": (1.0, 0.0)},
)
@example(  # The directory goes away just when somebody is in reach again, and is back just when its lease has lapsed.
    [("cut", "a-0", 18), ("join", "a-0", 3), ("directory away", "a-0", 8), ("directory back", "a-0", 40)],
    {"a-0": (1.0, 0.0), "a-1": (0.9375, 0.0), "b-0": (1.0, 0.0)},
)
def test_no_camera_is_ever_recorded_twice(
    events: list[tuple[str, str, int]], clocks: dict[str, tuple[float, float]]
) -> None:
    """Whatever happens, with clocks that go ten percent wrong and show any time: machines that are cut off stop first.

    A machine that was alone when it was cut off is the exception that `lease.py` names, and so is left out: at least
    one worker of each machine was heard of at the last heartbeat before. The other is a directory that is away: whom
    the SIP server can reach goes on, for as long as that takes to tell him.
    """
    world = World(THREE, cameras=3, clocks=clocks)
    world.run(10)
    for event, name, seconds in events:
        if event == "cut" and not met(world, world.workers[name]):
            continue
        happen(world, event, world.workers[name])
        world.run(seconds)
    for worker in world.workers.values():
        worker.way.open = worker.connected = True
        if not worker.runs:
            worker.start()
    world.run(4 * FAILOVER_S)
    assert world.whole(), "all is recorded again once all are back"
    if all(event != "directory away" for event, _, _ in events):
        assert world.overlaps == []
    assert world.late_s <= LATE_S


def met(world: World, worker: Worker) -> bool:
    """Whether a worker's machine and another know of each other now."""
    ours = [each for each in world.workers.values() if each.server == worker.server and each.runs]
    theirs = [each for each in world.workers.values() if each.server != worker.server and each.runs]
    world.run(FAILOVER_S / 3)
    return all(each.way.open for each in [*ours, *theirs]) and bool(theirs)


def test_the_load_is_what_the_row_says() -> None:
    world = World({"b-0": "b"})
    load = Load(False, 3, 2, 1000, 2000, 5, 10)
    worker = world.workers["b-0"]
    finish(worker.group.beat(load, 7))
    row = world.homes.instances["b-0"]
    values = (row.accepting, row.streams, row.viewers, row.in_bps, row.out_bps, row.disk_free, row.disk_total)
    assert values == (False, 3, 2, 1000, 2000, 5, 10)
    assert (row.heartbeat_us, row.lease_s) == (7, FAILOVER_S / 2)
    assert replace(row, beat=0).epoch == worker.starts
    assert place(["x"], [Candidate("b-0")]) == {"x": "b-0"}
