"""A directory in a file of its own, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.directory.directory import Directory


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the database will be; its folder has characters that addresses and SQLite URIs treat specially."""
    return tmp_path / "data dir+é" / "soip.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture
async def directory(url: str) -> AsyncIterator[Directory]:
    async with await Directory.open(url) as directory:
        yield directory
