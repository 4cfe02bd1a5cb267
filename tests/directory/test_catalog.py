"""Finding recordings and gaps: the same as looking at each row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Compiled, Connection, create_engine, update

from soip.directory import schema
from soip.directory.catalog import touching
from soip.directory.directory import Directory
from soip.directory.rows import RecordingRow
from soip.directory.saving import row_of, save_rows

from .samples import SECOND, gap, recording


def ids(rows: Iterable[object]) -> list[str]:
    return [str(getattr(row, "id", None)) for row in rows]


async def test_a_range_finds_what_touches_it(directory: Directory) -> None:
    await directory.save(
        recording("c", 20, 30), recording("a", 0, 10), recording("b", 10, 20), recording("x", 0, 99, camera="cam2")
    )
    catalog = directory.catalog

    async def found(start: float, end: float) -> list[str]:
        return ids(await catalog.recordings("cam1", int(start * SECOND), int(end * SECOND)))

    assert await found(0, 30) == ["a", "b", "c"]
    assert await found(12, 13) == ["b"]
    assert await found(15, 25) == ["b", "c"]
    assert await found(31, 40) == []
    assert ids(await catalog.recordings("cam1")) == ["a", "b", "c"]
    assert ids(await catalog.recordings("cam1", limit=2)) == ["a", "b"]
    assert ids(await catalog.recordings("cam2")) == ["x"]
    assert await catalog.explained_until("cam1") == 30 * SECOND
    assert await catalog.explained_until("cam3") is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=15), st.integers(0, 70), st.integers(0, 70))
def test_a_range_finds_what_a_plain_loop_finds(spans: list[tuple[int, int]], start: int, end: int) -> None:
    """Touching: it starts before the end of the range, and does not end before its start."""
    rows = [recording(str(number), low, low + length) for number, (low, length) in enumerate(spans)]
    wanted = {row.id for row in rows if row.start_us < end * SECOND and row.end_us >= start * SECOND}
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        schema.recording.create(connection)
        save_rows(connection, rows)
        query = touching(schema.recording, "cam1", start * SECOND, end * SECOND, 100)
        found = [row_of(RecordingRow, row) for row in connection.execute(query)]
    engine.dispose()
    assert set(ids(found)) == wanted
    assert [row.start_us for row in found] == sorted(row.start_us for row in found)


async def test_what_touches_a_range_is_found_without_reading_the_rest(directory: Directory) -> None:
    await directory.save(recording("a", 0, 10), gap("g", 10, 20))
    for table in (schema.recording, schema.gap):
        query = touching(table, "cam1", 5 * SECOND, 6 * SECOND, 100).compile(compile_kwargs={"literal_binds": True})

        def plan(connection: Connection, query: Compiled = query) -> str:
            return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all())

        found = await directory.catalog._database.read(plan)
        assert "start_us (camera_id=? AND start_us>? AND start_us<?)" in found
        assert f"ix_{table.name}_camera_id_length (camera_id=?)" in found


async def test_what_came_last_explains_up_to_its_end(directory: Directory) -> None:
    assert await directory.catalog.explained_until("cam1") is None
    await directory.save(recording("a", 0, 30), recording("b", 5, 20), recording("x", 0, 99, camera="cam2"))
    assert await directory.catalog.explained_until("cam1") == 30 * SECOND
    await directory.save(gap("g", 30, 31))
    assert await directory.catalog.explained_until("cam1") == 31 * SECOND
    assert await directory.catalog.explained_until("cam3") is None


async def test_which_files_are_known(directory: Directory) -> None:
    await directory.save(recording("a", 0, 30), recording("b", 30, 60))
    await directory.catalog._database.write(
        lambda connection: connection.execute(update(schema.recording), {"expiring": True})
    )
    assert await directory.catalog.recordings("cam1") == []
    many = [str(number) for number in range(2000)]
    assert await directory.catalog.known(["a", *many, "b"]) == {"a", "b"}
    assert await directory.catalog.known([]) == set()


async def test_a_recording_grows_until_it_is_sealed(directory: Directory) -> None:
    growing = recording("a", 0, 2, sealed=False)
    await directory.save(growing)
    assert await directory.catalog.unsealed("m-0") == [growing]
    assert await directory.catalog.unsealed("m-1") == []
    sealed = recording("a", 0, 600)
    await directory.save(sealed)
    assert await directory.catalog.recording("a") == sealed
    assert await directory.catalog.unsealed("m-0") == []
    assert await directory.catalog.recording("b") is None
    await directory.delete(sealed)
    assert await directory.catalog.recording("a") is None


async def test_gaps_are_extended_and_found(directory: Directory) -> None:
    await directory.save(gap("g", 10, 15))
    await directory.save(gap("g", 10, 20), gap("h", 40, 41, cause="disk"))
    assert await directory.catalog.gaps("cam1") == [gap("g", 10, 20), gap("h", 40, 41, cause="disk")]
    assert ids(await directory.catalog.gaps("cam1", 19 * SECOND, 40 * SECOND)) == ["g"]
    assert await directory.catalog.gaps("cam2") == []
    assert await directory.catalog.newest_gap("cam1") == gap("h", 40, 41, cause="disk")
    assert await directory.catalog.newest_gap("cam2") is None


async def test_a_rebuild_deletes_what_is_gone_and_leaves_what_came_meanwhile(directory: Directory) -> None:
    elsewhere = replace(recording("e", 0, 1), server_id="n")
    lost, begun = recording("a", 0, 10), recording("b", 10, 20, sealed=False)
    await directory.save(lost, begun, elsewhere, gap("h", 3, 4))
    await directory.catalog.replace("m", [recording("c", 5, 9)], [gap("g", 9, 10)], [lost])
    assert ids(await directory.catalog.of_server("m")) == ["b", "c"]
    assert ids(await directory.catalog.of_server("n")) == ["e"]
    assert ids(await directory.catalog.gaps("cam1")) == ["h", "g"]
    assert await directory.catalog.gap_ids() == {"g", "h"}


async def test_a_rebuild_does_not_undo_a_sealing_nor_forget_a_digest(directory: Directory) -> None:
    sealed = replace(recording("a", 0, 10), bytes=100, sha256="abc")
    await directory.save(sealed, replace(recording("b", 10, 20), bytes=50, sha256="def"))
    read_before = replace(sealed, sealed=False, end_us=9 * SECOND, bytes=90, sha256="")
    changed = replace(recording("b", 10, 20), bytes=60, sha256="")
    await directory.catalog.replace("m", [read_before, changed], [], [])
    assert await directory.catalog.recordings("cam1") == [sealed, changed]
    await directory.catalog.replace("m", [replace(sealed, sha256="")], [], [])
    assert await directory.catalog.recording("a") == sealed
