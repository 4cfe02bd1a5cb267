"""A full disk, for real: what was written is sealed, the loss is told, recording goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from soip.mp4.times import ticks_of
from soip.mp4.writer import Run
from soip.store import journal
from soip.store.disk import DiskWriter
from soip.store.events import DiskFull, Opened, Sealed, Written
from soip.store.reader import RecordingFile
from soip.store.root import RESERVE, Root
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, Frame, run_of
from tests.store.recordings import SECOND_US, Camera, settle

pytestmark = pytest.mark.faults


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "soip-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def second_of_noise(second: int) -> list[Run]:
    nal = b"\x65" + bytes(range(1, 256)) * 600
    sample = Frame([len(nal).to_bytes(4, "big"), nal], 90_000)
    return [run_of(1, ticks_of(EPOCH_US) + second * 90_000, [sample])]


def test_a_full_disk_ends_recording_well_and_room_lets_it_go_on(small: Path) -> None:
    root = Root.open(small / "media", "m1", reserve_bytes=128 << 10, room_bytes=512 << 10)
    disk = DiskWriter(root)
    disk.start()
    camera = Camera(disk)
    writer = camera.begin()
    taken = 0
    while writer.append(second_of_noise(taken), EPOCH_US + taken * SECOND_US):
        taken += 1
        settle(disk)
        assert taken < 20, "two megabytes do not hold this much"
    kinds = [type(event) for event in camera.events]
    written = kinds.count(Written)
    assert kinds == [Opened] + [Written] * written + [DiskFull, Sealed]
    full, sealed = camera.events[-2:]
    assert isinstance(full, DiskFull)
    assert isinstance(sealed, Sealed)
    assert full == DiskFull("cam1", EPOCH_US + written * SECOND_US)
    assert sealed.recording.end_us == full.since_us
    movie = walker.read(root.absolute(sealed.recording.path).read_bytes())
    assert movie.indexed is not None
    assert len(movie.indexed) == written
    assert writer.failed
    assert not root.has_room()
    assert not (root.path / RESERVE).exists(), "the reserve was given to the disk"

    journal.append(root, "cam1", journal.Entry("gap", "g", full.since_us, None, "disk"))
    assert [entry.cause for entry in journal.read(root, "cam1", EPOCH_US)] == ["disk"]

    root.absolute(sealed.recording.path).unlink()
    assert root.has_room()
    camera.events.clear()
    again = camera.begin()
    assert again.append(second_of_noise(60), EPOCH_US + 60 * SECOND_US)
    again.seal()
    settle(disk)
    assert [type(event) for event in camera.events] == [Opened, Written, Sealed]
    assert (root.path / RESERVE).exists()
    assert disk.close(20)


def test_a_journal_line_uses_the_reserve(small: Path) -> None:
    root = Root.open(small / "media", "m1", reserve_bytes=64 << 10, room_bytes=128 << 10)
    fill(small / "filler")
    journal.append(root, "cam1", journal.Entry("gap", "g", EPOCH_US, None, "disk"))
    assert len(journal.read(root, "cam1", EPOCH_US)) == 1
    assert not (root.path / RESERVE).exists()


def test_a_disk_that_is_full_from_the_start_makes_no_file(small: Path) -> None:
    root = Root.open(small / "media", "m1", reserve_bytes=16 << 10, room_bytes=128 << 10)
    fill(small / "filler")
    disk = DiskWriter(root)
    disk.start()
    camera = Camera(disk)
    writer = camera.begin()
    writer.append(second_of_noise(0), EPOCH_US)
    settle(disk)
    assert camera.events == [DiskFull("cam1", EPOCH_US)]
    assert not list(root.path.glob("cam1/**/*.mp4"))
    assert disk.close(20)


def test_other_cameras_files_are_sealed_too(small: Path) -> None:
    root = Root.open(small / "media", "m1", reserve_bytes=128 << 10, room_bytes=512 << 10)
    disk = DiskWriter(root)
    disk.start()
    cameras = [Camera(disk, f"cam{number}") for number in range(3)]
    writers = [camera.begin() for camera in cameras]
    for second in range(10):
        for writer in writers:
            writer.append(second_of_noise(second), EPOCH_US + second * SECOND_US)
    settle(disk)
    for writer in writers:
        writer.seal()
    assert disk.close(20)
    for camera in cameras:
        assert DiskFull in [type(event) for event in camera.events]
        last = camera.events[-1]
        assert isinstance(last, Sealed)
        with RecordingFile(root.absolute(last.recording.path)) as file:
            assert file.index.sealed


def fill(place: Path) -> None:
    with open(place, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
