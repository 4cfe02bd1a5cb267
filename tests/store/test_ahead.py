"""Files that grow have room set aside on the disk, and do not stay in memory."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import pytest

from soip.store import openfile
from soip.store.ahead import set_aside
from soip.store.disk import DiskWriter
from soip.store.events import Sealed
from soip.store.repair import repair
from soip.store.root import Root
from tests.mp4.material import EPOCH_US
from tests.store.recordings import SECOND_US, Camera, settle

MB = 1 << 20
PLENTY = 1 << 40


def synced(disk: DiskWriter, times: int) -> None:
    deadline = time.monotonic() + 10
    while disk.stats.syncs < times and time.monotonic() < deadline:
        time.sleep(0.005)  # A sync has its own thread.
    assert disk.stats.syncs == times


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.parametrize(
    ("end", "most", "size"),
    [
        (0, PLENTY, MB // 4),
        (10 * MB, PLENTY, 10 * MB),
        (500 * MB, PLENTY, 64 * MB),
        (500 * MB, 20 * MB, 20 * MB),
        (500 * MB, MB // 4, MB // 4),
        (500 * MB, MB // 4 - 1, 0),
    ],
    ids=["a new file", "as much again", "at most", "its share", "at least", "little is free"],
)
def test_room_is_set_aside_and_the_size_stays(tmp_path: Path, end: int, most: int, size: int) -> None:
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(end)
        assert set_aside(file.fileno(), end, most) == end + size
    assert path.stat().st_size == end
    assert allocated(path) == pytest.approx(size, abs=8192)


def test_a_file_that_cannot_have_room_goes_without() -> None:
    reading, writing = os.pipe()
    assert set_aside(writing, 7, PLENTY) == 7
    os.close(reading)
    os.close(writing)
    assert set_aside(writing, 7, PLENTY) == 7


def test_what_is_not_needed_is_given_back(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    assert writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)
    (path,) = root.path.rglob("*.mp4")
    assert allocated(path) >= MB // 4
    size = path.stat().st_size
    writer.seal()
    settle(camera.disk)
    assert path.stat().st_size == size
    assert allocated(path) < size + 8192


def test_a_file_of_a_crash_gives_it_back_too(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    assert writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)
    (path,) = root.path.rglob("*.mp4")
    row = repair(root, str(path.relative_to(root.path)))
    assert row is not None
    assert allocated(path) < row.bytes + 8192


def test_it_is_asked_for_as_the_file_grows(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def aside(descriptor: int, end: int, most: int) -> int:
        asked.append(end)
        return end + 2 * MB

    monkeypatch.setattr(openfile, "set_aside", aside)
    monkeypatch.setattr(openfile, "LEAST", 100_000)
    row = camera.record(60)
    assert row.bytes > 500_000
    assert asked[0] < 10_000
    assert len(asked) == 1

    def none(descriptor: int, end: int, most: int) -> int:
        asked.append(end)
        return end

    monkeypatch.setattr(openfile, "set_aside", none)
    asked.clear()
    assert camera.record(60, 100).bytes > 500_000
    assert len(asked) > 4, "where there is none it is asked for again, and not with each fragment"
    assert all(50_000 < later - earlier <= 100_000 for earlier, later in pairwise(asked))


def test_all_files_have_the_same_share_of_half_of_what_is_free(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def aside(descriptor: int, end: int, most: int) -> int:
        asked.append(most)
        return end + MB

    monkeypatch.setattr(openfile, "set_aside", aside)
    monkeypatch.setattr(root, "free_bytes", lambda: 12_000)
    disk = DiskWriter(root)
    disk.start()
    cameras = [Camera(disk, f"cam{number}") for number in range(3)]
    writers = [camera.begin() for camera in cameras]
    for camera, writer in zip(cameras, writers, strict=True):
        assert writer.append(camera.runs(0), EPOCH_US)
    settle(disk)
    assert asked == [6000, 3000, 2000]
    for writer in writers[1:]:
        writer.seal()
    cameras[0].record(1, 10)
    assert asked[3:] == [3000]
    writers[0].seal()
    assert disk.close()
    assert disk.files == 0


def test_what_was_synced_a_while_ago_is_not_kept_in_memory(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[tuple[int, int]] = []
    advise = os.posix_fadvise

    def noted(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert length > 0, "0 would be all of the file"
        assert advice == os.POSIX_FADV_DONTNEED
        forgotten.append((offset, length))
        advise(descriptor, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    disk = DiskWriter(root, sync_seconds=0.01)
    disk.start()
    camera = Camera(disk)
    writer = camera.begin()
    sizes: list[int] = []
    for second in range(5):
        assert writer.append(camera.runs(second), EPOCH_US + second * SECOND_US)
        settle(disk)
        sizes.append(next(root.path.rglob("*.mp4")).stat().st_size)
        synced(disk, second + 1)
    writer.seal()
    assert disk.close()
    ends = [offset + length for offset, length in forgotten]
    assert 8192 < forgotten[0][0] < sizes[0], "sealing writes into the front"
    assert [offset for offset, _ in forgotten[1:]] == ends[:-1]
    assert ends == sizes[: len(ends)]
    assert len(ends) == 4, "all but what was synced last"


def test_a_disk_that_gives_neither_room_nor_advice_is_recorded_to(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refused(name: str) -> Callable[..., NoReturn]:
        def refuse(*_: object) -> NoReturn:
            asked.append(name)
            raise OSError(errno.EOPNOTSUPP, name)

        return refuse

    monkeypatch.setattr(root, "free_bytes", refused("free"))
    monkeypatch.setattr(os, "posix_fadvise", refused("advice"))
    disk = DiskWriter(root, sync_seconds=0.01)
    disk.start()
    camera = Camera(disk)
    writer = camera.begin()
    for second in range(3):
        assert writer.append(camera.runs(second), EPOCH_US + second * SECOND_US)
        synced(disk, second + 1)
    writer.seal()
    assert disk.close()
    assert not writer.failed
    assert set(asked) == {"free", "advice"}
    assert isinstance(camera.events[-1], Sealed)
