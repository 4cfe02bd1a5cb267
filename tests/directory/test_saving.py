"""Rows come back as they were saved, whatever is in them, and a later state replaces an earlier one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from soip.directory.directory import Directory
from soip.directory.rows import MediaInstance, SavedRow
from soip.directory.saving import TABLES, delete_rows, key_of, row_of, save_rows

from .samples import KINDS, binding, dialog, rows_of


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_row_comes_back_as_it_was(kind: Any, data: st.DataObject) -> None:
    rows = data.draw(st.lists(rows_of(kind), max_size=4, unique_by=key_of))
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        table = TABLES[kind]
        table.create(connection)
        save_rows(connection, rows)
        save_rows(connection, rows[::-1])
        found = [row_of(kind, row) for row in connection.execute(select(table))]
        assert {key_of(row): row for row in found} == {key_of(row): row for row in rows}
        delete_rows(connection, [key_of(row) for row in rows[:1]])
        assert len(connection.execute(select(table)).all()) == max(0, len(rows) - 1)
    engine.dispose()


def test_the_key_is_the_tables_key() -> None:
    row = binding("cam1", "sip:a")
    assert key_of(row) == (type(row), "cam1", "sip:a")
    assert key_of(replace(row, cseq=9)) == key_of(row)
    assert key_of(replace(row, contact="sip:b")) != key_of(row)


def test_every_saved_kind_has_a_table_with_its_columns() -> None:
    assert set(TABLES) == set(KINDS)
    for kind, table in TABLES.items():
        # Whether a recording is expiring is decided by a transaction of its own, never by a row that is saved late.
        assert set(kind.__slots__) == set(table.columns.keys()) - {"expiring"}, kind


async def test_bindings_and_dialogs(directory: Directory) -> None:
    rows = [binding("cam1"), binding("cam1", "sip:b"), binding("cam2", expires_us=5)]
    await directory.save(*rows)
    assert sorted(await directory.calls.bindings(), key=key_of_text) == sorted(rows, key=key_of_text)
    await directory.save(replace(rows[0], cseq=2))
    assert len(await directory.calls.bindings()) == 3
    await directory.calls.forget_bindings(before_us=6)
    assert {row.aor for row in await directory.calls.bindings()} == {"cam1"}
    await directory.delete(rows[0], rows[2])
    assert [row.contact for row in await directory.calls.bindings()] == ["sip:b"]
    journal = [dialog("b", started_us=2), dialog("a", started_us=1), dialog("c", instance="m-1")]
    await directory.save(*journal)
    assert await directory.calls.dialogs("m-0") == [journal[1], journal[0]]
    await directory.delete(journal[1])
    assert await directory.calls.dialogs("m-0") == [journal[0]]
    camera = journal[0].camera_id
    assert await directory.calls.left_behind(camera, "m-1") == [journal[0]], "what others have left"
    assert await directory.calls.left_behind(camera, "m-0") == [journal[2]]
    assert await directory.calls.left_behind("nobody", "m-2") == []


async def test_over_which_flow_somebody_has_registered_last(directory: Directory) -> None:
    assert await directory.calls.registered_over("cam1", 0) == ""
    rows = [binding("cam1", "sip:a"), binding("cam1", "sip:b", expires_us=20), binding("cam2")]
    flows = [("udp:192.0.2.1:5060", 7), ("tls:192.0.2.1:5061#1", 9), ("tcp:192.0.2.1:5060#2", 11)]
    await directory.save(
        *[replace(row, flow=flow, registered_us=when) for row, (flow, when) in zip(rows, flows, strict=True)]
    )
    assert await directory.calls.registered_over("cam1", 19) == "tls:192.0.2.1:5061#1"
    assert await directory.calls.registered_over("cam1", 20) == "udp:192.0.2.1:5060"


async def test_saving_nothing_is_nothing(directory: Directory) -> None:
    await directory.save()
    await directory.delete()
    assert await directory.calls.bindings() == []
    assert await directory.media.instances() == []
    assert MediaInstance in TABLES


def key_of_text(row: SavedRow) -> str:
    return repr(key_of(row))
