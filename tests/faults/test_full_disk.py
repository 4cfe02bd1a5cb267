"""The disk of the recordings is full: recording stops there and says why, live goes on, and it comes back by itself."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.pictures import in_order, stamps
from tests.faults.timeline import holes, timeline
from tests.interop.film import decode
from tests.site import Site, now_us, rfc3339, until

pytestmark = pytest.mark.faults

SIZE = 320 << 20
"""Larger than the room the store wants before it records again (`soip.store.root.ROOM_BYTES`)."""


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A disk of `SIZE` in memory, mounted at `place`. Needs root."""
    place.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "soip-test", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr} (this test needs root)"
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is free."""
    filler = disk / ".filler"
    with filler.open("wb") as file:
        while True:
            state = os.statvfs(disk)
            with suppress(OSError):  # The recorder may have been faster.
                os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize)
                break
    return filler


def test_a_full_disk(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with small_disk(site.data / "media") as disk, site:
        site.add_camera("cam1")
        site.add_user()
        site.start()
        site.simulate("cam1")
        site.until_camera("cam1")
        time.sleep(5)  # Something to have recorded before the disk fills.
        held = ("--from", rfc3339(now_us() - 3600 * 10**6), "--to", rfc3339(now_us() + 3600 * 10**6))
        site.soip("hold", "add", "cam1", *held, "--reason", "evidence")  # else the oldest would make room
        filler = fill(disk)
        site.until_camera("cam1", "live")
        stopped = [entry for entry in site.entries if entry["event"] == "recording stops"]
        assert [(entry["camera"], entry["level"]) for entry in stopped] == [("cam1", "error")]
        assert "free some space" in stopped[0]["reason"]
        live = tmp_path / "live.mp4"
        site.soip(*site.play_command("cam1", live, "--duration", "3"))
        pictures = stamps(live)
        assert len(pictures) >= 25
        # A viewer sees the last keyframe at once, then all from the next one on.
        assert in_order(pictures[1:])
        (gap,) = (gap for gap in site.gaps("cam1") if gap.cause == "disk")
        before = site.recordings("cam1")
        assert all(file.sealed for file in before)
        filler.unlink()
        site.until_camera("cam1", "recording")
        until(lambda: site.frames("cam1", gap.start) > 50, explain=site.explain)
        entries = timeline(site, "cam1")
        assert not holes(entries), entries
        assert [entry.cause for entry in entries if entry.start > before[0].start] == ["disk", ""]
        # One process met a full disk; none of them had to be started again.
        assert site.count("process ended") == 0
        site.stop()
        for file in site.recordings("cam1"):
            assert decode(file.path) == file.frames
            assert in_order(stamps(file.path))
        assert site.soip("store", "check").stdout.rstrip().endswith("agree")
