"""Rows that may reach the database a little later: one transaction a second, kept in memory while it is away.

The queue holds the newest state of each row only, so a camera that registers ten times within a second is
written once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from soip.directory.database import Database, bad_row
from soip.directory.errors import UnavailableError
from soip.directory.rows import SavedRow
from soip.directory.saving import Key, delete_rows, key_of, save_rows

INTERVAL_S = 1.0
LIMIT = 200_000
"""Rows kept while the database is away; beyond it the oldest are dropped, and counted in the log."""

_BATCH = 5_000  # Rows for each transaction: about 50 ms, so that other writers get their turn.

_log = structlog.get_logger()


class WriteBehind:
    """Use it as `async with WriteBehind(database) as later: later.save(row)`; leaving writes what is left."""

    def __init__(self, database: Database, *, interval_s: float = INTERVAL_S, limit: int = LIMIT) -> None:
        self._database = database
        self._interval_s = interval_s
        self._limit = limit
        self._rows: dict[Key, SavedRow | None] = {}  # None: to be deleted. In order of the first change.
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._away = False
        self.dropped = 0

    def save(self, *rows: SavedRow) -> None:
        """Will insert or replace these rows. Never waits."""
        for row in rows:
            self._put(key_of(row), row)

    def delete(self, *rows: SavedRow) -> None:
        """Will delete these rows (only their keys matter). Never waits."""
        for row in rows:
            self._put(key_of(row), None)

    def __len__(self) -> int:
        """How many rows wait."""
        return len(self._rows)

    async def __aenter__(self) -> WriteBehind:
        self._task = asyncio.create_task(self._run(), name="directory write-behind")
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops and writes what waits. If that fails the rows are lost, and the log says how many."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if not await self.flush():
            _log.error("directory rows lost", rows=len(self._rows), reason="the directory was away at the end")

    async def flush(self) -> bool:
        """Writes what waits now. False when the database is away: the rows are kept and tried again."""
        async with self._flushing:
            while self._rows:
                batch = dict(list(self._rows.items())[:_BATCH])
                try:
                    await self._write(batch)
                except UnavailableError as error:
                    self._note_away(error)
                    return False
                # What changed again while it was written stays, and is written once more.
                for key, row in batch.items():
                    if key in self._rows and self._rows[key] is row:
                        del self._rows[key]
            if self._away:
                _log.info("directory back", dropped=self.dropped)
                self._away = False
            return True

    def _put(self, key: Key, row: SavedRow | None) -> None:
        if key not in self._rows and len(self._rows) >= self._limit:
            del self._rows[next(iter(self._rows))]
            self.dropped += 1
        self._rows[key] = row

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.flush()
            except Exception:  # A bug must not end the writing of everything that comes later.
                _log.exception("directory rows not written", rows=len(self._rows))

    async def _write(self, batch: dict[Key, SavedRow | None]) -> None:
        try:
            await self._database.write(lambda connection: _apply(connection, batch))
        except (SQLAlchemyError, ValueError, OverflowError) as error:
            if not bad_row(error):
                raise
            await self._write_one_by_one(batch)

    async def _write_one_by_one(self, batch: dict[Key, SavedRow | None]) -> None:
        """One bad row must not keep the others from being written: in one transaction, with savepoints."""

        def work(connection: Connection) -> list[tuple[Key, str]]:
            bad = []
            for key, row in batch.items():
                try:
                    with connection.begin_nested():
                        _apply(connection, {key: row})
                except (SQLAlchemyError, ValueError, OverflowError) as error:
                    if not bad_row(error):
                        raise
                    bad.append((key, str(error)))
            return bad

        for key, reason in await self._database.write(work):
            _log.error("directory row refused", kind=key[0].__name__, key=key[1:], reason=reason)

    def _note_away(self, error: UnavailableError) -> None:
        if not self._away:
            _log.warning("directory away", reason=str(error), effect="rows are kept", rows=len(self._rows))
        self._away = True


def _apply(connection: Connection, batch: dict[Key, SavedRow | None]) -> None:
    save_rows(connection, [row for row in batch.values() if row is not None])
    delete_rows(connection, [key for key, row in batch.items() if row is None])
