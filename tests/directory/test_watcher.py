"""Changes made by one process are seen by the others."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from soip.directory.directory import Directory
from soip.directory.errors import UnavailableError
from soip.directory.watcher import POLL_S

from .samples import REALM, binding, recording


class Follower:
    """Follows a directory; `trouble` makes the next loads fail."""

    def __init__(self, directory: Directory) -> None:
        self.trouble: list[Exception] = []
        self._loads = asyncio.Queue[None]()
        self._task = asyncio.ensure_future(directory.follow(self._load, 0.01))

    async def _load(self) -> None:
        self._loads.put_nowait(None)
        if self.trouble:
            raise self.trouble.pop()

    async def loaded(self, times: int = 1) -> None:
        """So many loads begin, and no more."""
        async with asyncio.timeout(30):
            for _ in range(times):
                await self._loads.get()
        await self.quiet()

    async def quiet(self) -> None:
        await asyncio.sleep(0.1)
        assert self._loads.empty()

    async def __aenter__(self) -> Follower:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def test_it_loads_at_once_and_after_each_change(url: str, directory: Directory) -> None:
    async with Follower(directory) as follower, await Directory.open(url) as other:
        await follower.loaded()
        await other.cameras.add("cam1", realm=REALM, password="p")
        await follower.loaded()
        await other.users.add("bob", password="p", role="viewer", realm=REALM, sip_password="s")
        await follower.loaded()


async def test_what_runs_is_no_change(directory: Directory) -> None:
    async with Follower(directory) as follower:
        await follower.loaded()
        await directory.save(binding("cam1"), recording("a", 0, 1))
        await directory.settings.audit("a", "b", "c")
        await follower.quiet()


async def test_it_outlives_a_database_that_is_away(directory: Directory, file: Path) -> None:
    async with Follower(directory) as follower:
        await follower.loaded()
        away = file.with_suffix(".away")
        os.rename(file, away)
        with capture_logs() as logs:
            async with asyncio.timeout(30):
                while not logs:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            os.rename(away, file)
            await directory.cameras.add("cam1", realm=REALM, password="p")
            await follower.loaded()
        assert [entry["event"] for entry in logs] == ["directory away"]


async def test_what_could_not_be_loaded_is_loaded_again(directory: Directory) -> None:
    async with Follower(directory) as follower:
        await follower.loaded()
        follower.trouble = [UnavailableError("locked"), UnavailableError("locked")]
        with capture_logs() as logs:
            await directory.cameras.add("cam1", realm=REALM, password="p")
            await follower.loaded(3)
        assert [entry["event"] for entry in logs] == ["directory away"]


async def test_a_fault_of_the_loader_is_not_swallowed(directory: Directory) -> None:
    async def load() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await directory.follow(load, 0.01)


def test_two_seconds_are_kept() -> None:
    assert POLL_S <= 1
