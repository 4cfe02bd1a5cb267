"""`soip store check` and `rebuild` beside a server that goes on: they neither report nor undo what it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soip.commands import store
from soip.commands.terminal import CommandError, with_directory
from soip.config import Settings
from soip.directory.rows import RecordingRow
from soip.media.rows import recording_row
from soip.store.disk import DiskWriter
from soip.store.events import Sealed, Written
from soip.store.folder import all_files
from soip.store.root import Root
from soip.store.writer import RecordingWriter
from tests.mp4.material import EPOCH_US
from tests.store.recordings import SECOND_US, Camera, open_root, settle


class Server:
    """Records a camera, and writes its rows when it is told to, as a server does a second later."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data)
        self.disk = DiskWriter(open_root(self.settings.media_roots[0]))
        self.disk.start()
        self.camera = Camera(self.disk)
        self.open = self.begin(0)

    def begin(self, second: int) -> RecordingWriter:
        """A file that grows."""
        writer = self.camera.begin()
        assert writer.append(self.camera.runs(second), EPOCH_US + second * SECOND_US)
        settle(self.disk)
        return writer

    def go_on(self) -> None:
        """Seal the file that grows, begin the next."""
        self.open.seal()
        self.open = self.begin(1)

    def save(self) -> None:
        """Write all rows."""
        recordings = [event.recording for event in self.camera.events if isinstance(event, Written | Sealed)]
        root = self.disk.root.path
        rows = [recording_row(one, root=root, server="m1", instance="m1-0") for one in recordings]
        with_directory(self.settings, lambda directory: directory.save(*rows))

    @property
    def rows(self) -> list[RecordingRow]:
        return with_directory(self.settings, lambda directory: directory.catalog.recordings("cam1"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.save()
    yield server
    server.disk.close(10)


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen while a command looks through the folder: after it was listed, before a file is read."""

    def arrange(happens: Callable[[], None]) -> None:
        def listing(root: Root) -> Iterator[str]:
            monkeypatch.undo()
            paths = list(all_files(root))
            happens()
            yield from paths

        for user in ("check", "rebuild"):
            monkeypatch.setattr(f"soip.store.{user}.all_files", listing)

    return arrange


def test_rebuild_leaves_a_file_that_was_begun_meanwhile(server: Server, during: Callable[..., None]) -> None:
    def happens() -> None:
        server.go_on()
        server.save()

    during(happens)
    store.rebuild(server.settings.data)
    assert [row.sealed for row in server.rows] == [True, False]
    assert server.rows[0].sha256


def test_rebuild_does_not_undo_what_was_sealed_after_it_was_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gaps(_root: Root) -> list[tuple[str, object]]:  # They are read after the files.
        server.open.seal()
        settle(server.disk)
        server.save()
        return []

    monkeypatch.setattr("soip.store.rebuild.entries", gaps)
    store.rebuild(server.settings.data)
    (row,) = server.rows
    assert row.sealed
    assert row.sha256


def test_rebuild_deletes_the_rows_of_files_that_are_gone(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.go_on()
    server.save()
    first, second = server.rows
    Path(first.root, first.path).unlink()
    store.rebuild(server.settings.data)
    assert server.rows == [second]
    assert capsys.readouterr().out.startswith("1 recordings and 0 gaps")


def test_rebuild_reads_a_file_again_that_had_only_just_been_begun(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = server.rows
    file = Path(row.root, row.path)
    begun = file.with_name("235959.mp4")
    begun.touch()

    def gaps(_root: Root) -> list[tuple[str, object]]:  # They are read after the files.
        begun.write_bytes(file.read_bytes())
        return []

    monkeypatch.setattr("soip.store.rebuild.entries", gaps)
    store.rebuild(server.settings.data)
    assert len(server.rows) == 2


def test_check_looks_again_before_it_reports(
    server: Server,
    during: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    during(server.go_on)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda _seconds: server.save())
        store.check(server.settings.data)
    assert capsys.readouterr().out.endswith("catalog, journals and disk agree\n")
    server.go_on()
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with pytest.raises(CommandError, match="2 findings"):
        store.check(server.settings.data)
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(told) == ["differs", "unknown"]
