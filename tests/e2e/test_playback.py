"""What was recorded is seen again: the right moment, across files and gaps, and taken home."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import time
from pathlib import Path

import av
import pytest
from playwright.async_api import Locator, expect

from soip.agents import blockcode
from tests.e2e.conftest import Visit
from tests.e2e.product import GATE, Product, hash_of
from tests.e2e.test_live import shorten_tokens
from tests.e2e.watcher import HEIGHT, WAIT_MS, WIDTH, Watcher, typed

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]

GOP_MS = 2000
FRAME_MS = 40
CLOCK_MS = 550
"""How far the wall clock of a recording may be from the camera's: by what `soip.rtp.clock` lets stand, where a busy
machine took the first packets of a call late.
"""


async def test_a_click_on_the_timeline_shows_that_moment(visit: Visit, product: Product) -> None:
    past = await product.past()
    page = await visit()
    await page.open_camera(GATE)
    for wished in (past.began + 3300, past.killed - 4700, past.back + 2100):
        await page.zoom_to(wished, 60_000)
        await page.await_jump()
        x, y = await page.place(wished)
        await page.page.mouse.click(x, y)
        await _shows(page, wished)
    away = 0.0
    for _ in range(20):  # it plays: a machine may stall between the two looks
        position = float(await page.at("position").get_attribute("data-time") or 0)
        stamp, _ = await page.look(page.video)
        assert stamp
        away = abs(position - stamp.utc_ms)
        if away < 500:
            break
    assert away < 500, "the page says what time it shows"
    await page.shot("camera-recorded")


async def test_a_typed_time_shows_that_moment(visit: Visit, product: Product) -> None:
    past = await product.past()
    page = await visit()
    await page.open_camera(GATE)
    # From live, inside the playlist that is open then, and before it.
    for wished in (past.began + 9000, past.began + 12_000, past.began + 4000):
        wished = wished // 1000 * 1000
        await page.play_at(wished)
        await _shows(page, wished)
    # Inside the gap there is nothing: the first picture after it.
    await page.play_at((past.killed + past.back) / 2)
    stamp = await page.first_shown()
    assert abs(stamp.utc_ms - past.back) < GOP_MS
    await page.at("back-to-live").click()
    await page.until_live(GATE)
    await expect(page.video).to_have_attribute("data-mode", "live")


async def _shows(page: Watcher, wished: float) -> None:
    """The first picture shown is the one of that time, and it goes on from there.

    On a busy machine the browser may present the first picture it was given before it goes to the place.
    """
    stamp = await page.first_shown()
    if abs(stamp.utc_ms - wished) >= GOP_MS:
        stamp = await page.until_shown(page.video, lambda one: abs(one.utc_ms - wished) < GOP_MS)
    assert stamp.camera_hash == hash_of(GATE)
    print(f"wished {wished:.0f}, shown {stamp.utc_ms - wished:+.0f} ms")
    assert abs(stamp.utc_ms - wished) < GOP_MS
    await page.until_shown(page.video, lambda later: later.utc_ms > stamp.utc_ms)


async def test_playback_goes_on_into_the_next_file(visit: Visit, product: Product) -> None:
    await product.past()
    boundary = _file_change(product, GATE)
    page = await visit()
    await page.open_camera(GATE)
    await page.play_at(boundary - 4000)
    first = await page.first_shown()
    assert first.utc_ms < boundary
    seen = await _watch(page, boundary + 1500)
    times = [shown for shown, _ in seen]
    assert times == sorted(times)
    # By how much more the picture went on than the clock did, between two looks.
    ahead = [(after[0] - before[0]) - (after[1] - before[1]) for before, after in itertools.pairwise(seen)]
    assert max(ahead) < 1000, f"nothing is left out: {ahead}"
    shown_ms, passed_ms = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
    assert 0.4 * passed_ms - 500 < shown_ms < passed_ms + 1000, "at the speed of life, and what a busy machine needs"


def _file_change(product: Product, camera: str) -> float:
    change = product.file_change(camera)
    assert change
    return change


async def _watch(page: Watcher, until: float) -> list[tuple[int, float]]:
    """When what is seen was sent, and when it was looked at, until this is seen."""
    deadline, seen = time.monotonic() + WAIT_MS / 1000, list[tuple[int, float]]()
    while not seen or seen[-1][0] < until:
        assert time.monotonic() < deadline, seen
        stamp, at = await page.look(page.video)
        assert stamp
        seen.append((stamp.utc_ms, at))
        await asyncio.sleep(0.1)
    return seen


async def test_a_gap_is_jumped_and_explained(visit: Visit, product: Product) -> None:
    past = await product.past()
    page = await visit()
    await page.open_camera(GATE)
    await page.zoom_to((past.killed + past.back) / 2, 60_000)
    gap = page.at("timeline-gap").last
    await expect(gap).to_be_visible()
    cause = await gap.get_attribute("data-cause") or ""
    told = {"camera offline": "Camera offline", "media lost": "Picture lost"}[cause]
    await _hover(page, gap)
    await expect(page.at("timeline-tip")).to_contain_text(told)
    await page.shot("camera-gap")
    await expect(page.at("timeline-legend")).to_contain_text(told)
    said = await page.listen("[data-testid=stage]")
    await page.play_at(past.killed - 4000)
    await page.first_shown()
    *before, (last, left), (after, found) = await _watch(page, past.killed + 1000)
    assert before
    assert last < past.killed + 1000
    passed_ms = found - before[0][1] - (past.killed - before[0][0])
    assert passed_ms < past.back - past.killed, "the gap takes no time"
    assert -GOP_MS < after - past.back < GOP_MS + (found - left)
    await said.until("Skipped a gap")
    await expect(page.video).to_have_attribute("data-phase", "playing")
    await page.shot("camera-jumped")


async def _hover(page: Watcher, gap: Locator) -> None:
    box = await gap.bounding_box()
    assert box
    await page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


async def test_playback_outlives_its_token(visit: Visit, product: Product) -> None:
    await product.past()
    page = await visit()
    await shorten_tokens(page, product, 3)
    await page.open_camera("cam1")
    started = _file_change(product, "cam1")
    await page.play_at(started - 8000)
    await page.first_shown()
    await asyncio.sleep(4)
    # A jump to what was not fetched yet needs a token that is good now.
    await page.play_at(started + 25_000)
    stamp = await page.first_shown()
    assert abs(stamp.utc_ms - started - 25_000) < GOP_MS


async def test_a_range_is_taken_home(visit: Visit, product: Product, tmp_path: Path) -> None:
    past = await product.past()
    page = await visit()
    await page.open_camera(GATE)
    boundary = _file_change(product, GATE)
    start = (boundary - 3500) // 1000 * 1000
    await page.zoom_to(start + 4000, 60_000)
    await page.at("range-select").click()
    # Drawn with the mouse, then put right to the second.
    first, last = await page.place(start - 1500), await page.place(start + 8700)
    await page.page.mouse.move(*first)
    await page.page.mouse.down()
    await page.page.mouse.move(*last, steps=4)
    await page.page.mouse.up()
    await expect(page.at("timeline-selection")).to_be_visible()
    await page.at("range-from").fill(typed(start))
    await page.at("range-to").fill(typed(start + 8000))
    await page.at("range-to").blur()
    await page.shot("camera-range")
    async with page.page.expect_download() as download:
        await page.at("download").click()
    file = tmp_path / "range.mp4"
    await (await download.value).save_as(file)
    assert (await download.value).suggested_filename.startswith(f"{GATE}-")
    await expect(page.at("range-message")).to_have_text("The download has started.")
    await asyncio.to_thread(_check_film, file, start, 8000)
    # Across the gap what was recorded follows each other; a range of nothing is told, not sent.
    await page.at("range-from").fill(typed(past.killed + 3000))
    await page.at("range-to").fill(typed(past.killed + 5000))
    await page.at("range-to").blur()
    await page.at("download").click()
    await expect(page.at("range-message")).to_have_text("Nothing is recorded in this range.")


def _check_film(file: Path, start: float, length: float) -> None:
    decode = ["ffmpeg", "-v", "error", "-xerror", "-i", str(file), "-f", "null", "-"]
    done = subprocess.run(decode, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    probe = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "json", str(file)]
    told = json.loads(subprocess.run(probe, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert abs(float(told["format"]["duration"]) * 1000 - length) <= FRAME_MS
    stamps = []
    with av.open(str(file)) as film:
        for frame in film.decode(video=0):
            if frame.pts is not None and frame.pts >= 0:
                plane = frame.planes[0]
                stamps.append(blockcode.read(bytes(plane), plane.line_size, WIDTH, HEIGHT))
    first, last = stamps[0], stamps[-1]
    assert first
    assert last
    assert all(stamp and stamp.camera_hash == hash_of(GATE) for stamp in stamps)
    counters = [stamp.counter for stamp in stamps if stamp]
    assert counters == list(range(counters[0], counters[0] + len(counters))), "each frame once, in order"
    print(f"film begins {first.utc_ms - start:+.0f} ms, ends {last.utc_ms - start - length:+.0f} ms from the wish")
    # Times are counted from the arrival of a call's quickest packets: on a busy machine a few frames after sending.
    assert abs(first.utc_ms - start) < CLOCK_MS
    assert abs(last.utc_ms + FRAME_MS - start - length) < CLOCK_MS
    assert abs(len(stamps) * FRAME_MS - length) <= FRAME_MS
