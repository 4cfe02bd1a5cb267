"""Events that are forgotten, with a real directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.config import Settings
from soip.directory.directory import Directory
from soip.directory.errors import UnavailableError
from soip.directory.events import BATCH, Events
from soip.directory.rows import EventRow
from soip.signalling.bygones import DAY_US, Bygones
from tests.signalling.peer import eventually

NOW_US = 1_000 * DAY_US


def alarm(number: int, days_ago: float, camera: str = "cam1") -> EventRow:
    return EventRow(f"{number}", camera, "alarm", NOW_US - int(days_ago * DAY_US))


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    async with await Directory.open(f"sqlite+aiosqlite:///{tmp_path / 'soip.db'}") as directory:
        yield directory


async def kept(directory: Directory) -> set[str]:
    return {row.id for row in await directory.events.after(0, limit=10_000)}


async def test_what_is_too_old_is_forgotten_and_what_waits_later(directory: Directory) -> None:
    ages = [200, 179, 91, 89, 1]
    await directory.events.record([alarm(n, age) for n, age in enumerate(ages)])
    await directory.events.record([alarm(n + 10, age) for n, age in enumerate(ages)])
    await directory.events.handed([f"{n}" for n in range(5)], NOW_US)
    assert await Bygones(directory.events, 90, lambda: NOW_US).forget() == 3, "those before the first young one"
    await directory.events.record([alarm(99, 0)])
    later = NOW_US + 90 * DAY_US
    assert await Bygones(directory.events, 90, lambda: later).forget() == 2 + 3
    assert await kept(directory) == {"13", "14", "99"}, "two wait for their media server, one is young"
    assert await Bygones(directory.events, 90, lambda: later).forget() == 0


async def test_many_are_forgotten_in_small_batches_and_writers_come_between(directory: Directory) -> None:
    count = 4 * BATCH
    await directory.events.record([alarm(n, 100) for n in range(count)])
    await directory.events.handed([f"{n}" for n in range(count)], NOW_US)
    passing = asyncio.create_task(Bygones(directory.events, 90, lambda: NOW_US).forget())
    written = 0
    while not passing.done():
        written += len(await directory.events.record([alarm(count + written, 0)]))
    assert await passing in (count, count - 1), "the newest is kept"
    assert written > 2
    assert len(await kept(directory)) in (written, written + 1)


class Away(Events):
    """Events of a directory that is away at first."""

    asked = 0

    async def old(self, before_us: int) -> int:
        self.asked += 1
        if self.asked == 1:
            raise UnavailableError("away")
        return 0


async def test_while_the_directory_is_away_it_is_tried_again(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soip.signalling.bygones.PASS_S", 0.01)
    events = Away(directory._database)
    task = asyncio.create_task(Bygones(events, 90).run())

    async def again() -> bool:
        return events.asked > 1

    await eventually(again, 30)
    assert not task.done()
    task.cancel()


def test_people_are_told_what_they_missed_for_as_long_as_events_are_kept(tmp_path: Path) -> None:
    assert Settings(data=tmp_path).event_days == 90
    with pytest.raises(ValueError, match="event_days"):
        Settings(data=tmp_path, event_days=6)
