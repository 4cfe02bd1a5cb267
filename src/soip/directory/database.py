"""One database, for one process: connections, transactions, migrations.

A transaction is a function of one `Connection`: `await database.read(work)` or `await database.write(work)`.
It runs to its end without giving way to anything else of its own making, since a plain function cannot await.
Writers of one process queue on a lock in memory, so only writers of other processes can meet the busy
timeout.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from soip.directory import migrations
from soip.directory.errors import NewerSchemaError, UnavailableError

T = TypeVar("T")
Work = Callable[[Connection], T]

BUSY_TIMEOUT_MS = 5000
_CONNECTIONS = 4


def now_us() -> int:
    """The wall clock: µs UTC since 1970."""
    return time.time_ns() // 1000


class Database:
    """Connections to one SQLite file. Made by `open`, ended by `close`."""

    def __init__(self, engine: AsyncEngine, file: Path) -> None:
        self._engine = engine
        self._file = file
        self._writing = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._inode = os.stat(file).st_ino

    @classmethod
    async def open(cls, url: str) -> Database:
        """Opens the database, makes the file (mode 0600: it holds secrets) if there is none, and migrates it.

        Raises UnavailableError or NewerSchemaError.
        """
        file = Path(make_url(url).database or "")
        try:
            _create(file)
            database = cls(_engine(file), file)
        except OSError as error:
            raise UnavailableError(f"the directory {file} cannot be opened: {error.strerror}") from error
        try:
            await database._migrate()
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Waits for the transactions that run, but hardly longer than they wait for a lock, and closes all connections.
        May be called twice.
        """
        if self._running:
            await asyncio.wait(self._running, timeout=2 * BUSY_TIMEOUT_MS / 1000)
        await self._engine.dispose()

    async def read(self, work: Work[T]) -> T:
        """Runs `work` in a transaction that sees one state of the database. Raises UnavailableError."""
        return await self._to_its_end(self._run(work, "BEGIN"))

    async def write(self, work: Work[T]) -> T:
        """Runs `work` in a transaction that has the write lock from its first statement; commits if it
        returns.

        Raises UnavailableError, or what `work` raises; nothing is written then.
        """
        return await self._to_its_end(self._run_alone(work))

    async def _to_its_end(self, transaction: Coroutine[Any, Any, T]) -> T:
        """Who waits may be cancelled, and waits no longer. The transaction goes on until it is over: a connection whose
        thread is left in the middle of something answers to an event loop that may have ended.
        """
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # Nobody may be left to hear of it.

    async def _run_alone(self, work: Work[T]) -> T:
        async with self._writing:
            return await self._run(work, "BEGIN IMMEDIATE")

    async def _run(self, work: Work[T], begin: str) -> T:
        await self._follow_file()
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(soip_begin=begin)
                result = await connection.run_sync(work)
                await connection.commit()
                return result
        except (OperationalError, InterfaceError) as error:
            raise UnavailableError(f"the directory {self._file} is not available: {error.orig}") from error
        except DBAPIError as error:
            # "malformed" and "not a database" come as plain DatabaseError; broken constraints are a bug, and
            # stay.
            if type(error).__name__ != "DatabaseError":
                raise
            raise UnavailableError(f"the directory {self._file} is damaged: {error.orig}") from error

    async def _follow_file(self) -> None:
        """SQLite keeps writing into a file that was removed or replaced under it; this notices, before
        each use.
        """
        try:
            inode = os.stat(self._file).st_ino
        except OSError as error:
            raise UnavailableError(f"the directory {self._file} is missing: {error.strerror}") from error
        if inode != self._inode:
            await self._engine.dispose()
            self._inode = inode

    async def _migrate(self) -> None:
        if await self.read(_revision) != migrations.HEAD:
            await self.write(_upgrade)


def _create(file: Path) -> None:
    file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _engine(file: Path) -> AsyncEngine:
    # mode=rw: a database that vanished is an error, not a new and empty one.
    url = f"sqlite+aiosqlite:///file:{quote(str(file.absolute()))}?mode=rw&uri=true"
    engine = create_async_engine(url, pool_size=_CONNECTIONS, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _configure(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # The driver begins nothing by itself; `_begin` does.
    cursor = dbapi_connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # With WAL a power cut loses the last commits at worst, never the file.
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("soip_begin", "BEGIN"))


def _revision(connection: Connection) -> str | None:
    found = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).first()
    if found is None:
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    revision = _revision(connection)  # Again, under the write lock: another process may have been faster.
    if revision == migrations.HEAD:
        return
    if revision is not None and revision > migrations.HEAD:
        raise NewerSchemaError(
            f"the directory is of a newer SoIP (schema {revision}, this one knows {migrations.HEAD}): update SoIP"
        )
    migrations.upgrade(connection)


def bad_row(error: Exception) -> bool:
    """True when the error is about one row's values, so that other rows may still be written."""
    if isinstance(error, ValueError | OverflowError):  # The driver refused a value before the database saw it.
        return True
    return isinstance(error, DBAPIError) and not isinstance(error, OperationalError | InterfaceError)
