"""Changes made by one process are seen by the others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from soip.directory.directory import Directory
from soip.directory.watcher import POLL_S

from .samples import REALM, binding, recording


async def next_of(changes: AsyncIterator[int]) -> int:
    async with asyncio.timeout(5):
        return await anext(changes)


async def test_the_first_comes_at_once_and_then_each_change(url: str, directory: Directory) -> None:
    changes = aiter(directory.changes(0.01))
    assert await next_of(changes) == 1
    async with await Directory.open(url) as other:
        await other.cameras.add("cam1", realm=REALM, password="p")
        assert await next_of(changes) == 2
        await other.users.add("bob", password="p", role="viewer", realm=REALM, sip_password="s")
        await other.cameras.remove("cam1")
        assert await next_of(changes) in (3, 4)


async def test_what_runs_is_no_change(directory: Directory) -> None:
    changes = aiter(directory.changes(0.01))
    assert await next_of(changes) == 1
    await directory.save(binding("cam1"), recording("a", 0, 1))
    await directory.settings.audit("a", "b", "c")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(changes), 0.1)


async def test_it_outlives_a_database_that_is_away(directory: Directory, file: Path) -> None:
    changes = aiter(directory.changes(0.01))
    await next_of(changes)
    away = file.with_suffix(".away")
    os.rename(file, away)
    with capture_logs() as logs:
        waiting = asyncio.ensure_future(next_of(changes))
        await asyncio.sleep(0.1)
        os.rename(away, file)
        await directory.cameras.add("cam1", realm=REALM, password="p")
        assert await waiting == 2
    assert [entry["event"] for entry in logs] == ["directory away"]


def test_two_seconds_are_kept() -> None:
    assert POLL_S <= 1
