"""The disks that a worker records to: what state each is in, and which takes a camera's next file.

Each root has a thread and a queue of its own, and is asked once a second, on that thread and behind all that is queued,
how it is. So a disk that stalls, fills or vanishes costs its own cameras only, and those until they begin their next
file: at once when the disk has refused something, else at the next turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from soip.config import Settings
from soip.directory.rows import GapRow, RecordingRow
from soip.media.rows import recording_row
from soip.policy.placement import disk_for
from soip.policy.retention import Rank
from soip.store import journal
from soip.store.disk import DiskWriter
from soip.store.errors import RootError
from soip.store.recording import Recording
from soip.store.root import Root, note_for

STALL_S = 5.0
"""A disk that has not answered for so long takes no new file."""
REOPEN_S = 10.0
"""How often it is looked whether a disk that was not there at the start has come."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker records: the disk, whose server it is, and how long files and fragments are."""

    disk: DiskWriter
    server: str
    instance: str
    file_seconds: float
    fragment_seconds: float

    def row(self, recording: Recording) -> RecordingRow:
        """The catalog's row of a recording made here."""
        return recording_row(recording, root=self.disk.root.path, server=self.server, instance=self.instance)


@dataclass(frozen=True, slots=True)
class Health:
    """How a disk is, in bytes. `problem`: why nothing is written to it, empty when all is well; `room`: as
    `Root.has_room`; `wanted` bytes are to be free before recording starts again; `spent`: as `Root.is_spent`.
    """

    free: int = 0
    total: int = 0
    room: bool = False
    wanted: int = 0
    problem: str = ""
    spent: bool = False


def health_of(root: Root) -> Health:
    """Ask the disk, which may take long."""
    try:
        root.verify()
        root.restore_reserve()
        free, total = root.free_bytes(), root.total_bytes()
        return Health(free, total, root.has_room(), root.room_bytes(), spent=root.is_spent())
    except RootError as error:
        return Health(problem=str(error))
    except OSError as error:
        return Health(problem=f"{root.path} cannot be used: {error.strerror}")


class Disk:
    """One of the disks. `exhausted`: nothing on it may expire any more, and still there is less free than wanted."""

    def __init__(self, place: Place, health: Health) -> None:
        self.place = place
        self.health = health
        self.exhausted = False
        self.asked: float | None = None
        """Since when a question is under way."""
        self.refused = False
        """It has failed to write something, and has not been found good again since."""
        self.shunned: set[str] = set()
        """Cameras that its queue has refused, likewise: less important ones may be refused first."""
        self.doubts = 0

    @property
    def root(self) -> Root:
        return self.place.disk.root

    @property
    def path(self) -> str:
        return str(self.root.path)

    def state(self, now: float) -> str:
        """In one word: ready, full (it takes no new camera, or none at all), slow or away."""
        if self.health.problem:
            return "away"
        if self.asked is not None and now - self.asked >= STALL_S:
            return "slow"
        return "ready" if self.health.room and not self.exhausted else "full"


class Disks:
    """Order of calls: `start`; `look` each second, on the event loop; `choose` for each file; `close`.

    `missing` are roots that could not be opened: path and why.
    """

    def __init__(self, places: Sequence[Place], now: Callable[[], float], min_free: int = 0) -> None:
        self.all = [Disk(place, health_of(place.disk.root)) for place in places]
        self.ranks: Mapping[str, Rank] = {}
        """Of each camera, by its priority."""
        self.missing: dict[Path, str] = {}
        self._now = now
        self._min_free = min_free
        self._told: dict[str, str] = {}

    def start(self) -> None:
        for disk in self.all:
            disk.place.disk.start()

    async def close(self, within: float) -> bool:
        """Have all that is queued written; False when some disk did not take it in time."""
        ends = [asyncio.to_thread(disk.place.disk.close, within) for disk in self.all]
        return all(await asyncio.gather(*ends))

    def add(self, place: Place) -> None:
        """A disk has come."""
        place.disk.start()
        self.all.append(Disk(place, health_of(place.disk.root)))

    # -- choosing

    def choose(self, camera: str) -> Place | None:
        """Where the next file of a camera goes; None where it cannot be recorded now (`why` tells)."""
        here = [disk for disk in self.all if self._takes(disk, camera)]
        here = [disk for disk in here if disk.health.room] or here
        return self._pick(camera, here)

    def keeps(self, camera: str, place: Place) -> bool:
        """Whether a camera may go on recording where it does: not where only more important ones still may, and not
        into a reserve that an index or a journal has needed.
        """
        disk = self._of(place)
        return disk is None or (not disk.health.spent and self._matters(disk, camera))

    def why(self, camera: str) -> str:
        """Why there is no place for a camera."""
        problems = [disk.health.problem or f"{disk.path}: the disk does not answer" for disk in self._unwell()]
        if len(problems) == len(self.all):
            return "; ".join(problems)
        if not all(self._matters(disk, camera) for disk in self.all):
            return "nothing more may expire, and what is free is kept for cameras of higher priority"
        return "the disk is full: free some space, or give another one with --media"

    def share(self, camera: str) -> float:
        """The part of a queue that this camera may fill."""
        return self.ranks.get(camera, Rank()).share

    def refused(self, place: Place, camera: str = "") -> None:
        """The disk has failed, or its queue has refused a fragment of `camera`: before it is chosen again, for all or
        for this one, it is to be found good.
        """
        disk = self._of(place)
        if disk is not None:
            if camera:
                disk.shunned.add(camera)
            else:
                disk.refused = True
            disk.doubts += 1
            disk.asked = None  # An answer that is under way may be from before.
            self._ask(disk)

    def journal(self, camera: str, entry: journal.Entry) -> None:
        """Write a line beside a camera's recordings: a full disk still takes it."""
        well = [disk for disk in self.all if disk not in self._unwell()]
        (self._pick(camera, well) or self.all[0].place).disk.journal(camera, entry)

    def journal_gap(self, gap: GapRow) -> None:
        """Write a gap that is over beside the files."""
        self.journal(gap.camera_id, gap_entry(gap))

    # -- looking

    def look(self) -> None:
        """Ask each disk how it is, unless it still owes an answer; say what has changed."""
        for disk in self.all:
            if disk.asked is None:
                self._ask(disk)
            self._tell(disk)

    def _ask(self, disk: Disk) -> None:
        disk.asked = self._now()
        loop, doubts = asyncio.get_running_loop(), disk.doubts

        def ask() -> None:
            answer = health_of(disk.root)
            with suppress(RuntimeError):  # A loop that is closed has nobody left to tell.
                loop.call_soon_threadsafe(self._answered, disk, answer, doubts)

        disk.place.disk.submit(ask, 0)

    def _answered(self, disk: Disk, answer: Health, doubts: int) -> None:
        disk.health = answer
        if doubts != disk.doubts:
            return
        disk.asked = None
        if answer.room and not answer.problem:
            disk.refused = False
            disk.shunned.clear()

    def _tell(self, disk: Disk) -> None:
        state = disk.state(self._now())
        if state != self._told.get(disk.path, "ready"):
            say = _log.info if state == "ready" else _log.error
            say("a disk is " + state, disk=disk.path, free=disk.health.free, reason=disk.health.problem)
        self._told[disk.path] = state

    # -- judging

    def _takes(self, disk: Disk, camera: str) -> bool:
        refused = disk.refused or disk.health.spent or camera in disk.shunned
        return not refused and disk not in self._unwell() and self._matters(disk, camera)

    def _unwell(self) -> list[Disk]:
        return [disk for disk in self.all if disk.state(self._now()) in ("away", "slow")]

    def _matters(self, disk: Disk, camera: str) -> bool:
        """Whether what is free on a disk is still for this camera."""
        rank = self.ranks.get(camera, Rank())
        return not disk.exhausted or disk.health.free >= rank.floor(target(disk.health, self._min_free))

    def _of(self, place: Place) -> Disk | None:
        return next((disk for disk in self.all if disk.place.disk is place.disk), None)

    def _pick(self, camera: str, disks: Sequence[Disk]) -> Place | None:
        found = disk_for(camera, {disk.path: disk.health.total for disk in disks})
        return next((disk.place for disk in disks if disk.path == found), None)


def target(health: Health, min_free: int) -> int:
    """How much is to be free: what is set, but of a small disk a tenth, and always what recording needs to start."""
    return max(min(min_free, health.total // 10), health.wanted)


def gap_entry(gap: GapRow, **facts: object) -> journal.Entry:
    """A gap as a line of the journal."""
    if gap.detail:
        facts["detail"] = gap.detail
    return journal.Entry("gap", gap.id, gap.start_us, gap.end_us, gap.cause, gap.stream, facts)


def open_place(settings: Settings, path: Path, server: str, instance: str) -> Place:
    """One root of the settings. Raises RootError."""
    root = Root.open(path, server, note=note_for(settings.data, path))
    disk = DiskWriter(root, sync_seconds=settings.sync_seconds)
    return Place(disk, server, instance, settings.file_seconds, settings.fragment_seconds)


def open_disks(settings: Settings, server: str, instance: str, now: Callable[[], float]) -> Disks:
    """All roots of the settings. Those that are not there are told, and looked for again; where none is, raises
    RootError.
    """
    places: list[Place] = []
    missing: dict[Path, RootError] = {}
    for path in settings.media_roots:
        try:
            places.append(open_place(settings, path, server, instance))
        except RootError as error:
            missing[path] = error
    if not places:
        raise next(iter(missing.values()))
    disks = Disks(places, now, settings.min_free)
    for path, why in missing.items():
        disks.missing[path] = str(why)
        _log.error("a disk is away", disk=str(path), reason=str(why), effect="its cameras record to the others")
    return disks
