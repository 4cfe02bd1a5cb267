"""Recordings that expire, in steps a crash may come between.

1. `condemn`: one transaction marks rows as expiring and makes their time a gap with cause *expired*. From here on
   nobody is shown these recordings.
2. Whoever has asked writes the gaps into the journals, then removes the files.
3. `forget` deletes the rows.

After a crash `pending` are the rows between 1 and 3; their steps may be made again, however far they had come. What is
held is not condemned, and not pending either.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, delete, false, not_, select, true, update

from soip.directory import schema
from soip.directory.database import Database
from soip.directory.holds import held
from soip.directory.rows import GapRow, RecordingRow
from soip.directory.saving import row_of, save_rows

EXPIRED = "expired"
BATCH = 100
"""Files of one transaction: some milliseconds."""

_NEAR_US = 1_000_000
_DAY_US = 86_400_000_000

Choose = Callable[[Sequence[RecordingRow]], Sequence[RecordingRow]]
"""From the oldest recordings that are not held, oldest first, those that go."""


@dataclass(frozen=True, slots=True)
class Expired:
    """A recording that goes, and the gap it leaves, which may be one that was there and has grown."""

    row: RecordingRow
    gap: GapRow


class Expiry:
    """The steps above, for the files of one root of a media server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def condemn(self, server: str, root: str, choose: Choose) -> list[Expired]:
        """Step 1, for what `choose` takes of the oldest. Empty when it takes none, or there is none."""

        def work(connection: Connection) -> list[Expired]:
            table = schema.recording
            query = _of(server, root).where(table.c.sealed.is_(true()), table.c.expiring.is_(false()), not_(held()))
            query = query.order_by(table.c.end_us, table.c.id).limit(BATCH)
            rows = choose([row_of(RecordingRow, row) for row in connection.execute(query)])
            if rows:
                ids = [row.id for row in rows]
                connection.execute(update(table).where(table.c.id.in_(ids)).values(expiring=True))
            return [Expired(row, _gap(connection, row)) for row in rows]

        return await self._database.write(work)

    async def pending(self, server: str, root: str) -> list[Expired]:
        """What was condemned and not forgotten, of it what is not held now."""

        def work(connection: Connection) -> list[Expired]:
            table = schema.recording
            query = _of(server, root).where(table.c.expiring.is_(true()), not_(held())).limit(BATCH)
            rows = [row_of(RecordingRow, row) for row in connection.execute(query)]
            return [Expired(row, _gap(connection, row)) for row in rows]

        return await self._database.write(work)

    async def passing(self, server: str) -> set[tuple[str, str]]:
        """Root and path of all files that are on their way out: whether they are there says nothing."""
        table = schema.recording
        query = select(table.c.root, table.c.path).where(table.c.server_id == server, table.c.expiring.is_(true()))
        return await self._database.read(lambda connection: {(row[0], row[1]) for row in connection.execute(query)})

    async def mark(self, ids: Sequence[str]) -> None:
        """These rows were condemned before the directory was lost."""

        def work(connection: Connection) -> None:
            for at in range(0, len(ids), BATCH):
                mine = schema.recording.c.id.in_(ids[at : at + BATCH])
                connection.execute(update(schema.recording).where(mine).values(expiring=True))

        await self._database.write(work)

    async def forget(self, ids: Sequence[str]) -> None:
        """Step 3."""
        mine = schema.recording.c.id.in_(list(ids))
        await self._database.write(lambda connection: connection.execute(delete(schema.recording).where(mine)))


def _of(server: str, root: str) -> Select[Any]:
    table = schema.recording
    return select(table).where(table.c.server_id == server, table.c.root == root)


def _gap(connection: Connection, row: RecordingRow) -> GapRow:
    """The gap that says of a recording's time that it has expired: one of that day that ends where it begins goes on.

    So there are hardly more such gaps than days, and a day's journal holds them all.
    """
    table = schema.gap
    there = select(table).where(
        table.c.camera_id == row.camera_id,
        table.c.stream == row.stream,
        table.c.cause == EXPIRED,
        table.c.start_us >= row.start_us - row.start_us % _DAY_US,
        table.c.start_us <= row.end_us,
        table.c.end_us >= row.start_us - _NEAR_US,
    )
    found = connection.execute(there.order_by(table.c.start_us).limit(1)).first()
    if found is not None:
        known = row_of(GapRow, found)
        gap = replace(known, start_us=min(known.start_us, row.start_us), end_us=max(known.end_us, row.end_us))
    else:
        gap = GapRow(
            uuid.uuid4().hex, row.camera_id, row.start_us, row.end_us, EXPIRED, row.instance_id, stream=row.stream
        )
    save_rows(connection, [gap])
    return gap
