"""What was recorded, what was not, and why. A range includes its start and excludes its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, false, func, select

from soip.directory import schema
from soip.directory.database import Database
from soip.directory.rows import GapRow, RecordingRow
from soip.directory.saving import delete_rows, key_of, row_of, save_rows

EVER = (0, 1 << 62)
"""A range that includes everything."""

_LIMIT = 100_000
_AT_ONCE = 500
"""Ids that one query asks for: a database takes a limited number."""

R = TypeVar("R", RecordingRow, GapRow)


class Catalog:
    """Recordings and gaps. Both are saved through `WriteBehind`, or at once by `Directory.save`.

    A recording that is expiring (`expiry.py`) is none any more.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recordings(
        self, camera: str, from_us: int = EVER[0], to_us: int = EVER[1], *, limit: int = _LIMIT
    ) -> list[RecordingRow]:
        """The files of a camera that touch a range, by start, `limit` at most."""
        return await self._touching(schema.recording, RecordingRow, camera, from_us, to_us, limit)

    async def recording(self, identity: str) -> RecordingRow | None:
        """One file's row, or None."""
        query = select(schema.recording).where(schema.recording.c.id == identity, _kept())

        def work(connection: Connection) -> RecordingRow | None:
            row = connection.execute(query).first()
            return row_of(RecordingRow, row) if row else None

        return await self._database.read(work)

    async def of_server(self, server: str) -> list[RecordingRow]:
        """Every row of a media server, by path: for checking and rebuilding."""
        table = schema.recording
        query = select(table).where(table.c.server_id == server, _kept()).order_by(table.c.path)
        return await self._database.read(
            lambda connection: [row_of(RecordingRow, row) for row in connection.execute(query)]
        )

    async def known(self, identities: Iterable[str]) -> set[str]:
        """Those of these files that have a row, also where they are about to expire."""
        table, wanted = schema.recording, list(identities)

        def work(connection: Connection) -> set[str]:
            found: set[str] = set()
            for at in range(0, len(wanted), _AT_ONCE):
                some = wanted[at : at + _AT_ONCE]
                found.update(connection.execute(select(table.c.id).where(table.c.id.in_(some))).scalars())
            return found

        return await self._database.read(work)

    async def gap_ids(self) -> set[str]:
        """The ids of all gaps."""
        query = select(schema.gap.c.id)
        return await self._database.read(lambda connection: set(connection.execute(query).scalars()))

    async def unsealed(self, instance: str) -> list[RecordingRow]:
        """The files an instance had not sealed when it was last heard of."""
        table = schema.recording
        query = select(table).where(table.c.instance_id == instance, table.c.sealed.is_(False))
        return await self._database.read(
            lambda connection: [row_of(RecordingRow, row) for row in connection.execute(query)]
        )

    async def gaps(
        self, camera: str, from_us: int = EVER[0], to_us: int = EVER[1], *, limit: int = _LIMIT
    ) -> list[GapRow]:
        """The gaps of a camera that touch a range, by start, `limit` at most."""
        return await self._touching(schema.gap, GapRow, camera, from_us, to_us, limit)

    async def newest_gap(self, camera: str) -> GapRow | None:
        """The gap of a camera that ends last, or None."""
        table = schema.gap
        query = select(table).where(table.c.camera_id == camera).order_by(table.c.end_us.desc()).limit(1)

        def work(connection: Connection) -> GapRow | None:
            row = connection.execute(query).first()
            return row_of(GapRow, row) if row else None

        return await self._database.read(work)

    async def explained_until(self, camera: str) -> int | None:
        """When the newest recording or gap of a camera ends (µs UTC), or None: what comes after it is not explained."""
        queries = [
            select(table.c.end_us).where(table.c.camera_id == camera).order_by(table.c.end_us.desc()).limit(1)
            for table in (schema.recording, schema.gap)
        ]

        def work(connection: Connection) -> int | None:
            ends = [connection.execute(query).scalar() for query in queries]
            return max((end for end in ends if end is not None), default=None)

        return await self._database.read(work)

    async def replace(
        self, server: str, recordings: list[RecordingRow], gaps: list[GapRow], gone: list[RecordingRow]
    ) -> None:
        """Makes the catalog of a media server say what its folder says, in one transaction: after a rebuild.

        Rows of `recordings` and `gaps` are saved, those of `gone` deleted. The server may have gone on meanwhile: other
        rows stay, and so does a row of a file that was sealed after it was read. What is known of a file's digest
        stays known: reading all bytes again would prove nothing about yesterday.
        """
        query = select(schema.recording).where(schema.recording.c.server_id == server)

        def work(connection: Connection) -> None:
            known = {row.path: row_of(RecordingRow, row) for row in connection.execute(query)}
            delete_rows(connection, [key_of(row) for row in gone])
            saved = [_merged(row, known.get(row.path)) for row in recordings]
            save_rows(connection, [*saved, *gaps])

        await self._database.write(work)

    async def _touching(
        self, table: Table, kind: type[R], camera: str, from_us: int, to_us: int, limit: int
    ) -> list[R]:
        query = touching(table, camera, from_us, to_us, limit)
        return await self._database.read(lambda connection: [row_of(kind, row) for row in connection.execute(query)])


def _merged(found: RecordingRow, known: RecordingRow | None) -> RecordingRow:
    """The row of a file as it was read, or as it is known where that is newer or tells more."""
    if known is None:
        return found
    if known.id == found.id and known.sealed and not found.sealed:
        return known
    return replace(found, sha256=known.sha256) if known.bytes == found.bytes else found


def _kept() -> ColumnElement[bool]:
    return schema.recording.c.expiring.is_(false())


def touching(table: Table, camera: str, from_us: int, to_us: int, limit: int) -> Select[Any]:
    """Rows of a camera that start before the range's end and do not end before its start, by start.

    None is longer than the longest, so none that starts earlier can reach into the range: without that, an index by
    start or end alone would have all rows before the range read, or all after it.
    """
    longest = select(func.max(table.c.end_us - table.c.start_us)).where(table.c.camera_id == camera).scalar_subquery()
    inside = and_(
        table.c.camera_id == camera,
        table.c.start_us < to_us,
        table.c.start_us >= from_us - longest,
        table.c.end_us >= from_us,
    )
    if table is schema.recording:
        inside = and_(inside, _kept())
    return select(table).where(inside).order_by(table.c.start_us, table.c.id).limit(limit)
