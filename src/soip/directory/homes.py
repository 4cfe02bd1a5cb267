"""Which media instance is the home of which camera: heartbeats, and the moves that follow from them.

Whoever sends a heartbeat looks after the whole group in the same transaction: cameras that have no home, and those of
instances that have lapsed, are placed. Transactions that write come one after the other, so two instances never decide
about one camera at once, and whoever holds an epoch that is not the newest sees it at its next heartbeat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from soip.directory import schema
from soip.directory.database import Database, now_us
from soip.directory.errors import NotFoundError
from soip.directory.rows import HomeRow, MediaInstance
from soip.directory.saving import row_of, save_rows
from soip.directory.settings import raise_version


class Judgement(NamedTuple):
    """What an instance makes of the group: whose cameras need a new home, and how homes are chosen (the home of each
    camera, as far as there is one).
    """

    lapsed: Collection[str]
    place: Callable[[Sequence[str]], Mapping[str, str]]


Judge = Callable[[Sequence[MediaInstance], Mapping[str, int]], Judgement]
"""From all instances, and how many cameras each has."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a heartbeat has found: the group, the homes that are the sender's, and those that were given anew."""

    instances: Sequence[MediaInstance]
    mine: Mapping[str, HomeRow]
    moved: Sequence[HomeRow]


class Homes:
    """The homes of all cameras. A camera that was just added has none until the next heartbeat of any instance."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, HomeRow]:
        """The home of each camera that has one, by camera id."""
        return await self._database.read(
            lambda connection: {row.camera_id: row_of(HomeRow, row) for row in connection.execute(select(schema.home))}
        )

    async def get(self, camera: str) -> HomeRow | None:
        """The home of one camera; None while it has none. Raises UnavailableError."""

        def work(connection: Connection) -> HomeRow | None:
            row = connection.execute(select(schema.home).where(schema.home.c.camera_id == camera)).first()
            return row_of(HomeRow, row) if row else None

        return await self._database.read(work)

    async def beat(self, instance: MediaInstance, judge: Judge) -> Look:
        """Writes a heartbeat, and has `judge` place what needs a home. Raises UnavailableError."""

        def work(connection: Connection) -> Look:
            save_rows(connection, [instance])
            table = schema.media_instance
            found = [row_of(MediaInstance, row) for row in connection.execute(select(table).order_by(table.c.id))]
            judgement = judge(found, _counts(connection))
            stranded = _stranded(connection, judgement.lapsed)
            moves = judgement.place(list(stranded)) if stranded else {}
            moved = _move(connection, moves, stranded)
            mine = select(schema.home).where(schema.home.c.instance_id == instance.id)
            return Look(found, {row.camera_id: row_of(HomeRow, row) for row in connection.execute(mine)}, moved)

        return await self._database.write(work)

    async def move(self, camera: str, instance: str) -> HomeRow:
        """Gives a camera another home, by hand. Raises NotFoundError."""

        def work(connection: Connection) -> HomeRow:
            for table, identity in ((schema.camera, camera), (schema.media_instance, instance)):
                if connection.execute(select(table.c.id).where(table.c.id == identity)).first() is None:
                    what = "camera" if table is schema.camera else "media worker"
                    raise NotFoundError(f"there is no {what} {identity!r}")
            query = select(schema.home.c.instance_id).where(schema.home.c.camera_id == camera)
            (row,) = _move(connection, {camera: instance}, {camera: connection.execute(query).scalar() or ""})
            return row

        return await self._database.write(work)


def _counts(connection: Connection) -> dict[str, int]:
    home = schema.home.c
    query = select(home.instance_id, func.count()).group_by(home.instance_id)
    return {row[0]: row[1] for row in connection.execute(query)}


def _stranded(connection: Connection, lapsed: Collection[str]) -> dict[str, str]:
    """The cameras without a home, and those of lapsed instances; with the home they had."""
    home, camera = schema.home, schema.camera
    both = select(camera.c.id, home.c.instance_id).select_from(camera.outerjoin(home, home.c.camera_id == camera.c.id))
    without = both.where(or_(home.c.camera_id.is_(None), home.c.instance_id.in_(sorted(lapsed))))
    return {identity: before or "" for identity, before in connection.execute(without.order_by(camera.c.id))}


def _move(connection: Connection, moves: Mapping[str, str], before: Mapping[str, str]) -> list[HomeRow]:
    """Writes new homes, under an epoch of their own; everybody loads them as a change of configuration."""
    if not moves:
        return []
    raise_version(connection)
    epoch = connection.execute(select(schema.version.c.value)).scalar_one()
    at = now_us()
    rows = [HomeRow(camera, home, epoch, at, before[camera]) for camera, home in moves.items()]
    statement = insert(schema.home)
    names = HomeRow.__slots__
    changed = {name: statement.excluded[name] for name in names if name != "camera_id"}
    values = [{name: getattr(row, name) for name in names} for row in rows]
    connection.execute(statement.on_conflict_do_update(index_elements=["camera_id"], set_=changed), values)
    return rows
