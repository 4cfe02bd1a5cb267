"""Cameras go to who has the least to do, alike whoever decides, and no full disk is given more."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from soip.policy.placement import ASSUMED_BPS, Candidate, place, worker_for

IDS = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=12)
WORKERS = st.lists(IDS, min_size=1, max_size=8, unique=True)


@given(IDS, WORKERS, st.randoms(use_true_random=False))
def test_the_order_of_the_workers_does_not_matter(camera: str, workers: list[str], order: random.Random) -> None:
    chosen = worker_for(camera, workers)
    assert chosen in workers
    order.shuffle(workers)
    assert worker_for(camera, iter(workers)) == chosen


@given(IDS, WORKERS, st.data())
def test_only_cameras_of_a_worker_that_leaves_move(camera: str, workers: list[str], data: st.DataObject) -> None:
    chosen = worker_for(camera, workers)
    gone = data.draw(st.sampled_from(workers))
    rest = [worker for worker in workers if worker != gone]
    if gone != chosen:
        assert worker_for(camera, rest) == chosen


def test_without_workers_there_is_none() -> None:
    assert worker_for("cam1", []) is None


def test_cameras_spread_evenly() -> None:
    workers = [f"media-0a1b2c3d-{number}" for number in range(4)]
    counts = Counter(worker_for(f"cam{number}", workers) for number in range(10_000))
    assert set(counts) == set(workers)
    assert all(2300 < count < 2700 for count in counts.values()), counts


def test_the_choice_is_the_same_in_every_version() -> None:
    """A changed hash would make two versions that run side by side call one camera twice."""
    assert [worker_for(f"cam{number}", ["a-0", "a-1", "a-2"]) for number in range(8)] == PLACES


PLACES = ["a-2", "a-2", "a-1", "a-1", "a-0", "a-2", "a-2", "a-2"]


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        IDS,
        cameras=st.integers(0, 40),
        streams=st.integers(0, 40),
        traffic_bps=st.integers(0, 200_000_000),
        accepting=st.booleans(),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each.id,
)
NAMES = st.sets(IDS, max_size=40)


def after(candidates: list[Candidate], homes: dict[str, str]) -> dict[str, int]:
    """What each has to do once the cameras have come."""
    given_to = Counter(homes.values())
    return {each.id: each.expected_bps + ASSUMED_BPS * given_to[each.id] for each in candidates}


@given(NAMES, CANDIDATES, st.randoms(use_true_random=False))
def test_every_camera_has_a_home_whoever_decides(
    names: set[str], candidates: list[Candidate], order: random.Random
) -> None:
    homes = place(names, candidates)
    assert homes.keys() == names
    order.shuffle(candidates)
    assert place(sorted(names, reverse=True), candidates) == homes


@given(NAMES, CANDIDATES)
def test_nobody_is_given_more_while_another_has_less(names: set[str], candidates: list[Candidate]) -> None:
    homes = place(names, candidates)
    takers = [each for each in candidates if each.accepting] or candidates
    loads = after(takers, homes)
    for home in set(homes.values()):
        assert loads[home] - ASSUMED_BPS <= min(loads.values())


@given(NAMES, CANDIDATES)
def test_a_full_disk_takes_no_camera_while_there_is_another(names: set[str], candidates: list[Candidate]) -> None:
    full = {each.id for each in candidates if not each.accepting}
    if len(full) < len(candidates):
        assert not full & set(place(names, candidates).values())


def test_nobody_there_is_no_home() -> None:
    assert place(["cam1"], []) == {}


def test_many_cameras_at_once_spread_although_nobody_has_reported_since() -> None:
    homes = place([f"cam{n}" for n in range(30)], [Candidate(f"m-{n}") for n in range(3)])
    assert Counter(homes.values()) == {"m-0": 10, "m-1": 10, "m-2": 10}


def test_the_idle_one_catches_up() -> None:
    busy = Candidate("m-0", cameras=20, streams=20, traffic_bps=60_000_000)
    homes = place([f"cam{n}" for n in range(15)], [busy, Candidate("m-1")])
    assert set(homes.values()) == {"m-1"}


def test_a_camera_that_is_not_received_yet_counts() -> None:
    assert Candidate("m-0", cameras=3, streams=1, traffic_bps=5).expected_bps == 5 + 2 * ASSUMED_BPS
    assert Candidate("m-0", cameras=1, streams=3, traffic_bps=5).expected_bps == 5
