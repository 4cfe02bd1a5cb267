"""The journal: lines appended, the last word counts, a cut line costs itself only."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.store import journal
from soip.store.disk import DiskWriter
from soip.store.errors import MissingRootError
from soip.store.journal import Entry
from soip.store.rebuild import gaps
from soip.store.root import Root
from tests.mp4.material import EPOCH_US
from tests.store.recordings import open_root, settle

DAY_US = 86_400_000_000


def gap(identity: str, start_us: int, end_us: int | None = None, cause: str = "camera offline") -> Entry:
    return Entry("gap", identity, start_us, end_us, cause, facts={"packets": 3})


def test_what_was_appended_is_read(root: Root) -> None:
    entries = [gap("b", EPOCH_US + 5, EPOCH_US + 9), gap("a", EPOCH_US, None, "disk"), gap("ü\n", EPOCH_US + 7)]
    for entry in entries:
        journal.append(root, "cam1", entry)
    assert journal.read(root, "cam1", EPOCH_US) == sorted(entries, key=lambda one: one.start_us)
    assert journal.read(root, "cam1", EPOCH_US + DAY_US) == []
    text = (root.path / "cam1/2026/11/20/journal.jsonl").read_text()
    assert len(text.splitlines()) == 3
    assert '"start":"2026-11-20T11:45:52.123461Z"' in text


def test_a_later_line_replaces_an_earlier_one(root: Root) -> None:
    for entry in (gap("a", EPOCH_US), gap("b", EPOCH_US + 1), gap("a", EPOCH_US, EPOCH_US + 100)):
        journal.append(root, "cam1", entry)
    assert journal.read(root, "cam1", EPOCH_US) == [gap("a", EPOCH_US, EPOCH_US + 100), gap("b", EPOCH_US + 1)]


@given(st.integers(1, 400), st.binary(max_size=60))
def test_a_torn_journal_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes) -> None:
    root = open_root(tmp_path_factory.mktemp("journal"))
    journal.append(root, "cam1", gap("a", EPOCH_US))
    journal.append(root, "cam1", gap("b", EPOCH_US + 1))
    place = root.path / "cam1/2026/11/20/journal.jsonl"
    place.write_bytes(place.read_bytes()[:-cut] + junk)
    journal.append(root, "cam1", gap("c", EPOCH_US + 2))
    assert gap("c", EPOCH_US + 2) in journal.read(root, "cam1", EPOCH_US)


def test_lines_that_say_nothing_are_passed_over(root: Root) -> None:
    journal.append(root, "cam1", gap("a", EPOCH_US))
    with open(root.path / "cam1/2026/11/20/journal.jsonl", "ab") as file:
        file.write(b'\n[]\n{"kind":"gap"}\n' + b"[" * 5000 + b"\n" + b'{"end":null,"kind":1}\n\0\0\0\n')
    assert journal.read(root, "cam1", EPOCH_US) == [gap("a", EPOCH_US)]


def test_the_disk_writes_it_and_rebuild_finds_it(disk: DiskWriter, root: Root) -> None:
    disk.journal("cam1", gap("a", EPOCH_US))
    disk.journal("cam2", gap("b", EPOCH_US + DAY_US))
    disk.journal("cam2", Entry("event", "e", EPOCH_US, None, "line crossed"))
    settle(disk)
    assert list(gaps(root)) == [("cam1", gap("a", EPOCH_US)), ("cam2", gap("b", EPOCH_US + DAY_US))]


def test_a_line_is_bounded_and_needs_its_root(root: Root, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 KiB"):
        journal.append(root, "cam1", Entry("event", "e", EPOCH_US, None, "x" * 70_000))
    root.path.rename(tmp_path / "away")
    with pytest.raises(MissingRootError):
        journal.append(root, "cam1", gap("a", EPOCH_US))
