"""HLS: what the playlist says is where it says, begins with keyframes, and plays."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from soip.store.errors import NothingRecordedError
from soip.store.hls import Source, playlist
from soip.store.root import Root
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import SECOND_US, Camera, settle


def at(seconds: float) -> int:
    return EPOCH_US + round(seconds * SECOND_US)


def test_a_playlist_of_two_files_and_a_gap(camera: Camera, root: Root) -> None:
    rows = [camera.record(6), camera.record(3, 6), camera.record(2, start_us=at(60))]
    sources = [Source(root.absolute(row.path), f"rec{number}.mp4?token=a.b") for number, row in enumerate(rows)]
    lines = playlist(sources, at(2.5), at(99)).splitlines()
    assert lines[:5] == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    size = next(node.offset for node in walker.tree(sources[0].path.read_bytes()) if node.kind == "uuid")
    assert lines[5] == f'#EXT-X-MAP:URI="rec0.mp4?token=a.b",BYTERANGE="{size}@0"'
    assert lines[6] == "#EXT-X-PROGRAM-DATE-TIME:2026-11-20T11:45:54.123456Z", "the keyframe before what was asked"
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert [line for line in lines if line.startswith("#EXTINF")] == [
        f"#EXTINF:{seconds}.000000," for seconds in (4, 3, 2)
    ]
    assert lines.count("#EXT-X-DISCONTINUITY") == 2
    assert sum(line.startswith("#EXT-X-MAP") for line in lines) == 3


@pytest.mark.parametrize("bframes", [0, 2])
def test_segments_begin_with_keyframes_and_hold_whole_fragments(camera: Camera, root: Root, bframes: int) -> None:
    camera.material = video(bframes=bframes)
    path = root.absolute(camera.record(9).path)
    data = path.read_bytes()
    text = playlist([Source(path, "a.mp4")], at(0), at(99))
    ranges = [tuple(map(int, found)) for found in re.findall(r"BYTERANGE:(\d+)@(\d+)", text)]
    found = re.search(r'BYTERANGE="(\d+)@0"', text)
    assert found
    front = data[: int(found[1])]
    frames = []
    for size, offset in ranges:
        part = walker.read(front + data[offset : offset + size])
        assert part.of(1)[0].sync
        frames += part.of(1)
    assert frames == walker.read(data).of(1)


@pytest.mark.parametrize("bframes", [0, 2])
def test_ffmpeg_plays_it(camera: Camera, root: Root, tmp_path: Path, bframes: int) -> None:
    """One file: ffmpeg takes times that start anew behind a discontinuity for an overlap, browsers do not."""
    camera.material, camera.sound = video(bframes=bframes), True
    path = root.absolute(camera.record(9).path)
    (tmp_path / "index.m3u8").write_text(playlist([Source(path, str(path))], at(1), at(99)))
    played = subprocess.run(
        ["/usr/bin/ffmpeg", "-v", "error", "-i", tmp_path / "index.m3u8", "-map", "0:v", "-f", "framecrc", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert played.stderr == ""
    assert sum(not line.startswith("#") for line in played.stdout.splitlines()) == 200


def test_a_hole_within_a_file_is_a_discontinuity(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    for second in (0, 1, 9, 10):
        writer.append(camera.runs(second), at(second))
    settle(camera.disk)
    (path,) = root.path.glob("cam1/*/*/*/*.mp4")
    lines = playlist([Source(path, "a.mp4")], at(0), at(99)).splitlines()
    assert lines.count("#EXT-X-DISCONTINUITY") == 1
    assert [line for line in lines if line.startswith("#EXTINF")] == ["#EXTINF:2.000000,"] * 2


def test_nothing_recorded_and_no_uri(camera: Camera, root: Root, tmp_path: Path) -> None:
    path = root.absolute(camera.record(2).path)
    for start, end in ((-5, 0), (2, 9), (50, 60)):
        with pytest.raises(NothingRecordedError):
            playlist([Source(path, "a.mp4"), Source(tmp_path / "gone.mp4", "b.mp4")], at(start), at(end))
    with pytest.raises(ValueError, match="URI"):
        playlist([Source(path, 'a"\n#EXT')], at(0), at(2))
