"""The running system as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.web.system import System, running


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """A web role, a media face and a directory with nobody in it."""
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>SoIP</title>")
    (static / "assets" / "index-abc.js").write_text("export {};")
    (static / ".built").touch()
    async with running(tmp_path, static) as system:
        yield system
