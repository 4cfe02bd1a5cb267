"""Exports: begin at the keyframe, show from the exact time, last as long as asked, decode without an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from soip.mp4.times import ntp_of
from soip.store.errors import NothingRecordedError
from soip.store.export import export, plan
from soip.store.root import Root
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import SECOND_US, Camera, probe


def at(seconds: float) -> int:
    return EPOCH_US + round(seconds * SECOND_US)


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("sound", [False, True])
def test_an_export_across_files_is_exact(camera: Camera, root: Root, tmp_path: Path, bframes: int, sound: bool) -> None:
    camera.material, camera.sound = video(bframes=bframes), sound
    files = [root.absolute(camera.record(4, first).path) for first in (0, 4, 8)]
    output = tmp_path / "out.mp4"
    assert export(files, at(2.32), at(9.48), output) == [output]
    shown = probe(output)
    assert shown.errors == ""
    assert shown.duration == pytest.approx(7.16, abs=0.064 if sound else 0.001), "the last sound is whole"
    assert shown.start == pytest.approx(-0.32, abs=0.08), "what is decoded but not shown lies before zero"
    movie = walker.read(output.read_bytes())
    assert movie.duration == pytest.approx(7.16 * 90_000, abs=1)
    assert movie.indexed is not None
    assert [ntp for ntp, _ in movie.utc] == [ntp_of(at(second)) for second in range(2, 10)]
    pictures = movie.of(1)
    begin = movie.skips[1]
    assert pictures[0].sync
    visible = [one for one in pictures if begin <= one.dts + one.cts < begin + movie.duration]
    assert len(visible) == 179, "7.16 s at 25 pictures a second"
    assert [one.dts for one in pictures] == [pictures[0].dts + 3600 * n for n in range(len(pictures))]
    originals = [one for path in files for one in walker.read(path.read_bytes()).of(1)]
    assert [one.data for one in pictures] == [one.data for one in originals[50 : 50 + len(pictures)]]
    assert [one.cts for one in pictures] == [one.cts for one in originals[50 : 50 + len(pictures)]]
    if sound:
        assert movie.skips[2] == begin * 16_000 // 90_000
        ends = [one.dts + one.duration for one in movie.of(2)]
        assert [one.dts for one in movie.of(2)][1:] == ends[:-1], "sound without a hole"


def test_gaps_are_closed_up_and_utc_stays_true(camera: Camera, root: Root, tmp_path: Path) -> None:
    first = camera.record(3)
    later = camera.record(3, start_us=at(100))
    files = [root.absolute(row.path) for row in (first, later)]
    output = tmp_path / "out.mp4"
    export(files, at(1), at(102), output)
    movie = walker.read(output.read_bytes())
    assert [ntp for ntp, _ in movie.utc] == [ntp_of(at(second)) for second in (1, 2, 100, 101)]
    assert probe(output).duration == pytest.approx(4.0)
    assert [one.dts for one in movie.of(1)] == [3600 * n for n in range(100)]


def test_another_codec_makes_another_file(camera: Camera, root: Root, tmp_path: Path) -> None:
    files = [root.absolute(camera.record(3).path)]
    camera.material = video(bframes=2)
    files.append(root.absolute(camera.record(3, 3).path))
    output = tmp_path / "out.mp4"
    written = export(files, at(1), at(5), output)
    assert [path.name for path in written] == ["out.mp4", "out-2.mp4"]
    assert [probe(path).duration for path in written] == [pytest.approx(2.0), pytest.approx(2.0)]
    assert [probe(path).errors for path in written] == ["", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["media", "out-2.mp4", "out.mp4"]


def test_a_part_knows_its_size_and_times(camera: Camera, root: Root) -> None:
    files = [root.absolute(camera.record(3, first).path) for first in (0, 3)]
    for start, end in ((0.5, 1.5), (0, 6), (-5, 60), (2.9, 3.1), (5.99, 6.5)):
        (part,) = plan(files, at(start), at(end))
        data = b"".join(part.chunks())
        assert len(data) == part.size
        assert (part.camera, part.start_us, part.end_us) == ("cam1", at(max(0, start)), at(min(6, end)))
        movie = walker.read(data)
        assert movie.duration == pytest.approx((part.end_us - part.start_us) * 0.09, abs=1)


def test_an_open_file_is_exported_up_to_its_last_fragment(camera: Camera, root: Root) -> None:
    sealed = root.absolute(camera.record(4).path)
    data = bytearray(sealed.read_bytes())
    sealed.write_bytes(data[: data.rfind(b"mdat") + 50])
    at_sidx = data.find(b"sidx") - 4
    with open(sealed, "r+b") as file:
        file.seek(at_sidx)
        file.write((8192).to_bytes(4, "big") + b"free")
    (part,) = plan([sealed], at(0), at(60))
    assert part.end_us == at(3)


def test_nothing_recorded_is_said(camera: Camera, root: Root, tmp_path: Path) -> None:
    file = root.absolute(camera.record(2).path)
    for start, end in ((5, 6), (-3, 0), (1, 1), (1.5, 1)):
        with pytest.raises(NothingRecordedError, match="nothing is recorded from 2026-11-20T"):
            export([file, tmp_path / "gone.mp4"], at(start), at(end), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
