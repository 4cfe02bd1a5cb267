"""Alarms in their order, handed over or not, and what somebody has missed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from soip.directory import migrations
from soip.directory.database import Database
from soip.directory.directory import Directory
from soip.directory.errors import UnavailableError
from soip.directory.events import BATCH
from soip.directory.rows import EventPositionRow, EventRow

from .samples import REALM, SECOND, alarm


def ids(rows: list[EventRow]) -> list[str]:
    return [row.id for row in rows]


async def mark(directory: Directory, position: int, user: str = "ann", resource: str = "cam1") -> None:
    await directory.save(EventPositionRow(user, resource, position, 0))


async def test_an_event_is_kept_once_and_as_it_was_first(directory: Directory) -> None:
    first = await directory.events.record([alarm("a", 1), alarm("b", 2), alarm("a", 3)])
    assert [(row.id, row.position) for row in first] == [("a", 1), ("b", 2)]
    again = await directory.events.record([replace(alarm("b", 9), detail="changed"), alarm("c", 3)])
    assert [(row.id, row.position) for row in again] == [("c", 3)]
    kept = await directory.events.of_camera("cam1", 0, 10 * SECOND)
    assert kept == [*first, *again]
    assert kept[1].detail == "alarm b"
    assert await directory.events.record([]) == []


async def test_positions_rise_whoever_writes_and_whatever_the_clock_says(directory: Directory) -> None:
    writers = [directory.events.record([alarm(f"{n}-{m}", 100 - n) for m in range(5)]) for n in range(20)]
    positions = [row.position for rows in await asyncio.gather(*writers) for row in rows]
    assert sorted(positions) == list(range(1, 101))
    read = await directory.events.after(0, limit=1000)
    assert [row.position for row in read] == list(range(1, 101))


async def test_what_no_media_server_has_taken(directory: Directory) -> None:
    await directory.events.record([alarm(name) for name in "abcd"])
    await directory.events.record([replace(alarm("m"), kind="motion")])
    assert ids(await directory.events.unhanded()) == ["a", "b", "c", "d"]
    await directory.events.handed(["b", "d", "unknown"], 77)
    assert ids(await directory.events.unhanded()) == ["a", "c"]
    assert ids(await directory.events.unhanded(1)) == ["c"]
    assert ids(await directory.events.unhanded(limit=1)) == ["a"]
    (handed,) = [row for row in await directory.events.after(0) if row.id == "b"]
    assert handed.handed_us == 77


async def test_alarms_of_one_camera_and_of_all(directory: Directory) -> None:
    await directory.events.record([alarm("a", 1), alarm("x", 2, camera="cam2"), alarm("b", 3)])
    assert ids(await directory.events.after(0)) == ["a", "x", "b"]
    assert ids(await directory.events.after(1)) == ["x", "b"]
    assert ids(await directory.events.after(0, camera="cam1")) == ["a", "b"]
    assert ids(await directory.events.after(0, camera="cam1", since_us=2 * SECOND)) == ["b"]
    assert ids(await directory.events.after(0, limit=1)) == ["a"]
    assert ids(await directory.events.of_camera("cam1", SECOND, 3 * SECOND)) == ["a"]
    assert ids(await directory.events.of_camera("cam1", 0, 9 * SECOND, limit=1)) == ["a"]


async def test_who_never_acknowledged_anything_begins_with_what_comes_next(directory: Directory) -> None:
    assert await directory.events.start("ann", "", newest=1000, since_us=0) == 0
    await directory.events.record([alarm("a"), alarm("b")])
    assert await directory.events.start("ann", "", newest=1000, since_us=0) == 2


async def test_the_rest_begin_behind_their_last(directory: Directory) -> None:
    await directory.events.record([alarm(f"{n}", n, camera=f"cam{n % 2 + 1}") for n in range(1, 21)])
    await mark(directory, 4)
    await mark(directory, 18, resource="")
    await mark(directory, 20, user="bob")

    async def start(resource: str = "cam1", newest: int = 1000, since_us: int = 0) -> int:
        return await directory.events.start("ann", resource, newest=newest, since_us=since_us)

    assert await start() == 4
    assert await start("") == 18
    assert await start("cam2") == 20
    # cam1 has the even ones: of them the newest three are 16, 18 and 20.
    assert await start(newest=3) == 14
    assert await start(newest=3, since_us=19 * SECOND) == 4, "there are fewer: nothing to cut"
    assert ids(await directory.events.after(4, camera="cam1", since_us=19 * SECOND)) == ["20"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(st.lists(st.sampled_from(["cam1", "cam2"]), max_size=30), st.integers(0, 30), st.integers(1, 10), st.booleans())
async def test_what_was_missed_is_told_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, cameras: list[str], known: int, newest: int, every: bool
) -> None:
    folder = tmp_path_factory.mktemp("missed")
    async with await Directory.open(f"sqlite+aiosqlite:///{folder / 'soip.db'}") as directory:
        await directory.events.record([alarm(str(n), n, camera=camera) for n, camera in enumerate(cameras, 1)])
        resource = "" if every else "cam1"
        await mark(directory, known, resource=resource)
        begin = await directory.events.start("ann", resource, newest=newest, since_us=0)
        told = ids(await directory.events.after(begin, camera=resource))
    missed = [str(n) for n, camera in enumerate(cameras, 1) if n > known and (every or camera == "cam1")]
    assert told == missed[-newest:]


async def test_a_person_who_is_removed_leaves_no_position(directory: Directory) -> None:
    await directory.users.add("ann", password="x", role="viewer", realm=REALM, sip_password="y")
    await directory.events.record([alarm("a"), alarm("b")])
    await mark(directory, 1)
    await directory.users.remove("ann")
    assert await directory.events.start("ann", "cam1", newest=10, since_us=0) == 2


async def test_a_directory_that_is_away_keeps_nothing(directory: Directory, file: Path) -> None:
    away = file.with_suffix(".away")
    os.rename(file, away)
    with pytest.raises(UnavailableError):
        await directory.events.record([alarm("a")])
    os.rename(away, file)
    assert ids(await directory.events.record([alarm("a")])) == ["a"]


async def test_a_database_of_the_first_version_is_brought_here(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "HEAD", "0001")
    database = await Database.open(url)
    row = "INSERT INTO event (id, camera_id, kind, start_us) VALUES ('old', 'cam1', 'motion', 5)"
    await database.write(lambda connection: connection.execute(text(row)))
    await database.close()
    monkeypatch.undo()
    async with await Directory.open(url) as directory:
        (old,) = await directory.events.of_camera("cam1", 0, 10)
        assert (old.id, old.position, old.body, old.handed_us) == ("old", 0, "", None)
        assert await directory.events.unhanded() == []
        (new,) = await directory.events.record([alarm("a")])
        assert new.position == 1


async def test_old_events_go_and_those_that_wait_stay_for_longer(directory: Directory) -> None:
    events = directory.events
    await events.record([alarm(f"{n}", n) for n in range(1, 11)])
    await events.record([replace(alarm("m", 2.5), kind="motion")])
    await events.handed(["1", "2", "4", "8"], 5)
    assert await events.old(5 * SECOND) == 5
    assert await events.forget(0, 5, 2 * SECOND) == (4, 3), "1, 2 and 4; 3 waits"
    assert ids(await events.after(0)) == ["3", *map(str, range(5, 11))]
    assert await events.forget(4, 5, 2 * SECOND) == (5, 0)
    assert await events.forget(0, 5, 4 * SECOND) == (3, 1), "it has waited for too long"
    assert ids(await events.after(0)) == list(map(str, range(5, 11)))


async def test_the_newest_event_is_never_forgotten_for_positions_go_on_from_it(directory: Directory) -> None:
    await directory.events.record([alarm("a", 1), alarm("b", 2)])
    assert await directory.events.old(100 * SECOND) == 2
    await directory.events.forget(0, 2, 100 * SECOND)
    assert ids(await directory.events.after(0)) == ["b"]
    (row,) = await directory.events.record([alarm("c", 3)])
    assert row.position == 3, "people have been told up to 2"


async def test_nothing_is_old_where_nothing_is(directory: Directory) -> None:
    assert await directory.events.old(100) == 0
    assert await directory.events.forget(0, 0, 100) == (0, 0)


async def test_what_is_behind_a_younger_one_waits_for_it(directory: Directory) -> None:
    """A clock that ran backwards: nothing is forgotten too early, and nothing is searched for."""
    await directory.events.record([alarm("a", 1), alarm("b", 50), alarm("c", 2), alarm("d", 60)])
    assert await directory.events.old(10 * SECOND) == 2
    assert await directory.events.old(55 * SECOND) == 4


async def test_one_transaction_takes_no_more_than_a_batch(directory: Directory) -> None:
    await directory.events.record([alarm(f"{n}") for n in range(BATCH + 10)])
    await directory.events.handed([f"{n}" for n in range(BATCH + 10)], 1)
    until = await directory.events.old(SECOND)
    assert await directory.events.forget(0, until, 0) == (BATCH, BATCH)
    assert await directory.events.forget(BATCH, until, 0) == (BATCH + 9, 9)
    assert await directory.events.forget(BATCH + 9, until, 0) == (until, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=12), before=st.integers(0, 35))
async def test_what_is_young_or_waits_is_never_forgotten(
    directory: Directory, times: list[tuple[int, bool]], before: int
) -> None:
    events = directory.events
    prefix = os.urandom(6).hex()
    rows = [alarm(f"{prefix}-{n}", at) for n, (at, _) in enumerate(times)]
    placed = await events.record(rows)
    await events.handed([row.id for row, (_, handed) in zip(rows, times, strict=True) if handed], 1)
    waiting_us = (before - 10) * SECOND
    position, until = 0, await events.old(before * SECOND)
    while position < until:
        position, _ = await events.forget(position, until, waiting_us)
    left = {row.id for row in await events.after(0, limit=10_000)}
    for row, (_, handed) in zip(placed, times, strict=True):
        young = row.start_us >= before * SECOND
        waits = not handed and row.start_us >= waiting_us
        assert row.id in left or not (young or waits)
    if placed:
        assert placed[-1].id in left
