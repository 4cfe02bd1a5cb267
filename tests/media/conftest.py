"""Houses to live in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from soip.directory.errors import NotFoundError
from tests.media.house import House, living


@pytest.fixture(scope="session")
def furnished_media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory made once."""
    data = tmp_path_factory.mktemp("furnished-media")
    asyncio.run(House(data).furnish())
    return data


@pytest.fixture
async def house(furnished_media: Path, tmp_path: Path) -> AsyncIterator[House]:
    """A furnished house whose SIP server runs."""
    async with living(furnished_media, tmp_path) as house:
        yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(furnished_media: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house whose media worker runs, shared by a module's tests: each brings a camera of its own."""
    async with living(furnished_media, tmp_path_factory.mktemp("home")) as house:
        house.start_media()
        await house.base()
        yield house


_numbers = itertools.count(1)


@pytest_asyncio.fixture(loop_scope="module")
async def name(home: House) -> AsyncIterator[str]:
    """The id of a camera nobody else has; it is removed at the end."""
    name = f"cam-{next(_numbers)}"
    yield name
    with suppress(NotFoundError):
        await home.directory.cameras.remove(name)
