"""Alarms on their way to the media servers of their cameras: each is sent until it is taken, also after a restart.

The directory is the queue. A row that no media server has taken is sent when it is written and, while any is left,
again with back-off from the first on. A crash between the answer and its note sends it once more, and the media server
knows the event by its id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import structlog

from soip.directory.errors import DirectoryError
from soip.directory.events import Events
from soip.directory.rows import EventRow
from soip.net.backoff import Backoff, Jitter, default_jitter

PAGE = 64
PAUSES = Backoff(1.0, 30.0)

_log = structlog.get_logger()

Home = Callable[[str], str | None]
"""The media instance that serves a camera, None while it is not connected."""
Deliver = Callable[[EventRow, str], Awaitable[bool]]
"""Sends one alarm to an instance; whether it was taken."""


class Handover:
    """Run `run()` until cancelled; `wake()` when there are new rows, `retry()` when a media server has come."""

    def __init__(
        self, events: Events, home: Home, deliver: Deliver, pauses: Backoff = PAUSES, jitter: Jitter = default_jitter
    ) -> None:
        self._events = events
        self._home = home
        self._deliver = deliver
        self._pauses = pauses
        self._jitter = jitter
        self._woken = asyncio.Event()
        self._seen = 0  # new rows are behind this one
        self._backlog = True  # something may be left before it
        self._failures = 0
        self._due = 0.0  # when the backlog is tried again

    def wake(self) -> None:
        """New rows have been written."""
        self._woken.set()

    def retry(self) -> None:
        """A media server is here that was not: what waits need wait no longer."""
        self._failures, self._due = 0, 0.0
        self._woken.set()

    async def run(self) -> NoReturn:
        """Hand over what there is, and what comes."""
        now = asyncio.get_running_loop().time
        while True:
            self._woken.clear()
            if self._backlog and self._due <= now():
                self._postpone(now())  # before the walk, during which `retry` may be called
                if await self._walk(0):
                    self._backlog, self._failures = False, 0
            elif not await self._walk(self._seen) and not self._backlog:
                self._backlog = True
                self._postpone(now())
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._due if self._backlog else None):
                    await self._woken.wait()

    def _postpone(self, now: float) -> None:
        self._failures += 1
        self._due = now + self._pauses.delay(self._failures, self._jitter)

    async def _walk(self, after: int) -> bool:
        """Send every row behind a position; whether all were taken. An instance that failed is not tried again."""
        away: set[str] = set()
        complete = True
        try:
            while rows := await self._events.unhanded(after, PAGE):
                after = rows[-1].position
                taken = await self._send(rows, away)
                complete = complete and len(taken) == len(rows)
                if taken:
                    await self._events.handed(taken, time.time_ns() // 1000)
        except DirectoryError:
            return False
        self._seen = max(self._seen, after)
        return complete

    async def _send(self, rows: Sequence[EventRow], away: set[str]) -> list[str]:
        """The ids of those that were taken."""

        async def one(row: EventRow) -> str:
            instance = self._home(row.camera_id)
            if instance is None or instance in away:
                return ""
            if await self._deliver(row, instance):
                return row.id
            if instance not in away:
                _log.info("alarms are not taken yet", event_id=row.id, camera=row.camera_id, instance=instance)
            away.add(instance)
            return ""

        return [taken for taken in await asyncio.gather(*map(one, rows)) if taken]
