"""Who may do what, and how soon a right that has ended has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Visit
from tests.e2e.product import PEOPLE_PASSWORD, Product

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]

SOON_S = 12
"""A right that ends, ends so soon: within two seconds, and what a busy machine needs."""


async def test_a_viewer_watches_and_plays_back_but_takes_nothing_home(visit: Visit, product: Product) -> None:
    await product.add_person("vera", "viewer")
    page = await visit("vera", PEOPLE_PASSWORD)
    await expect(page.at("signed-in-user")).to_contain_text("Viewer")
    await page.open_camera("cam1")
    await expect(page.at("timeline-recording").last).to_be_visible()
    await expect(page.at("range-select")).to_have_count(0)
    await expect(page.at("download")).to_have_count(0)
    await page.at("skip-back").click()
    assert (await page.first_shown()).utc_ms > 0
    asked = page.page.request
    refused = await asked.post("/api/cameras/cam1/grants", data={"action": "export"})
    assert refused.status == 403
    assert (await refused.json())["error"] == "not_allowed"
    # A token for playback opens no export.
    given = await (await asked.post("/api/cameras/cam1/grants", data={"action": "playback"})).json()
    window = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:01:00Z", "token": given["token"]}
    assert (await asked.get(f"{given['url']}/export/cam1.mp4", params=window)).status == 403
    assert (await asked.get(f"{given['url']}/hls/cam2/index.m3u8", params=window)).status == 403


Ending = Callable[[Product], Awaitable[None]]


async def _removed(product: Product) -> None:
    await product.directory.users.remove("otto")


async def _demoted(product: Product) -> None:
    await product.directory.users.set_role("otto", "viewer")


async def _new_password(product: Product) -> None:
    await product.directory.users.set_password("otto", "another password")


@pytest.mark.parametrize("ending", [_demoted, _new_password, _removed])
async def test_a_right_that_ends_is_over_at_once(visit: Visit, product: Product, ending: Ending) -> None:
    if await product.directory.users.get("otto"):
        await product.directory.users.remove("otto")
    await product.add_person("otto", "operator")
    page = await visit("otto", PEOPLE_PASSWORD)
    await page.open_camera("cam1")
    await ending(product)
    took = await page.until_out(SOON_S)
    print(f"out after {took:.1f} s")
    await expect(page.page.locator("video")).to_have_count(0)
    await product.until(lambda: all(socket.is_closed() for socket in page.sockets))
    await page.shot("session-ended")


async def test_a_session_ended_elsewhere_ends_here(visit: Visit, product: Product) -> None:
    page = await visit()
    await page.open_camera("cam1")
    cookies = {cookie["name"]: cookie["value"] for cookie in await page.page.context.cookies() if "name" in cookie}
    async with httpx.AsyncClient(base_url=product.base, cookies=cookies, trust_env=False, timeout=60) as other:
        assert (await other.delete("/api/session")).status_code == 204
    await page.until_out(SOON_S)


async def test_the_server_ends_live_even_when_the_page_does_not(visit: Visit, product: Product) -> None:
    """A page that was changed to ignore everything loses its pictures all the same."""
    await product.add_person("mallory", "viewer")
    page = await visit("mallory", PEOPLE_PASSWORD)
    await page.page.route("**/api/cameras", lambda route: route.fulfill(status=200, body=json.dumps([])))
    given = await (await page.page.request.post("/api/cameras/cam1/grants", data={"action": "live"})).json()
    script = """([url, token]) => new Promise(done => {
      const socket = new WebSocket(`ws://${location.host}${url}/live/cam1?token=${token}`);
      let count = 0;
      socket.onmessage = () => { if (++count === 20) document.title = 'flowing'; };
      socket.onclose = event => done([event.code, count]);
    })"""
    over = asyncio.ensure_future(page.page.evaluate(script, [given["url"], given["token"]]))
    await expect(page.page).to_have_title("flowing")
    await product.directory.users.remove("mallory")
    async with asyncio.timeout(SOON_S):
        code, count = await over
    assert code == 4403
    assert count >= 20
