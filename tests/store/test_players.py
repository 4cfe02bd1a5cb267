"""Files of every kind in programs that are not ours: ffprobe and GStreamer open them and find the same."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from soip.store.events import Opened
from soip.store.export import export
from soip.store.repair import repair
from soip.store.root import Root
from tests.mp4.files import entries, pieces
from tests.mp4.material import EPOCH_US, video
from tests.peers import need
from tests.store.recordings import SECOND_US, Camera, probe, settle

SECONDS = 4


def discovered(path: Path) -> tuple[float, set[str]]:
    """What GStreamer says of a file: how long it is, and what its streams are. Fails on any complaint."""
    done = subprocess.run(
        [need("gst-discoverer-1.0"), "-v", path.as_uri()], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rror" not in done.stdout, done.stdout
    hours, minutes, seconds = re.search(r"Duration: (\d+):(\d\d):([\d.]+)", done.stdout).groups()  # type: ignore[union-attr]
    kinds = set(re.findall(r"^\s*(video|audio) #\d", done.stdout, re.MULTILINE))
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds), kinds


def played(path: Path) -> int:
    """How many pictures GStreamer decodes."""
    pipeline = f"filesrc location={path} ! qtdemux ! h264parse ! avdec_h264 ! identity silent=false ! fakesink"
    command = [need("gst-launch-1.0"), "-v", *pipeline.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return len(re.findall(r"last-message = chain ", done.stdout))


def sealed_file(camera: Camera, _folder: Path) -> Path:
    return camera.disk.root.absolute(camera.record(SECONDS).path)


def with_sound(camera: Camera, folder: Path) -> Path:
    camera.sound = True
    return sealed_file(camera, folder)


def reordered(camera: Camera, folder: Path) -> Path:
    camera.material = video(bframes=2)
    return sealed_file(camera, folder)


def being_written(camera: Camera, _folder: Path) -> Path:
    writer = camera.begin()
    for second in range(SECONDS):
        assert writer.append(camera.runs(second), EPOCH_US + second * SECOND_US)
    settle(camera.disk)
    (opened,) = (event for event in camera.events if isinstance(event, Opened))
    return camera.disk.root.absolute(opened.recording.path)


def repaired(camera: Camera, _folder: Path) -> Path:
    front, fragments = pieces(SECONDS + 1)
    return mended(camera.disk.root, front + b"".join(fragments)[:-1000])


def with_a_hole(camera: Camera, _folder: Path) -> Path:
    front, fragments = pieces(SECONDS + 1)
    known = entries(front, fragments)
    data = bytearray(front + b"".join(fragments))
    data[known[1].offset : known[2].offset] = bytes(known[1].size)
    return mended(camera.disk.root, bytes(data))


def mended(root: Root, data: bytes) -> Path:
    path = "cam1/2026/11/20/114552.mp4"
    place = root.absolute(path)
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    assert repair(root, path) is not None
    return place


def exported(camera: Camera, folder: Path) -> Path:
    paths = [camera.disk.root.absolute(camera.record(3, first).path) for first in (0, 3)]
    begin = EPOCH_US + SECOND_US
    (file,) = export(paths, begin, begin + SECONDS * SECOND_US, folder / "export.mp4")
    return file


KINDS = (sealed_file, with_sound, reordered, being_written, repaired, with_a_hole, exported)


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_other_programs_open_it(make: Callable[[Camera, Path], Path], camera: Camera, tmp_path: Path) -> None:
    file = make(camera, tmp_path)
    shown = probe(file)
    assert (shown.errors, shown.frames) == ("", SECONDS * 25)
    assert played(file) == SECONDS * 25
    duration, kinds = discovered(file)
    assert kinds == ({"video", "audio"} if camera.sound else {"video"})
    if make is not being_written:  # which has no duration yet
        longest = SECONDS + 1 if make is with_a_hole else SECONDS
        assert duration == pytest.approx(longest, abs=0.1)
        assert shown.duration == pytest.approx(longest, abs=0.1)
