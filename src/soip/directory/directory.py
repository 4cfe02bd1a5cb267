"""The directory as a process holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn

from soip.directory.accounts import Accounts
from soip.directory.calls import Calls
from soip.directory.cameras import Cameras
from soip.directory.catalog import Catalog
from soip.directory.database import Database
from soip.directory.events import Events
from soip.directory.expiry import Expiry
from soip.directory.holds import Holds
from soip.directory.homes import Homes
from soip.directory.media import Media
from soip.directory.rows import SavedRow
from soip.directory.saving import delete_rows, key_of, save_rows
from soip.directory.settings import Settings
from soip.directory.traces import Traces
from soip.directory.users import Users
from soip.directory.watcher import POLL_S, follow_changes
from soip.directory.writebehind import INTERVAL_S, LIMIT, WriteBehind


class Directory:
    """Open it with `async with await Directory.open(url) as directory:`, or close it yourself.

    Its nouns are attributes: `accounts`, `users`, `cameras`, `media`, `homes` (which media instance serves a camera),
    `calls` (bindings, dialogs), `catalog` (recordings, gaps), `expiry` (recordings that go), `holds` (those that must
    not), `events` (alarms), `settings` (realm, secrets, version, audit) and `traces` (the last calls, hop by hop).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.accounts = Accounts(database)
        self.users = Users(database)
        self.cameras = Cameras(database)
        self.media = Media(database)
        self.homes = Homes(database)
        self.calls = Calls(database)
        self.catalog = Catalog(database)
        self.expiry = Expiry(database)
        self.holds = Holds(database)
        self.events = Events(database)
        self.settings = Settings(database)
        self.traces = Traces(database)

    @classmethod
    async def open(cls, url: str) -> Directory:
        """Opens the database, makes and migrates it as needed. Raises UnavailableError, NewerSchemaError."""
        return cls(await Database.open(url))

    async def close(self) -> None:
        """Closes the connections. Close a `WriteBehind` before."""
        await self._database.close()

    async def __aenter__(self) -> Directory:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def save(self, *rows: SavedRow) -> None:
        """Inserts or replaces rows now, in one transaction. Raises UnavailableError."""
        await self._database.write(lambda connection: save_rows(connection, rows))

    async def delete(self, *rows: SavedRow) -> None:
        """Deletes rows now (only their keys matter), in one transaction. Raises UnavailableError."""
        keys = [key_of(row) for row in rows]
        await self._database.write(lambda connection: delete_rows(connection, keys))

    def write_behind(self, *, interval_s: float = INTERVAL_S, limit: int = LIMIT) -> WriteBehind:
        """Where rows go that may be written a second later: `async with directory.write_behind() as
        later`.
        """
        return WriteBehind(self._database, interval_s=interval_s, limit=limit)

    async def follow(self, load: Callable[[], Awaitable[None]], interval_s: float = POLL_S) -> NoReturn:
        """Calls `load` at once and after each change of configuration, until cancelled."""
        await follow_changes(self.settings, load, interval_s)
