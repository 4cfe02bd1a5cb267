"""Events that are forgotten: each is kept for some days, and one that no media server has taken yet twice as long.

A camera that was removed, or whose media server never comes back, leaves alarms that nobody will ever take: they end as
well, only later. Rows go a few at a time, with pauses between, so that whoever writes meanwhile hardly waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NoReturn

import structlog

from soip.directory.errors import DirectoryError
from soip.directory.events import Events

DAY_US = 86_400_000_000
PASS_S = 3600.0
"""How often it is looked what is too old."""
PAUSE_S = 0.05
"""Between two transactions, each of some milliseconds: writers of other processes come in between."""
WAITING = 2
"""What has not been handed over is kept so many times as long."""

_log = structlog.get_logger()


def _wall_us() -> int:
    return time.time_ns() // 1000


class Bygones:
    """`run` until cancelled. `days`: how long events are kept; `now_us` is UTC."""

    def __init__(self, events: Events, days: float, now_us: Callable[[], int] = _wall_us) -> None:
        self._events = events
        self._kept_us = int(days * DAY_US)
        self._now_us = now_us

    async def run(self) -> NoReturn:
        """Forget what is too old, now and each hour. While the directory is away nothing is forgotten."""
        while True:
            try:
                await self.forget()
            except DirectoryError as error:
                _log.debug("no events are forgotten", reason=str(error))
            await asyncio.sleep(PASS_S)

    async def forget(self) -> int:
        """One pass; how many are gone. Raises DirectoryError."""
        now_us = self._now_us()
        until = await self._events.old(now_us - self._kept_us)
        position = gone = 0
        while position < until:
            position, some = await self._events.forget(position, until, now_us - WAITING * self._kept_us)
            gone += some
            await asyncio.sleep(PAUSE_S)
        if gone:
            _log.info("old events forgotten", events=gone)
        return gone
