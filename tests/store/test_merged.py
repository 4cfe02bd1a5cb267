"""A file with more fragments than its index has room for: entries are merged, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from soip.mp4.times import ticks_of
from soip.store.export import plan
from soip.store.hls import Source, playlist
from soip.store.reader import RecordingFile, play
from soip.store.rebuild import read_row
from soip.store.recording import Recording
from soip.store.root import Root
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import Camera, probe, settle

FRAMES = 1500
FRAME_US = 40_000


@pytest.fixture
def row(camera: Camera, root: Root) -> Recording:
    """A minute of one frame a fragment."""
    camera.material = video(bframes=2)
    writer = camera.begin()
    start = ticks_of(EPOCH_US)
    for number in range(FRAMES):
        run = camera.material.run(number, 1, start)
        shown = number * 3600 + run.samples[0].composition_offset - camera.material.offsets[0]
        assert writer.append([run], EPOCH_US + shown * 100 // 9)
    writer.seal()
    settle(camera.disk)
    row: Recording = camera.events[-1].recording  # type: ignore[union-attr]  # Sealed
    assert row.sealed
    return row


def test_it_plays_and_follows_the_standard(root: Root, row: Recording) -> None:
    path = root.absolute(row.path)
    movie = walker.read(path.read_bytes())
    assert movie.indexed is not None
    assert FRAMES // 3 <= len(movie.indexed) <= 678
    shown = probe(path)
    assert (shown.errors, shown.frames) == ("", FRAMES)
    assert shown.duration == pytest.approx(60.0, abs=0.05), "the last frame decoded is not the last shown"
    assert read_row(root, row.path, digest=True).sha256 == row.sha256


def test_frames_are_read_from_merged_entries(root: Root, row: Recording) -> None:
    path = root.absolute(row.path)
    frames = list(play([path], EPOCH_US + 30_500_000, EPOCH_US + 33_000_000))
    assert frames[0].sync
    assert EPOCH_US + 30_500_000 - frames[0].utc_us <= 3 * 25 * FRAME_US
    assert sum(EPOCH_US + 30_500_000 <= frame.utc_us < EPOCH_US + 33_000_000 for frame in frames) == 62
    with RecordingFile(path) as file:
        assert sum(len(file.frames(entry)) for entry in file.index.fragments) == FRAMES


def test_it_is_exported_exactly(root: Root, row: Recording, tmp_path: Path) -> None:
    (part,) = plan([root.absolute(row.path)], EPOCH_US + 30_500_000, EPOCH_US + 33_020_000)
    data = b"".join(part.chunks())
    movie = walker.read(data)
    assert movie.duration == pytest.approx(2.52 * 90_000, abs=1)
    begin = movie.skips[1]
    assert sum(begin <= one.dts + one.cts < begin + movie.duration for one in movie.of(1)) == 63
    (tmp_path / "out.mp4").write_bytes(data)
    assert probe(tmp_path / "out.mp4").errors == ""


def test_hls_segments_begin_with_keyframes(root: Root, row: Recording) -> None:
    path = root.absolute(row.path)
    text = playlist([Source(path, "a.mp4")], EPOCH_US, EPOCH_US + 60_000_000)
    data = path.read_bytes()
    lengths = []
    for line in text.splitlines():
        if line.startswith("#EXT-X-BYTERANGE:"):
            size, offset = map(int, line.split(":")[1].split("@"))
            first = walker.tree(data[offset : offset + size])
            assert [node.kind for node in first[:3]] == ["prft", "moof", "mdat"]
            lengths.append(size)
    assert sum(lengths) == len(data) - walker.read(data).indexed[0][0]  # type: ignore[index]  # sealed: indexed
