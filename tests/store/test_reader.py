"""Reading back: every frame as it was, with its times; open files up to their last fragment; across files and gaps."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from soip.mp4.times import ticks_of
from soip.store.errors import DamagedFileError
from soip.store.reader import Frame, RecordingFile, play
from soip.store.root import Root
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import SECOND_US, Camera, settle


def at(seconds: float) -> int:
    return EPOCH_US + round(seconds * SECOND_US)


@pytest.mark.parametrize("bframes", [0, 2])
def test_frames_come_back_with_their_times(camera: Camera, root: Root, bframes: int) -> None:
    camera.material, camera.sound = video(bframes=bframes), True
    row = camera.record(4)
    frames = list(play([root.absolute(row.path)], at(0), at(4)))
    pictures = [frame for frame in frames if frame.track.handler == "vide"]
    for number, frame in enumerate(pictures):
        assert frame.nals() == camera.material.frames[number % 100]
        assert frame.time == ticks_of(EPOCH_US) + number * 3600
        assert frame.composition_offset == camera.material.offsets[number % 100]
        assert frame.sync == (number % 25 == 0)
        shown = number * 3600 + frame.composition_offset - camera.material.offsets[0]
        assert frame.utc_us == pytest.approx(EPOCH_US + shown * 100 / 9, abs=1)
    assert len(pictures) == 100
    sounds = [frame for frame in frames if frame.track.handler == "soun"]
    assert [frame.time for frame in sounds] == [sounds[0].time + 1024 * n for n in range(len(sounds))]
    assert sounds[0].utc_us == pytest.approx(EPOCH_US, abs=70)
    assert [frame.discontinuity for frame in frames] == [True] + [False] * (len(frames) - 1)


def test_playing_begins_at_the_keyframe_and_ends_in_time(camera: Camera, root: Root) -> None:
    camera.material = video(bframes=2)
    paths = [root.absolute(camera.record(3, first).path) for first in (0, 3)]
    frames = list(play(paths, at(2.5), at(4.22)))
    assert frames[0].sync
    assert frames[0].utc_us == at(2)
    assert frames[-1].utc_us < at(4.22)
    times = sorted(frame.utc_us for frame in frames)
    assert times == [at(2 + n * 0.04) for n in range(len(times))], "no frame is missing that is shown before the end"
    assert len(frames) in (56, 57)
    assert [frame.discontinuity for frame in frames].count(True) == 2
    assert [other.time - one.time for one, other in pairwise(frames)] == [3600] * (len(frames) - 1)


def test_gaps_are_told(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    for second in (0, 1, 9, 10):
        writer.append(camera.runs(second), at(second))
    writer.seal()
    settle(camera.disk)
    paths = list(root.path.glob("cam1/*/*/*/*.mp4"))
    frames = list(play([*paths, root.path / "gone.mp4"], at(0), at(20)))
    assert [frame.utc_us for frame in frames if frame.discontinuity] == [at(0), at(9)]


def test_an_open_file_is_read_as_it_grows(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    writer.append(camera.runs(0), at(0))
    settle(camera.disk)
    (path,) = root.path.glob("cam1/*/*/*/*.mp4")
    with RecordingFile(path) as file:
        assert (len(file.index.fragments), file.index.sealed, file.index.end_us) == (1, False, at(1))
        player = play([path], at(0), at(99))
        got: list[Frame] = [next(player) for _ in range(25)]
        for second in range(1, 4):
            writer.append(camera.runs(second), at(second))
        settle(camera.disk)
        assert len(file.index.fragments) == 4
        got += list(player)
        writer.seal()
        settle(camera.disk)
        assert len(file.index.fragments) == 4
    assert len(got) == 100
    with RecordingFile(path) as file:
        assert file.index.sealed


def test_a_torn_end_is_not_read(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    for second in range(3):
        writer.append(camera.runs(second), at(second))
    settle(camera.disk)
    (path,) = root.path.glob("cam1/*/*/*/*.mp4")
    os.truncate(path, path.stat().st_size - 1)
    assert len(list(play([path], at(0), at(9)))) == 50


def test_an_index_takes_one_read(camera: Camera, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root.absolute(camera.record(4).path)
    reads: list[int] = []
    real = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        reads.append(length)
        return real(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    with RecordingFile(path) as file:
        entry = file.index.fragments[file.index.keyframe(at(2.7))]
        assert len(reads) == 1
        assert file.frames(entry)[0].utc_us == at(2)
        assert len(reads) == 2
    with RecordingFile(path) as file:
        assert len(file.index.fragments) == 4
        assert len(reads) == 2, "sealed indexes are kept"


def test_a_clock_that_drifts_shows_in_every_fragment(camera: Camera, root: Root) -> None:
    """Media time and UTC part by 500 ppm: what is read follows `prft`, not the index's even pace."""
    writer = camera.begin()
    for second in range(60):
        writer.append(camera.runs(second), at(second * 1.0005))
    writer.seal()
    settle(camera.disk)
    (path,) = root.path.glob("cam1/*/*/*/*.mp4")
    keys = [frame.utc_us for frame in play([path], at(0), at(99)) if frame.sync]
    assert keys == [at(second * 1.0005) for second in range(60)]


def test_what_is_damaged_is_said(root: Root, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    for content in (b"", b"x" * 100, bytes(100_000)):
        bad.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"bad\.mp4"):
            list(play([bad], 0, 1))


def test_a_damaged_fragment_of_a_sealed_file_is_said(camera: Camera, root: Root) -> None:
    path = root.absolute(camera.record(2).path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"trun", b"turn"))
    with pytest.raises(DamagedFileError, match="trun"):
        list(play([path], at(0), at(9)))


@pytest.mark.parametrize("seconds", [10, 1200])
def test_a_seek_takes_two_reads(camera: Camera, root: Root, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """One of the front, index included, however long the file is, and one of the fragment; the next only the latter."""
    path = root.absolute(camera.record(seconds).path)
    reads: list[int] = []
    real = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        reads.append(offset)
        return real(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    with RecordingFile(path) as file:
        index = file.index
        entry = index.fragments[index.keyframe(EPOCH_US + (seconds - 3) * SECOND_US)]
        assert file.frames(entry)
        assert reads == [0, entry.offset]
    reads.clear()
    with RecordingFile(path) as file:
        index = file.index
        file.frames(index.fragments[0])
        assert reads == [index.fragments[0].offset], "the index was known"
