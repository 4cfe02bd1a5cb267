"""One product and one browser serve all tests here; each test opens pages of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.e2e.product import Product
from tests.e2e.watcher import Watcher

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Visit = Callable[..., Awaitable[Watcher]]
SHOTS = os.environ.get("SHOTS")


@pytest.fixture(scope="package")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    folder = Path(SHOTS) if SHOTS else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def product(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    product = Product(tmp_path_factory.mktemp("demo"))
    try:
        await product.start()
        yield product
    finally:
        await product.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def visit(product: Product, browser: Browser, shots: Path) -> AsyncIterator[Visit]:
    """Opens the console for one more person: signed in as the administrator, as a user, or (None) not at all."""
    watchers: list[Watcher] = []

    async def visit(name: str | None = "admin", password: str = "", **options: Any) -> Watcher:
        watcher = await Watcher.open(browser, product.base, shots, **options)
        watchers.append(watcher)
        if name is not None:
            await watcher.sign_in(name, password or product.admin_password)
            await watcher.at("camera-grid").wait_for()
        return watcher

    yield visit
    for watcher in watchers:
        await watcher.page.unroute_all(behavior="ignoreErrors")
        await watcher.page.close()
    assert [problem for watcher in watchers for problem in watcher.problems] == []
