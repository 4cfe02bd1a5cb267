"""The cameras of this worker: which they are, and that each has its task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.rows import CameraRow
from soip.media.archive import Archive, Space
from soip.media.camera import Camera
from soip.media.camerastream import CameraStream
from soip.media.context import Context
from soip.media.group import Group, Load
from soip.media.tally import Tally
from soip.policy.schedule import recording_wanted

RATE_S = 1.0
"""The shortest time of which a rate is told."""

_log = structlog.get_logger()


class ElsewhereError(UnavailableError):
    """The camera cannot be had here: it is another worker's, or nobody's yet. Whoever asks anew is led to it."""


class Cameras:
    """Keeps `all` as the directory says; `run` until cancelled. `settle` ends what another worker has left behind of a
    camera that has come from there.
    """

    def __init__(
        self, context: Context, archive: Archive, group: Group, settle: Callable[[str], Awaitable[None]]
    ) -> None:
        self.all: dict[str, Camera] = {}
        self._context = context
        self._archive = archive
        self._group = group
        self._settle = settle
        self.carried = Load()
        """What was told with the last heartbeat."""
        self.gone = Tally()
        """What was counted of the cameras that have left."""
        self._counted = context.now()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loaded = asyncio.Event()
        # One question to the directory at a time: an older answer must not undo what a newer one brought.
        self._reading = asyncio.Lock()

    @property
    def leased(self) -> bool:
        """Whether this worker may act for any camera."""
        return self._group.leased

    async def load(self) -> None:
        """Read the cameras from the directory: new ones begin, those removed or moved end, plans are followed."""
        async with self._reading:
            rows = {row.id: row for row in await self._context.directory.cameras.all()}
            self._archive.rank(rows.values())
            for gone in self.all.keys() - rows.keys():
                self._end(gone)
            self.keep()
            for name in list(self._group.held):
                if name in rows:
                    await self._take(rows[name])
        self._loaded.set()

    def keep(self) -> None:
        """End those that are another worker's now: at once, and whether or not the directory is there."""
        for lost in self.all.keys() - set(self._group.held):
            _log.info("camera is served elsewhere now", camera=lost)
            self.all[lost].leave()
            self._end(lost)

    def lost(self, moved: Mapping[str, int]) -> None:
        """The SIP server says that cameras went elsewhere, under these epochs."""
        for camera, epoch in moved.items():
            self._group.lost(camera, epoch)
        self.keep()

    async def follow_group(self) -> None:
        """Take up what a heartbeat has brought. Raises UnavailableError."""
        if self._loaded.is_set() and set(self._group.held) != self.all.keys():
            await self.load()

    async def find(self, identity: str) -> Camera | None:
        """A camera that may be newer than what was loaded last: looked up once. Raises UnavailableError, and with it
        ElsewhereError.

        Waits for the first `load`: until then it is not known what an earlier run has recorded.
        """
        await self._loaded.wait()
        row = await self._context.directory.cameras.get(identity)
        if row is not None and identity not in self._group.held:
            await self.beat()
        async with self._reading:
            if row is None:
                return None
            if identity not in self._group.held:
                raise ElsewhereError(f"{identity} is served by another media server: ask again")
            return await self._take(row)

    async def beat(self) -> None:
        """Send a heartbeat, and learn which cameras are this worker's. Raises UnavailableError."""
        self.carried = self._measure(self.carried, self._archive.space())
        await self._group.beat(self.carried, self._context.now_us())

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

    def _measure(self, last: Load, disk: Space) -> Load:
        """What is carried now. Rates need some time: heartbeats that follow one another have those of the first."""
        elapsed = self._context.now() - self._counted
        rates = (last.in_bps, last.out_bps)
        cameras = self.all.values()
        if elapsed >= RATE_S:
            traffic = [stream.traffic() for camera in cameras for stream in camera.both]
            rates = (
                int(8 * sum(received for received, _ in traffic) / elapsed),
                int(8 * sum(sent for _, sent in traffic) / elapsed),
            )
            self._counted += elapsed
        streams = sum(stream.call is not None for camera in cameras for stream in camera.both)
        viewers = sum(stream.viewers for camera in cameras for stream in camera.both)
        return Load(disk.accepting, streams, viewers, *rates, disk.free, disk.total, json.dumps(disk.disks))

    async def _take(self, row: CameraRow) -> Camera:
        camera = self.all.get(row.id)
        if camera is None:
            if (ending := self._tasks.get(row.id)) is not None:
                await asyncio.wait([ending])  # it was here a moment ago, and what it recorded is to be known
                await self._context.later.flush()
            recorder = await self._archive.recorder(row, self._group.mine.get(row.id))
            camera = self.all[row.id] = Camera(self._context, row, recorder)
            self._tasks[row.id] = asyncio.create_task(self._serve(camera), name=f"camera {row.id}")
        camera.follow_plan(row, recording_wanted(row.plan, self._context.now_us()))
        return camera

    async def _serve(self, camera: Camera) -> None:
        """Both streams, until cancelled; first what another worker has left behind is ended."""
        home = self._group.mine.get(camera.row.id)
        try:
            if home is not None and home.previous_id not in ("", home.instance_id):
                await self._settle_first(camera.row.id)
            async with asyncio.TaskGroup() as tasks:
                for stream in camera.both:
                    tasks.create_task(self._keep_up(stream), name=f"camera {camera.row.id} {stream.stream}")
        except asyncio.CancelledError:
            camera.recorder.stop(moved=camera.moved)  # its task may not have begun
            raise

    async def _settle_first(self, camera: str) -> None:
        try:
            await self._settle(camera)
        except Exception:
            _log.exception("what another worker left behind is not ended", camera=camera)

    async def _keep_up(self, stream: CameraStream) -> None:
        """A camera's task must not end by a bug of ours: it is logged, and the stream begins anew."""
        while True:
            try:
                await stream.run()
            except Exception:
                _log.exception("camera task failed", camera=stream.row.id, stream=stream.stream)
                await asyncio.sleep(1)

    def _end(self, identity: str) -> None:
        task = self._tasks[identity]
        camera = self.all.pop(identity)
        self.gone.add(camera.tally())
        camera.remove()
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
