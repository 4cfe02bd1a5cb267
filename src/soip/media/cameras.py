"""The cameras of this worker: which they are, and that each has its task."""

from __future__ import annotations

import asyncio

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.rows import CameraRow
from soip.media.archive import Archive
from soip.media.camera import Camera
from soip.media.context import Context
from soip.policy.placement import worker_for
from soip.policy.schedule import recording_wanted

_log = structlog.get_logger()


class Cameras:
    """Keeps `all` as the directory says; `run` until cancelled."""

    def __init__(self, context: Context, archive: Archive, workers: int) -> None:
        self.all: dict[str, Camera] = {}
        self._context = context
        self._archive = archive
        server = context.instance.rpartition("-")[0]
        self._instances = [f"{server}-{worker}" for worker in range(workers)]
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loaded = asyncio.Event()
        # One question to the directory at a time: an older answer must not undo what a newer one brought.
        self._reading = asyncio.Lock()

    async def load(self) -> None:
        """Read the cameras from the directory: new ones begin, removed ones end, plans are followed."""
        async with self._reading:
            rows = {row.id: row for row in await self._context.directory.cameras.all() if self._is_mine(row.id)}
            for gone in self.all.keys() - rows.keys():
                self._end(gone)
            for row in rows.values():
                await self._take(row)
        self._loaded.set()

    async def find(self, identity: str) -> Camera | None:
        """A camera that may be newer than what was loaded last: looked up once. Raises UnavailableError.

        Waits for the first `load`: until then it is not known what an earlier run has recorded.
        """
        await self._loaded.wait()
        if not self._is_mine(identity):
            return None
        async with self._reading:
            row = await self._context.directory.cameras.get(identity)
            return await self._take(row) if row else None

    async def run(self) -> None:
        """Call those that have registered since they were last tried; end all when cancelled."""
        try:
            while True:
                await asyncio.sleep(self._context.patience.tick_s)
                await self._poke_registered()
        finally:
            for identity in list(self.all):
                self._end(identity)
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def restart_clocks(self) -> None:
        """The wall clock was stepped."""
        for camera in self.all.values():
            camera.restart_clocks()

    def _is_mine(self, identity: str) -> bool:
        return worker_for(identity, self._instances) == self._context.instance

    async def _take(self, row: CameraRow) -> Camera:
        camera = self.all.get(row.id)
        if camera is None:
            camera = self.all[row.id] = Camera(self._context, row, await self._archive.recorder(row))
            self._tasks[row.id] = asyncio.create_task(self._serve(camera), name=f"camera {row.id}")
        camera.follow(row, recording_wanted(row.plan, self._context.now_us()))
        return camera

    async def _serve(self, camera: Camera) -> None:
        """A camera's task must not end by a bug of ours: it is logged, and the camera begins anew."""
        while True:
            try:
                await camera.run()
            except Exception:
                _log.exception("camera task failed", camera=camera.row.id)
                await asyncio.sleep(1)

    def _end(self, identity: str) -> None:
        task = self._tasks[identity]
        self.all.pop(identity).remove()
        task.cancel()
        task.add_done_callback(lambda _task: self._tasks.get(identity) is task and self._tasks.pop(identity))

    async def _poke_registered(self) -> None:
        waiting = [camera for camera in self.all.values() if camera.media in ("offline", "no-media")]
        if not waiting:
            return
        try:
            bindings = await self._context.directory.calls.bindings()
        except UnavailableError:
            return
        registered_us = {binding.account_id: binding.registered_us for binding in bindings}
        for camera in waiting:
            if registered_us.get(camera.row.device_id, 0) > camera.missed_us:
                camera.poke()
