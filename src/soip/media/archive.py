"""The recordings of this machine: root and writer, the mending of what a crash left, what was recorded when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from soip.config import Settings
from soip.directory.rows import CameraRow, HomeRow, RecordingRow
from soip.media.context import Context
from soip.media.gaps import Cause, Gaps
from soip.media.playback import NothingRecordedError, Programme
from soip.media.recorder import Place, Recorder, journal_gap
from soip.policy.placement import worker_for
from soip.policy.schedule import recording_wanted
from soip.store.disk import DiskWriter
from soip.store.folder import newest_files, unsealed
from soip.store.journal import Entry
from soip.store.layout import timestamp
from soip.store.recording import Recording
from soip.store.repair import repair_all
from soip.store.root import NOTE, Root

CLOSE_S = 20.0
"""How long the end may wait for the disk to take what is queued."""

_log = structlog.get_logger()


class Space(NamedTuple):
    """A disk, in bytes; `accepting`: there is room for more recordings."""

    free: int
    total: int
    accepting: bool


class Archive:
    """Use as `async with`: leaving writes all that is queued. Raises RootError when the folder cannot be used."""

    def __init__(self, settings: Settings, context: Context, server: str) -> None:
        self._context = context
        self._began_us = context.now_us()
        self._instances = [f"{server}-{worker}" for worker in range(settings.media_workers)]
        root = Root.open(settings.media_root, server, note=settings.data / NOTE)
        self._sync_seconds = settings.sync_seconds
        disk = DiskWriter(root, sync_seconds=self._sync_seconds)
        self._place = Place(disk, server, context.instance, settings.file_seconds, settings.fragment_seconds)

    async def __aenter__(self) -> Archive:
        self._place.disk.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        # What the disk still reports (files sealed) comes to this loop, so it must not be blocked.
        if not await asyncio.to_thread(self._place.disk.close, CLOSE_S):
            _log.error("the disk did not take all that was queued", waited_s=CLOSE_S)
        await asyncio.sleep(0)

    @property
    def disks(self) -> Sequence[DiskWriter]:
        """The disks of the recordings."""
        return (self._place.disk,)

    async def mend(self) -> None:
        """Seal what an earlier run of this worker left unsealed, and make the catalog say so."""
        root = str(self._place.disk.root.path)
        unfinished = await self._context.directory.catalog.unsealed(self._context.instance)
        rows = {row.path: row for row in unfinished if row.root == root}
        found: dict[str, Recording | None] = {}
        homes = await self._context.directory.homes.all()
        await asyncio.to_thread(self._repair, list(rows), homes, found)
        for path, recording in found.items():
            if recording is not None:
                self._context.later.save(self._place.row(recording))
            elif path in rows:
                self._context.later.delete(rows[path])
        await self._context.later.flush()
        if found:
            _log.info("mended the files of an earlier run", files=len(found))

    async def space(self) -> Space:
        """The disk of the recordings. A root that is not there has no room."""
        root = self._place.disk.root

        def look() -> Space:
            try:
                return Space(root.free_bytes(), root.total_bytes(), root.has_room())
            except OSError:
                return Space(0, 0, False)

        return await asyncio.to_thread(look)

    async def recorder(self, camera: CameraRow, home: HomeRow | None = None) -> Recorder:
        """The recorder of a camera. Since it was last served a server was down (this one, or the one it was taken over
        from), or nothing was planned, or there was no such camera: it was removed and added again.
        """
        gaps = Gaps(
            camera.id,
            self._context.instance,
            self._context.later.save,
            lambda gap: journal_gap(self._place.disk, gap),
        )
        catalog = self._context.directory.catalog
        until_us, newest = await catalog.explained_until(camera.id), await catalog.newest_gap(camera.id)
        if newest is not None and newest.end_us == until_us:
            # It may have been open when the worker was killed: then the journal does not know it yet.
            journal_gap(self._place.disk, newest)
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
        return Recorder(self._context, camera.id, self._place, gaps)

    def note(self, camera: str, entry: Entry) -> None:
        """Write a line beside the recordings of a camera, soon."""
        self._place.disk.journal(camera, entry)

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

    def _repair(self, known: list[str], homes: Mapping[str, HomeRow], found: dict[str, Recording | None]) -> None:
        """In a thread. Beside the files the catalog knows, the newest ones: a row may be a second behind its file."""
        root = self._place.disk.root
        mine = (path for path in newest_files(root) if self._is_mine(path.split("/", 1)[0], homes))
        paths = dict.fromkeys([*known, *unsealed(root, mine)])
        repair_all(root, list(paths), found.__setitem__, sync_seconds=self._sync_seconds)

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
