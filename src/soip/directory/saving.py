"""Rows saved whole: one insert-or-replace for each kind, many rows in one statement."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Table, and_, bindparam, delete
from sqlalchemy.dialects.sqlite import insert

from soip.directory import schema
from soip.directory.rows import (
    BindingRow,
    CallTraceRow,
    CameraRow,
    CameraStateRow,
    DialogRow,
    EventPositionRow,
    EventRow,
    GapRow,
    HoldRow,
    HomeRow,
    MediaInstance,
    RecordingRow,
    SavedRow,
    UserRow,
)

TABLES: dict[type[SavedRow], Table] = {
    BindingRow: schema.binding,
    MediaInstance: schema.media_instance,
    CameraStateRow: schema.camera_state,
    RecordingRow: schema.recording,
    GapRow: schema.gap,
    DialogRow: schema.dialog,
    EventPositionRow: schema.event_position,
    CallTraceRow: schema.call_trace,
}

_FIELDS = {kind: [field.name for field in dataclasses.fields(kind)] for kind in TABLES}

R = TypeVar(
    "R",
    UserRow,
    CameraRow,
    BindingRow,
    MediaInstance,
    CameraStateRow,
    RecordingRow,
    GapRow,
    DialogRow,
    EventRow,
    EventPositionRow,
    CallTraceRow,
    HomeRow,
    HoldRow,
)

Key = tuple[type[SavedRow], *tuple[str | int, ...]]
"""What a saved row is known by: its type and the values of its primary key."""


def key_of(row: SavedRow) -> Key:
    """The key of a row; two rows with the same key are two states of one thing."""
    return (type(row), *(getattr(row, column.name) for column in TABLES[type(row)].primary_key))


def save_rows(connection: Connection, rows: Sequence[SavedRow]) -> None:
    """Inserts the rows, or replaces those that are there, in one statement for each kind."""
    for kind, table in TABLES.items():
        names = _FIELDS[kind]
        values = [{name: storable(getattr(row, name)) for name in names} for row in rows if type(row) is kind]
        if not values:
            continue
        statement = insert(table)
        keys = [column.name for column in table.primary_key]
        changed = {name: statement.excluded[name] for name in values[0] if name not in keys}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), values)


def delete_rows(connection: Connection, keys: Sequence[Key]) -> None:
    """Deletes the rows with these keys; it is no error when one is not there."""
    for kind, table in TABLES.items():
        columns = list(table.primary_key)
        values = [
            {f"key_{column.name}": storable(value) for column, value in zip(columns, key[1:], strict=True)}
            for key in keys
            if key[0] is kind
        ]
        if values:
            match = and_(*(column == bindparam(f"key_{column.name}") for column in columns))
            connection.execute(delete(table).where(match), values)


def storable(value: object) -> object:
    """Text as the database takes it: header lines may carry bytes that are no UTF-8, here as lone surrogates."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value


def row_of(kind: type[R], values: Row[Any]) -> R:
    """A row dataclass from a result row that has (at least) its fields."""
    mapping = values._mapping
    return kind(**{field.name: mapping[field.name] for field in dataclasses.fields(kind)})
