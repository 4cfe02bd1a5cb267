"""H.265 through the store: all that is done with recordings of H.264 is done with it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from soip.store.export import export
from soip.store.hls import Source, playlist
from soip.store.reader import play
from soip.store.rebuild import recordings
from soip.store.repair import repair
from soip.store.root import Root
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, Video, video
from tests.store.recordings import SECOND_US, Camera, probe, settle


def film(bframes: int = 2) -> Video:
    return video(bframes=bframes, encoding="H265")


def at(second: float) -> int:
    return EPOCH_US + round(second * SECOND_US)


@pytest.mark.parametrize("bframes", [0, 2])
def test_it_is_recorded_found_and_exported_across_files(
    camera: Camera, root: Root, tmp_path: Path, bframes: int
) -> None:
    camera.material, camera.sound = film(bframes), True
    rows = [camera.record(4, first) for first in (0, 4)]
    assert {row.codecs[0] for row in rows} == {camera.material.track.codec}
    assert list(recordings(root, lambda path, why: pytest.fail(f"{path}: {why}"), digests=True)) == rows
    files = [root.absolute(row.path) for row in rows]
    frames = [frame for frame in play(files, at(0), at(99)) if frame.track.handler == "vide"]
    assert [[bytes(nal) for nal in frame.nals()] for frame in frames] == [
        camera.material.frames[number % 100] for number in range(200)
    ]
    output = tmp_path / "out.mp4"
    assert export(files, at(2.32), at(6.48), output) == [output]
    assert walker.codecs(output.read_bytes())[1] == camera.material.track.codec
    shown = probe(output)
    assert shown.errors == ""
    assert shown.duration == pytest.approx(4.16, abs=0.064)


def test_another_coding_makes_another_file_of_an_export(camera: Camera, root: Root, tmp_path: Path) -> None:
    files = [root.absolute(camera.record(3).path)]
    camera.material = film()
    files.append(root.absolute(camera.record(3, 3).path))
    written = export(files, at(1), at(5), tmp_path / "out.mp4")
    assert [path.name for path in written] == ["out.mp4", "out-2.mp4"]
    assert [walker.codecs(path.read_bytes())[1][:4] for path in written] == ["avc1", "hvc1"]
    assert [probe(path).errors for path in written] == ["", ""]


@pytest.mark.parametrize("cut", [1, 100, 500])
def test_torn_it_is_mended_and_plays(camera: Camera, root: Root, cut: int) -> None:
    camera.material = film()
    writer = camera.begin()
    for second in range(3):
        assert writer.append(camera.runs(second), at(second))
    settle(camera.disk)
    (path,) = (place.relative_to(root.path) for place in Path(root.path).rglob("*.mp4"))
    place = root.absolute(str(path))
    data = place.read_bytes()
    writer.seal()
    settle(camera.disk)
    place.write_bytes(data[:-cut])
    row = repair(root, str(path))
    assert row is not None
    assert (row.sealed, row.frames) == (True, 50)
    assert row.codecs == (camera.material.track.codec,)
    shown = probe(place)
    assert (shown.errors, shown.frames) == ("", 50)


def test_ffmpeg_plays_its_playlist(camera: Camera, root: Root, tmp_path: Path) -> None:
    camera.material = film()
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
