"""Seeing changes of configuration made by other processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.settings import Settings

POLL_S = 1.0

_log = structlog.get_logger()


class ChangeWatcher:
    """Polls the version row: `async for version in ChangeWatcher(settings): load again`.

    The first version comes at once, so that loading at start and after a change are the same lines. While the
    database is away nothing comes; what changed meanwhile is seen once it is back.
    """

    def __init__(self, settings: Settings, interval_s: float = POLL_S) -> None:
        self._settings = settings
        self._interval_s = interval_s

    async def __aiter__(self) -> AsyncIterator[int]:
        seen: int | None = None
        away = False
        while True:
            try:
                version = await self._settings.version()
            except UnavailableError as error:
                if not away:
                    _log.warning("directory away", reason=str(error), effect="changes wait until it is back")
                away = True
            else:
                away = False
                if version != seen:
                    seen = version
                    yield version
            await asyncio.sleep(self._interval_s)
