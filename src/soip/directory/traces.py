"""The last calls as the SIP server saw them, for whoever asks why one did not work."""

from __future__ import annotations

from sqlalchemy import Select, literal, or_, select

from soip.directory import schema
from soip.directory.database import Database
from soip.directory.rows import CallTraceRow
from soip.directory.saving import row_of

MOST = 1000
"""How many calls are kept, and given at once."""

_GROUP = 50
"""Calls of one group at most: a camera is called again for a viewer who waits, but not for ever."""

_TABLE = schema.call_trace


class Traces:
    """Traces are saved through `WriteBehind`, or at once by `Directory.save`; they never raise the version."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self, *, party: str = "", limit: int = MOST, ladders: bool = False) -> list[CallTraceRow]:
        """The newest calls, newest first, `limit` at most. `party`: only those that this id made or was to answer.
        `ladder` is empty unless `ladders`.
        """
        columns = [column for column in _TABLE.columns if ladders or column.name != "ladder"]
        query = select(*columns, *([] if ladders else [literal("").label("ladder")]))
        if party:
            query = query.where(or_(_TABLE.c.caller == party, _TABLE.c.callee == party))
        return await self._rows(query.order_by(_TABLE.c.started_us.desc(), _TABLE.c.slot).limit(limit))

    async def call(self, identity: str) -> list[CallTraceRow]:
        """A call and those it belongs together with, oldest first; none when there is none of that id."""
        group = select(_TABLE.c.group_id).where(_TABLE.c.id == identity).scalar_subquery()
        query = select(_TABLE).where(_TABLE.c.group_id == group)
        return await self._rows(query.order_by(_TABLE.c.started_us, _TABLE.c.slot).limit(_GROUP))

    async def _rows(self, query: Select[tuple[object, ...]]) -> list[CallTraceRow]:
        return await self._database.read(
            lambda connection: [row_of(CallTraceRow, row) for row in connection.execute(query)]
        )
