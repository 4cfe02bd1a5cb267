"""Alarms of cameras: taken when they are in the directory, and not before (GB/T 28181 §9.4).

An alarm that was answered 200 is never lost: it is a row, from which `handover.py` and `events.py` go on, also after a
restart. One that could not be written is answered 503, and the camera sends it again. The same alarm again is the same
row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from soip.control import manscdp
from soip.control.manscdp import Alarm
from soip.directory.events import ALARM, Events
from soip.directory.rows import Account, EventRow
from soip.signalling.answers import Answer, busy
from soip.signalling.limits import Buckets, Budget

PER_CAMERA = Budget(rate=2, burst=20)
"""Alarms of one camera: so many at once, and then so many a second. More are answered 503."""
MAX_WAITING = 5_000
"""Alarms that wait to be written; more are answered 503."""
BATCH = 500
RETRY_SECONDS = 2

_log = structlog.get_logger()


class Alarms:
    """Writes alarms. What comes while a transaction runs goes into the next one, all together.

    `taken` gets the new ones of each transaction, in their order. `now` is monotonic seconds.
    """

    def __init__(self, events: Events, taken: Callable[[Sequence[EventRow]], None], now: Callable[[], float]) -> None:
        self._events = events
        self._taken = taken
        self._now = now
        self._budget = Buckets(PER_CAMERA)
        self._waiting: list[tuple[EventRow, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def take(self, alarm: Alarm, account: Account) -> Answer:
        """The answer to an alarm of an authenticated account. Raises DirectoryError when it cannot be written."""
        if alarm.device not in account.cameras:
            return Answer(403, f"{alarm.device} is no camera of {account.id}")
        now = self._now()
        if not self._budget.take(alarm.device, now):
            return busy(f"too many alarms of {alarm.device}", self._budget.wait(alarm.device, now))
        if len(self._waiting) >= MAX_WAITING:
            return busy("too many alarms at once", RETRY_SECONDS)
        await self._write(row_of(alarm, account.id, time.time_ns() // 1000))
        return Answer(200)

    async def close(self) -> None:
        """Wait for the transaction under way; the directory can be closed then."""
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)

    async def _write(self, row: EventRow) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                fresh = await self._events.record([row for row, _ in batch])
            except Exception as error:  # the directory is away, or something is wrong: who asked has to know
                _settle(batch, error)
                continue
            _settle(batch, None)
            if fresh:
                _log.info("alarms taken", alarms=len(fresh), camera=fresh[-1].camera_id)
                self._taken(fresh)


def _settle(batch: list[tuple[EventRow, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, written in batch:
        if written.done():  # who asked has been cancelled
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)


def row_of(alarm: Alarm, account: str, now_us: int) -> EventRow:
    """The row of an alarm. Its body is written anew: whoever gets it reads one form in one encoding."""
    return EventRow(
        id=alarm.event_id,
        camera_id=alarm.device,
        kind=ALARM,
        start_us=now_us,
        source=account,
        detail=alarm.description,
        priority=alarm.priority,
        method=alarm.method,
        body=manscdp.build(alarm).decode(),
    )
