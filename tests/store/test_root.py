"""Roots: an identity that is checked, room that is measured, a reserve that is given and taken back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from soip.store.errors import ForeignRootError, MissingRootError
from soip.store.root import IDENTITY, RESERVE, Root
from tests.store.recordings import open_root


def test_a_root_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = open_root(tmp_path / "a" / "media")
    again = open_root(tmp_path / "a" / "media")
    assert (first.id, first.path) == (again.id, again.path)
    assert json.loads((first.path / IDENTITY).read_bytes()) == {"id": first.id, "server": "m1"}
    assert (first.path / RESERVE).stat().st_blocks * 512 >= 64 << 10
    assert set(os.listdir(first.path)) == {IDENTITY, RESERVE}


def test_another_servers_root_is_refused(root: Root) -> None:
    with pytest.raises(ForeignRootError, match="recordings of the server 'm1', not of 'm2'"):
        open_root(root.path, "m2")


def test_a_root_that_was_noted_must_be_there(tmp_path: Path) -> None:
    place, note = tmp_path / "media", tmp_path / "note"
    root = Root.open(place, "m1", note=note)
    assert note.read_text().strip() == root.id
    assert Root.open(place, "m1", note=note).id == root.id
    hidden = place.rename(tmp_path / "unmounted")
    for empty in (False, True):
        if empty:
            place.mkdir()
        with pytest.raises(MissingRootError, match=f"mount the disk with the recordings, or remove {note}"):
            Root.open(place, "m1", note=note)
    assert os.listdir(place) == [], "nothing is written where the disk is not mounted"
    other = open_root(tmp_path / "other")
    other.path.rename(place)
    with pytest.raises(ForeignRootError, match=f"mount the right disk, or remove {note} to record here from now on"):
        Root.open(place, "m1", note=note)
    note.unlink()
    assert Root.open(place, "m1", note=note).id == other.id
    assert note.read_text().strip() == other.id
    assert hidden.exists()
    assert not list(tmp_path.glob(".note-*"))


def test_a_note_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    with pytest.raises(MissingRootError, match="note cannot be read"):
        Root.open(tmp_path / "media", "m1", note=tmp_path / "note")
    with pytest.raises(MissingRootError, match="note cannot be written"):
        Root.open(tmp_path / "media", "m1", note=tmp_path / "nowhere" / "note")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": 1, "server": "m1"}', b"\xff"])
def test_an_identity_that_makes_no_sense_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / IDENTITY).write_bytes(content)
    with pytest.raises(ForeignRootError):
        open_root(tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ForeignRootError, match="set an empty folder"):
        open_root(tmp_path)
    assert os.listdir(tmp_path) == ["holiday.jpg"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MissingRootError, match="no folder for recordings"):
        open_root(tmp_path / "file" / "media")


def test_what_is_mounted_meanwhile_is_noticed(root: Root, tmp_path: Path) -> None:
    root.verify()
    other = open_root(tmp_path / "other")
    root.path.rename(tmp_path / "away")
    with pytest.raises(MissingRootError):
        root.verify()
    assert not root.has_room()
    other.path.rename(root.path)
    with pytest.raises(ForeignRootError, match="another disk"):
        root.verify()


def test_the_same_root_copied_is_still_the_root(root: Root) -> None:
    identity = root.path / IDENTITY
    copy = identity.read_bytes()
    identity.unlink()
    identity.write_bytes(copy)
    root.verify()


def test_the_reserve_is_given_and_taken_back(root: Root) -> None:
    reserve = root.path / RESERVE
    before = root.free_bytes()
    assert not root.is_spent()
    root.release_reserve()
    root.release_reserve()
    assert not reserve.exists()
    assert root.is_spent()
    assert root.has_room()
    root.restore_reserve()
    root.restore_reserve()
    assert reserve.stat().st_size == 64 << 10
    assert not root.is_spent()
    assert before > 0


def test_no_room_no_reserve(tmp_path: Path) -> None:
    root = Root.open(tmp_path / "media", "m1", room_bytes=1 << 60)
    assert not root.has_room()
    assert not (root.path / RESERVE).exists()
    assert not root.is_spent(), "there was none to give"
