"""What breaks comes back by itself, and the page says what it shows meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Visit
from tests.e2e.product import GATE, Product
from tests.e2e.watcher import Watcher

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]


async def test_a_camera_that_dies_is_not_taken_for_a_quiet_scene(visit: Visit, product: Product) -> None:
    await product.past()
    page = await visit()
    tile = page.tile(GATE)
    state, message = tile.get_by_test_id("camera-state"), tile.get_by_test_id("picture-message")
    await page.until_live(GATE)
    said = await page.listen(f"[data-camera={GATE}] [data-testid=picture-message]")
    await asyncio.to_thread(product.gate.kill)
    await said.until("No picture is arriving.")
    await expect(state).to_have_text("No picture")
    await expect(message).to_have_text("The camera sends no picture.")
    await page.shot("grid-no-picture")
    await product.open_gate()
    await page.until_live(GATE)
    await expect(state).to_have_text("Recording")
    await expect(message).to_have_text("")


async def test_the_page_outlives_the_web_role(visit: Visit, product: Product) -> None:
    grid, large = await visit(), await visit()
    await grid.until_live("cam1")
    await large.open_camera("cam2")
    said = await large.listen("body")
    await asyncio.to_thread(product.site.kill_process, "web")
    killed = time.time() * 1000
    await said.until("The server does not answer.")
    await large.shot("server-away")
    await asyncio.gather(_live_again(grid, "cam1", killed), _live_again(large, "cam2", killed))
    await expect(large.page.get_by_text("The server does not answer.")).to_have_count(0)


async def test_the_page_outlives_the_media_worker(visit: Visit, product: Product) -> None:
    page = await visit()
    await page.open_camera("cam2")
    said = await page.listen("[data-testid=stage] [data-testid=picture-message]")
    await asyncio.to_thread(product.site.kill_process, "media-0")
    killed = time.time() * 1000
    await said.until()
    await _live_again(page, "cam2", killed)
    stage = page.at("stage").get_by_test_id("picture-message")
    await expect(stage).to_have_text("")


async def _live_again(page: Watcher, camera: str, killed: float) -> None:
    """Pictures come that were sent after something was killed (at `killed`, ms UTC)."""
    await page.until_shown(page.live_video(camera), lambda stamp: stamp.utc_ms > killed + 500)
    await page.until_live(camera)
    print(f"{camera} live again {time.time() - killed / 1000:.1f} s after the kill")
