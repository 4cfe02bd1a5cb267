"""What media servers say of cameras, as the directory has it: read at most once a second, and only for somebody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import structlog

from soip.directory.directory import Directory
from soip.directory.errors import DirectoryError
from soip.policy import liveness

READ_SECONDS = 1.0
FRESH_SECONDS = 0.9  # a little less: a timer may fire a little early

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MediaState:
    """What a media server that is alive said of a camera, and since when it is so."""

    media: str
    since_us: int


class CameraStates:
    """The media states. `run()` reads while `wanted()`, and tells `changed` of each camera whose state is another."""

    def __init__(
        self,
        directory: Directory,
        wanted: Callable[[], object],
        changed: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._wanted = wanted
        self._changed = changed
        self._now = now
        self._states: Mapping[str, MediaState] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def get(self, camera: str) -> MediaState | None:
        """The state of a camera, not older than a second; None when no living media server has said any.

        Raises DirectoryError.
        """
        await self._refresh()
        return self._states.get(camera)

    async def run(self) -> NoReturn:
        """Read as long as somebody wants to know, until cancelled."""
        away = False
        while True:
            await asyncio.sleep(READ_SECONDS)
            if not self._wanted():
                continue
            try:
                await self._refresh()
                away = False
            except DirectoryError as error:
                if not away:
                    _log.warning("directory away", reason=str(error), effect="states of cameras are as they were")
                away = True

    async def _refresh(self) -> None:
        async with self._reading:
            if self._now() - self._read_at >= FRESH_SECONDS:
                await self._read()

    async def _read(self) -> None:
        now_us = time.time_ns() // 1000
        workers = await self._directory.media.instances()
        known = {each.id for each in workers if liveness.alive(each.heartbeat_us, now_us)}
        rows = (await self._directory.cameras.states()).values()
        states = {row.camera_id: MediaState(row.media, row.since_us) for row in rows if row.instance_id in known}
        before, self._states, self._read_at = self._states, states, self._now()
        for camera in before.keys() | states.keys():
            if before.get(camera) != states.get(camera):
                self._changed(camera)
