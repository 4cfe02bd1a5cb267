"""Alarms: in the order they were taken, handed to a media server or not yet, and how far people have been told; and
when they are forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from soip.directory import schema
from soip.directory.database import Database
from soip.directory.rows import EventRow
from soip.directory.saving import row_of, storable

ALARM = "alarm"
BATCH = 500
"""Events of one transaction that deletes: some milliseconds."""

_EVENT = schema.event
_MARK = schema.event_position


class Events:
    """What happened at cameras. Positions of people are saved through `WriteBehind` (`EventPositionRow`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[EventRow]) -> list[EventRow]:
        """Keeps events, in one transaction, in this order. Gives those that are new, with their positions; one whose
        id is known already is left as it is. Raises UnavailableError, and then keeps none.
        """

        def work(connection: Connection) -> list[EventRow]:
            last = _last(connection)
            fresh: list[EventRow] = []
            for row in rows:
                placed = dataclasses.replace(row, position=last + len(fresh) + 1)
                values = {name: storable(value) for name, value in dataclasses.asdict(placed).items()}
                if connection.execute(insert(_EVENT).values(values).on_conflict_do_nothing()).rowcount:
                    fresh.append(placed)
            return fresh

        return await self._database.write(work)

    async def unhanded(self, after: int = 0, limit: int = 100) -> list[EventRow]:
        """The alarms behind a position that no media server has taken yet, in order."""
        waiting = select(_EVENT).where(_EVENT.c.handed_us.is_(None), _EVENT.c.position > after)
        return await self._read(waiting.where(_EVENT.c.kind == ALARM).order_by(_EVENT.c.position).limit(limit))

    async def handed(self, ids: Sequence[str], at_us: int) -> None:
        """Notes that the media servers of these events have taken them."""
        change = update(_EVENT).where(_EVENT.c.id.in_(ids)).values(handed_us=at_us)
        await self._database.write(lambda connection: connection.execute(change))

    async def after(self, position: int, *, camera: str = "", since_us: int = 0, limit: int = 100) -> list[EventRow]:
        """The alarms behind a position that are not older than `since_us`, of one camera or of all, in order."""
        return await self._read(_alarms(camera, since_us).where(_EVENT.c.position > position).limit(limit))

    async def start(self, user: str, resource: str, *, newest: int, since_us: int) -> int:
        """The position from which a person is to be told of the alarms of a camera, or (`resource` "") of all.

        That is behind the last one acknowledged, but no further back than the `newest` so many and `since_us`. Who has
        never acknowledged anything begins with what comes next.
        """

        def work(connection: Connection) -> int:
            mark = select(_MARK.c.position).where(_MARK.c.user_id == user, _MARK.c.resource == resource)
            known: int | None = connection.execute(mark).scalar()
            if known is None:
                return _last(connection)
            backwards = _alarms(resource, since_us).order_by(None).order_by(_EVENT.c.position.desc())
            beyond = backwards.with_only_columns(_EVENT.c.position).offset(newest).limit(1)
            floor: int = connection.execute(beyond).scalar() or 0
            return max(known, floor)

        return await self._database.read(work)

    async def of_camera(self, camera: str, from_us: int, to_us: int, *, limit: int = 1000) -> list[EventRow]:
        """The events of a camera that were taken in a range, by time, `limit` at most."""
        inside = (_EVENT.c.camera_id == camera, _EVENT.c.start_us >= from_us, _EVENT.c.start_us < to_us)
        return await self._read(select(_EVENT).where(*inside).order_by(_EVENT.c.start_us, _EVENT.c.id).limit(limit))

    async def old(self, before_us: int) -> int:
        """The position before which all events were taken before a time. Where clocks ran backwards, those behind one
        that seems younger wait for it. The newest event is never old: positions go on from it.
        """
        young = select(_EVENT.c.position).where(_EVENT.c.start_us >= before_us).order_by(_EVENT.c.position).limit(1)

        def work(connection: Connection) -> int:
            first: int | None = connection.execute(young).scalar()
            return _last(connection) if first is None else first

        return await self._database.read(work)

    async def forget(self, after: int, until: int, waiting_us: int) -> tuple[int, int]:
        """Deletes of the first `BATCH` events between two positions, both excluded, those that are done with: all but
        alarms that wait for their media server and were taken at `waiting_us` or later. Gives the position of the last
        of the batch, `until` when there are no more, and how many are gone.
        """
        done = or_(_EVENT.c.kind != ALARM, _EVENT.c.handed_us.is_not(None), _EVENT.c.start_us < waiting_us)

        def work(connection: Connection) -> tuple[int, int]:
            between = (_EVENT.c.position > after, _EVENT.c.position < until)
            page = select(_EVENT.c.position).where(*between).order_by(_EVENT.c.position).limit(BATCH)
            positions = connection.execute(page).scalars().all()
            if not positions:
                return until, 0
            inside = _EVENT.c.position.between(positions[0], positions[-1])
            return positions[-1], connection.execute(delete(_EVENT).where(inside, done)).rowcount

        return await self._database.write(work)

    async def _read(self, query: Select[Any]) -> list[EventRow]:
        return await self._database.read(
            lambda connection: [row_of(EventRow, row) for row in connection.execute(query)]
        )


def _last(connection: Connection) -> int:
    """The position of the newest event, 0 when there is none."""
    last: int = connection.execute(select(func.coalesce(func.max(_EVENT.c.position), 0))).scalar_one()
    return last


def _alarms(camera: str, since_us: int) -> Select[Any]:
    found = select(_EVENT).where(_EVENT.c.kind == ALARM, _EVENT.c.start_us >= since_us).order_by(_EVENT.c.position)
    return found.where(_EVENT.c.camera_id == camera) if camera else found
