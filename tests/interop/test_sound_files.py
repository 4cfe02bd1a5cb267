"""Recordings with each kind of sound, opened by those who will: ffprobe, ffmpeg, and Chromium through MediaSource."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from soip.rtp.sound import OPUS, PCMA, PCMU, SoundFormat
from soip.store.disk import DiskWriter
from soip.store.export import export
from soip.store.root import Root
from tests.e2e.conftest import CHROMIUM
from tests.media.clocks import RATE, Stream, VirtualCamera
from tests.media.sounds import AAC
from tests.media.test_recorder import Desk
from tests.media.test_time import clapping_pictures, clapping_sound
from tests.peers import need

pytestmark = pytest.mark.interop

SECONDS = 8
FORMATS = [(AAC, "aac", 16_000), (OPUS, "opus", 48_000), (PCMU, "aac", 8000), (PCMA, "aac", 8000)]

# Appends a whole file, plays it and tells what was decoded of it.
PLAY = """
async ([data, mime]) => {
    if (!MediaSource.isTypeSupported(mime)) return {unsupported: mime};
    const video = document.createElement("video");
    const source = new MediaSource();
    video.src = URL.createObjectURL(source);
    await new Promise((done) => source.addEventListener("sourceopen", done, {once: true}));
    const buffer = source.addSourceBuffer(mime);
    const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
    const appended = new Promise((done, failed) => {
        buffer.addEventListener("updateend", done, {once: true});
        buffer.addEventListener("error", () => failed(new Error("not appended")), {once: true});
    });
    buffer.appendBuffer(bytes);
    await appended;
    source.endOfStream();
    video.muted = false;
    await video.play();
    await new Promise((done) => video.addEventListener("ended", done, {once: true}));
    const frames = video.getVideoPlaybackQuality().totalVideoFrames;
    const error = video.error && video.error.message;
    return {ranges: buffer.buffered.length, frames, sound: video.webkitAudioDecodedByteCount, error};
}
"""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    disk = DiskWriter(Root.open(tmp_path / "media", "m1", reserve_bytes=0, room_bytes=0))
    disk.start()
    yield Desk(disk)
    await asyncio.to_thread(disk.close, 10)


async def record(desk: Desk, form: SoundFormat) -> tuple[Path, str]:
    """A file of some seconds, and the media type of what is in it."""
    camera = VirtualCamera(Stream(90_000), Stream(form.clock_rate), form=form)
    pictures, sound = clapping_pictures(SECONDS * RATE), clapping_sound(form, SECONDS + 1)
    camera.picture_of, camera.sound_of = pictures.__getitem__, sound.__getitem__
    camera.samples = form.samples(sound[0])
    camera.take_picture, camera.take_sound = desk.take, desk.recorder.sound
    desk.on(form)
    camera.run(SECONDS)
    desk.recorder.interrupt()
    await desk.settle()
    path = desk.paths[-1]
    return path, f'video/mp4; codecs="{",".join(json.loads(desk.files[-1].tracks))}"'


def decoded(path: Path) -> dict[str, dict[str, str]]:
    """What ffprobe says of each stream, all of it decoded by ffmpeg without a complaint."""
    ran = subprocess.run(
        [need("ffmpeg"), "-v", "error", "-xerror", "-i", path, "-f", "null", "-"], capture_output=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    out = subprocess.run(
        [need("ffprobe"), "-v", "error", "-show_streams", "-of", "json", path], capture_output=True, check=True
    )
    return {stream["codec_type"]: stream for stream in json.loads(out.stdout)["streams"]}


@pytest.mark.parametrize(("form", "codec", "rate"), FORMATS)
async def test_ffmpeg_decodes_the_file_and_what_is_exported_of_it(
    desk: Desk, form: SoundFormat, codec: str, rate: int, tmp_path: Path
) -> None:
    path, _ = await record(desk, form)
    row = desk.files[-1]
    (cut,) = export([path], row.start_us + 1_500_000, row.start_us + 5_500_000, tmp_path / "cut.mp4")
    for one, length in ((path, SECONDS), (cut, 4)):
        streams = decoded(one)
        assert streams["audio"]["codec_name"] == codec
        assert int(streams["audio"]["sample_rate"]) == rate
        assert abs(float(streams["audio"]["duration"]) - length) < 0.7, streams["audio"]
        assert abs(float(streams["video"]["duration"]) - length) < 0.7


async def test_chromium_plays_them(desk: Desk) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=need("chromium"), args=[*CHROMIUM, "--autoplay-policy=no-user-gesture-required"]
        )
        page = await browser.new_page()
        for form, _, _ in FORMATS:
            desk.rows.clear()
            desk.use()
            path, mime = await record(desk, form)
            told = await page.evaluate(PLAY, [base64.b64encode(path.read_bytes()).decode(), mime])
            assert "unsupported" not in told, told
            assert told["error"] is None
            assert told["ranges"] == 1, told
            assert told["frames"] >= SECONDS * RATE - 30, told
            assert told["sound"] > 1000, told
        await browser.close()
