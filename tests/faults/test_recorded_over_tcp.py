"""Media over TCP through the whole server: what cameras sent that way is what stands on the disk and what is shown."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.pictures import in_order, shown
from tests.faults.timeline import holes, timeline
from tests.interop.film import decode
from tests.site import Site

pytestmark = pytest.mark.faults


def test_cameras_that_connect_and_that_are_connected_to(tmp_path: Path, thorough: bool) -> None:
    seconds, file_seconds = (90, 30) if thorough else (16, 6)
    with Site(tmp_path, file_seconds=file_seconds) as site:
        for camera in ("cam-1", "cam-2"):
            site.add_camera(camera, "--transport", "tcp")
        site.add_user()
        site.start()
        site.simulate("cam-1")
        site.simulate("cam-2", "--tcp-setup", "passive")
        for camera in ("cam-1", "cam-2"):
            site.until_camera(camera)
        began = time.monotonic()
        films = []
        for camera, rtp in (("cam-1", "tcp"), ("cam-2", "udp")):
            films.append(tmp_path / f"{camera}.mp4")
            site.soip(*site.play_command(camera, films[-1], "--duration", "3", "--rtp", rtp))
        time.sleep(max(0.0, began + seconds - time.monotonic()))  # The time that is recorded and then looked through.
        timelines = [timeline(site, camera) for camera in ("cam-1", "cam-2")]
        site.stop()
        assert all(decode(film) > 25 for film in films)
        for camera in ("cam-1", "cam-2"):
            files = site.recordings(camera)
            assert len(files) >= seconds // file_seconds
            pictures = shown(files)
            assert in_order(pictures)
            assert len(pictures) == sum(file.frames for file in files) >= seconds * 25 / 2
            assert all(decode(file.path) == file.frames for file in files)
            for before, after in pairwise(files):
                assert abs(after.start - before.end) <= 1000
        for entries in timelines:
            assert not holes(entries)
