"""Traces of calls: the newest first, by who takes part, in groups; a place is used again and never a version raised."""

from __future__ import annotations

from dataclasses import replace

from soip.directory.directory import Directory
from soip.directory.traces import MOST

from .samples import trace


async def test_the_newest_come_first_and_without_their_ladders(directory: Directory) -> None:
    rows = [replace(trace(slot, start=slot), ladder="long") for slot in range(5)]
    await directory.save(*rows)
    found = await directory.traces.last(limit=3)
    assert [row.slot for row in found] == [4, 3, 2]
    assert {row.ladder for row in found} == {""}
    assert await directory.traces.last(ladders=True) == rows[::-1]


async def test_those_of_one_party_are_those_it_made_and_those_it_got(directory: Directory) -> None:
    await directory.save(
        trace(1, start=1), trace(2, start=2, callee="cam2"), trace(3, start=3, caller="cam1", callee="bob")
    )
    assert [row.slot for row in await directory.traces.last(party="cam1")] == [3, 1]
    assert [row.slot for row in await directory.traces.last(party="ann", limit=1)] == [2]
    assert await directory.traces.last(party="' OR 1=1 --") == []


async def test_a_call_comes_with_those_that_belong_to_it_oldest_first(directory: Directory) -> None:
    rows = [trace(1, start=5), trace(2, group="t1", start=6), trace(3, group="t1", start=4), trace(4)]
    await directory.save(*rows)
    for identity in ("t1", "t2", "t3"):
        assert await directory.traces.call(identity) == [rows[2], rows[0], rows[1]]
    assert await directory.traces.call("t4") == [rows[3]]
    assert await directory.traces.call("none") == []


async def test_a_place_that_is_used_again_holds_the_newer_call(directory: Directory) -> None:
    version = await directory.settings.version()
    async with directory.write_behind() as later:
        for number in range(3 * MOST):
            later.save(trace(number % MOST, identity=f"n{number}", start=number))
        assert len(later) == MOST, "also while the directory is away"
    rows = await directory.traces.last(limit=10 * MOST)
    assert len(rows) == MOST
    assert rows[0].id == f"n{3 * MOST - 1}"
    assert await directory.traces.call("n0") == []
    assert await directory.settings.version() == version
    await directory.delete(rows[0])
    assert len(await directory.traces.last()) == MOST - 1
