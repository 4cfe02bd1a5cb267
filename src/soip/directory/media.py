"""Media servers and their workers."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, insert, select

from soip.directory import schema
from soip.directory.accounts import claim, ha1, organisation_values, set_credentials
from soip.directory.database import Database, now_us
from soip.directory.errors import DirectoryError, InvalidValueError
from soip.directory.rows import AccountKind, MediaInstance
from soip.directory.saving import row_of, save_rows
from soip.directory.settings import check_id, raise_version

DIGEST = "SHA-256"
"""The digest algorithm of media servers."""


@dataclass(frozen=True, slots=True)
class MediaServer:
    """This machine's media server: its account id and SIP password."""

    id: str
    secret: str = field(repr=False)

    def instance(self, worker: int) -> str:
        """The instance id of a worker: its SIP address of record's user part."""
        return f"{self.id}-{worker}"


class Media:
    """The media servers of the installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_or_load(self, file: Path, realm: str) -> MediaServer:
        """This machine's media server, from `file` (JSON, mode 0600), which is made at the first call.

        Its account is made, or mended, in the directory. Several processes may call this at once. Raises
        InvalidValueError when the file is not as this wrote it, and DirectoryError.
        """
        server = _load(file) or _make(file)

        def work(connection: Connection) -> None:
            known = select(schema.media_server.c.id).where(schema.media_server.c.id == server.id)
            if connection.execute(known).first() is None:
                claim(connection, server.id, AccountKind.MEDIA_SERVER)
                connection.execute(insert(schema.media_server).values(id=server.id, **organisation_values()))
            set_credentials(connection, server.id, realm, server.secret, [DIGEST])
            raise_version(connection)

        if not await self._database.read(lambda connection: _is_as(connection, server, realm)):
            await self._database.write(work)
        return server

    async def servers(self) -> list[str]:
        """The ids of all media servers."""
        query = select(schema.media_server.c.id).order_by(schema.media_server.c.id)
        return await self._database.read(lambda connection: list(connection.execute(query).scalars()))

    async def publish(self, server: str, worker: int, *, sip: str, http: str) -> MediaInstance:
        """Announces a worker that starts, with its addresses (HOST:PORT). Its epoch is higher than any before; the
        cameras placed on it stay. Keep it alive by `Homes.beat`.
        """

        def work(connection: Connection) -> MediaInstance:
            identity = f"{server}-{worker}"
            table = schema.media_instance
            before = connection.execute(select(table.c.epoch).where(table.c.id == identity)).scalar()
            now = now_us()
            instance = MediaInstance(identity, server, worker, sip, http, (before or 0) + 1, now, now)
            save_rows(connection, [instance])
            if before is None:
                raise_version(connection)  # the SIP server is to know who may register
            return instance

        return await self._database.write(work)

    async def instances(self) -> list[MediaInstance]:
        """All workers that ever announced themselves, by id; look at `heartbeat_us` to see who is alive."""
        query = select(schema.media_instance).order_by(schema.media_instance.c.id)
        return await self._database.read(
            lambda connection: [row_of(MediaInstance, row) for row in connection.execute(query)]
        )

    async def instance(self, identity: str) -> MediaInstance | None:
        """One worker's announcement, or None."""
        query = select(schema.media_instance).where(schema.media_instance.c.id == identity)

        def work(connection: Connection) -> MediaInstance | None:
            row = connection.execute(query).first()
            return row_of(MediaInstance, row) if row else None

        return await self._database.read(work)


def _load(file: Path) -> MediaServer | None:
    try:
        content = json.loads(file.read_text("utf-8"))
        return MediaServer(check_id(content["id"]), str(content["secret"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError, DirectoryError) as error:
        raise InvalidValueError(
            f"{file} cannot be used as this machine's media server ({error}): mend it, or remove it for a new one"
        ) from error


def _make(file: Path) -> MediaServer:
    server = MediaServer(f"media-{secrets.token_hex(4)}", secrets.token_urlsafe(32))
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    content = json.dumps({"id": server.id, "secret": server.secret}) + "\n"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(draft, file)  # Unlike a rename this fails when another worker was faster: all then use its file.
    except FileExistsError:
        return _load(file) or server
    finally:
        draft.unlink()
    return server


def _is_as(connection: Connection, server: MediaServer, realm: str) -> bool:
    stored = schema.credential.c
    query = select(stored.ha1).where(stored.identity_id == server.id, stored.algorithm == DIGEST)
    return connection.execute(query).scalar() == ha1(server.id, realm, server.secret, DIGEST)
