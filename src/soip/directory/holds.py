"""Holds: times of cameras of which nothing recorded may expire, until somebody releases them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, exists, insert, select, update

from soip.directory import schema
from soip.directory.database import Database, now_us
from soip.directory.errors import InvalidValueError, NotFoundError
from soip.directory.rows import HoldRow
from soip.directory.saving import row_of
from soip.directory.settings import check_id, raise_version

_TEXT_LIMIT = 1000


class Holds:
    """All holds. Each change raises the version: media servers write it beside the recordings within seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, camera: str, from_us: int, to_us: int, *, reason: str, by: str = "", reference: str = ""
    ) -> HoldRow:
        """Holds what touches a range, recorded already or not. A camera that is gone can be held while there are
        recordings of it.

        Raises InvalidValueError, NotFoundError.
        """
        check_id(camera)
        if not 0 <= from_us < to_us < 1 << 62:
            raise InvalidValueError("a hold must end after it begins")
        if not reason.strip() or max(len(reason), len(reference)) > _TEXT_LIMIT:
            raise InvalidValueError(f"a hold needs a reason, of at most {_TEXT_LIMIT} characters")
        row = HoldRow(uuid.uuid4().hex, camera, from_us, to_us, reason, reference, by, now_us())

        def work(connection: Connection) -> HoldRow:
            known = select(schema.camera.c.id).where(schema.camera.c.id == camera)
            recorded = select(schema.recording.c.id).where(schema.recording.c.camera_id == camera).limit(1)
            if not any(connection.execute(query).first() for query in (known, recorded)):
                raise NotFoundError(f"there is no camera {camera!r}, and nothing is recorded of one")
            connection.execute(insert(schema.hold).values(**{name: getattr(row, name) for name in HoldRow.__slots__}))
            raise_version(connection)
            return row

        return await self._database.write(work)

    async def release(self, identity: str) -> HoldRow:
        """Ends a hold; what it held expires like everything else. Raises NotFoundError, also for one that has ended."""

        def work(connection: Connection) -> HoldRow:
            mine = and_(schema.hold.c.id == identity, schema.hold.c.released_us.is_(None))
            if connection.execute(update(schema.hold).where(mine).values(released_us=now_us())).rowcount == 0:
                raise NotFoundError(f"there is no hold {identity!r}: `soip hold list` shows which there are")
            raise_version(connection)
            row = connection.execute(select(schema.hold).where(schema.hold.c.id == identity)).one()
            return row_of(HoldRow, row)

        return await self._database.write(work)

    async def all(self, camera: str = "", *, released: bool = False) -> list[HoldRow]:
        """The holds, of one camera or of all, by start; with `released` also those that have ended."""
        table = schema.hold
        query = select(table).order_by(table.c.camera_id, table.c.start_us, table.c.id)
        if camera:
            query = query.where(table.c.camera_id == camera)
        if not released:
            query = query.where(table.c.released_us.is_(None))
        return await self._database.read(lambda connection: [row_of(HoldRow, row) for row in connection.execute(query)])

    async def restore(self, rows: Iterable[HoldRow]) -> int:
        """Holds that were found beside recordings; how many of them the directory did not know. Known ones stay as they
        are: the directory may know that they were released.
        """

        def work(connection: Connection) -> int:
            known = set(connection.execute(select(schema.hold.c.id)).scalars())
            fresh = {row.id: row for row in rows if row.id not in known}
            values = [{name: getattr(row, name) for name in HoldRow.__slots__} for row in fresh.values()]
            if values:
                connection.execute(insert(schema.hold), values)
                raise_version(connection)
            return len(values)

        return await self._database.write(work)


def held() -> ColumnElement[bool]:
    """Whether a row of `schema.recording` is held, for a query of it."""
    hold, row = schema.hold.c, schema.recording.c
    touches = and_(hold.start_us < row.end_us, hold.end_us > row.start_us)
    return exists().where(hold.camera_id == row.camera_id, hold.released_us.is_(None), touches)
