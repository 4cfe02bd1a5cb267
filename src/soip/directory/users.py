"""People: their passwords, roles and sessions."""

from __future__ import annotations

import secrets
from hashlib import sha256

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, select, update

from soip.directory import schema
from soip.directory.accounts import claim, organisation_values, set_credentials
from soip.directory.database import Database, now_us
from soip.directory.errors import InvalidValueError, NotFoundError
from soip.directory.passwords import MAX_LENGTH, Passwords
from soip.directory.rows import AccountKind, UserRow
from soip.directory.saving import row_of
from soip.directory.settings import ORGANISATION, raise_version

SESSION_S = 12 * 3600
"""How long a session lasts when nothing else is asked for, in seconds."""

_SCOPE = {"scope": "organisation", "scope_id": ORGANISATION}


class Users:
    """People and their sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passwords = Passwords()

    async def add(
        self,
        name: str,
        *,
        password: str,
        role: str,
        realm: str,
        sip_password: str | None,
        display_name: str = "",
        digest: str = "MD5",
    ) -> UserRow:
        """Adds a user with a login password and another one for SIP phones, or None: browsers need none. In force
        within two seconds.

        Raises InvalidValueError, TakenError.
        """
        hashed = await self._hash(password)

        def work(connection: Connection) -> UserRow:
            claim(connection, name, AccountKind.USER)
            row = {"id": name, "display_name": display_name or name, "password_hash": hashed}
            connection.execute(insert(schema.user).values(**row, **organisation_values()))
            if sip_password is not None:
                set_credentials(connection, name, realm, sip_password, [digest])
            _check_role(connection, role)
            connection.execute(insert(schema.grant).values(user_id=name, role=role, **_SCOPE))
            raise_version(connection)
            return _found(connection, name)

        return await self._database.write(work)

    async def all(self) -> list[UserRow]:
        """Every user, by name."""
        query = _users().order_by(schema.user.c.id)
        return await self._database.read(lambda connection: [row_of(UserRow, row) for row in connection.execute(query)])

    async def get(self, name: str) -> UserRow | None:
        """The user with this name, or None."""
        return await self._database.read(lambda connection: _user(connection, name))

    async def verify(self, name: str, password: str) -> UserRow | None:
        """The user when name and password fit, else None; takes as long for a name that does not exist."""
        query = select(schema.user.c.password_hash).where(schema.user.c.id == name)
        known = await self._database.read(lambda connection: connection.execute(query).scalar())
        return await self.get(name) if await self._passwords.check(known, password) else None

    async def set_password(self, name: str, password: str) -> None:
        """Gives a user a new login password and ends their sessions. Raises NotFoundError,
        InvalidValueError.
        """
        hashed = await self._hash(password)

        def work(connection: Connection) -> None:
            _found(connection, name)
            change = update(schema.user).where(schema.user.c.id == name)
            connection.execute(change.values(password_hash=hashed))
            connection.execute(delete(schema.session).where(schema.session.c.user_id == name))
            raise_version(connection)

        await self._database.write(work)

    async def set_role(self, name: str, role: str) -> None:
        """Gives a user another role. Raises NotFoundError, InvalidValueError."""

        def work(connection: Connection) -> None:
            _found(connection, name)
            _check_role(connection, role)
            connection.execute(update(schema.grant).where(_organisation_grant(name)).values(role=role))
            raise_version(connection)

        await self._database.write(work)

    async def remove(self, name: str) -> None:
        """Removes a user with their grants, sessions and SIP account. Raises NotFoundError."""

        def work(connection: Connection) -> None:
            _found(connection, name)
            connection.execute(delete(schema.identity).where(schema.identity.c.id == name))
            connection.execute(delete(schema.event_position).where(schema.event_position.c.user_id == name))
            raise_version(connection)

        await self._database.write(work)

    async def open_session(self, name: str, lifetime_s: float = SESSION_S) -> str:
        """A new session's token, to be given to the browser; only its hash is stored. Raises
        NotFoundError.
        """
        token = secrets.token_urlsafe(32)

        def work(connection: Connection) -> str:
            _found(connection, name)
            now = now_us()
            connection.execute(delete(schema.session).where(schema.session.c.expires_us <= now))
            connection.execute(
                insert(schema.session).values(
                    token_hash=_digest(token),
                    user_id=name,
                    created_us=now,
                    expires_us=now + int(lifetime_s * 1_000_000),
                )
            )
            return token

        return await self._database.write(work)

    async def session(self, token: str) -> UserRow | None:
        """The user of a session that is still good, with their role as it is now, or None."""
        session = schema.session.c
        query = _users().join(schema.session, session.user_id == schema.user.c.id)
        query = query.where(session.token_hash == _digest(token), session.expires_us > now_us())

        def work(connection: Connection) -> UserRow | None:
            row = connection.execute(query).first()
            return row_of(UserRow, row) if row else None

        return await self._database.read(work)

    async def sessions(self) -> int:
        """How many sessions are good now."""
        query = select(func.count()).select_from(schema.session).where(schema.session.c.expires_us > now_us())
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def close_session(self, token: str) -> None:
        """Ends a session; it is no error when there is none."""
        query = delete(schema.session).where(schema.session.c.token_hash == _digest(token))
        await self._database.write(lambda connection: connection.execute(query))

    async def _hash(self, password: str) -> str:
        if not 1 <= len(password) <= MAX_LENGTH:
            raise InvalidValueError(f"a password has 1 to {MAX_LENGTH} characters")
        return await self._passwords.hash(password)


def _digest(token: str) -> str:
    # A token is 256 random bits: a plain hash is as good as a slow one, and a stolen table opens no session.
    return sha256(token.encode()).hexdigest()


def _organisation_grant(user: str | ColumnElement[str]) -> ColumnElement[bool]:
    grant = schema.grant.c
    return and_(grant.user_id == user, grant.scope == _SCOPE["scope"], grant.scope_id == _SCOPE["scope_id"])


def _users() -> Select[tuple[str, str, str, int]]:
    user = schema.user.c
    joined = schema.user.outerjoin(schema.grant, _organisation_grant(user.id))
    return select(user.id, user.display_name, schema.grant.c.role, user.created_us).select_from(joined)


def _user(connection: Connection, name: str) -> UserRow | None:
    row = connection.execute(_users().where(schema.user.c.id == name)).first()
    return row_of(UserRow, row) if row else None


def _found(connection: Connection, name: str) -> UserRow:
    row = _user(connection, name)
    if row is None:
        raise NotFoundError(f"there is no user {name!r}")
    return row


def _check_role(connection: Connection, role: str) -> None:
    roles = [name for (name,) in connection.execute(select(schema.role.c.name).order_by(schema.role.c.name))]
    if role not in roles:
        raise InvalidValueError(f"there is no role {role!r}: use one of {', '.join(roles)}")
