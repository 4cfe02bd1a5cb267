"""Handing alarms over, with a real directory and media servers that are there, away, or refuse."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.directory.directory import Directory
from soip.directory.rows import EventRow
from soip.net.backoff import Backoff
from soip.signalling.handover import PAGE, Handover
from tests.signalling.peer import eventually

QUICK = Backoff(0.05, 0.2)


def alarm(number: int, camera: str = "cam1") -> EventRow:
    return EventRow(f"{camera}-{number}", camera, "alarm", number)


class Servers:
    """Media servers by camera: `up` are connected, `willing` take alarms. `asked` counts what each event was sent."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.up = {"cam1": "m-1", "cam2": "m-2"}
        self.willing = {"m-1", "m-2"}
        self.asked: Counter[str] = Counter()
        self.handover = Handover(directory.events, self.up.get, self.deliver, QUICK, lambda: 1.0)

    async def deliver(self, row: EventRow, instance: str) -> bool:
        self.asked[row.id] += 1
        await asyncio.sleep(0)
        return instance in self.willing

    async def waiting(self) -> list[str]:
        return [row.id for row in await self.directory.events.unhanded(limit=10_000)]

    async def until(self, *left: str) -> None:
        async def so() -> bool:
            return await self.waiting() == list(left)

        await eventually(so)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with await Directory.open(f"sqlite+aiosqlite:///{tmp_path / 'soip.db'}") as directory:
        servers = Servers(directory)
        await directory.events.record([alarm(n) for n in range(3)])
        task = asyncio.create_task(servers.handover.run())
        try:
            yield servers
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_what_is_there_at_the_start_and_what_comes(servers: Servers) -> None:
    await servers.until()
    await servers.directory.events.record([alarm(n) for n in range(3, 3 + 2 * PAGE)])
    servers.handover.wake()
    await servers.until()
    assert set(servers.asked.values()) == {1}
    assert len(servers.asked) == 3 + 2 * PAGE


async def test_one_server_that_is_away_holds_up_no_other(servers: Servers) -> None:
    del servers.up["cam1"]
    servers.willing.discard("m-2")
    await servers.directory.events.record([alarm(9), alarm(1, "cam2")])
    servers.handover.wake()

    async def tried() -> bool:
        return servers.asked["cam2-1"] >= 3

    await eventually(tried)
    servers.willing.add("m-2")
    await servers.until(*[row for row in await servers.waiting() if row.startswith("cam1")])
    servers.up["cam1"] = "m-1"
    servers.handover.retry()
    await servers.until()


async def test_a_server_that_failed_is_not_asked_for_each_row(servers: Servers) -> None:
    await servers.until()
    servers.willing.clear()
    before = sum(servers.asked.values())
    await servers.directory.events.record([alarm(n) for n in range(10, 10 + 3 * PAGE)])
    servers.handover.wake()

    async def tried() -> bool:
        return sum(servers.asked.values()) > before

    await eventually(tried)
    assert len(servers.asked) <= 3 + PAGE, "what comes after the first page was not even tried"
    servers.willing.add("m-1")
    await servers.until()


async def test_new_alarms_do_not_have_the_whole_backlog_tried_each_time(servers: Servers) -> None:
    await servers.until()
    servers.willing.discard("m-1")
    await servers.directory.events.record([alarm(50)])
    servers.handover.wake()

    async def failed() -> bool:
        return servers.asked["cam1-50"] >= 4  # pauses are 200 ms by now

    await eventually(failed)
    tried, began = servers.asked["cam1-50"], time.monotonic()
    for number in range(20):
        await servers.directory.events.record([alarm(number, "cam2")])
        servers.handover.wake()
        await asyncio.sleep(0.005)
    await servers.until("cam1-50")
    assert servers.asked["cam1-50"] <= tried + 3 + (time.monotonic() - began) / QUICK.ceiling


async def test_a_directory_that_is_away_is_waited_for(servers: Servers, tmp_path: Path) -> None:
    await servers.until()
    file = tmp_path / "soip.db"
    await servers.directory.events.record([alarm(60)])
    await asyncio.to_thread(file.rename, tmp_path / "away")
    servers.handover.wake()
    await asyncio.sleep(0.1)
    assert servers.asked["cam1-60"] == 0
    await asyncio.to_thread((tmp_path / "away").rename, file)
    await servers.until()
