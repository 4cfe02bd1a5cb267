"""What a viewer gets by its reports, in virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.policy.throttle import (
    BAD_LOSS,
    BAD_RTT_S,
    BAD_S,
    GIVE_UP_S,
    GOOD_LOSS,
    GOOD_MOST_S,
    GOOD_S,
    STEP_S,
    Share,
    Throttle,
)


class Way:
    """Reports every `every` seconds of a way that loses so much."""

    def __init__(self, every: float = 5.0) -> None:
        self.throttle, self.now, self.every = Throttle(), 1000.0, every
        self.changes: list[tuple[float, Share]] = []

    def lose(self, loss: float, seconds: float, *, rtt: float = 0.05) -> Share:
        end = self.now + seconds
        while self.now < end:
            self.now += self.every
            before = self.throttle.share
            if self.throttle.report(loss, rtt, self.now) is not before:
                self.changes.append((self.now, self.throttle.share))
        return self.throttle.share


@pytest.mark.parametrize("every", [0.2, 1.0, 5.0])
def test_a_good_way_gets_all_pictures_for_ever(every: float) -> None:
    way = Way(every)
    assert way.lose(0.0, 600) is Share.ALL
    assert way.lose(BAD_LOSS - 0.01, 600) is Share.ALL, "what can be borne is borne"
    assert way.changes == []


def test_one_bad_report_changes_nothing() -> None:
    way = Way()
    for _ in range(20):
        way.lose(0.9, 5)
        assert way.lose(0.0, 5) is Share.ALL


@pytest.mark.parametrize("every", [0.2, 5.0])
def test_a_bad_way_gets_keyframes_and_if_these_are_lost_too_nothing(every: float) -> None:
    way = Way(every)
    began = way.now
    assert way.lose(0.3, 600) is Share.NOTHING
    (thinned, first), (ended, last) = way.changes
    assert (first, last) == (Share.KEYFRAMES, Share.NOTHING)
    assert BAD_S <= thinned - began <= BAD_S + 2 * every + 0.5
    assert GIVE_UP_S <= ended - thinned <= GIVE_UP_S + 2 * every + 0.5


def test_a_way_that_recovers_gets_all_again() -> None:
    way = Way()
    assert way.lose(0.3, 20) is Share.KEYFRAMES
    way.throttle.report(GOOD_LOSS, 0.0, way.now)
    assert way.lose(GOOD_LOSS, GOOD_S + 5) is Share.ALL


def test_a_queue_that_grows_is_as_bad_as_loss() -> None:
    assert Way().lose(0.0, 20, rtt=BAD_RTT_S) is Share.KEYFRAMES


def test_keyframes_that_arrive_with_some_loss_go_on() -> None:
    way = Way()
    way.lose(0.3, 20)
    assert way.lose((BAD_LOSS + GOOD_LOSS) / 2, 3600) is Share.KEYFRAMES


def test_a_way_that_bears_keyframes_alone_is_tried_ever_more_seldom() -> None:
    way = Way()
    while way.now < 5000:
        way.lose(0.3 if way.throttle.share is Share.ALL else 0.0, 5)
    tries = [at for at, share in way.changes if share is Share.ALL]
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[0] < waits[2] < waits[3] <= GOOD_MOST_S + 30
    assert len(tries) < 20


@pytest.mark.parametrize("every", [0.2, 5.0])
def test_where_there_is_a_sub_stream_it_follows_the_keyframes(every: float) -> None:
    way = Way(every)
    way.throttle.offer_smaller(True, way.now)
    assert way.lose(0.3, 600) is Share.NOTHING
    (thinned, first), (smaller, second), (ended, last) = way.changes
    assert [first, second, last] == [Share.KEYFRAMES, Share.SMALLER, Share.NOTHING]
    assert STEP_S <= smaller - thinned <= STEP_S + every + 0.5
    assert GIVE_UP_S <= ended - smaller <= GIVE_UP_S + 2 * every + 0.5


def test_who_recovers_with_the_sub_stream_gets_all_again_ever_more_seldom() -> None:
    way = Way()
    way.throttle.offer_smaller(True, way.now)
    while way.now < 5000:
        way.lose(0.3 if way.throttle.share is Share.ALL else 0.0, 5)
    assert {share for _, share in way.changes} == {Share.ALL, Share.KEYFRAMES, Share.SMALLER}
    tries = [at for at, share in way.changes if share is Share.ALL]
    assert 3 < len(tries) < 20


def test_a_sub_stream_that_is_not_to_be_had_leaves_keyframes() -> None:
    way = Way()
    way.throttle.offer_smaller(True, way.now)
    assert way.lose(0.3, 30) is Share.SMALLER
    way.throttle.offer_smaller(False, way.now)
    assert way.throttle.share is Share.KEYFRAMES
    assert way.lose(0.3, 600) is Share.NOTHING


def test_old_relapses_are_forgotten() -> None:
    way = Way()
    for _ in range(4):
        way.lose(0.3, 20)
        way.lose(0.0, 400)
    way.lose(0.0, 1000)
    way.lose(0.3, 20)
    assert way.lose(0.0, GOOD_S + 10) is Share.ALL


STEPS = {
    Share.ALL: {Share.KEYFRAMES},
    Share.KEYFRAMES: {Share.ALL, Share.SMALLER, Share.NOTHING},
    Share.SMALLER: {Share.ALL, Share.NOTHING},
    Share.NOTHING: set(),
}


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 5), st.floats(0.01, 30)), max_size=300),
    st.booleans(),
)
def test_whatever_is_reported_it_goes_step_by_step(reports: list[tuple[float, float, float]], smaller: bool) -> None:
    throttle, now, shares, changed = Throttle(), 0.0, [Share.ALL], -1e9
    throttle.offer_smaller(smaller, now)
    for loss, rtt, wait in reports:
        now += wait
        share = throttle.report(loss, rtt, now)
        if share is not shares[-1]:
            assert share in STEPS[shares[-1]]
            assert smaller or share is not Share.SMALLER
            assert now - changed >= STEP_S, "never twice in a moment"
            shares.append(share)
            changed = now
