"""SIP accounts: what may register and call, and the digests that prove it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from hashlib import new

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from soip.directory import schema
from soip.directory.database import Database, now_us
from soip.directory.errors import InvalidValueError, TakenError
from soip.directory.rows import Account, AccountKind
from soip.directory.settings import ORGANISATION, check_id

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
_PAGE = 500
DIGESTS = tuple(_HASHES)
"""The digest algorithms an account can have (RFC 7616 §6.1, RFC 8760)."""


def ha1(identity: str, realm: str, password: str, algorithm: str) -> str:
    """H(username:realm:password), the A1 of RFC 7616 §3.4.2, in lower-case hex. Raises InvalidValueError."""
    if algorithm not in _HASHES:
        raise InvalidValueError(f"there is no digest {algorithm!r}: use one of {', '.join(DIGESTS)}")
    return new(_HASHES[algorithm], f"{identity}:{realm}:{password}".encode()).hexdigest()


class Accounts:
    """Reading accounts; users, cameras and media servers make them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Account]:
        """Every account: devices, users (also those without a SIP secret), media servers.

        Read in pages, so that whoever else uses this process's event loop gets its turns in between. What changes
        meanwhile raises the version, and is read again.
        """
        accounts: list[Account] = []
        after: str | None = ""
        while after is not None:
            page, after = await self._database.read(partial(_page, after=after))
            accounts += page
        return accounts

    async def get(self, identity: str) -> Account | None:
        """The account with this id, or None."""
        found = await self._database.read(lambda connection: _accounts(connection, [identity]))
        return found[0] if found else None

    async def of_camera(self, camera: str) -> Account | None:
        """The account of the device that a camera belongs to, or None."""
        query = select(schema.camera.c.device_id).where(schema.camera.c.id == camera)
        device = await self._database.read(lambda connection: connection.execute(query).scalar())
        return await self.get(device) if device else None


def _page(connection: Connection, after: str) -> tuple[list[Account], str | None]:
    """The accounts of the next ids, and the last of these; None when there are no more."""
    query = select(schema.identity.c.id).where(schema.identity.c.id > after).order_by(schema.identity.c.id)
    ids = list(connection.execute(query.limit(_PAGE)).scalars())
    return (_accounts(connection, ids), ids[-1] if len(ids) == _PAGE else None) if ids else ([], None)


def _accounts(connection: Connection, ids: Sequence[str]) -> list[Account]:
    """The accounts of ids that are neighbours, in their order."""

    def only(column: ColumnElement[str]) -> ColumnElement[bool]:
        return column.between(ids[0], ids[-1])

    digests: dict[str, dict[str, str]] = defaultdict(dict)
    credential = schema.credential.c
    for owner, algorithm, digest in connection.execute(
        select(credential.identity_id, credential.algorithm, credential.ha1).where(only(credential.identity_id))
    ):
        digests[owner][algorithm] = digest
    cameras: dict[str, list[str]] = defaultdict(list)
    camera = schema.camera.c
    for device, name in connection.execute(
        select(camera.device_id, camera.id).where(only(camera.device_id)).order_by(camera.id)
    ):
        cameras[device].append(name)
    grant = schema.grant.c
    granted = select(grant.user_id, grant.role).where(only(grant.user_id), grant.scope == "organisation")
    roles = {user: role for user, role in connection.execute(granted)}  # noqa: C416 - rows are not typed as pairs
    known = schema.identity.c
    return [
        Account(name, AccountKind(kind), digests[name], tuple(cameras[name]), roles.get(name))
        for name, kind in connection.execute(select(known.id, known.kind).where(only(known.id)).order_by(known.id))
        if name in digests or kind == AccountKind.USER
    ]


def claim(connection: Connection, identity: str, kind: AccountKind) -> None:
    """Takes an id for a new thing. Raises InvalidValueError or TakenError."""
    check_id(identity)
    taken = connection.execute(select(schema.identity.c.kind).where(schema.identity.c.id == identity)).scalar()
    if taken is not None:
        raise TakenError(f"{identity!r} is taken already, by a {taken.replace('_', ' ')}: choose another id")
    connection.execute(insert(schema.identity).values(id=identity, kind=kind.value, created_us=now_us()))


def set_credentials(
    connection: Connection, identity: str, realm: str, password: str, algorithms: Iterable[str]
) -> None:
    """Replaces the digests of an account. Raises InvalidValueError."""
    if not password:
        raise InvalidValueError("the password is empty")
    rows = [
        {"identity_id": identity, "algorithm": name, "ha1": ha1(identity, realm, password, name)} for name in algorithms
    ]
    connection.execute(delete(schema.credential).where(schema.credential.c.identity_id == identity))
    connection.execute(insert(schema.credential), rows)


def organisation_values() -> Mapping[str, object]:
    """The columns every thing of the one organisation has."""
    return {"organisation_id": ORGANISATION, "created_us": now_us()}
