"""One person at a browser: signs in, looks, clicks. Pictures are read, not only seen to be there."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from playwright.async_api import Browser, Error, JSHandle, Locator, Page, WebSocket, expect

from soip.agents import blockcode
from soip.agents.blockcode import Stamp

WIDTH, HEIGHT = 640, 360
ZONE = "Asia/Seoul"
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)

_EYE = """
globalThis.eye = (() => {
  const canvas = new OffscreenCanvas(640, 360);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  /** The luma (BT.601) of the picture that a video element shows, the clock when it was looked at, and its sides. */
  const look = video => {
    const at = Date.now();
    const width = video.videoWidth, height = video.videoHeight;
    context.drawImage(video, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    let text = '';
    for (let y = 0; y < height; y++) {
      const line = new Uint8Array(width);
      for (let x = 0, i = y * 4 * width; x < width; x++, i += 4) {
        line[x] = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
      }
      text += String.fromCharCode(...line);
    }
    return [btoa(text), at, width, height];
  };
  /** The first pictures that playback showed after the jump that was awaited. */
  const shown = [];
  let jumped = false;
  const awaitJump = () => { shown.length = 0; jumped = false; };
  const seen = new WeakSet();
  const follow = video => {
    seen.add(video);
    video.addEventListener('seeking', () => { shown.length = 0; jumped = true; });
    const next = () => {
      if (!video.isConnected) return;
      // While it seeks, a picture of before the jump may still be told of.
      if (jumped && !video.seeking && shown.length < 3) shown.push(look(video));
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  };
  const find = () => {
    for (const video of document.querySelectorAll('video[data-mode=recorded]')) if (!seen.has(video)) follow(video);
  };
  new MutationObserver(find).observe(document, { childList: true, subtree: true });
  /** What elements have said since, though it be for a moment only. */
  const listen = (selector, said = []) => {
    const hear = () => {
      for (const element of document.querySelectorAll(selector)) {
        const text = element.textContent.trim();
        if (text && text !== said.at(-1)) said.push(text);
      }
    };
    new MutationObserver(hear).observe(document, { childList: true, subtree: true, characterData: true });
    hear();
    return said;
  };
  return { look, shown, awaitJump, listen };
})();
"""


class Watcher:
    """A page of the console. Times are ms UTC."""

    def __init__(self, page: Page, shots: Path) -> None:
        self.page = page
        self._shots = shots
        self.problems: list[str] = []
        self.sockets: list[WebSocket] = []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: self._noted(line.text))
        page.on("websocket", lambda socket: self.sockets.append(socket))

    @classmethod
    async def open(cls, browser: Browser, base: str, shots: Path, **options: Any) -> Watcher:
        """A new person at the console: nothing is shared with another one."""
        options = {"locale": "en-US", "viewport": {"width": 1280, "height": 800}} | options
        page = await browser.new_page(timezone_id=ZONE, base_url=base, accept_downloads=True, **options)
        await page.add_init_script(_EYE)
        watcher = cls(page, shots)
        await page.goto("/")
        return watcher

    def _noted(self, text: str) -> None:
        if "Content Security" in text:
            self.problems.append(text)

    def at(self, name: str) -> Locator:
        """The element with this test id."""
        return self.page.get_by_test_id(name)

    def tile(self, camera: str) -> Locator:
        return self.page.locator(f"[data-testid=camera-tile][data-camera={camera}]")

    async def shot(self, name: str) -> None:
        """A screenshot for people (`SHOTS=folder` keeps them)."""
        await self.page.screenshot(path=self._shots / f"{name}.png")

    async def sign_in(self, name: str, password: str) -> None:
        await self.at("sign-in-name").fill(name)
        await self.at("sign-in-password").fill(password)
        await self.at("sign-in-submit").click()

    async def open_camera(self, camera: str) -> None:
        await self.tile(camera).click()
        await self.until_live(camera)

    # -- pictures

    async def look(self, video: Locator) -> tuple[Stamp | None, float]:
        """The stamp that a video shows now, and the clock then."""
        shown = await video.evaluate("video => video.videoWidth ? eye.look(video) : null")
        return (_read(shown[0], *shown[2:]), float(shown[1])) if shown else (None, 0.0)

    async def sides(self, video: Locator) -> tuple[int, int]:
        """Width and height of the picture that a video shows."""
        width, height = await video.evaluate("video => [video.videoWidth, video.videoHeight]")
        return width, height

    async def until_shown(self, video: Locator, wanted: Callable[[Stamp], bool]) -> Stamp:
        """Wait for a picture whose stamp is as wanted."""
        deadline, stamp = time.monotonic() + WAIT_MS / 1000, None
        while time.monotonic() < deadline:
            # The element may be replaced while it is looked at.
            with suppress(Error):
                stamp, _ = await self.look(video)
                if stamp and wanted(stamp):
                    return stamp
            await asyncio.sleep(0.05)
        raise AssertionError(f"not shown; last seen {stamp} at {time.time() * 1000:.0f}")

    def live_video(self, camera: str) -> Locator:
        """The video of a camera that shows what happens now: a tile's, or the large one."""
        return self.page.locator(f"video[data-camera={camera}][data-mode=live]")

    async def until_live(self, camera: str) -> Stamp:
        """Wait until a camera is seen as it is now."""
        wanted = blockcode.camera_hash(camera)

        def fresh(stamp: Stamp) -> bool:
            return stamp.camera_hash == wanted and time.time() * 1000 - stamp.utc_ms < 1500

        return await self.until_shown(self.live_video(camera), fresh)

    async def listen(self, selector: str) -> Heard:
        """Note what elements say from now on, though it be for a moment only."""
        return Heard(await self.page.evaluate_handle("selector => eye.listen(selector)", selector))

    @property
    def video(self) -> Locator:
        """The large picture."""
        return self.at("camera-video")

    async def await_jump(self) -> None:
        """Call it before a jump of playback; `first_shown` then gives what comes after it."""
        await self.page.evaluate("eye.awaitJump()")

    async def first_shown(self) -> Stamp:
        """The first picture of playback after the jump that was awaited."""
        deadline = time.monotonic() + WAIT_MS / 1000
        while time.monotonic() < deadline:
            if shown := await self.page.evaluate("eye.shown[0]"):
                stamp = _read(shown[0], *shown[2:])
                assert stamp, "a picture without a stamp"
                return stamp
            await asyncio.sleep(0.05)
        raise AssertionError("playback shows nothing")

    # -- the timeline

    async def view(self) -> tuple[float, float]:
        """What the timeline shows."""
        line = self.at("timeline")
        start, end = await line.get_attribute("data-from"), await line.get_attribute("data-to")
        assert start
        assert end
        return float(start), float(end)

    async def zoom_to(self, time_ms: float, span_ms: float) -> None:
        """Bring a time into the middle of the timeline, as closely as wished."""
        await self.at("preset-10m").click()
        while True:
            start, end = await self.view()
            box = await self._box()
            if end - start <= span_ms:
                break
            # Wheel up zooms in around the pointer; the share that is left wanders to the middle below.
            x = min(max((time_ms - start) / (end - start), 0.02), 0.98) * box["width"]
            await self.page.mouse.move(box["x"] + x, box["y"] + 50)
            await self.page.mouse.wheel(0, -400)
            await asyncio.sleep(0.05)
        by = (time_ms - (start + end) / 2) / (end - start) * box["width"]
        await self.page.mouse.move(box["x"] + box["width"] / 2 + by / 2, box["y"] + 10)
        await self.page.mouse.down()
        await self.page.mouse.move(box["x"] + box["width"] / 2 - by / 2, box["y"] + 10, steps=3)
        await self.page.mouse.up()

    async def place(self, time_ms: float) -> tuple[float, float]:
        """Where a time stands on the timeline."""
        box, (start, end) = await self._box(), await self.view()
        assert start < time_ms < end, "the time is not in view"
        return box["x"] + (time_ms - start) / (end - start) * box["width"], box["y"] + 50

    async def play_at(self, time_ms: float) -> None:
        """Type a time (whole seconds) and play from there."""
        await self.await_jump()
        await self.at("play-at").fill(typed(time_ms))
        await self.at("play-at-submit").click()

    async def until_out(self, within: float) -> float:
        """Wait for the sign-in page that says that the session is over; gives the seconds it took."""
        began = time.monotonic()
        await expect(self.at("sign-in-message")).to_contain_text("session has ended", timeout=within * 1000)
        return time.monotonic() - began

    async def _box(self) -> dict[str, float]:
        box = await self.at("timeline").bounding_box()
        assert box
        return {"x": box["x"], "y": box["y"], "width": box["width"]}


class Heard:
    """What elements have said since the page was asked to listen."""

    def __init__(self, said: JSHandle) -> None:
        self._said = said

    async def until(self, *words: str) -> None:
        """Wait until one of them has said something with these words; anything, without words."""
        texts: list[str] = []
        deadline = time.monotonic() + WAIT_MS / 1000
        while not any(word in text for text in texts for word in words or ("",)):
            assert time.monotonic() < deadline, f"{words} not said, but {texts}"
            await asyncio.sleep(0.1)
            texts = await self._said.json_value()


def _read(luma: str, width: int, height: int) -> Stamp | None:
    return blockcode.read(base64.b64decode(luma), width, width, height)


def typed(time_ms: float) -> str:
    """What a person in the browser's zone types for a time."""
    return datetime.fromtimestamp(time_ms // 1000, ZoneInfo(ZONE)).strftime("%Y-%m-%dT%H:%M:%S")
