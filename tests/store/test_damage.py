"""What is damaged stands in the file: whoever reads it finds the same stretches, and players do not mind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.mp4.index import Fragment
from soip.mp4.writer import Run
from soip.store.check import check
from soip.store.damage import MOST, NEAR_US, Damage, Damages
from soip.store.export import export
from soip.store.reader import play
from soip.store.rebuild import recordings
from soip.store.recording import Recording
from soip.store.repair import repair
from soip.store.root import Root
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import GOP, SECOND_US, Camera, settle
from tests.store.test_check import unexpected

TICKS = 90_000


def fragment(second: float, *, damaged: int = 0, lost: int = 0) -> Fragment:
    """One of a second of 25 pictures, the last ones damaged."""
    whole = (GOP - damaged) * 3600 if damaged else 0
    return Fragment(0, 1000, 0, TICKS, True, round(second * SECOND_US), GOP, damaged, lost, whole)


def damages(fragments: Iterable[Fragment]) -> list[Damage]:
    found = Damages(TICKS)
    for one in fragments:
        found.add(one)
    return found.stretches


def test_damage_reaches_from_the_first_bad_picture_to_the_end_of_its_group() -> None:
    (one,) = damages([fragment(10), fragment(11, damaged=5, lost=2), fragment(12)])
    assert one == Damage(11_800_000, 12_000_000, 5, 2)


def test_pictures_lost_whole_leave_a_place_without_pictures() -> None:
    (one,) = damages([fragment(10), fragment(11, lost=7)])
    assert one == Damage(11_000_000, 11_000_000, 0, 7)


def test_stretches_near_to_each_other_are_one() -> None:
    near = 11 + NEAR_US / SECOND_US
    assert len(damages([fragment(10, damaged=25, lost=1), fragment(near - 0.1, damaged=25)])) == 1
    assert len(damages([fragment(10, damaged=25, lost=1), fragment(near, damaged=25)])) == 2


def test_of_an_undisturbed_file_nothing_is_told() -> None:
    assert damages([fragment(number) for number in range(600)]) == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, GOP), st.integers(0, 100)), max_size=200))
def test_however_lossy_the_camera_there_are_a_few_stretches_that_hold_all(bad: list[tuple[int, int, int]]) -> None:
    second, fragments = 0, []
    for step, damaged, lost in bad:
        second += 1 + step
        fragments.append(fragment(second, damaged=damaged, lost=lost))
    found = damages(fragments)
    assert len(found) <= MOST
    assert sum(one.pictures for one in found) == sum(damaged for _, damaged, _ in bad)
    assert sum(one.packets for one in found) == sum(lost for *_, lost in bad)
    assert all(one.start_us <= one.end_us for one in found)
    assert all(one.end_us < other.start_us for one, other in pairwise(found))
    for one in fragments:
        if one.damaged:
            end_us = one.utc_us + SECOND_US
            assert any(each.start_us <= end_us - 1 and end_us <= each.end_us for each in found)


def spoil(run: Run, first: int, lost: int) -> Run:
    samples = [sample._replace(damaged=number >= first) for number, sample in enumerate(run.samples)]
    return run._replace(samples=samples, lost=lost)


def record(camera: Camera, *, seal: bool = True) -> None:
    """Ten seconds, of which two are damaged."""
    writer = camera.begin()
    for second in range(10):
        runs = camera.runs(second)
        if second in (3, 4):
            runs[0] = spoil(runs[0], 20 if second == 3 else 0, 2)
        assert writer.append(runs, EPOCH_US + second * SECOND_US)
    if seal:
        writer.seal()
    settle(camera.disk)


@pytest.fixture
def spoiled(camera: Camera, root: Root) -> Recording:
    record(camera)
    (row,) = recordings(root, unexpected)
    return row


def test_the_file_alone_tells_of_its_damage(camera: Camera, root: Root, spoiled: Recording) -> None:
    assert (spoiled.damaged, spoiled.lost) == (30, 4)
    (one,) = spoiled.damage
    assert one.start_us == pytest.approx(EPOCH_US + 3_800_000, abs=2)
    assert one.end_us == pytest.approx(EPOCH_US + 5_000_000, abs=2)
    written = camera.events[-1].recording  # type: ignore[union-attr]
    assert (written.damaged, written.lost) == (30, 4), "the writer tells the same as the file"


def test_a_catalog_that_hides_damage_disagrees(root: Root, spoiled: Recording) -> None:
    assert list(check(root, [spoiled], [])) == []
    details = [one.detail for one in check(root, [replace(spoiled, damage=())], [])]
    assert details == ["damaged: 0 in the catalog, 30 on the disk", "lost: 0 in the catalog, 4 on the disk"]


def test_a_file_that_is_mended_keeps_its_damage(camera: Camera, root: Root) -> None:
    record(camera, seal=False)
    (before,) = recordings(root, unexpected)
    assert not before.sealed
    mended = repair(root, before.path)
    assert mended is not None
    assert (mended.sealed, mended.damaged, mended.lost, mended.damage) == (True, 30, 4, before.damage)


def test_the_reader_tells_which_frames_are_damaged(root: Root, spoiled: Recording) -> None:
    frames = list(play([root.absolute(spoiled.path)], 0, 1 << 60))
    assert [number for number, frame in enumerate(frames) if frame.damaged] == [*range(95, 125)]


@pytest.mark.parametrize("bframes", [0, 2])
def test_a_player_shows_all_of_a_damaged_file_and_of_its_export(
    camera: Camera, root: Root, tmp_path: Path, bframes: int
) -> None:
    camera.material = video(bframes=bframes)
    record(camera)
    (row,) = recordings(root, unexpected)
    path = root.absolute(row.path)
    assert decoded(path) == 250
    (film,) = export([path], EPOCH_US + 2 * SECOND_US, EPOCH_US + 7 * SECOND_US, tmp_path / "film.mp4")
    assert decoded(film) >= 125
    frames = list(play([film], 0, 1 << 60))
    assert sum(frame.damaged for frame in frames) == 30, "an export hides nothing"


def decoded(path: Path) -> int:
    """How many pictures ffmpeg makes of it, without a word of complaint."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries"]
    command += ["stream=nb_read_frames", "-of", "csv=p=0", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return int(done.stdout.strip().strip(","))
