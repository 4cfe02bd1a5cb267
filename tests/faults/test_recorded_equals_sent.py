"""What a camera sent is what stands on the disk: every picture once, in order, at its time, across files."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from tests.faults.pictures import in_order, shown
from tests.faults.timeline import holes, timeline
from tests.interop.film import decode
from tests.site import Site, free_port

pytestmark = pytest.mark.faults


def test_every_picture_is_recorded_once_across_files(tmp_path: Path, thorough: bool) -> None:
    seconds, file_seconds = (120, 45) if thorough else (20, 8)
    with Site(tmp_path, file_seconds=file_seconds) as site:
        site.add_camera("cam-1")
        site.add_camera("cam-2")
        site.add_user()
        site.start()
        site.simulate("cam", "--count", "2")
        for camera in ("cam-1", "cam-2"):
            site.until_camera(camera)
        time.sleep(seconds)  # The time that is recorded and then looked through.
        timelines = [timeline(site, camera) for camera in ("cam-1", "cam-2")]
        site.stop()
        for camera in ("cam-1", "cam-2"):
            files = site.recordings(camera)
            assert len(files) >= seconds // file_seconds
            assert all(file.sealed for file in files)
            pictures = shown(files)
            assert in_order(pictures)
            # The camera itself skips pictures on a busy machine.
            assert len(pictures) == sum(file.frames for file in files) >= seconds * 25 / 2
            assert all(decode(file.path) == file.frames for file in files)
            late = sorted(picture.recorded - picture.sent for picture in pictures)
            few = len(late) // 20  # may have been drawn while the machine stalled
            assert late[-1 - few] - late[few] < 1_000_000, (late[few], late[-1 - few])
            assert -50_000 < median(late) < 600_000
            for before, after in pairwise(files):
                assert abs(after.start - before.end) <= 1000
        for entries in timelines:
            assert not holes(entries)
            assert {entry.cause for entry in entries} <= {"", "camera offline"}


def test_every_picture_that_came_encrypted_is_recorded_once(tmp_path: Path) -> None:
    host = "127.0.0.1"
    with Site(tmp_path, file_seconds=4, sip_tls=f"{host}:{free_port(host)}", srtp="required") as site:
        site.soip("tls", "init", "--name", host)
        site.add_camera("cam1")
        site.start()
        tls = ("--server", site.settings["SOIP_SIP_TLS"], "--transport", "tls")
        site.simulate("cam1", *tls, "--tls-ca", str(site.data / "tls" / "ca.pem"), "--srtp")
        site.until_camera("cam1")
        time.sleep(10)  # The time that is recorded and then looked through.
        site.stop()
        files = site.recordings("cam1")
        assert len(files) >= 2
        pictures = shown(files)
        assert in_order(pictures)
        assert len(pictures) == sum(file.frames for file in files) >= 10 * 25 / 2
        assert all(decode(file.path) == file.frames for file in files)
