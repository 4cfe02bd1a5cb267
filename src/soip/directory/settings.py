"""Settings and secrets that belong to the installation, the version row, and the audit log."""

from __future__ import annotations

import re
import secrets

from sqlalchemy import Connection, insert, select, update

from soip.directory import schema
from soip.directory.database import Database, now_us
from soip.directory.errors import InvalidValueError
from soip.directory.rows import AuditRow

MEDIA_URL_KEY = "media-url-key"
NONCE_KEY = "nonce-key"
FLOW_TOKEN_KEY = "flow-token-key"  # noqa: S105 - the name of a secret, not one
SIP_TOKEN_KEY = "sip-token-key"  # noqa: S105 - as above

SIP_WEBSOCKET = "sip-websocket"
"""Published: HOST:PORT where the SIP server takes WebSockets now."""
SIP_HTTP = "sip-http"
"""Published: HOST:PORT of the SIP server's own HTTP face, for its figures."""
SIP_ROUTES = "sip-routes"
"""Published: the state of each route to another SIP server, as JSON: name → [state, why, since when in µs]."""

ORGANISATION = "default"

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def check_id(value: str) -> str:
    """The id, when it is one. A first character "." or "-" is refused: ids are folder names and arguments
    too.

    Raises InvalidValueError.
    """
    if not _ID.fullmatch(value):
        raise InvalidValueError(
            f"{value!r} cannot be an id: use 1 to 64 letters, digits, '.', '_' or '-', not starting with '.' or '-'"
        )
    return value


def raise_version(connection: Connection) -> None:
    """To be called in every transaction that changes configuration: the other processes then load it
    again.
    """
    connection.execute(update(schema.version).values(value=schema.version.c.value + 1))


class Settings:
    """What the installation fixed once for all its processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self) -> int:
        """The number of changes of configuration so far."""
        return await self._database.read(
            lambda connection: connection.execute(select(schema.version.c.value)).scalar_one()
        )

    async def fix(self, name: str, value: str) -> str:
        """The setting's value; `value` becomes it if it has none yet. It never changes after that."""

        def work(connection: Connection) -> str:
            found = _setting(connection, name)
            if found is not None:
                return found
            connection.execute(insert(schema.setting).values(name=name, value=value))
            return value

        known = await self.get(name)
        return await self._database.write(work) if known is None else known

    async def publish(self, name: str, value: str) -> None:
        """Tells the other processes where something is found now; they `get` it when they need it. That is no change of
        configuration: the version stays.
        """
        table = schema.setting

        def work(connection: Connection) -> None:
            if not connection.execute(update(table).where(table.c.name == name).values(value=value)).rowcount:
                connection.execute(insert(table).values(name=name, value=value))

        await self._database.write(work)

    async def get(self, name: str) -> str | None:
        """The setting's value, or None when it was never fixed or published."""
        return await self._database.read(lambda connection: _setting(connection, name))

    async def realm(self, domain: str) -> str:
        """The digest realm: the domain of the first start, for good, since every stored HA1 depends on it."""
        return await self.fix("realm", domain)

    async def secret(self, name: str) -> bytes:
        """32 random bytes, made at the first call and the same for every process from then on."""

        def work(connection: Connection) -> bytes:
            found = _secret(connection, name)
            if found is not None:
                return found
            value: bytes = secrets.token_bytes(32)
            connection.execute(insert(schema.secret).values(name=name, value=value, created_us=now_us()))
            return value

        found = await self._database.read(lambda connection: _secret(connection, name))
        return await self._database.write(work) if found is None else found

    async def audit(self, actor: str, action: str, target: str, detail: str = "") -> None:
        """Notes who did what to what, now."""
        values = {"at_us": now_us(), "actor": actor, "action": action, "target": target, "detail": detail}
        await self._database.write(lambda connection: connection.execute(insert(schema.audit), values))

    async def audited(self, limit: int = 100) -> list[AuditRow]:
        """The newest notes of the audit log, newest first."""
        table = schema.audit
        columns = (table.c.at_us, table.c.actor, table.c.action, table.c.target, table.c.detail)
        query = select(*columns).order_by(table.c.id.desc()).limit(limit)
        return await self._database.read(lambda connection: [AuditRow(*row) for row in connection.execute(query)])


def _setting(connection: Connection, name: str) -> str | None:
    return connection.execute(select(schema.setting.c.value).where(schema.setting.c.name == name)).scalar()


def _secret(connection: Connection, name: str) -> bytes | None:
    return connection.execute(select(schema.secret.c.value).where(schema.secret.c.name == name)).scalar()
