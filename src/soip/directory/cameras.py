"""Devices and their cameras, and what is known of a camera's media."""

from __future__ import annotations

from typing import TypedDict, Unpack

from sqlalchemy import Connection, delete, exists, insert, select, update

from soip.directory import schema
from soip.directory.accounts import claim, organisation_values, set_credentials
from soip.directory.database import Database
from soip.directory.errors import InvalidValueError, NotFoundError
from soip.directory.rows import AccountKind, CameraRow, CameraStateRow
from soip.directory.saving import row_of
from soip.directory.settings import raise_version

_CAMERA = select(
    schema.camera,
    exists().where(schema.stream.c.camera_id == schema.camera.c.id, schema.stream.c.name == "sub").label("sub"),
)


class CameraChange(TypedDict, total=False):
    """What can change of a camera; what is not given stays."""

    name: str
    plan: str
    audio: bool
    transport: str
    zone_id: str | None
    place: str
    purpose: str
    legal_basis: str
    classification: str
    priority: int
    sub: bool


class Cameras:
    """Cameras as people know them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        identity: str,
        *,
        realm: str,
        password: str,
        name: str = "",
        plan: str = "always",
        audio: bool = False,
        transport: str = "udp",
        digest: str = "MD5",
        priority: int = 5,
        sub: bool = False,
    ) -> CameraRow:
        """Adds a plain SIP camera: a device with one camera of the same id. In force within two seconds.

        Raises InvalidValueError, TakenError.
        """

        def work(connection: Connection) -> CameraRow:
            claim(connection, identity, AccountKind.DEVICE)
            common = organisation_values()
            connection.execute(insert(schema.device).values(id=identity, name=name or identity, **common))
            set_credentials(connection, identity, realm, password, [digest])
            _check_plan(connection, plan)
            _check_transport(transport)
            _check_priority(priority)
            created = _created(common)
            row = CameraRow(
                identity,
                identity,
                name or identity,
                plan,
                audio,
                transport,
                created_us=created,
                priority=priority,
                sub=sub,
            )
            connection.execute(insert(schema.camera).values(**_columns(row)))
            _set_stream(connection, identity, "main", True)
            _set_stream(connection, identity, "sub", sub)
            raise_version(connection)
            return row

        return await self._database.write(work)

    async def all(self) -> list[CameraRow]:
        """Every camera, by id."""
        return await self._database.read(
            lambda connection: [
                row_of(CameraRow, row) for row in connection.execute(_CAMERA.order_by(schema.camera.c.id))
            ]
        )

    async def get(self, identity: str) -> CameraRow | None:
        """The camera with this id, or None."""
        return await self._database.read(lambda connection: _camera(connection, identity))

    async def change(self, identity: str, **changes: Unpack[CameraChange]) -> CameraRow:
        """Changes a camera. Raises NotFoundError, InvalidValueError."""

        def work(connection: Connection) -> CameraRow:
            if "plan" in changes:
                _check_plan(connection, changes["plan"])
            _check_transport(changes.get("transport", "udp"))
            _check_priority(changes.get("priority", 0))
            if _camera(connection, identity) is None:
                raise _no_camera(identity)
            columns = {name: value for name, value in changes.items() if name != "sub"}
            if columns:
                connection.execute(update(schema.camera).where(schema.camera.c.id == identity).values(**columns))
            if "sub" in changes:
                _set_stream(connection, identity, "sub", changes["sub"])
            raise_version(connection)
            row = _camera(connection, identity)
            assert row is not None
            return row

        return await self._database.write(work)

    async def set_password(self, identity: str, *, realm: str, password: str, digest: str = "MD5") -> None:
        """Gives the device of a camera a new SIP password. Raises NotFoundError, InvalidValueError."""

        def work(connection: Connection) -> None:
            row = _camera(connection, identity)
            if row is None:
                raise _no_camera(identity)
            set_credentials(connection, row.device_id, realm, password, [digest])
            raise_version(connection)

        await self._database.write(work)

    async def remove(self, identity: str) -> None:
        """Removes a camera, and its device with its last camera. Recordings and gaps stay. Raises
        NotFoundError.
        """

        def work(connection: Connection) -> None:
            row = _camera(connection, identity)
            if row is None:
                raise _no_camera(identity)
            connection.execute(delete(schema.camera).where(schema.camera.c.id == identity))
            rest = select(schema.camera.c.id).where(schema.camera.c.device_id == row.device_id)
            gone = [] if identity == row.device_id else [identity]
            if connection.execute(rest).first() is None:
                gone.append(row.device_id)
            connection.execute(delete(schema.identity).where(schema.identity.c.id.in_(gone)))
            connection.execute(delete(schema.camera_state).where(schema.camera_state.c.camera_id == identity))
            raise_version(connection)

        await self._database.write(work)

    async def states(self) -> dict[str, CameraStateRow]:
        """What media servers last said of each camera, by camera id. Save these rows through
        `WriteBehind`.
        """
        return await self._database.read(
            lambda connection: {
                row.camera_id: row_of(CameraStateRow, row) for row in connection.execute(select(schema.camera_state))
            }
        )


def _camera(connection: Connection, identity: str) -> CameraRow | None:
    row = connection.execute(_CAMERA.where(schema.camera.c.id == identity)).first()
    return row_of(CameraRow, row) if row else None


def _columns(row: CameraRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in CameraRow.__slots__ if name != "sub"}


def _set_stream(connection: Connection, camera: str, name: str, there: bool) -> None:
    """Whether a camera has a stream of that name."""
    stream = schema.stream
    connection.execute(delete(stream).where(stream.c.camera_id == camera, stream.c.name == name))
    if there:
        connection.execute(insert(stream).values(camera_id=camera, name=name))


def _created(values: object) -> int:
    assert isinstance(values, dict)
    created = values["created_us"]
    assert isinstance(created, int)
    return created


def _check_plan(connection: Connection, plan: str) -> None:
    plans = [name for (name,) in connection.execute(select(schema.plan.c.name).order_by(schema.plan.c.name))]
    if plan not in plans:
        raise InvalidValueError(f"there is no plan {plan!r}: use one of {', '.join(plans)}")


def _check_transport(transport: str) -> None:
    if transport not in ("udp", "tcp"):
        raise InvalidValueError(f"media does not come over {transport!r}: use udp or tcp")


def _check_priority(priority: int) -> None:
    if not 0 <= priority <= 9:
        raise InvalidValueError(f"{priority} is no priority: give one from 0 (stops first) to 9")


def _no_camera(identity: str) -> NotFoundError:
    return NotFoundError(f"there is no camera {identity!r}")
