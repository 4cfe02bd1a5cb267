"""The console in a real browser, against the small media face: pictures really play, and show the right moment.

Every picture carries a stamp (`agents.blockcode`) that is read back from what the browser shows.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from soip.agents import blockcode
from soip.agents.blockcode import Stamp
from tests.web.media_face import HEIGHT, WIDTH, record
from tests.web.system import PASSWORD, System, now_us, running

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MINUTE = 60_000_000
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)

# The luma of what a video element shows, by BT.601 as the stamp was drawn.
_LUMA = """video => {
  if (!video.videoWidth) return null;
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const luma = new Uint8Array(canvas.width * canvas.height);
  for (let i = 0; i < luma.length; i++) {
    luma[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
  }
  let text = '';
  for (let i = 0; i < luma.length; i += 32768) text += String.fromCharCode(...luma.subarray(i, i + 32768));
  return [btoa(text), Date.now()];
}"""


@asynccontextmanager
async def _console(folder: Path, locale: str = "en-US") -> AsyncIterator[tuple[System, Page]]:
    """A signed-in page of a site with one camera."""
    async with running(folder) as system, async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        beating = asyncio.create_task(system.beat())
        try:
            await system.add_user("kim", "operator")
            await system.add_camera("cam1", title="Front gate")
            page = await browser.new_page(
                locale=locale, timezone_id="Asia/Seoul", viewport={"width": 1280, "height": 800}
            )
            page.set_default_timeout(WAIT_MS)
            await page.goto(system.base)
            yield system, page
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating
            await browser.close()


async def _sign_in(page: Page, password: str = PASSWORD) -> None:
    await page.get_by_test_id("sign-in-name").fill("kim")
    await page.get_by_test_id("sign-in-password").fill(password)
    await page.get_by_test_id("sign-in-submit").click()


async def _stamp(page: Page, testid: str) -> tuple[Stamp | None, float]:
    """The stamp of the picture shown now, and the browser's clock then (UNIX milliseconds)."""
    shown = await page.get_by_test_id(testid).first.evaluate(_LUMA)
    if shown is None:
        return None, 0
    luma = base64.b64decode(shown[0])
    return blockcode.read(luma, WIDTH, WIDTH, HEIGHT), shown[1]


async def _until_shown(
    page: Page,
    testid: str,
    wanted: Callable[[Stamp], bool],
) -> Stamp:
    deadline = time.monotonic() + 60
    stamp: Stamp | None = None
    while time.monotonic() < deadline:
        with suppress(Exception):  # The element may be replaced while it is looked at.
            stamp, _ = await _stamp(page, testid)
        if stamp is not None and wanted(stamp):
            return stamp
        await asyncio.sleep(0.05)
    raise AssertionError(f"not shown in time; last seen: {stamp}")


async def _place(page: Page, time_us: int) -> tuple[float, float]:
    """Where a time stands on the timeline."""
    line = page.get_by_test_id("timeline")
    box = await line.bounding_box()
    assert box
    start, end = [float(await line.get_attribute(name) or 0) for name in ("data-from", "data-to")]
    return box["x"] + (time_us / 1000 - start) / (end - start) * box["width"], box["y"] + 50


async def _catalogued(system: System) -> tuple[int, int]:
    """Two recordings with a gap between, in the last quarter of an hour: their starts."""
    first = now_us() // 1_000_000 * 1_000_000 - 12 * MINUTE
    second = first + 2 * MINUTE
    before, after = record("cam1", first, 20), record("cam1", second, 40)
    await system.catalog("cam1", before, after)
    await system.gap("cam1", before.end_us, second, "camera offline")
    return first, second


@pytest.mark.e2e
async def test_live_is_live(tmp_path: Path) -> None:
    async with _console(tmp_path) as (_, page):
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security" in line.text else None)
        await _sign_in(page, "wrong")
        await expect(page.get_by_test_id("sign-in-message")).to_contain_text("not right")
        await _sign_in(page)
        tile = page.get_by_test_id("camera-tile")
        await expect(tile).to_have_attribute("data-camera", "cam1")
        await expect(tile.get_by_test_id("camera-state")).to_have_text("Recording")
        await _until_shown(page, "tile-video", lambda stamp: stamp.camera_hash == blockcode.camera_hash("cam1"))
        await tile.click()
        await _until_shown(page, "camera-video", lambda stamp: True)
        await asyncio.sleep(1)
        for _ in range(10):  # While a machine is busy all is late; what is late by itself stays so.
            ages, counters = [], set()
            for _ in range(30):
                stamp, shown_at = await _stamp(page, "camera-video")
                if stamp:
                    ages.append(shown_at - stamp.utc_ms)
                    counters.add(stamp.counter)
                await asyncio.sleep(0.05)
            if len(counters) > 10 and statistics.median(ages) < 1000:
                break
        assert len(counters) > 10, "the picture moves"
        assert statistics.median(ages) < 1000, ages
        assert problems == []


@pytest.mark.e2e
async def test_a_click_on_the_timeline_shows_the_picture_of_that_time(tmp_path: Path) -> None:
    async with _console(tmp_path) as (system, page):
        _, second = await _catalogued(system)
        row = (await system.directory.catalog.recordings("cam1"))[0]
        stretch = [row.start_us + 4_000_000, row.start_us + 9_000_000, 125, 7]
        await system.directory.save(replace(row, damaged=125, lost=7, damage=json.dumps([stretch])))
        await _sign_in(page)
        await page.get_by_test_id("camera-tile").click()
        await page.get_by_test_id("preset-10m").click()
        await page.get_by_test_id("timeline-earlier").click()
        await expect(page.get_by_test_id("timeline-recording")).to_have_count(2)
        damage = page.get_by_test_id("timeline-damage")
        await expect(damage).to_have_count(1)
        await expect(damage).to_contain_text("125 pictures damaged, 7 packets lost")
        await expect(page.get_by_test_id("timeline-legend")).to_contain_text("damaged by packet loss")
        gap = page.get_by_test_id("timeline-gap")
        await expect(gap).to_have_attribute("data-cause", "camera offline")
        await expect(page.get_by_test_id("timeline-legend")).to_contain_text("Camera offline")
        x, y = await _place(page, second + 20_000_000)
        line = page.get_by_test_id("timeline")
        width = (await line.bounding_box() or {"width": 1})["width"]
        await page.mouse.click(x, y)
        # A pixel of ten minutes is about a second of them.
        slack_ms = 600_000 / width + 2500
        wanted_ms = second / 1000 + 20_000
        await _until_shown(page, "camera-video", lambda stamp: abs(stamp.utc_ms - wanted_ms) < slack_ms)
        position = float(await page.get_by_test_id("position").get_attribute("data-time") or 0)
        assert abs(position - wanted_ms) < slack_ms + 2000
        await page.get_by_test_id("play-pause").click()
        # By its exact time, in the page's zone: to the very picture (ten a second).
        await page.get_by_test_id("play-at").fill(_seoul(second + 33_000_000))
        await page.get_by_test_id("play-at-submit").click()
        shown = await _until_shown(page, "camera-video", lambda stamp: stamp.utc_ms >= second // 1000 + 33_000)
        assert shown.utc_ms - (second // 1000 + 33_000) < 1500
        await page.get_by_test_id("back-to-live").click()
        await _until_shown(page, "camera-video", lambda stamp: abs(stamp.utc_ms - time.time() * 1000) < 2000)


@pytest.mark.e2e
async def test_gaps_are_jumped_and_the_end_of_the_recordings_leads_to_live(tmp_path: Path) -> None:
    async with _console(tmp_path) as (system, page):
        first, second = await _catalogued(system)
        await _sign_in(page)
        await page.get_by_test_id("camera-tile").click()
        await page.get_by_test_id("play-at").fill(_seoul(first + 17_000_000))
        await page.get_by_test_id("play-at-submit").click()
        await _until_shown(page, "camera-video", lambda stamp: stamp.utc_ms >= first // 1000 + 17_000)
        await _until_shown(page, "camera-video", lambda stamp: stamp.utc_ms >= second // 1000)
        await expect(page.get_by_text("Skipped a gap: Camera offline")).to_be_visible()
        await page.get_by_test_id("play-at").fill(_seoul(first + 60_000_000))
        await page.get_by_test_id("play-at-submit").click()
        shown = await _until_shown(page, "camera-video", lambda stamp: stamp.utc_ms >= second // 1000)
        assert shown.utc_ms < second // 1000 + 3000, "inside a gap: the first picture after it"
        await page.get_by_test_id("play-at").fill(_seoul(second + 37_000_000))
        await page.get_by_test_id("play-at-submit").click()
        await _until_shown(page, "camera-video", lambda stamp: abs(stamp.utc_ms - time.time() * 1000) < 2000)
        await expect(page.get_by_test_id("camera-video")).to_have_attribute("data-mode", "live")


@pytest.mark.e2e
async def test_a_range_is_selected_and_downloaded_in_korean_too(tmp_path: Path) -> None:
    async with _console(tmp_path, "ko-KR") as (system, page):
        first, second = await _catalogued(system)
        await expect(page.get_by_test_id("sign-in-submit")).to_have_text("로그인")
        await _sign_in(page)
        await page.get_by_test_id("camera-tile").click()
        await page.get_by_test_id("range-select").click()
        start, y = await _place(page, first + 5_000_000)
        end, _ = await _place(page, second + 20_000_000)
        await page.mouse.move(start, y)
        await page.mouse.down()
        await page.mouse.move(end, y, steps=4)
        await page.mouse.up()
        await expect(page.get_by_test_id("timeline-selection")).to_be_visible()
        await page.get_by_test_id("range-from").fill(_seoul(first + 5_000_000))
        await page.get_by_test_id("range-from").blur()
        await expect(page.get_by_test_id("download")).to_have_text("MP4 내려받기")
        async with page.expect_download() as download:
            await page.get_by_test_id("download").click()
        file = await (await download.value).path()
        assert file.read_bytes() == system.face.recordings[0].data
        assert system.face.grants[-1].action == "export"
        await page.get_by_test_id("language-en").click()
        await expect(page.get_by_test_id("download")).to_have_text("Download MP4")
        await page.reload()
        await expect(page.get_by_test_id("range-select")).to_have_text("Select a range")


@pytest.mark.e2e
async def test_a_typed_range_is_asked_for_and_all_its_parts_are_offered(tmp_path: Path) -> None:
    async with _console(tmp_path) as (system, page):
        # Days before what the timeline shows.
        begun = now_us() // 1_000_000 * 1_000_000 - 3 * 1440 * MINUTE
        first, second = record("cam1", begun, 4), record("cam1", begun + 10_000_000, 4)
        await system.catalog("cam1", first, second)
        system.face.parts = 2
        await _sign_in(page)
        await page.get_by_test_id("camera-tile").click()
        await page.get_by_test_id("range-select").click()
        await _type_range(page, begun, begun + 20_000_000)
        message = page.get_by_test_id("range-message")
        async with page.expect_download() as download:
            await page.get_by_test_id("download").click()
        assert (await (await download.value).path()).read_bytes() == first.data
        await expect(message).to_contain_text("it comes in 2 files. The first has started: fetch the others, too.")
        async with page.expect_download() as download:
            await page.get_by_test_id("download-part-2").click()
        assert (await (await download.value).path()).read_bytes() == second.data
        assert (await download.value).suggested_filename == "cam1-2.mp4"
        await expect(message).to_have_text("The download of part 2 of 2 has started.")
        # Another range is another question.
        await _type_range(page, begun + 60_000_000, begun + 90_000_000)
        await expect(page.get_by_test_id("download-part-2")).to_have_count(0)
        await page.get_by_test_id("download").click()
        await expect(message).to_have_text("Nothing is recorded in this range.")
        await _type_range(page, begun, begun + 1441 * MINUTE)
        await page.get_by_test_id("download").click()
        await expect(message).to_contain_text("24 hours at most")


async def _type_range(page: Page, start_us: int, end_us: int) -> None:
    await page.get_by_test_id("range-from").fill(_seoul(start_us))
    await page.get_by_test_id("range-to").fill(_seoul(end_us))
    await page.get_by_test_id("range-to").blur()


@pytest.mark.e2e
async def test_the_timeline_obeys_wheel_drag_and_keys(tmp_path: Path) -> None:
    async with _console(tmp_path) as (system, page):
        _, second = await _catalogued(system)
        await _sign_in(page)
        await page.get_by_test_id("camera-tile").click()
        line = page.get_by_test_id("timeline")

        async def view() -> tuple[float, float]:
            # Both at once: the page that shows what is live moves them.
            start, end = map(float, await line.evaluate("line => [line.dataset.from, line.dataset.to]"))
            return start, end - start

        box = await line.bounding_box()
        assert box
        _, length = await view()
        assert abs(length - 3_600_000) < 2
        await page.mouse.move(box["x"] + 100, box["y"] + 40)
        await page.mouse.wheel(0, -400)
        zoomed = length
        async with asyncio.timeout(60):
            while zoomed >= length * 0.7:
                await asyncio.sleep(0.2)
                start, zoomed = await view()
        await page.mouse.move(box["x"] + 300, box["y"] + 10)
        await page.mouse.down()
        await page.mouse.move(box["x"] + 500, box["y"] + 10, steps=4)
        await page.mouse.up()
        moved, _ = await view()
        assert moved < start, "the scale was dragged to the right: earlier times show"
        await page.get_by_test_id("play-at").fill(_seoul(second + 10_000_000))
        await page.get_by_test_id("play-at-submit").click()
        await _until_shown(page, "camera-video", lambda stamp: stamp.utc_ms >= second // 1000 + 10_000)
        await line.focus()
        await page.keyboard.press("End")
        await expect(page.get_by_test_id("camera-video")).to_have_attribute("data-mode", "live")
        assert "LIVE" in (await line.get_attribute("aria-valuetext") or "")


@pytest.mark.e2e
async def test_a_session_that_ends_leads_back_to_the_sign_in_page(tmp_path: Path) -> None:
    async with _console(tmp_path) as (system, page):
        await _sign_in(page)
        await expect(page.get_by_test_id("camera-tile")).to_be_visible()
        await system.directory.users.set_role("kim", "viewer")
        await expect(page.get_by_test_id("sign-in-message")).to_contain_text("session has ended")
        await _sign_in(page)
        await page.get_by_test_id("camera-tile").click()
        await expect(page.get_by_test_id("timeline")).to_be_visible()
        await expect(page.get_by_test_id("range-select")).to_have_count(0)
        await page.get_by_test_id("sign-out").click()
        await expect(page.get_by_test_id("sign-in-form")).to_be_visible()


@pytest.mark.e2e
async def test_a_proxy_that_is_set_up_wrongly_is_told_at_the_sign_in(tmp_path: Path) -> None:
    async with _console(tmp_path) as (_, page):

        async def replace_host(route: Route) -> None:
            # As over plain HTTP, where browsers send no Sec-Fetch-Site.
            headers = {name: value for name, value in route.request.headers.items() if name != "sec-fetch-site"}
            await route.fulfill(response=await route.fetch(headers={**headers, "origin": "http://cameras.example"}))

        await page.route("**/api/session", replace_host)
        await _sign_in(page)
        await expect(page.get_by_test_id("sign-in-message")).to_contain_text("has to pass on the Host header")


@pytest.mark.e2e
async def test_live_comes_back_and_says_why_it_is_away(tmp_path: Path) -> None:
    async with _console(tmp_path) as (system, page):
        system.face.close_with = 4503
        await _sign_in(page)
        message = page.get_by_test_id("picture-message")
        await expect(message).to_contain_text("does not answer")
        system.face.close_with = 0
        await _until_shown(page, "tile-video", lambda stamp: True)
        for socket in list(system.face.sockets):
            await socket.close(1012)
        await expect(message).to_contain_text("Connecting again")
        await _until_shown(page, "tile-video", lambda stamp: abs(stamp.utc_ms - time.time() * 1000) < 2000)
        system.face.close_with = 4403
        for socket in list(system.face.sockets):
            await socket.send_text(json.dumps({"type": "state", "media": "live"}))
            await socket.close(4403)
        await expect(message).to_contain_text("no longer watch")


@pytest.mark.e2e
async def test_a_picture_that_cannot_be_decoded_does_not_stand_for_now(tmp_path: Path) -> None:
    async with _console(tmp_path) as (system, page):
        await _sign_in(page)
        await _until_shown(page, "tile-video", lambda stamp: True)
        system.face.spoil = True
        await expect(page.get_by_test_id("picture-message")).to_contain_text("Connecting again")
        spoiled_ms = time.time() * 1000
        await _until_shown(page, "tile-video", lambda stamp: stamp.utc_ms > spoiled_ms)


def _seoul(time_us: int) -> str:
    """What a person in Seoul types for a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_us // 1_000_000 + 9 * 3600))
