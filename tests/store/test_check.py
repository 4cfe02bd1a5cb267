"""`soip store check` and `rebuild`: the folder alone gives the catalog, and every disagreement is found."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from soip.store import journal
from soip.store.check import Finding, check
from soip.store.folder import cameras
from soip.store.rebuild import gaps, recordings
from soip.store.recording import Recording
from soip.store.root import Root
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import SECOND_US, Camera, settle


@pytest.fixture
def rows(camera: Camera, root: Root) -> list[Recording]:
    """Four sealed recordings of two cameras, and a gap."""
    other = Camera(camera.disk, "cam2", video(bframes=2), sound=True)
    journal.append(root, "cam1", journal.Entry("gap", "g1", EPOCH_US, EPOCH_US + 5, "camera offline"))
    return [camera.record(3), camera.record(3, 3), other.record(2), other.record(2, 2)]


def unexpected(path: str, why: str) -> None:
    pytest.fail(f"{path}: {why}")


def test_the_folder_alone_gives_the_catalog(root: Root, rows: list[Recording]) -> None:
    assert list(recordings(root, unexpected, digests=True)) == rows
    assert [replace(row, sha256="") for row in rows] == list(recordings(root, unexpected))
    assert [(camera, entry.id) for camera, entry in gaps(root)] == [("cam1", "g1")]
    assert cameras(root) == ["cam1", "cam2"]


def test_a_catalog_that_agrees_has_no_findings(root: Root, rows: list[Recording]) -> None:
    assert list(check(root, rows, ["g1"], digests=True)) == []


def test_every_disagreement_is_found(root: Root, rows: list[Recording]) -> None:
    first, second, third, fourth = rows
    root.absolute(first.path).unlink()
    with open(root.absolute(second.path), "r+b") as file:
        file.seek(second.bytes - 10)
        file.write(b"changed")
    root.absolute(fourth.path).write_bytes(b"nothing of ours")
    known = [first, second, replace(third, frames=1, end_us=third.end_us + SECOND_US), fourth]
    known.append(replace(first, path="cam1/2026/11/20/000000.mp4"))
    found = [(one.what, one.where) for one in check(root, known, [], digests=True)]
    assert found == [
        ("differs", second.path),
        ("differs", third.path),
        ("differs", third.path),
        ("damaged", fourth.path),
        ("missing", "cam1/2026/11/20/000000.mp4"),
        ("missing", first.path),
        ("gap", "cam1"),
    ]


def test_what_the_catalog_does_not_know(root: Root, rows: list[Recording]) -> None:
    found = list(check(root, rows[1:], ["g1"]))
    assert [(one.what, one.where) for one in found] == [("unknown", rows[0].path)]
    assert "rebuild" in found[0].detail


def test_an_open_file_is_no_finding_until_the_row_says_sealed(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)
    (row,) = recordings(root, unexpected)
    assert not row.sealed
    assert list(check(root, [row], [])) == []
    assert [one.what for one in check(root, [replace(row, sealed=True)], [])] == ["unsealed"]
    writer.seal()
    settle(camera.disk)
    assert list(check(root, [row], [])) == [Finding("differs", row.path, "sealed on the disk, but not in the catalog")]


def test_rebuild_tells_of_what_it_cannot_read(root: Root, rows: list[Recording]) -> None:
    root.absolute(rows[0].path).write_bytes(b"nothing of ours")
    os.truncate(root.absolute(rows[1].path), 10_000)
    failures: dict[str, str] = {}
    assert [row.path for row in recordings(root, failures.__setitem__)] == [row.path for row in rows[2:]]
    assert set(failures) == {rows[0].path, rows[1].path}
