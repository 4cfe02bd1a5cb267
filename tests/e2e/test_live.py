"""Signing in, and pictures of now."""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import av
import pytest
from av.container import InputContainer
from playwright.async_api import Route, expect

from soip.agents import blockcode
from soip.agents.camera import SUB_SIDES
from soip.policy import mediaurl
from tests.e2e.conftest import Visit
from tests.e2e.product import GATE, STALE_S, Product, hash_of
from tests.e2e.watcher import HEIGHT, WIDTH, Watcher
from tests.site import PASSWORD

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]

SAMPLES = 30


async def test_who_is_not_known_does_not_get_in(visit: Visit, product: Product) -> None:
    page = await visit(None)
    await page.shot("sign-in")
    for name, password in (("admin", "wrong"), ("nobody", product.admin_password)):
        await page.sign_in(name, password)
        await expect(page.at("sign-in-message")).to_have_text("The user name or the password is not right.")
        await expect(page.at("sign-in-password")).to_have_value("")
    await page.shot("sign-in-wrong")
    await page.sign_in("admin", product.admin_password)
    await expect(page.at("camera-grid")).to_be_visible()
    await expect(page.at("signed-in-user")).to_contain_text("Administrator")
    await page.page.reload()
    await expect(page.at("camera-grid")).to_be_visible()
    await page.at("sign-out").click()
    await expect(page.at("sign-in-form")).to_be_visible()
    assert (await page.page.request.get("/api/cameras")).status == 401


async def test_the_grid_shows_every_camera_with_name_and_state(visit: Visit) -> None:
    page = await visit()
    for camera, name in (("cam1", "Software camera 1"), ("cam2", "Software camera 2")):
        tile = page.tile(camera)
        await expect(tile).to_contain_text(name)
        await expect(tile.get_by_test_id("camera-state")).to_have_text("Recording")
        await page.until_live(camera)
    # Names that differ: none of the pictures stands in the place of another.
    for camera in ("cam1", "cam2"):
        stamp, _ = await page.look(page.live_video(camera))
        assert stamp
        assert stamp.camera_hash == hash_of(camera)
    await page.shot("grid")
    await page.at("camera-search").fill("camera 2")
    await expect(page.tile("cam1")).to_have_count(0)
    await expect(page.tile("cam2")).to_be_visible()


async def test_the_grid_shows_the_smaller_picture_and_the_large_page_the_whole_one(
    visit: Visit, product: Product
) -> None:
    page = await visit()
    for camera, stream, sides in (("cam1", "sub", SUB_SIDES), (GATE, "live", (WIDTH, HEIGHT))):
        await page.until_live(camera)
        await expect(page.live_video(camera)).to_have_attribute("data-stream", stream)
        assert await page.sides(page.live_video(camera)) == sides
    await page.open_camera("cam1")
    await expect(page.video).to_have_attribute("data-stream", "live")
    await expect(page.video).to_have_attribute("data-phase", "playing")
    assert await page.sides(page.video) == (WIDTH, HEIGHT)
    # Nobody watches the smaller one any more; the large one goes on in the recorder's call.
    await product.until(lambda: product.site.count("camera call ended", camera="cam1", stream="sub"))
    await page.until_live("cam1")


async def test_the_live_picture_moves_and_is_young(
    visit: Visit, record_property: Callable[[str, object], None]
) -> None:
    page = await visit()
    await page.open_camera("cam1")
    await asyncio.sleep(1)
    for _ in range(10):  # While a machine is busy all is late; what is late by itself stays so.
        samples = await _samples(page, "cam1")
        ages = sorted(age for age, _ in samples)
        median = statistics.median(ages)
        print(f"age of the live picture: median {median:.0f} ms, {ages[0]:.0f} to {ages[-1]:.0f} ms")
        assert ages[0] > 0, "a picture cannot be seen before it was sent"
        moves = len({counter for _, counter in samples}) > SAMPLES * 2 // 3
        if median < STALE_S * 1000 and moves:
            break
    record_property("live age, median ms", median)
    assert median < STALE_S * 1000, ages
    assert moves, "the picture moves"
    await page.shot("camera-live")


async def _samples(page: Watcher, camera: str) -> list[tuple[float, int]]:
    """Ages (ms) and frame counters of what is seen."""
    found = []
    for _ in range(SAMPLES):
        stamp, at = await page.look(page.live_video(camera))
        assert stamp, "a picture without a readable stamp"
        assert stamp.camera_hash == hash_of(camera)
        found.append((at - stamp.utc_ms, stamp.counter))
        await asyncio.sleep(0.1)
    return found


async def test_a_still_picture_is_what_the_camera_shows(visit: Visit) -> None:
    page = await visit()
    await page.open_camera("cam1")
    await expect(page.at("snapshot")).to_have_attribute("target", "_blank")
    address = await page.at("snapshot").get_attribute("href")
    assert address
    answer = await page.page.request.get(address)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg"), await answer.text()
    with av.open(io.BytesIO(await answer.body())) as container:
        assert isinstance(container, InputContainer)
        plane = next(container.decode(video=0)).reformat(format="gray").planes[0]
    stamp = blockcode.read(bytes(plane), plane.line_size, plane.width, plane.height)
    assert stamp
    assert stamp.camera_hash == hash_of("cam1")


async def test_a_camera_added_while_people_watch_appears_by_itself(visit: Visit, product: Product) -> None:
    page = await visit()
    await expect(page.tile("cam1")).to_be_visible()
    site = product.site
    await asyncio.to_thread(site.add_camera, "yard", "--name", "Back yard")
    await expect(page.tile("yard")).to_contain_text("Back yard")
    state = page.tile("yard").get_by_test_id("camera-state")
    await expect(state).to_have_text("Offline")
    await expect(page.tile("yard").get_by_test_id("picture-message")).to_have_text("The camera is offline.")
    await page.shot("grid-offline")
    camera = await asyncio.to_thread(site.simulate, "yard", password=PASSWORD)
    await page.until_live("yard")
    await expect(state).to_have_text("Recording")
    await asyncio.to_thread(camera.stop)
    await expect(state).to_have_text("Offline")
    await expect(page.tile("yard").get_by_test_id("picture-message")).to_have_text("The camera is offline.")
    await asyncio.to_thread(site.simulate, "yard", password=PASSWORD)
    await page.until_live("yard")
    await expect(page.tile("yard").get_by_test_id("picture-message")).to_have_text("")


async def test_the_console_speaks_korean(visit: Visit, product: Product) -> None:
    page = await visit(None, locale="ko-KR")
    await expect(page.at("sign-in-submit")).to_have_text("로그인")
    await page.shot("sign-in-korean")
    await page.sign_in("admin", product.admin_password)
    await page.until_live("cam1")
    await expect(page.tile("cam1").get_by_test_id("camera-state")).to_have_text("녹화 중")
    await page.shot("grid-korean")
    await page.tile("cam1").click()
    await expect(page.at("range-select")).to_have_text("구간 선택")
    await page.until_live("cam1")
    await page.shot("camera-korean")
    await page.at("language-en").click()
    await expect(page.at("range-select")).to_have_text("Select a range")
    await page.page.reload()
    await expect(page.at("range-select")).to_have_text("Select a range")
    await page.at("language-ko").click()
    await expect(page.at("back-to-live")).to_have_text("실시간으로")


async def test_a_camera_whose_codec_the_browser_lacks_says_so_and_everything_else_works(
    visit: Visit, product: Product
) -> None:
    """Debian's Chromium plays no H.265; one that does, shows the picture."""
    site = product.site
    await asyncio.to_thread(site.add_camera, "lane", "--name", "Lane")
    await asyncio.to_thread(site.simulate, "lane", "--codec", "h265", password=PASSWORD)
    for locale, words in (("en-US", "This browser cannot show H.265 (hvc1."), ("ko-KR", "이 브라우저는 H.265 (hvc1.")):
        page = await visit(locale=locale)
        if await page.page.evaluate("MediaSource.isTypeSupported('video/mp4; codecs=\"hvc1.1.6.L93.90\"')"):
            await page.until_live("lane")
        else:
            await expect(page.tile("lane").get_by_test_id("picture-message")).to_contain_text(words)
        await page.tile("lane").click()
        await expect(page.at("range-select")).to_be_visible()
        address = await page.at("snapshot").get_attribute("href")
        assert address
        answer = await page.page.request.get(address)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg"), await answer.text()
        await page.shot(f"camera-h265-{locale}")


async def test_a_phone_shows_the_whole_page(visit: Visit) -> None:
    page = await visit(viewport={"width": 390, "height": 844}, locale="ko-KR", has_touch=True)
    await page.until_live("cam1")
    await page.shot("phone-grid")
    assert await _overhang(page) == 0
    await page.open_camera("cam1")
    await page.at("skip-back").click()
    await expect(page.video).to_have_attribute("data-phase", "playing")
    await page.at("range-select").click()
    await page.shot("phone-camera")
    assert await _overhang(page) == 0


async def _overhang(page: Watcher) -> int:
    """By how many pixels something is wider than the window."""
    script = """() => Math.max(...[...document.querySelectorAll('main, main section, main section > *')]
        .map(element => element.getBoundingClientRect().right)) - innerWidth"""
    return max(0, int(await page.page.evaluate(script)))


async def test_tokens_are_renewed_without_a_break(visit: Visit, product: Product) -> None:
    page = await visit()
    await shorten_tokens(page, product, 6)
    said: list[str | bytes] = []
    page.page.on("websocket", lambda socket: socket.on("framesent", lambda text: said.append(text)))
    await page.open_camera("cam1")
    opened = len(page.sockets)
    first = await page.until_live("cam1")
    await asyncio.sleep(13)
    last = await page.until_live("cam1")
    assert last.utc_ms - first.utc_ms > 12_000, "more than two lifetimes later it is still live"
    assert len(page.sockets) == opened, "over the same connection"
    assert sum('"token"' in str(text) for text in said) >= 2


async def test_a_token_that_is_not_renewed_ends_the_picture(visit: Visit, product: Product) -> None:
    page = await visit()
    tokens = await shorten_tokens(page, product, 3)
    await page.open_camera("cam1")
    tokens.refused = True
    message = page.at("stage").get_by_test_id("picture-message")
    lost = "Connection lost. Connecting again…"
    await expect(message).to_have_text(lost)
    await asyncio.sleep(1)
    assert (await message.text_content() or "").strip() == lost
    tokens.refused = False
    await page.until_live("cam1")


@dataclass
class Tokens:
    """Real tokens, only of a shorter life than the product gives them; or none at all."""

    key: bytes
    lifetime: int
    refused: bool = False

    async def issue(self, route: Route) -> None:
        if self.refused:
            await route.abort()
            return
        answer = await route.fetch()
        body = await answer.json()
        camera = route.request.url.split("/")[-2]
        action = json.loads(route.request.post_data or "")["action"]
        body["token"] = mediaurl.issue(self.key, "admin", camera, action, time.time() + self.lifetime)
        await route.fulfill(response=answer, json=body | {"lifetime": self.lifetime})


async def shorten_tokens(page: Watcher, product: Product, lifetime: int) -> Tokens:
    """The page gets such tokens from now on."""
    tokens = Tokens(await product.directory.settings.secret("media-url-key"), lifetime)
    await page.page.route("**/grants", tokens.issue)
    return tokens
