"""Every process places a camera alike, evenly, and moves no camera without need."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from soip.policy.placement import worker_for

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
