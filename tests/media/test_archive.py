"""What a worker makes of its recordings at a start: the right disk, mended files, the time nobody recorded."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from soip.config import Settings
from soip.directory.directory import Directory
from soip.directory.rows import CameraRow, GapRow, HomeRow, RecordingRow
from soip.directory.writebehind import WriteBehind
from soip.media.archive import Archive, file_of
from soip.media.context import Context
from soip.media.gaps import Cause
from soip.media.recorder import Recorder
from soip.store import journal
from soip.store.errors import ForeignRootError, MissingRootError
from soip.store.root import NOTE, Root
from tests.media.house import until
from tests.media.material import START_US
from tests.mp4.files import pieces

SECOND = 1_000_000
NOW_US = START_US + 3600 * SECOND


@dataclass
class Desk:
    """Stands in for the context: a directory, a clock."""

    settings: Settings
    directory: Directory
    later: WriteBehind
    utc_us: int = NOW_US
    instance: str = "m1-0"

    def now(self) -> float:
        return time.monotonic()

    def now_us(self) -> int:
        return self.utc_us

    def archive(self) -> Archive:
        return Archive(self.settings, cast(Context, self), "m1")

    async def recorder(self, later_s: float = 0, **facts: Any) -> Recorder:
        """The recorder of cam1, as the worker makes it so long after its start."""
        async with self.archive() as archive:
            self.utc_us += int(later_s * SECOND)
            return await archive.recorder(CameraRow("cam1", "cam1", "cam1", **facts))

    async def gaps(self) -> list[tuple[float, float, str]]:
        """In seconds since the first picture."""
        await self.later.flush()
        rows = await self.directory.catalog.gaps("cam1")
        return [(_seconds(row.start_us), _seconds(row.end_us), row.cause) for row in rows]

    def row(self, start: float, end: float, *, sealed: bool = True) -> RecordingRow:
        """A recording of cam1, in seconds since the first picture."""
        path = f"cam1/2026/11/20/{int(start):06}.mp4"
        root = str(self.settings.media_roots[0])
        span = (START_US + int(start * SECOND), START_US + int(end * SECOND))
        return RecordingRow(path, "cam1", "m1", self.instance, root, path, *span, sealed=sealed)


def _seconds(utc_us: int) -> float:
    return (utc_us - START_US) / SECOND


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    settings = Settings(data=tmp_path, media_workers=1)
    async with await Directory.open(settings.database_url) as directory, directory.write_behind() as later:
        yield Desk(settings, directory, later)


# -- the disk


async def test_a_disk_that_is_not_mounted_is_not_recorded_over(desk: Desk) -> None:
    media = desk.settings.media_roots[0]
    async with desk.archive():
        pass
    await desk.directory.save(row := desk.row(0, 60, sealed=False))
    disk = media.rename(media.with_name("disk"))
    media.mkdir()  # The mount point without its disk.
    with pytest.raises(MissingRootError, match="mount the disk with the recordings, or remove"):
        desk.archive()
    assert list(media.iterdir()) == []
    media.rmdir()
    disk.rename(media)
    file_of(row).parent.mkdir(parents=True)
    file_of(row).write_bytes(b"")
    async with desk.archive() as archive:
        await archive.mend()
    assert await desk.directory.catalog.recordings("cam1") == [], "this file held nothing, and was removed"


async def test_the_rows_of_a_disk_that_was_given_up_stay(desk: Desk) -> None:
    media = desk.settings.media_roots[0]
    async with desk.archive():
        pass
    await desk.directory.save(row := desk.row(0, 60, sealed=False))
    media.rename(media.with_name("disk"))
    (desk.settings.data / NOTE).unlink()
    async with desk.archive() as archive:
        await archive.mend()
    assert await desk.directory.catalog.recordings("cam1") == [row], "it may come back; `soip store rebuild` decides"


async def test_another_disk_of_the_same_server_is_another_disk(desk: Desk) -> None:
    media = desk.settings.media_roots[0]
    async with desk.archive():
        pass
    media.rename(media.with_name("disk"))
    note = (desk.settings.data / NOTE).rename(desk.settings.data / "kept")
    async with desk.archive():
        pass
    note.rename(desk.settings.data / NOTE)
    with pytest.raises(ForeignRootError, match="mount the right disk, or remove"):
        desk.archive()


async def test_mending_looks_at_all_that_may_not_have_been_synced(desk: Desk) -> None:
    desk.settings = Settings(data=desk.settings.data, media_workers=1, sync_seconds=20)
    async with desk.archive() as archive:
        front, fragments = pieces(60)
        fragments = [*fragments[:20], fragments[20][:-1500] + bytes(1500), *fragments[21:]]
        place = desk.settings.media_roots[0] / "cam1/2026/11/20/114552.mp4"
        place.parent.mkdir(parents=True)
        place.write_bytes(front + b"".join(fragments))
        await archive.mend()
    (row,) = await desk.directory.catalog.recordings("cam1")
    assert (row.sealed, row.frames) == (True, 59 * 25)


async def test_a_file_that_was_sealed_before_anybody_heard_of_it_is_found(desk: Desk) -> None:
    """Its worker was killed while it mended: the file was sealed, and the row not written."""
    async with desk.archive() as archive:
        front, fragments = pieces(60)
        place = desk.settings.media_roots[0] / "cam1/2026/11/20/114552.mp4"
        place.parent.mkdir(parents=True)
        place.write_bytes(front + b"".join(fragments))
        await archive.mend()
        (row,) = await desk.directory.catalog.recordings("cam1")
        desk.later.delete(row)
        await desk.later.flush()
        assert await desk.directory.catalog.recordings("cam1") == []
        await archive.mend()
        assert await desk.directory.catalog.recordings("cam1") == [row]
        told = replace(row, sha256="what its writer knew")
        await desk.directory.save(told)
        await archive.mend()
        assert await desk.directory.catalog.recordings("cam1") == [told], "what is known stays known"


# -- the time nobody recorded


async def test_the_time_the_server_was_down_is_a_gap(desk: Desk) -> None:
    await desk.directory.save(desk.row(0, 60))
    desk.utc_us = START_US + 90 * SECOND
    recorder = await desk.recorder(created_us=START_US - SECOND)
    recorder.stop()
    assert await desk.gaps() == [(60, 90, "media server down")]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("always", [(60, 80, "not planned"), (80, 90, "media server down")]),
        ("never", [(60, 90, "not planned")]),
    ],
)
async def test_while_there_was_no_such_camera_nothing_was_planned(
    desk: Desk, plan: str, expected: list[tuple[float, float, str]]
) -> None:
    await desk.directory.save(desk.row(0, 60))
    desk.utc_us = START_US + 90 * SECOND
    recorder = await desk.recorder(plan=plan, created_us=START_US + 80 * SECOND)
    recorder.stop()
    assert await desk.gaps() == expected


async def test_a_camera_that_is_added_again_while_the_worker_runs(desk: Desk) -> None:
    await desk.directory.save(desk.row(0, 60))
    desk.utc_us = START_US + 30 * SECOND
    recorder = await desk.recorder(60, created_us=START_US + 88 * SECOND)
    recorder.stop()
    assert await desk.gaps() == [(60, 88, "not planned"), (88, 90, "camera offline")]


async def test_a_gap_that_was_open_when_the_worker_was_killed_is_in_the_journal(desk: Desk) -> None:
    """In the catalog it has grown until then; the journal gets gaps that are over."""
    span = (START_US + 60 * SECOND, START_US + 70 * SECOND)
    await desk.directory.save(desk.row(0, 60), GapRow("g", "cam1", *span, "camera offline", detail="it hung up"))
    desk.utc_us = START_US + 90 * SECOND
    await desk.recorder()
    root = Root.open(desk.settings.media_roots[0], "m1")
    entries = journal.read(root, "cam1", START_US)
    assert [(entry.id == "g", entry.end_us, entry.cause) for entry in entries] == [(True, span[1], "camera offline")]
    assert entries[0].facts == {"detail": "it hung up"}


async def test_a_clock_that_was_set_back_is_told_and_time_goes_on_from_there(desk: Desk) -> None:
    """Gaps must not wait for the hour that was recorded already to pass."""
    await desk.directory.save(desk.row(0, 3600))
    desk.utc_us = START_US + 60 * SECOND
    with capture_logs() as logs:
        recorder = await desk.recorder()
    assert [(entry["log_level"], entry["camera"]) for entry in logs if "set back" in entry["event"]] == [
        ("error", "cam1")
    ]
    desk.utc_us += 10 * SECOND
    recorder.enable(True)
    recorder.missing(Cause.OFFLINE, "not registered")
    desk.utc_us += 10 * SECOND
    recorder.stop()
    assert await desk.gaps() == [(60, 70, "media server down"), (70, 80, "camera offline")]


async def test_the_gap_before_a_takeover_says_who_took_over_from_whom(desk: Desk) -> None:
    """Although this worker has been there all the time, and the camera is newer than its start."""
    await desk.directory.save(desk.row(0, 20))
    home = HomeRow("cam1", "m1-0", 7, NOW_US, "m2-0")
    async with desk.archive() as archive:
        await archive.recorder(CameraRow("cam1", "cam1", "cam1", created_us=NOW_US), home)
    await desk.later.flush()
    *_, row = await desk.directory.catalog.gaps("cam1")
    assert (row.cause, row.detail) == ("media server down", "m2-0 was not heard of; m1-0 took the camera over")


async def test_a_move_of_long_ago_explains_nothing_new(desk: Desk) -> None:
    await desk.directory.save(desk.row(0, 20))
    home = HomeRow("cam1", "m1-0", 7, START_US, "m2-0")
    async with desk.archive() as archive:
        await archive.recorder(CameraRow("cam1", "cam1", "cam1"), home)
    await desk.later.flush()
    *_, row = await desk.directory.catalog.gaps("cam1")
    assert (row.cause, row.detail) == ("media server down", "")


async def test_the_disk_is_told_and_one_that_is_not_there_has_no_room(desk: Desk) -> None:
    async with desk.archive() as archive:
        space = archive.space()
        assert 0 < space.free <= space.total
        assert [disk[:2] for disk in space.disks] == [(str(desk.settings.media_roots[0]), "ready")]
        shutil.rmtree(desk.settings.media_roots[0])
        archive.disks.look()
        await until(lambda: archive.space()[:3], (0, 0, False))
        assert [disk[1] for disk in archive.space().disks] == ["away"]


@pytest.mark.parametrize(("home", "mine"), [("m1-0", True), ("m1-1", False)])
async def test_an_unknown_file_is_mended_by_the_home_of_its_camera(desk: Desk, home: str, mine: bool) -> None:
    desk.settings = desk.settings.model_copy(update={"media_workers": 2})
    async with desk.archive() as archive:
        assert archive._is_mine("cam1", {"cam1": HomeRow("cam1", home, 1, 0)}) is mine


async def test_one_of_the_workers_mends_what_a_camera_left_behind_that_moved_away(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"media_workers": 2})
    gone = {"cam1": HomeRow("cam1", "m2-0", 1, 0)}
    answers = []
    for desk.instance in ("m1-0", "m1-1"):
        async with desk.archive() as archive:
            answers.append(archive._is_mine("cam1", gone))
    assert sorted(answers) == [False, True]
