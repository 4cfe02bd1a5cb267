"""Seeing changes of configuration made by other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.settings import Settings

POLL_S = 1.0

_log = structlog.get_logger()


async def follow_changes(settings: Settings, load: Callable[[], Awaitable[None]], interval_s: float) -> NoReturn:
    """Calls `load` at once and after each change of configuration, until cancelled.

    A version counts as seen only when `load` has returned: while the database is away, or lets a load down half
    way, it is tried again each `interval_s` seconds, so that a right that was taken away does end.
    """
    loaded: int | None = None
    away = False
    while True:
        try:
            version = await settings.version()
            if version != loaded:
                await load()
                loaded = version
            away = False
        except UnavailableError as error:
            if not away:
                _log.warning("directory away", reason=str(error), effect="changes wait until it is back")
            away = True
        await asyncio.sleep(interval_s)
