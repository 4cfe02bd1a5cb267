"""A camera that sends H.265, through the whole server: recorded as sent, watched, played back, exported, shown."""

from __future__ import annotations

import io
import time
from itertools import pairwise
from pathlib import Path

import av
import pytest

from tests.faults.pictures import in_order, shown, stamps
from tests.interop.film import decode, probe
from tests.mp4 import walker
from tests.site import Site, now_us, rfc3339

pytestmark = pytest.mark.faults

CODEC = "hvc1.1.6.L90.90"


def is_h265(path: Path) -> None:
    """ffprobe and a walker of our own agree on what the file is, and ffmpeg decodes all of it without a word."""
    (stream,) = probe(path, "-show_streams", "-select_streams", "v")["streams"]
    assert (stream["codec_name"], stream["codec_tag_string"]) == ("hevc", "hvc1")
    assert (stream["width"], stream["height"]) == (640, 360)
    assert walker.codecs(path.read_bytes()) == {1: CODEC}


def test_h265_from_the_camera_to_everybody_who_looks(tmp_path: Path, thorough: bool) -> None:
    seconds, file_seconds = (120, 45) if thorough else (20, 8)
    with Site(tmp_path, file_seconds=file_seconds) as site:
        site.add_camera("cam")
        site.add_user()
        site.start()
        began = now_us()
        site.simulate("cam", "--codec", "h265")
        site.until_camera("cam")
        live = tmp_path / "live.mp4"
        site.soip(*site.play_command("cam", live, "--duration", "4"))
        with site.client() as client:
            picture = client.get("/api/cameras/cam/snapshot.jpg", follow_redirects=True)
        assert picture.status_code == 200, picture.text
        with av.open(io.BytesIO(picture.content)) as container:
            assert container.streams.video[0].codec_context.width == 640
        time.sleep(seconds)  # The time that is recorded and then looked through.
        replayed = tmp_path / "replayed.mp4"
        window = ("--from", rfc3339(now_us() - 9_000_000), "--to", rfc3339(now_us() - 3_000_000))
        site.soip(*site.play_command("cam", replayed, *window))
        exported = tmp_path / "exported.mp4"
        site.soip("export", "cam", "--from", rfc3339(began), "--to", rfc3339(now_us()), "--output", str(exported))
        site.stop()

        files = site.recordings("cam")
        assert len(files) >= seconds // file_seconds
        assert all(file.sealed for file in files)
        pictures = shown(files)
        assert in_order(pictures), "what is recorded is what was sent: every picture once"
        assert len(pictures) == sum(file.frames for file in files) >= seconds * 25 / 2
        assert all(decode(file.path) == file.frames for file in files)
        for before, after in pairwise(files):
            assert abs(after.start - before.end) <= 1000
        assert {row[0] for row in site.query("SELECT tracks FROM recording")} == {f'["{CODEC}"]'}
        for path in (live, replayed, exported, *[file.path for file in files]):
            is_h265(path)
        counters = {each.counter for each in pictures}
        for path in (live, replayed, exported):
            there = stamps(path)
            assert in_order(there[path == live :]), "live may begin with a keyframe that is some pictures old"
            assert {each.counter for each in there} <= counters
        assert len(stamps(exported)) >= seconds * 25 / 2
