"""The recordings of this machine: the disks, the mending of what a crash left, what was recorded when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from soip.config import Settings
from soip.directory.errors import UnavailableError
from soip.directory.expiry import EXPIRED
from soip.directory.rows import CameraRow, HomeRow, RecordingRow
from soip.media.context import Context
from soip.media.disks import REOPEN_S, Place, open_disks, open_place
from soip.media.expiry import Expirer
from soip.media.gaps import Cause, Gaps
from soip.media.holds import HoldNotes
from soip.media.playback import NothingRecordedError, Programme
from soip.media.recorder import Recorder
from soip.media.rows import recording_id
from soip.policy.placement import worker_for
from soip.policy.retention import ranks
from soip.policy.schedule import recording_wanted
from soip.store.errors import RootError
from soip.store.folder import newest_files, unsealed
from soip.store.journal import Entry
from soip.store.layout import timestamp
from soip.store.recording import Recording
from soip.store.repair import repair_all
from soip.store.root import Root

CLOSE_S = 20.0
"""How long the end may wait for the disk to take what is queued."""
LOOK_S = 1.0
"""How often the disks are asked how they are."""

_log = structlog.get_logger()


class Space(NamedTuple):
    """The disks, in bytes; `accepting`: there is room for more recordings on one. `disks`: path, state, free, total."""

    free: int
    total: int
    accepting: bool
    disks: tuple[tuple[str, str, int, int], ...] = ()


class Archive:
    """Use as `async with`: leaving writes all that is queued. `run` beside it, until cancelled. Raises RootError when
    no folder can be used.
    """

    def __init__(self, settings: Settings, context: Context, server: str) -> None:
        self._settings = settings
        self._context = context
        self._server = server
        self._began_us = context.now_us()
        self._instances = [f"{server}-{worker}" for worker in range(settings.media_workers)]
        self.disks = open_disks(settings, server, context.instance, context.now)
        retention_us = round(settings.retention_days * 86_400_000_000)
        self.expirer = Expirer(context, self.disks, server, retention_us=retention_us, min_free=settings.min_free)
        self._holds = HoldNotes(self.disks)

    async def __aenter__(self) -> Archive:
        self.disks.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        # What the disks still report (files sealed) comes to this loop, so it must not be blocked.
        if not await self.disks.close(CLOSE_S):
            _log.error("a disk did not take all that was queued", waited_s=CLOSE_S)
        await asyncio.sleep(0)

    async def run(self) -> None:
        """Look after the disks: how they are, what expires, which have come."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            tasks.create_task(self.expirer.run())
            if self.disks.missing:
                tasks.create_task(self._wait_for_missing())

    async def mend(self) -> None:
        """Seal what an earlier run of this worker left unsealed, and make the catalog say so."""
        for disk in self.disks.all:
            await self._mend(disk.place)

    async def follow(self) -> None:
        """A change of configuration: what is held. Raises UnavailableError."""
        holds = await self._context.directory.holds.all(released=True)
        homes = await self._context.directory.homes.all()
        await self._holds.follow([hold for hold in holds if self._is_mine(hold.camera_id, homes)])

    def rank(self, cameras: Iterable[CameraRow]) -> None:
        """Which cameras give way to which."""
        priorities = {camera.id: camera.priority for camera in cameras}
        rank_of = ranks(priorities.values())
        self.disks.ranks = {camera: rank_of[priority] for camera, priority in priorities.items()}

    def space(self) -> Space:
        """The disks of the recordings, as they last answered. One that is not there has no room."""
        now = self._context.now()
        found = [(disk.path, disk.state(now), disk.health.free, disk.health.total) for disk in self.disks.all]
        found += [(str(path), "away", 0, 0) for path in self.disks.missing]
        there = [each for each in found if each[1] != "away"]
        ready = any(state == "ready" for _, state, _, _ in there)
        return Space(sum(each[2] for each in there), sum(each[3] for each in there), ready, tuple(found))

    async def recorder(self, camera: CameraRow, home: HomeRow | None = None) -> Recorder:
        """The recorder of a camera. Since it was last served a server was down (this one, or the one it was taken over
        from), or nothing was planned, or there was no such camera: it was removed and added again.
        """
        gaps = Gaps(
            camera.id,
            self._context.instance,
            self._context.later.save,
            self.disks.journal_gap,
        )
        catalog = self._context.directory.catalog
        until_us, newest = await catalog.explained_until(camera.id), await catalog.newest_gap(camera.id)
        if newest is not None and newest.end_us == until_us and newest.cause != EXPIRED:
            # It may have been open when the worker was killed: then the journal does not know it yet.
            self.disks.journal_gap(newest)
        if until_us is not None:
            now_us = self._context.now_us()
            if until_us > now_us:
                _log.error(
                    "the system's clock was set back: what is recorded now overlaps what was recorded before",
                    camera=camera.id,
                    until=timestamp(until_us),
                )
                until_us = now_us
            gaps.resume(until_us)
            created_us = min(camera.created_us, now_us)
            if until_us < created_us:
                gaps.missing(Cause.NOT_PLANNED, until_us, created_us)
                gaps.stop(created_us)
            before = home.previous_id if home is not None and home.since_us > until_us else ""
            # A camera that was added while this worker runs has only not been called yet.
            cause = Cause.SERVER_DOWN if before or created_us < self._began_us else Cause.OFFLINE
            detail = f"{before} was not heard of; {self._context.instance} took the camera over" if before else ""
            planned = recording_wanted(camera.plan, now_us)
            gaps.missing(cause if planned else Cause.NOT_PLANNED, created_us, now_us, detail if planned else "")
        return Recorder(self._context, camera.id, self.disks, gaps)

    def note(self, camera: str, entry: Entry) -> None:
        """Write a line beside the recordings of a camera, soon."""
        self.disks.journal(camera, entry)

    async def recordings(self, camera: str, range_us: tuple[int, int]) -> list[RecordingRow]:
        """The files that hold something of a range, in order. Raises NothingRecordedError."""
        rows = await self._context.directory.catalog.recordings(camera, *range_us)
        if not rows:
            raise NothingRecordedError(f"nothing of {camera} was recorded in that time")
        return rows

    async def recording(self, camera: str, identity: str) -> RecordingRow | None:
        """One file of a camera."""
        row = await self._context.directory.catalog.recording(identity)
        return row if row and row.camera_id == camera else None

    async def programme(self, camera: str, range_us: tuple[int, int]) -> Programme:
        """What there is to play back of a range. Raises NothingRecordedError."""
        return Programme([file_of(row) for row in await self.recordings(camera, range_us)], range_us)

    async def audit_export(self, subject: str, camera: str, range_us: tuple[int, int]) -> None:
        """Note who took which pictures out of the system."""
        detail = " – ".join(timestamp(moment) for moment in range_us)
        await self._context.directory.settings.audit(subject, "export", camera, detail)

    async def _look(self) -> None:
        while True:
            self.disks.look()
            await asyncio.sleep(LOOK_S)

    async def _wait_for_missing(self) -> None:
        """Disks that were not there at the start may come."""
        while self.disks.missing:
            await asyncio.sleep(REOPEN_S)
            for path in list(self.disks.missing):
                try:
                    place = await asyncio.to_thread(
                        open_place, self._settings, path, self._server, self._context.instance
                    )
                    await self._mend(place)  # before anything is written there
                except RootError as error:
                    self.disks.missing[path] = str(error)
                    continue
                except UnavailableError:
                    continue
                del self.disks.missing[path]
                self.disks.add(place)
                _log.info("a disk has come", disk=str(path))

    async def _mend(self, place: Place) -> None:
        root = place.disk.root
        unfinished = await self._context.directory.catalog.unsealed(self._context.instance)
        rows = {row.path: row for row in unfinished if row.root == str(root.path)}
        found: dict[str, Recording | None] = {}
        homes = await self._context.directory.homes.all()
        newest = await asyncio.to_thread(self._newest, root, homes)
        known = await self._context.directory.catalog.known(newest)
        unknown = [path for identity, path in newest.items() if identity not in known]
        await asyncio.to_thread(self._repair, root, [*rows, *unknown], newest.values(), found)
        for path, recording in found.items():
            if recording is not None:
                self._context.later.save(place.row(recording))
            elif path in rows:
                self._context.later.delete(rows[path])
        await self._context.later.flush()
        if found:
            _log.info("mended the files of an earlier run", files=len(found), disk=str(root.path))

    def _newest(self, root: Root, homes: Mapping[str, HomeRow]) -> dict[str, str]:
        """In a thread: the newest files that are this worker's to mend, by the id of their row. A row may be a second
        behind its file, and be missing for good where that was the last second of whoever had made the file, or had
        mended it.
        """
        mine = (path for path in newest_files(root) if self._is_mine(path.split("/", 1)[0], homes))
        return {recording_id(str(root.path), path): path for path in mine}

    def _repair(self, root: Root, wanted: list[str], newest: Iterable[str], found: dict[str, Recording | None]) -> None:
        """In a thread. Of the newest files those that are not sealed, whatever the catalog says of them."""
        paths = dict.fromkeys([*wanted, *unsealed(root, newest)])
        repair_all(root, list(paths), found.__setitem__, sync_seconds=self._settings.sync_seconds)

    def _is_mine(self, camera: str, homes: Mapping[str, HomeRow]) -> bool:
        """Whether nobody else mends the files of a camera, or writes them. One that has left this server has left its
        files here: of them some worker takes care.
        """
        home = homes.get(camera)
        if home is not None and home.instance_id in self._instances:
            return home.instance_id == self._context.instance
        return worker_for(camera, self._instances) == self._context.instance


def file_of(row: RecordingRow) -> Path:
    """Where a recording lies."""
    return Path(row.root, row.path)
