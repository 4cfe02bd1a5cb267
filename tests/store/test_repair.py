"""Restart: what a crash left is mended, sealed and told as a row; nothing whole is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soip.mp4.reader import parse_init
from soip.store.errors import BadNameError, DamagedFileError
from soip.store.folder import all_files, newest_files, unsealed
from soip.store.rebuild import read_row
from soip.store.recording import Recording
from soip.store.repair import repair, repair_all
from soip.store.root import Root
from tests.mp4 import walker
from tests.mp4.files import entries, pieces, sealed
from tests.mp4.material import EPOCH_US
from tests.store.recordings import SECOND_US, Camera, probe

PATH = "cam1/2026/11/20/114552.mp4"


def put(root: Root, data: bytes, path: str = PATH) -> Path:
    place = root.absolute(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


@pytest.mark.parametrize("zeros", [0, 5, 8192])
def test_torn_anywhere_it_is_mended_and_plays(root: Root, zeros: int) -> None:
    front, fragments = pieces(3, 2, True)
    known = entries(front, fragments)
    data = front + b"".join(fragments)
    for end in (*range(known[2].offset, known[2].offset + 120), *range(known[2].offset + 120, len(data), 997)):
        place = put(root, data[:end] + bytes(zeros))
        row = repair(root, PATH)
        assert row is not None
        assert place.read_bytes() == sealed(front, fragments[:2])
        assert (row.frames, row.end_us, row.sealed) == (50, EPOCH_US + 2 * SECOND_US, True)
        assert row.bytes == place.stat().st_size
    movie = walker.read(place.read_bytes())
    assert movie.duration == 180_000
    shown = probe(place)
    assert (shown.errors, shown.frames) == ("", 50)
    assert shown.duration == pytest.approx(2.0, abs=0.07)


def test_a_whole_file_that_was_not_sealed_loses_nothing(root: Root) -> None:
    front, fragments = pieces(4)
    place = put(root, front + b"".join(fragments))
    row = repair(root, PATH)
    assert row is not None
    assert place.read_bytes() == sealed(front, fragments)
    assert row == read_row(root, PATH)


def test_half_a_sealing_is_done_again(root: Root) -> None:
    front, fragments = pieces(4)
    whole = sealed(front, fragments)
    init = parse_init(whole)
    for end in range(init.index_at + 8, init.index_at + 160, 7):
        half = front[: init.index_at + 8] + whole[init.index_at + 8 : end] + front[end:] + b"".join(fragments)
        place = put(root, half)
        assert repair(root, PATH)
        assert place.read_bytes() == whole


def test_a_hole_becomes_free_and_the_rest_stays(root: Root) -> None:
    front, fragments = pieces(5)
    known = entries(front, fragments)
    data = bytearray(front + b"".join(fragments))
    data[known[1].offset : known[2].offset] = bytes(known[1].size)
    place = put(root, bytes(data))
    row = repair(root, PATH)
    assert row is not None
    assert row.frames == 100
    movie = walker.read(place.read_bytes())
    assert [node.kind for node in movie.nodes if node.offset == known[1].offset] == ["free"]
    assert len(movie.of(1)) == 100
    assert probe(place).errors == ""


@pytest.mark.parametrize(("sync_seconds", "frames"), [(1, 750), (5, 725)])
def test_as_much_is_looked_at_as_a_power_cut_may_cost(root: Root, sync_seconds: float, frames: int) -> None:
    """The heads of all fragments are there, but samples of twelve seconds before the end never reached the disk."""
    front, fragments = pieces(30)
    known = entries(front, fragments)
    data = bytearray(front + b"".join(fragments))
    end = known[18].offset + known[18].size
    data[end - 1500 : end] = bytes(1500)
    put(root, bytes(data))
    row = repair(root, PATH, sync_seconds=sync_seconds)
    assert row is not None
    assert row.frames == frames


def test_every_cut_of_the_front_is_removed(root: Root) -> None:
    front, fragments = pieces(1)
    for end in (0, 1, 24, 300, len(front) - 1, len(front), len(front) + 100):
        place = put(root, (front + fragments[0])[:end])
        assert repair(root, PATH) is None
        assert not place.exists()
    place = put(root, bytes(40_000))
    assert repair(root, PATH) is None
    assert not place.exists()


def test_what_is_sealed_is_left_alone(camera: Camera, root: Root) -> None:
    row = camera.record(2)
    before = root.absolute(row.path).stat().st_mtime_ns
    found = repair(root, row.path)
    assert found is not None
    assert (found.bytes, found.frames, found.end_us) == (row.bytes, row.frames, row.end_us)
    assert root.absolute(row.path).stat().st_mtime_ns == before


def test_what_is_not_ours_is_left_alone(root: Root) -> None:
    place = put(root, b"\0\0\0\x14ftypqt  \0\0\2\0qt  \0\0\0\x08wide" * 1000)
    with pytest.raises(DamagedFileError):
        repair(root, PATH)
    assert place.exists()
    with pytest.raises(BadNameError):
        repair(root, "../secret.mp4")


def test_many_are_mended_and_one_failure_stops_none(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    front, fragments = pieces(3)
    for number in range(20):
        put(root, front + b"".join(fragments) + b"torn", f"cam{number:02}/2026/11/20/114552.mp4")
    put(root, sealed(front, fragments), "cam05/2026/11/20/104552.mp4")
    put(root, b"\0\0\0\x14ftypqt  \0\0\2\0qt  \0\0\0\x08wide" * 1000, "cam06/2026/11/20/104552.mp4")
    (root.path / "cam07/2026/11/20/notes.txt").touch()
    todo = list(unsealed(root, all_files(root)))
    assert len(todo) == 21
    rows: dict[str, Recording | None] = {}
    repair_all(root, [*todo, "cam99/2026/11/20/114552.mp4"], rows.__setitem__)
    assert len(rows) == 20
    assert all(row and row.frames == 75 for row in rows.values())
    assert "cam06/2026/11/20/104552.mp4 is left unsealed" in caplog.text
    assert "cam99/2026/11/20/114552.mp4 is left unsealed" in caplog.text, "one that is not there may only be away"
    assert list(unsealed(root, all_files(root))) == ["cam06/2026/11/20/104552.mp4"]
    assert len(list(newest_files(root, 1))) == 20


@pytest.mark.parametrize("after", [1, 20, 57])
def test_killed_while_writing_it_loses_nothing_that_was_written(tmp_path: Path, after: int) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.store.killed", str(tmp_path / "media")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        ends = [int(process.stdout.readline()) for _ in range(after)]
        process.kill()
    root = Root.open(tmp_path / "media", "m1")
    (path,) = unsealed(root, all_files(root))
    row = repair(root, path)
    assert row is not None
    assert row.bytes >= ends[-1], "what was reported as written is there"
    assert row.frames >= 25 * after
    assert row.frames * 40_000 == row.end_us - row.start_us
    movie = walker.read(root.absolute(path).read_bytes())
    assert len(movie.of(1)) == row.frames
    assert probe(root.absolute(path)).errors == ""
