"""What goes first: recordings by age, then cameras by priority."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.policy.placement import disk_for
from soip.policy.retention import Rank, outlived, ranks


@dataclass(frozen=True)
class File:
    end_us: int
    bytes: int = 10


OLDEST_FIRST = [File(1), File(2), File(3), File(4)]


@pytest.mark.parametrize(
    ("before_us", "missing", "expected"),
    [
        (0, 0, 0),
        (0, -5, 0),
        (0, 1, 1),
        (0, 10, 1),
        (0, 11, 2),
        (0, 1000, 4),
        (3, 0, 2),
        (3, 25, 3),
        (9, 0, 4),
    ],
)
def test_what_is_old_enough_goes_and_more_while_room_is_missing(before_us: int, missing: int, expected: int) -> None:
    assert outlived(OLDEST_FIRST, before_us, missing) == OLDEST_FIRST[:expected]


@given(
    st.lists(st.builds(File, st.integers(0, 50), st.integers(0, 99)), max_size=20), st.integers(0, 50), st.integers()
)
def test_no_more_goes_than_must(files: list[File], before_us: int, missing: int) -> None:
    files.sort(key=lambda one: one.end_us)
    going = outlived(files, before_us, missing)
    assert going == files[: len(going)]
    assert all(one in going for one in files if one.end_us < before_us)
    young = [one for one in going if one.end_us >= before_us]
    if young:
        assert sum(one.bytes for one in going[:-1]) < missing


def test_one_priority_may_fill_the_disk_and_the_queue() -> None:
    assert ranks([5, 5, 5]) == {5: Rank(0, 1)}
    assert Rank().floor(1 << 30) == 0
    assert Rank().share == 1


def test_the_lowest_priority_stops_first_and_the_highest_never() -> None:
    found = ranks([9, 1, 5, 1])
    floors = [found[priority].floor(1000) for priority in (1, 5, 9)]
    assert floors == [1000, 500, 0]
    shares = [found[priority].share for priority in (1, 5, 9)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert min(shares) > 0.5


@given(st.sets(st.integers(0, 9), min_size=1), st.integers(1, 1 << 40))
def test_who_matters_more_needs_less_room(priorities: set[int], min_free: int) -> None:
    found = ranks(priorities)
    floors = [found[priority].floor(min_free) for priority in sorted(priorities)]
    assert floors == sorted(floors, reverse=True)
    assert floors[-1] == 0


# -- disks


def test_a_camera_has_no_disk_where_there_is_none() -> None:
    assert disk_for("cam1", {}) is None


def test_disks_get_cameras_by_their_size() -> None:
    chosen = [disk_for(f"cam-{number}", {"/a": 1000, "/b": 3000}) for number in range(4000)]
    assert 2800 < chosen.count("/b") < 3200


@given(st.sets(st.text(max_size=5), min_size=2, max_size=5), st.text(max_size=8))
def test_only_the_cameras_of_a_disk_that_goes_move(disks: set[str], camera: str) -> None:
    sizes = dict.fromkeys(disks, 100)
    before = disk_for(camera, sizes)
    for gone in disks - {before}:
        assert disk_for(camera, {disk: size for disk, size in sizes.items() if disk != gone}) == before


def test_a_disk_without_a_size_is_still_one() -> None:
    assert disk_for("cam1", {"/a": 0}) == "/a"
