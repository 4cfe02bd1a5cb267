"""Disks that fail, listeners that fail, workers that start at once: each loses what it must and no more."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.mp4.boxes import Buffer
from soip.store.disk import DiskWriter
from soip.store.errors import DamagedFileError
from soip.store.events import DiskFull, Event, Opened, Sealed, WriteFailed, Written
from soip.store.export import export, plan
from soip.store.repair import repair
from soip.store.root import Root
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import SECOND_US, Camera, open_root, settle


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_disk_that_cannot_sync_is_told(camera: Camera, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = camera.begin()
    writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)
    monkeypatch.setattr(os, "fdatasync", failing(errno.EIO))
    writer.append(camera.runs(1), EPOCH_US + SECOND_US)
    for _ in range(6000):
        if camera.disk.stats.syncs and writer.failed:
            break
        time.sleep(0.01)  # The disk's own thread does it.
    settle(camera.disk)
    monkeypatch.undo()
    assert writer.failed
    failure = camera.events[-1]
    assert isinstance(failure, WriteFailed)
    assert failure.since_us == EPOCH_US + 2 * SECOND_US
    (path,) = root.path.glob("cam1/*/*/*/*.mp4")
    row = repair(root, path.relative_to(root.path).as_posix())
    assert row is not None
    assert row.frames == 50, "what could not be sealed is mended at the next start"


@pytest.mark.parametrize("error", [0, errno.EIO, errno.EBADF])
def test_a_sync_that_takes_long_holds_nothing_up(root: Root, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """The disk writes, seals and closes meanwhile; of a file that is closed by then nobody asks how its sync went."""
    stuck, go, sync = threading.Event(), threading.Event(), os.fdatasync

    def slow(descriptor: int) -> None:
        if threading.current_thread().name != "disk-sync":
            sync(descriptor)
            return
        stuck.set()
        assert go.wait(20)
        if error:
            raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fdatasync", slow)
    disk = DiskWriter(root, sync_seconds=0.01)
    disk.start()
    camera, other = Camera(disk), Camera(disk, "cam2")
    writer = camera.begin()
    assert writer.append(camera.runs(0), EPOCH_US)
    assert stuck.wait(20)
    assert other.record(3).frames == 75
    assert writer.append(camera.runs(1), EPOCH_US + SECOND_US)
    writer.seal()
    settle(disk)
    assert [type(event) for event in camera.events] == [Opened, Written, Written, Sealed]
    assert (disk.stats.syncs, disk.stats.fragments) == (0, 5)
    go.set()
    assert disk.close(20)
    assert disk.stats.syncs == 1
    assert disk.stats.worst_sync_seconds > 0
    assert [type(event) for event in camera.events] == [Opened, Written, Written, Sealed]


def test_whatever_a_sync_fails_by_others_are_synced(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [ValueError("nobody thought of this")]
    sync = os.fdatasync

    def fail(descriptor: int) -> None:
        if failures and threading.current_thread().name == "disk-sync":
            raise failures.pop()
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", fail)
    disk = DiskWriter(root, sync_seconds=3600)
    disk.start()
    camera, other = Camera(disk), Camera(disk, "cam2")
    for each in (camera, other):
        assert each.begin().append(each.runs(0), EPOCH_US)
    assert disk.close(20)
    assert [type(event) for event in camera.events] == [Opened, Written, WriteFailed, Sealed]
    assert [type(event) for event in other.events] == [Opened, Written]
    assert disk.stats.syncs == 2


def test_a_sealing_that_fails_is_told(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = camera.begin()
    writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)
    monkeypatch.setattr("soip.store.openfile.seal", failing(errno.EIO))
    writer.seal()
    settle(camera.disk)
    assert [type(event) for event in camera.events] == [Opened, Written, WriteFailed]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_is_a_full_disk(camera: Camera, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    writer = camera.begin()
    writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)
    monkeypatch.setattr("soip.store.openfile.write_all", failing(number))
    writer.append(camera.runs(1), EPOCH_US + SECOND_US)
    writer.append(camera.runs(2), EPOCH_US + 2 * SECOND_US)
    settle(camera.disk)
    assert [type(event) for event in camera.events] == [Opened, Written, DiskFull, Sealed]
    assert camera.events[2] == DiskFull("cam1", EPOCH_US + SECOND_US)


def test_half_a_write_is_cut_off(camera: Camera, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = camera.begin()
    writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)

    def half(descriptor: int, parts: Sequence[Buffer], offset: int) -> None:
        data = b"".join(parts)
        os.pwrite(descriptor, data[: len(data) // 2], offset)
        raise OSError(errno.EIO, "on purpose")

    monkeypatch.setattr("soip.store.openfile.write_all", half)
    writer.append(camera.runs(1), EPOCH_US + SECOND_US)
    settle(camera.disk)
    sealed = camera.events[-1]
    assert isinstance(sealed, Sealed)
    data = root.absolute(sealed.recording.path).read_bytes()
    assert len(data) == sealed.recording.bytes
    assert len(walker.read(data).of(1)) == 25


def test_short_writes_are_completed(camera: Camera, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real(descriptor, data[:999], offset))
    row = camera.record(2)
    monkeypatch.undo()
    assert len(walker.read(root.absolute(row.path).read_bytes()).of(1)) == 50


def test_a_listener_that_fails_stops_nobody(disk: DiskWriter, root: Root) -> None:
    camera = Camera(disk)

    def listen(event: Event) -> None:
        raise RuntimeError("on purpose")

    before = len(os.listdir("/proc/self/fd"))
    writer = camera.begin(listen)
    for second in range(3):
        assert writer.append(camera.runs(second), EPOCH_US + second * SECOND_US)
    writer.seal()
    settle(disk)
    (path,) = root.path.glob("cam1/*/*/*/*.mp4")
    assert len(walker.read(path.read_bytes()).of(1)) == 75
    assert len(os.listdir("/proc/self/fd")) == before
    assert Camera(disk, "cam2").record(1).frames == 25


def test_workers_that_start_at_once_share_one_root(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        roots = list(pool.map(lambda _: open_root(tmp_path / "media"), range(16)))
    assert len({root.id for root in roots}) == 1
    assert not list((tmp_path / "media").glob(".identity*"))


def test_an_export_that_fails_leaves_nothing(camera: Camera, root: Root, tmp_path: Path) -> None:
    path = root.absolute(camera.record(3).path)
    data = path.read_bytes()
    second = [node for node in walker.tree(data) if node.kind == "moof"][1]
    damaged = bytearray(data)
    damaged[second.offset + 4 : second.offset + 8] = b"xxxx"
    damaged[second.offset : second.offset + 4] = b"\0\0\0\1"
    path.write_bytes(damaged)
    with pytest.raises(DamagedFileError):
        export([path], EPOCH_US, EPOCH_US + 3 * SECOND_US, tmp_path / "out.mp4")
    assert [name for name in os.listdir(tmp_path) if name != "media"] == []


def test_a_file_that_is_cut_while_it_is_exported(camera: Camera, root: Root) -> None:
    path = root.absolute(camera.record(3).path)
    (part,) = plan([path], EPOCH_US, EPOCH_US + 3 * SECOND_US)
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(DamagedFileError, match="was cut"):
        list(part.chunks())


@pytest.fixture(scope="module")
def three_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve seconds in three files, frames reordered, with sound."""
    disk = DiskWriter(open_root(tmp_path_factory.mktemp("export")))
    disk.start()
    camera = Camera(disk, material=video(bframes=2), sound=True)
    paths = [disk.root.absolute(camera.record(4, first).path) for first in (0, 4, 8)]
    assert disk.close(20)
    return paths


@settings(max_examples=40)
@given(st.integers(-1_000_000, 12_500_000), st.integers(1000, 13_000_000))
def test_any_range_is_exported_exactly(three_files: list[Path], start: int, length: int) -> None:
    begin, end = max(0, start), min(12_000_000, start + length)
    if end - begin < 1000:
        return
    (part,) = plan(three_files, EPOCH_US + start, EPOCH_US + start + length)
    data = b"".join(part.chunks())
    assert len(data) == part.size
    assert (part.start_us, part.end_us) == (EPOCH_US + begin, EPOCH_US + end)
    movie = walker.read(data)
    assert movie.duration == pytest.approx((end - begin) * 0.09, abs=2)
    skip = movie.skips[1]
    got = [round((one.dts + one.cts - skip) / 0.09) + begin for one in movie.of(1)]
    wanted = [number * 40_000 for number in range(300) if begin <= number * 40_000 < end]
    visible = sorted(time for time in got if begin - 20 <= time < end - 20)
    assert len(visible) == pytest.approx(len(wanted), abs=1), "to a tick at either end"
    assert sum(one.duration for one in movie.of(2)) >= (end - begin) * 0.016 - 2048
