"""What has to be known again after a restart: bindings of the registrar, and the journal of running
dialogs.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from soip.directory import schema
from soip.directory.database import Database
from soip.directory.rows import BindingRow, DialogRow
from soip.directory.saving import row_of


class Calls:
    """Bindings and dialogs. Both are saved through `WriteBehind`, or at once by `Directory.save`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bindings(self) -> list[BindingRow]:
        """All bindings, also expired ones: the registrar knows its own clock best."""
        return await self._database.read(
            lambda connection: [row_of(BindingRow, row) for row in connection.execute(select(schema.binding))]
        )

    async def registered_over(self, account: str, now_us: int) -> str:
        """The flow over which an account has registered last, "" when no binding of it is known and in force."""
        table = schema.binding
        valid = (table.c.account_id == account) & (table.c.expires_us > now_us)
        query = select(table.c.flow).where(valid).order_by(table.c.registered_us.desc())
        return await self._database.read(lambda connection: connection.execute(query.limit(1)).scalar() or "")

    async def forget_bindings(self, before_us: int) -> None:
        """Deletes the bindings that had expired before a time."""
        query = delete(schema.binding).where(schema.binding.c.expires_us < before_us)
        await self._database.write(lambda connection: connection.execute(query))

    async def dialogs(self, instance: str) -> list[DialogRow]:
        """The dialogs an instance had journalled, oldest first."""
        table = schema.dialog
        query = select(table).where(table.c.instance_id == instance).order_by(table.c.started_us)
        return await self._database.read(
            lambda connection: [row_of(DialogRow, row) for row in connection.execute(query)]
        )

    async def left_behind(self, camera: str, instance: str) -> list[DialogRow]:
        """The dialogs about a camera that others than an instance had journalled, oldest first."""
        table = schema.dialog
        theirs = (table.c.camera_id == camera) & (table.c.instance_id != instance)
        query = select(table).where(theirs).order_by(table.c.started_us)
        return await self._database.read(
            lambda connection: [row_of(DialogRow, row) for row in connection.execute(query)]
        )
