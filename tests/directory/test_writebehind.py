"""Rows written behind: one transaction a second, none lost while the database is away, none waited for."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from soip.directory import database as database_module
from soip.directory import writebehind
from soip.directory.database import Database
from soip.directory.directory import Directory
from soip.directory.rows import MediaInstance
from soip.directory.writebehind import WriteBehind

from .samples import binding, gap, recording


class CountingDatabase(Database):
    """A real database that counts its transactions."""

    writes = 0

    async def write(self, work: object) -> object:  # type: ignore[override]
        self.writes += 1
        return await super().write(work)  # type: ignore[arg-type]


async def test_saving_does_not_wait_and_leaving_writes(directory: Directory) -> None:
    async with directory.write_behind(interval_s=60) as later:
        later.save(recording("a", 0, 1), gap("g", 1, 2))
        later.save(binding("cam1"))
        assert len(later) == 3
        assert await directory.catalog.recordings("cam1") == []
    assert await directory.catalog.recordings("cam1") == [recording("a", 0, 1)]
    assert await directory.catalog.gaps("cam1") == [gap("g", 1, 2)]
    assert await directory.calls.bindings() == [binding("cam1")]


async def test_rows_arrive_within_the_interval(directory: Directory) -> None:
    async with directory.write_behind(interval_s=0.02) as later:
        later.save(binding("cam1"))
        async with asyncio.timeout(30):
            while len(later):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await directory.calls.bindings() == [binding("cam1")]


async def test_only_the_last_state_is_written_and_in_one_transaction(url: str) -> None:
    database = await CountingDatabase.open(url)
    assert isinstance(database, CountingDatabase)
    database.writes = 0
    later = WriteBehind(database)
    for cseq in range(100):
        later.save(*(binding(f"cam{number}", cseq=cseq) for number in range(20)))
    later.delete(binding("cam3"))
    later.save(recording("a", 0, 1))
    assert await later.flush()
    assert database.writes == 1
    assert await later.flush()
    assert database.writes == 1  # Nothing to write: no transaction.
    rows = await Directory(database).calls.bindings()
    assert {row.aor for row in rows} == {f"cam{number}" for number in range(20)} - {"cam3"}
    assert {row.cseq for row in rows} == {99}
    await database.close()


async def test_a_row_that_changes_while_it_is_written_is_written_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await Database.open(url)
    later = WriteBehind(database)
    later.save(binding("cam1", cseq=1))
    write = database.write

    async def meanwhile(work: object) -> object:
        monkeypatch.undo()
        later.save(binding("cam1", cseq=2))
        return await write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "write", meanwhile)
    assert await later.flush()
    assert len(later) == 0
    assert await Directory(database).calls.bindings() == [binding("cam1", cseq=2)]
    await database.close()


async def test_nothing_is_lost_while_the_database_is_away(directory: Directory, file: Path) -> None:
    later = directory.write_behind()
    away = file.with_suffix(".away")
    os.rename(file, away)
    with capture_logs() as logs:
        for number in range(3):
            later.save(recording(str(number), number, number + 1))
            assert not await later.flush()
        assert len(later) == 3
        os.rename(away, file)
        assert await later.flush()
    assert [entry["event"] for entry in logs] == ["directory away", "directory back"]  # Once each.
    assert len(await directory.catalog.recordings("cam1")) == 3


async def test_nothing_is_lost_while_another_process_holds_the_lock(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 20)
    async with await Directory.open(url) as directory:
        with sqlite3.connect(file, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            later = directory.write_behind()
            later.save(binding("cam1"))
            assert not await later.flush()
            other.execute("COMMIT")
        other.close()
        await later.close()
        assert await directory.calls.bindings() == [binding("cam1")]


async def test_the_queue_has_an_end_and_drops_the_oldest(directory: Directory, file: Path) -> None:
    later = directory.write_behind(limit=10)
    for number in range(25):
        later.save(recording(f"{number:02}", number, number + 1))
    assert (len(later), later.dropped) == (10, 15)
    later.save(replace(recording("24", 24, 30)))  # A new state of a row that waits needs no room.
    assert (len(later), later.dropped) == (10, 15)
    await later.close()
    rows = await directory.catalog.recordings("cam1")
    assert [row.id for row in rows] == [f"{number:02}" for number in range(15, 25)]
    assert rows[-1].end_us == 30_000_000


async def test_one_bad_row_does_not_keep_the_others(directory: Directory) -> None:
    """An instance of a media server that was removed breaks a foreign key."""
    orphan = MediaInstance("gone-0", "gone", 0, "a:1", "b:2", 1, 2, 3)
    later = directory.write_behind()
    later.save(binding("cam1"), orphan, recording("a", 0, 1))
    with capture_logs() as logs:
        assert await later.flush()
    assert len(later) == 0
    assert [(entry["event"], entry["kind"]) for entry in logs] == [("directory row refused", "MediaInstance")]
    assert await directory.calls.bindings() == [binding("cam1")]
    assert await directory.catalog.recordings("cam1") == [recording("a", 0, 1)]
    assert await directory.media.instances() == []


async def test_values_the_database_cannot_hold_are_bad_rows_too(directory: Directory) -> None:
    later = directory.write_behind()
    later.save(binding("cam1", cseq=1 << 70), binding("cam2"))
    with capture_logs() as logs:
        assert await later.flush()
    assert [entry["event"] for entry in logs] == ["directory row refused"]
    assert await directory.calls.bindings() == [binding("cam2")]


async def test_text_that_is_no_utf_8_is_written_as_well_as_it_can_be(directory: Directory) -> None:
    later = directory.write_behind()
    raw = binding("cam1", "sip:gate\udcb0@192.0.2.1")  # a byte 0xB0, as it comes out of a header line
    later.save(replace(raw, user_agent="Cam\udcb0\udca1"))
    assert await later.flush()
    (row,) = await directory.calls.bindings()
    assert (row.contact, row.user_agent) == ("sip:gate?@192.0.2.1", "Cam??")
    later.delete(raw)
    assert await later.flush()
    assert await directory.calls.bindings() == []


async def test_a_fault_does_not_end_the_writing(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [ZeroDivisionError(), ZeroDivisionError()]
    apply = writebehind._apply

    def faulty(*arguments: object) -> None:
        if faults:
            raise faults.pop()
        apply(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writebehind, "_apply", faulty)
    with capture_logs() as logs:
        async with directory.write_behind(interval_s=0.02) as later:
            later.save(binding("cam1"))
            async with asyncio.timeout(30):
                while len(later):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert [entry["event"] for entry in logs] == ["directory rows not written"] * 2
    assert await directory.calls.bindings() == [binding("cam1")]


async def test_what_cannot_be_written_at_the_end_is_told(directory: Directory, file: Path) -> None:
    later = directory.write_behind()
    later.save(binding("cam1"), binding("cam2"))
    os.unlink(file)
    with capture_logs() as logs:
        await later.close()
    assert {key: logs[-1][key] for key in ("event", "rows")} == {"event": "directory rows lost", "rows": 2}


async def test_ten_thousand_registrations_of_a_cold_start_are_batched(url: str) -> None:
    database = await CountingDatabase.open(url)
    assert isinstance(database, CountingDatabase)
    database.writes = 0
    later = WriteBehind(database)
    later.save(*(binding(f"cam{number}") for number in range(10_000)))
    assert await later.flush()
    assert database.writes == 2
    assert await database.read(count) == 10_000
    await database.close()


def count(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT count(*) FROM binding").scalar_one())
