"""Alarms for those who subscribed to them: each one, in order, from the last one they acknowledged on.

The directory is the queue, so who does not keep up costs no memory, and who was away finds what was missed. One
acknowledged position is kept for each person and resource: what one phone of a person has taken, the next one is not
told again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from soip.control import manscdp
from soip.directory.events import Events
from soip.directory.rows import EventPositionRow, EventRow
from soip.signalling.subscriptions import Notice

PACKAGE = "vnd.soip.alarm"
CONTENT_TYPE = manscdp.CONTENT_TYPE.lower()

MISSED_NEWEST = 1000
MISSED_US = 7 * 86_400_000_000
"""Of what was missed, so many are told, and none older than this."""
AHEAD = 10


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads what: alarms of one camera, or (`resource` "") of all."""

    user: str
    resource: str


class AlarmTeller:
    """Tells the alarms behind a position, one in each NOTIFY. Made by `begin`."""

    def __init__(self, events: Events, reader: Reader, position: int, save: Callable[[EventPositionRow], None]) -> None:
        self._events = events
        self._reader = reader
        self._read = position
        self._told = position
        self._save = save
        self._ahead: deque[EventRow] = deque()

    @classmethod
    async def begin(cls, events: Events, reader: Reader, save: Callable[[EventPositionRow], None]) -> AlarmTeller:
        """One that goes on where its reader has stopped. Raises DirectoryError."""
        since = now_us() - MISSED_US
        position = await events.start(reader.user, reader.resource, newest=MISSED_NEWEST, since_us=since)
        return cls(events, reader, position, save)

    async def news(self, *, full: bool) -> Notice | None:
        """The next alarm. Raises DirectoryError."""
        if not self._ahead:
            since = now_us() - MISSED_US
            camera = self._reader.resource
            found = await self._events.after(self._read, camera=camera, since_us=since, limit=AHEAD)
            self._ahead.extend(found)
        if not self._ahead:
            return Notice() if full else None
        row = self._ahead.popleft()
        self._read = row.position
        return Notice(row.body.encode(), manscdp.CONTENT_TYPE, more=True)

    def acknowledged(self) -> None:
        """The last news have been taken: the reader need not be told again."""
        self._told = self._read
        self._save(EventPositionRow(self._reader.user, self._reader.resource, self._told, now_us()))


def now_us() -> int:
    """The wall clock: µs UTC since 1970."""
    return time.time_ns() // 1000
