"""Expiry on a real disk with a real catalog: what goes, what stays, and a crash between any two steps."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from soip.commands import store as command
from soip.commands.terminal import CommandError
from soip.config import Settings
from soip.directory.directory import Directory
from soip.directory.rows import RecordingRow
from soip.media.context import Context
from soip.media.disks import Disks, Health, Place
from soip.media.expiry import Expirer
from soip.media.holds import HoldNotes, entry_of, hold_of
from soip.media.rows import recording_row
from soip.store import journal
from soip.store.disk import DiskWriter
from soip.store.expire import alone
from soip.store.folder import all_files
from tests.mp4.material import EPOCH_US
from tests.store.recordings import SECOND_US, Camera, open_root

FILES = 6
SECONDS = 2


class Crash(BaseException):
    """The process ends here: nobody catches it."""


class Archive:
    """Two cameras with six files of two seconds each. Stands in for the context: a directory, a clock."""

    def __init__(self, data: Path, directory: Directory) -> None:
        self.settings = Settings(data=data)
        self.directory = directory
        self.writer = DiskWriter(open_root(self.settings.media_roots[0]))
        self.disks = Disks([Place(self.writer, "m1", "m1-0", 600, 2)], self.now)
        self.disks.start()
        self.utc_us = EPOCH_US + 3600 * SECOND_US
        self.missing_bytes = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def now_us(self) -> int:
        return self.utc_us

    async def record(self) -> None:
        cameras = [Camera(self.writer, name) for name in ("cam1", "cam2")]
        starts = range(0, FILES * SECONDS, SECONDS)
        found = await asyncio.to_thread(lambda: [one.record(SECONDS, start) for start in starts for one in cameras])
        root = self.writer.root.path
        await self.directory.save(*(recording_row(one, root=root, server="m1", instance="m1-0") for one in found))

    def expirer(self, **changes: Any) -> Expirer:
        """As the worker has it, but for what is free: `missing_bytes` less than should be."""
        facts = {"retention_us": 0, "min_free": 0} | changes
        expirer = Expirer(cast(Context, self), self.disks, "m1", **facts)

        async def missing(_disk: object) -> int:
            return self.missing_bytes - (before - self.size())

        before = self.size()
        expirer._missing = missing  # type: ignore[method-assign, assignment]
        return expirer

    def size(self) -> int:
        return sum(each.stat().st_size for each in self.files())

    def files(self) -> list[Path]:
        root = self.writer.root
        return [root.absolute(path) for path in all_files(root)]

    async def rows(self) -> list[RecordingRow]:
        return await self.directory.catalog.of_server("m1")

    async def agree(self) -> None:
        """`soip store check` finds nothing, and every instant is recorded or explained, once."""
        await asyncio.to_thread(command.check, self.settings.data)
        for camera in ("cam1", "cam2"):
            spans = [(row.start_us, row.end_us) for row in await self.directory.catalog.recordings(camera)]
            spans += [(gap.start_us, gap.end_us) for gap in await self.directory.catalog.gaps(camera)]
            spans.sort()
            assert spans[0][0] == EPOCH_US
            assert spans[-1][1] == EPOCH_US + FILES * SECONDS * SECOND_US
            assert all(one[1] == other[0] for one, other in itertools.pairwise(spans)), spans


@pytest.fixture
async def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Archive]:
    monkeypatch.setattr(command, "LATE_S", 0.0)
    async with await Directory.open(Settings(data=tmp_path).database_url) as directory:
        archive = Archive(tmp_path, directory)
        await archive.record()
        yield archive
        assert await archive.disks.close(20)


async def test_nothing_goes_while_there_is_room(archive: Archive) -> None:
    await archive.expirer().look_after(archive.disks.all[0])
    assert len(archive.files()) == 2 * FILES
    assert not archive.disks.all[0].exhausted


async def test_the_oldest_go_until_there_is_room(archive: Archive) -> None:
    archive.missing_bytes = sum(sorted(file.stat().st_size for file in archive.files())[:3])
    with capture_logs() as logs:
        await archive.expirer().look_after(archive.disks.all[0])
    gone = 2 * FILES - len(archive.files())
    assert 3 <= gone <= 4
    kept = [row.start_us for row in await archive.rows()]
    assert min(kept) == EPOCH_US + gone // 2 * SECONDS * SECOND_US
    assert [(each["event"], each["files"]) for each in logs] == [("recordings expired", gone)]
    assert not archive.disks.all[0].exhausted
    await archive.agree()
    (entry,) = journal.read(archive.writer.root, "cam1", EPOCH_US)
    assert (entry.kind, entry.cause, entry.start_us) == ("gap", "expired", EPOCH_US)


async def test_what_is_older_than_the_retention_goes_though_there_is_room(archive: Archive) -> None:
    age = archive.utc_us - EPOCH_US - 5 * SECOND_US
    await archive.expirer(retention_us=age).look_after(archive.disks.all[0])
    assert len(archive.files()) == 2 * (FILES - 2)
    await archive.agree()


async def test_a_hold_is_never_broken(archive: Archive) -> None:
    span = (EPOCH_US + SECOND_US, EPOCH_US + 5 * SECOND_US)
    await archive.directory.holds.add("cam1", *span, reason="case 7")
    archive.missing_bytes = 1 << 40
    with capture_logs() as logs:
        await archive.expirer().look_after(archive.disks.all[0])
    assert archive.disks.all[0].exhausted
    assert [row.camera_id for row in await archive.rows()] == ["cam1"] * 3
    assert len(archive.files()) == 3
    assert [each["log_level"] for each in logs if each["event"] == "nothing more may expire"] == ["error"]
    await archive.agree()
    archive.missing_bytes = 0
    await archive.expirer().look_after(archive.disks.all[0])
    assert [disk.exhausted for disk in archive.disks.all] == [False]
    assert len(archive.files()) == 3


async def test_of_several_workers_one_at_a_time_expires(archive: Archive) -> None:
    archive.missing_bytes = 1 << 40
    with alone(archive.writer.root) as mine:
        assert mine
        await archive.expirer().look_after(archive.disks.all[0])
        assert len(archive.files()) == 2 * FILES
    await archive.expirer().look_after(archive.disks.all[0])
    assert archive.files() == []
    await archive.agree()


async def test_a_disk_that_is_away_loses_nothing(archive: Archive) -> None:
    archive.missing_bytes = 1 << 40
    archive.disks.all[0].health = Health(problem="away")
    await archive.expirer().look_after(archive.disks.all[0])
    assert len(await archive.rows()) == 2 * FILES


STEPS = ("condemned", "journalled", "first removed", "all removed", "forgotten")


def crash_after(monkeypatch: pytest.MonkeyPatch, step: str, archive: Archive) -> None:
    """Have the process end after a step. A crash on the disk's thread is an error to whoever waits for it."""

    def replaced(owner: object, name: str, before: Callable[..., bool]) -> None:
        real = getattr(owner, name)

        def run(*arguments: Any, **more: Any) -> Any:
            if before(*arguments):
                raise Crash
            return real(*arguments, **more)

        monkeypatch.setattr(owner, name, run)

    removed = 0

    def second(*_: object) -> bool:
        nonlocal removed
        removed += 1
        return removed == 2

    if step == "condemned":
        replaced(journal, "append", lambda *_: True)
    elif step == "journalled":
        replaced(Path, "unlink", lambda *_: True)
    elif step == "first removed":
        replaced(Path, "unlink", second)
    elif step == "all removed":
        replaced(archive.directory.expiry, "forget", lambda *_: True)


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_between_any_two_steps_leaves_no_lie(
    archive: Archive, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.missing_bytes = sum(sorted(file.stat().st_size for file in archive.files())[:5])
    expirer = archive.expirer()
    with monkeypatch.context() as patch:
        crash_after(patch, step, archive)
        if step == "forgotten":
            await expirer.look_after(archive.disks.all[0])
        else:
            patch.setattr("soip.media.expiry.expire", soft())
            with pytest.raises((Crash, RuntimeError)):
                await expirer.look_after(archive.disks.all[0])
    # As a start finds it: no lie, whatever was done of it; and the next pass ends what was begun.
    await archive.agree()
    archive.missing_bytes = 0
    await archive.expirer().look_after(archive.disks.all[0])
    assert await archive.directory.expiry.passing("m1") == set()
    rows = await archive.rows()
    assert sorted(row.path for row in rows) == sorted(all_files(archive.writer.root))
    assert len(rows) <= 2 * FILES - 5
    await archive.agree()


def soft() -> Callable[..., None]:
    """`expire` whose crash ends only itself: the disk's thread is needed again."""
    from soip.store.expire import expire

    def run(*arguments: Any) -> None:
        try:
            expire(*arguments)
        except Crash as crash:
            raise RuntimeError("crashed") from crash

    return run


async def test_with_the_catalog_lost_too_what_was_going_does_not_come_back(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crashed between the journal's line and the files' end, and then the database was lost."""
    archive.missing_bytes = 1 << 40
    await archive.directory.holds.add("cam2", EPOCH_US, EPOCH_US + 100 * SECOND_US, reason="case 7", by="ann")
    await HoldNotes(archive.disks).follow(await archive.directory.holds.all())
    with monkeypatch.context() as patch:
        crash_after(patch, "first removed", archive)
        patch.setattr("soip.media.expiry.expire", soft())
        with pytest.raises(RuntimeError):
            await archive.expirer().look_after(archive.disks.all[0])
    left = len(archive.files())
    assert left == 2 * FILES - 1
    for table in ("hold", "gap", "recording"):
        await archive.directory._database.write(partial(lose, table))
    await asyncio.to_thread(command.rebuild, archive.settings.data)
    await archive.agree()
    assert {row.camera_id for row in await archive.rows()} == {"cam2"}
    (hold,) = await archive.directory.holds.all()
    assert (hold.camera_id, hold.reason, hold.created_by) == ("cam2", "case 7", "ann")
    await archive.expirer().look_after(archive.disks.all[0])
    assert len(archive.files()) == FILES, "cam1 is gone, cam2 is held"
    await archive.agree()


async def test_holds_are_written_once_beside_the_recordings_and_again_when_released(archive: Archive) -> None:
    add = archive.directory.holds.add
    hold = await add("cam1", EPOCH_US, EPOCH_US + SECOND_US, reason="case 7", reference="A-1", by="ann")

    def lines() -> int:
        found = archive.writer.root.path.glob("cam1/*/*/*/journal.jsonl")
        return sum(len(each.read_text().splitlines()) for each in found)

    async def follow(notes: HoldNotes, expected: int) -> None:
        await notes.follow(await archive.directory.holds.all(released=True))
        await settled(archive.disks)
        assert lines() == expected

    notes = HoldNotes(archive.disks)
    await follow(notes, 1)
    await follow(notes, 1)
    await follow(HoldNotes(archive.disks), 1)
    released = await archive.directory.holds.release(hold.id)
    await follow(notes, 2)
    (entry,) = journal.read(archive.writer.root, "cam1", EPOCH_US)
    assert hold_of("cam1", entry) == released
    with pytest.raises(ValueError, match="not the line"):
        hold_of("cam1", journal.Entry("gap", "g", 0, 1, "disk"))
    assert entry_of(released) == entry


def lose(table: str, connection: Connection) -> None:
    connection.exec_driver_sql(f"DELETE FROM {table}")


async def settled(disks: Disks) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def finished() -> None:
        loop.call_soon_threadsafe(done.set)

    disks.all[0].place.disk.submit(finished, 0)
    await done.wait()


async def test_check_tells_of_recordings_on_a_disk_that_is_not_given(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row, *_) = await archive.rows()
    elsewhere = str(tmp_path / "disk2")
    await archive.directory.save(RecordingRow("x", "cam1", "m1", "m1-0", elsewhere, row.path, 1, 2, sealed=True))
    with pytest.raises(CommandError):
        await asyncio.to_thread(command.check, archive.settings.data)
    assert f"missing: {elsewhere}: 1 recordings of the catalog lie there" in capsys.readouterr().out
