"""Snapshots: they are there for all who ask, and whatever happens to the darkroom hurts nobody."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from soip.media.snapshots import WAITING, Darkroom, Form, SnapshotError
from soip.rtp.nal import AccessUnit
from tests.media.house import House
from tests.media.peers import Camera
from tests.media.test_darkroom import keyframe, size_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def shot(content: bytes | None = None) -> AccessUnit:
    """A keyframe by itself."""
    content = keyframe() if content is None else content
    return AccessUnit(memoryview(content), 0, len(content), 0, True, 0.0)


async def test_a_darkroom_that_is_killed_or_confused_is_begun_anew() -> None:
    room = Darkroom()
    try:
        first = await room.make(1, shot(), Form("jpg", 64))
        assert size_of(first)[1] == 64
        assert room._process is not None
        os.kill(room._process.pid, signal.SIGKILL)
        await room._process.wait()
        assert await room.make(2, shot(), Form("jpg", 64)) == first
        with pytest.raises(SnapshotError, match="cannot be decoded"):
            await room.make(3, shot(os.urandom(5000)), Form("jpg"))
        assert await room.make(4, shot(), Form("jpg", 64)) == first
        task = asyncio.create_task(room.make(5, shot(), Form("bmp")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await room.make(6, shot(), Form("jpg", 64)) == first, "an answer that nobody took is nobody else's"
    finally:
        await room.close()
    assert room._process is None


async def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soip.media.snapshots.PATIENCE_S", 0.5)
    room = Darkroom()
    try:
        room._process = hung = await asyncio.create_subprocess_exec(
            "sleep", "600", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        with pytest.raises(SnapshotError, match="did not answer in time"):
            await room.make(1, shot(), Form("jpg"))
        assert await hung.wait() == -signal.SIGKILL
    finally:
        await room.close()


async def test_no_more_wait_than_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Darkroom()
    async with room._turn:
        tasks = [asyncio.create_task(room.make(1, shot(), Form("jpg"))) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(SnapshotError, match="too many"):
            await room.make(1, shot(), Form("jpg"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert room._waiting == 0


async def test_a_snapshot_over_http(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.until_state("recording", name)
    client = await home.http()
    query = {"token": home.token("live", camera=name)}
    answers = await asyncio.gather(
        *(client.get(f"/snapshot/{name}.jpg", params={**query, "width": str(width)}) for width in (64, 64, 0))
    )
    assert {(answer.status_code, answer.headers["content-type"]) for answer in answers} == {(200, "image/jpeg")}
    assert [size_of(answer.content)[1] for answer in answers][:2] == [64, 64]
    assert f'filename="{name}-' in answers[0].headers["content-disposition"]
    assert answers[0].headers["last-modified"].endswith("GMT")
    bitmap = await client.get(f"/snapshot/{name}.bmp", params=query)
    assert (bitmap.headers["content-type"], bitmap.content[:2]) == ("image/bmp", b"BM")


async def test_what_cannot_be_a_snapshot_is_told(home: House, name: str) -> None:
    await home.add_camera(name, plan="never")
    client = await home.http()
    token = home.token("live", camera=name)
    for path, query, status in (
        (f"{name}.gif", {"token": token}, 404),
        (f"{name}.jpg", {"token": token, "width": "9999999"}, 400),
        (f"{name}.jpg", {"token": token, "height": "-1"}, 400),
        (f"{name}.jpg", {"token": home.token("playback", camera=name)}, 403),
        (f"{name}.jpg", {}, 403),
    ):
        assert (await client.get(f"/snapshot/{path}", params=query)).status_code == status, (path, query)
    away = await client.get(f"/snapshot/{name}.jpg", params={"token": token})
    assert (away.status_code, away.json()) == (
        503,
        {"error": "no_picture", "message": "the camera is not registered"},
    )
    assert "retry-after" in away.headers


async def test_a_camera_that_nobody_watches_is_called_for_it(home: House, name: str) -> None:
    await home.add_camera(name, plan="never")
    camera = await Camera.make(home, name)
    client = await home.http()
    answer = await client.get(f"/snapshot/{name}.jpg", params={"token": home.token("live", camera=name)})
    assert answer.status_code == 200
    assert len(camera.asked) == 1
    await home.until_state("idle", name)
