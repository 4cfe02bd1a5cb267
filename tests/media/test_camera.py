"""One camera, without a call: who needs it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from soip.directory.rows import CameraRow
from soip.media.browser import Browser
from soip.media.camera import Camera
from soip.media.context import Context
from soip.media.intake import Picture
from soip.media.patience import Patience
from soip.media.recorder import Recorder
from tests.media.material import picture


@dataclass(eq=False)
class Desk:
    """Stands in for the context and the recorder."""

    patience: Patience = field(default_factory=Patience)

    def now(self) -> float:
        return 100.0

    def holds(self, camera: str) -> bool:
        """Whether it is ours."""
        return camera == "cam1"

    def picture(self, one: Picture) -> None:
        """What the recorder is given."""


@pytest.fixture
def camera() -> Camera:
    desk = Desk()
    return Camera(cast(Context, desk), CameraRow("cam1", "cam1", "cam1"), cast(Recorder, desk))


async def test_a_browser_that_leaves_lets_the_camera_go(camera: Camera) -> None:
    watching = asyncio.create_task(camera.watch(Browser()))
    await asyncio.sleep(0)
    assert (len(camera.feed), len(camera._holders)) == (1, 1)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert (len(camera.feed), len(camera._holders)) == (0, 0)


async def test_a_browser_that_cannot_be_served_lets_the_camera_go(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join(browser: Browser, gop: list[Picture]) -> bool:
        raise ValueError("on purpose")

    monkeypatch.setattr(camera.feed, "join", join)
    with pytest.raises(ValueError, match="on purpose"):
        await camera.watch(Browser())
    assert not camera._holders


async def test_a_browser_that_comes_after_a_large_step_of_the_clock_is_served(camera: Camera) -> None:
    """A frame's duration has 32 bits: less than seven hours at 90 kHz."""
    day = 24 * 3600
    for number in range(20):
        one = picture(number)
        if number >= 10:
            one = replace(one, dts=one.dts + day * 90_000, pts=one.pts + day * 90_000, fresh=number == 10)
        camera._picture(one)
    watching = asyncio.create_task(camera.watch(Browser()))
    await asyncio.sleep(0)
    assert not watching.done()
    assert len(camera.feed) == 1
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_traffic_is_what_has_passed_since_it_was_last_asked(camera: Camera) -> None:
    camera.hold(object())
    camera.hold(object())
    for number in range(2):
        camera._picture(picture(number))
    received = camera.received
    assert camera.traffic() == (received, 2 * received)
    assert camera.traffic() == (0, 0)
    camera._picture(picture(2))
    assert camera.traffic() == (camera.received - received, 2 * (camera.received - received))
    assert (camera.pictures, camera.keyframes) == (3, 1)
