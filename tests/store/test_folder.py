"""What lies in a root: strangers among the recordings are passed over, large heads are read, the disk's thread ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from soip.mp4.writer import Head, init_segment
from soip.store.disk import DiskWriter
from soip.store.errors import DamagedFileError
from soip.store.files import FRONT, read_index, read_init
from soip.store.folder import all_files, cameras, newest_files, unsealed
from soip.store.repair import repair
from soip.store.root import Root
from tests.mp4.files import pieces, sealed
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import Camera, settle

DAYS = ("2025/12/31", "2026/01/01", "2026/01/02")


@pytest.fixture
def crowded(root: Root) -> list[str]:
    """Recordings of two cameras on three days, and much that is none. The paths, in order."""
    front, fragments = pieces(1)
    paths = [f"{camera}/{day}/{at}.mp4" for camera in ("cam1", "cam2") for day in DAYS for at in ("000000", "235959")]
    for path in (*paths, "cam1/2026/01/02/x.mp4", "cam1/2026/01/02/120000.mp4.part", ".trash/2026/01/01/000000.mp4"):
        root.absolute(path).parent.mkdir(parents=True, exist_ok=True)
        root.absolute(path).write_bytes(sealed(front, fragments))
    (root.path / "cam1/2026/01/02/130000.mp4").mkdir()
    (root.path / "notes.txt").touch()
    (root.path / "link").symlink_to(root.path / "cam1")
    (root.path / "empty").mkdir()
    return paths


def test_recordings_are_listed_in_order(root: Root, crowded: list[str]) -> None:
    assert list(all_files(root)) == crowded
    assert cameras(root) == ["cam1", "cam2", "empty"]
    assert list(unsealed(root, all_files(root))) == []
    assert list(unsealed(root, ["cam1/2026/01/02/999999.mp4"])) == []


def test_the_newest_are_found_without_a_walk_over_all(root: Root, crowded: list[str]) -> None:
    newest = list(newest_files(root, 1))
    assert newest == ["cam1/2026/01/02/235959.mp4", "cam2/2026/01/02/235959.mp4"]
    # What was begun a moment before midnight may be the one.
    beyond = [path for path in newest_files(root, 5) if path.startswith("cam1")]
    assert beyond == [path for path in reversed(crowded) if path.startswith("cam1")][:5]


def held_until(go: threading.Event) -> Callable[[], None]:
    """A job that keeps the disk's thread busy, as a stalling disk does."""

    def hold() -> None:
        go.wait(20)

    return hold


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def test_a_front_larger_than_the_first_read(root: Root, tmp_path: Path) -> None:
    head = Head("cam1", EPOCH_US, 0, organisation="o" * 7000)
    front = init_segment([video().track], head=head, reserve=64 << 10)
    fragments = pieces(2)[1]
    path = tmp_path / "large.mp4"
    path.write_bytes(sealed(front, fragments))
    assert len(front) > FRONT
    descriptor = opened(path)
    assert read_init(descriptor, "large.mp4").head == head
    assert len(read_index(descriptor, "large.mp4").fragments) == 2
    os.close(descriptor)
    place = root.absolute("cam1/2026/11/20/114552.mp4")
    place.parent.mkdir(parents=True)
    place.write_bytes(front + b"".join(fragments))
    row = repair(root, "cam1/2026/11/20/114552.mp4")
    assert row is not None
    assert row.frames == 50
    assert place.read_bytes() == path.read_bytes()


def test_a_front_that_never_ends_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "endless.mp4"
    front = pieces(1)[0]
    path.write_bytes(front[: front.find(b"free") - 4] + (1 << 30).to_bytes(4, "big") + b"free" + bytes(100))
    with open(path, "r+b") as file:
        file.truncate(1 << 30)
    descriptor = opened(path)
    with pytest.raises(DamagedFileError, match=r"endless\.mp4"):
        read_index(descriptor, "endless.mp4")
    os.close(descriptor)


def test_a_lying_index_is_damage(tmp_path: Path) -> None:
    data = bytearray(sealed(*pieces(2)))
    at = data.find(b"sidx")
    data[at + 12 : at + 16] = bytes(4)
    path = tmp_path / "lies.mp4"
    path.write_bytes(data)
    descriptor = opened(path)
    with pytest.raises(DamagedFileError, match="sidx"):
        read_index(descriptor, "lies.mp4")
    os.close(descriptor)


def test_closing_writes_what_is_queued_and_syncs_what_is_open(root: Root) -> None:
    disk = DiskWriter(root, sync_seconds=3600)
    camera = Camera(disk)
    writer = camera.begin()
    for second in range(5):
        assert writer.append(camera.runs(second), EPOCH_US + second * 1_000_000)
    disk.start()
    assert disk.close(20)
    assert (disk.stats.fragments, disk.stats.syncs, disk.queued_bytes) == (5, 1, 0)
    (path,) = all_files(root)
    assert list(unsealed(root, [path])) == [path]


def test_closing_does_not_wait_longer_than_it_may(root: Root) -> None:
    disk, go = DiskWriter(root), threading.Event()
    disk.start()
    disk.submit(held_until(go), 0)
    began = time.monotonic()
    assert not disk.close(0.05)
    assert time.monotonic() - began < 20
    go.set()
    assert disk.close(20)


def test_appending_never_waits_for_a_slow_disk(root: Root) -> None:
    disk, go = DiskWriter(root), threading.Event()
    disk.start()
    disk.submit(held_until(go), 0)
    camera = Camera(disk)
    writer = camera.begin()
    took = []
    for second in range(50):
        runs, began = camera.runs(second), time.perf_counter()
        assert writer.append(runs, EPOCH_US + second * 1_000_000)
        took.append(time.perf_counter() - began)
    assert median(took) < 0.2
    go.set()
    settle(disk)
    assert disk.stats.fragments == 50
    assert disk.close(20)
