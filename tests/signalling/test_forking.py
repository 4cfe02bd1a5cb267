"""Response side of the proxy in pure form: what goes upstream, and which branches are cancelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.signalling.forking import Fork, best
from soip.sip.message import Headers, Response


class Upstream:
    """A fork with its two outlets written down."""

    def __init__(self, branches: int, begun: int | None = None) -> None:
        self.sent: list[int] = []
        self.cancelled: list[int] = []
        self.exhausted = 0
        self.fork = Fork(
            branches,
            lambda response: self.sent.append(response.status),
            self.cancelled.append,
            begun=begun,
            exhausted=self._exhausted,
        )

    def _exhausted(self) -> None:
        self.exhausted += 1

    def feed(self, branch: int, status: int) -> None:
        self.fork.response(branch, Response(status))


def test_provisionals_pass_but_never_100() -> None:
    up = Upstream(1)
    for status in (100, 180, 183):
        up.feed(0, status)
    assert up.sent == [180, 183]
    assert not up.fork.done


def test_a_2xx_passes_at_once_and_cancels_the_others() -> None:
    up = Upstream(3)
    up.feed(1, 486)
    up.feed(0, 200)
    assert up.sent == [200]
    assert up.cancelled == [2]
    up.feed(2, 487)
    assert up.sent == [200]


def test_every_2xx_passes_even_repeated_and_late_ones() -> None:
    up = Upstream(2)
    up.feed(0, 200)
    up.feed(0, 200)
    up.feed(1, 200)
    assert up.sent == [200, 200, 200]


def test_a_6xx_ends_the_search_but_waits_for_the_others() -> None:
    up = Upstream(2)
    up.feed(0, 603)
    assert (up.sent, up.cancelled) == ([], [1])
    up.feed(1, 487)
    assert up.sent == [603]


def test_a_2xx_that_wins_the_race_against_a_6xx_passes() -> None:
    up = Upstream(2)
    up.feed(0, 603)
    up.feed(1, 200)
    assert up.sent == [200]


def test_the_caller_gives_up() -> None:
    up = Upstream(2)
    up.feed(0, 180)
    up.fork.cancel()
    up.fork.cancel()
    assert up.cancelled == [0, 1]
    up.feed(0, 487)
    up.feed(1, 487)
    assert up.sent == [180, 487]
    assert up.fork.cancelled


def test_giving_up_after_the_answer_does_nothing() -> None:
    up = Upstream(1)
    up.feed(0, 404)
    up.fork.cancel()
    assert (up.sent, up.cancelled) == ([404], [])


def test_no_provisional_after_the_final() -> None:
    up = Upstream(2)
    up.feed(0, 200)
    up.feed(1, 180)
    assert up.sent == [200]


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [
        ([404, 486], 404),
        ([408, 486], 486),
        ([487, 480], 480),
        ([503, 404], 404),
        ([486, 407], 407),
        ([302, 404], 302),
        ([500, 603, 200 + 204], 603),
        ([408, 503], 408),
    ],
)
def test_the_best_refusal(statuses: list[int], chosen: int) -> None:
    assert best([Response(status) for status in statuses]).status == chosen


def test_all_challenges_go_upstream_together() -> None:
    one = Response(407, headers=Headers([("Proxy-Authenticate", 'Digest realm="a"')]))
    two = Response(401, headers=Headers([("WWW-Authenticate", 'Digest realm="b"')]))
    chosen = best([one, two, Response(486)])
    assert chosen is two
    assert chosen.headers.get_all("Proxy-Authenticate") == ['Digest realm="a"']
    assert chosen.headers.get_all("WWW-Authenticate") == ['Digest realm="b"']


@given(st.data(), st.integers(1, 4))
def test_exactly_one_refusal_or_only_acceptances(data: st.DataObject, branches: int) -> None:
    up = Upstream(branches)
    steps = data.draw(
        st.lists(st.tuples(st.integers(0, branches - 1), st.sampled_from([180, 200, 404, 486, 603, 503])))
    )
    for branch, status in steps:
        up.feed(branch, status)
    for branch in range(branches):
        up.feed(branch, 487)
    finals = [status for status in up.sent if status >= 200]
    assert finals
    assert len(finals) == 1 or set(finals) == {200}
    assert len(set(up.cancelled)) == len(up.cancelled)


def test_those_held_back_begin_when_the_first_have_ended_in_vain() -> None:
    up = Upstream(3, begun=2)
    up.feed(0, 486)
    assert (up.exhausted, up.sent) == (0, [])
    up.feed(1, 404)
    assert (up.exhausted, up.sent, up.fork.more) == (1, [], True)
    up.fork.begin(1)
    assert not up.fork.more
    up.feed(2, 480)
    assert up.sent == [404], "the best of all that were tried (RFC 3261 §16.7 step 6)"


def test_those_that_rang_for_long_enough_are_cancelled_when_the_next_begin() -> None:
    up = Upstream(3, begun=1)
    up.feed(0, 180)
    up.fork.begin(1)
    assert (up.cancelled, up.exhausted) == ([0], 0)
    up.feed(1, 486)
    assert up.exhausted == 0, "the cancelled one has not answered yet"
    up.feed(0, 487)
    assert up.exhausted == 1
    up.fork.begin(1)
    up.feed(2, 200)
    assert (up.sent, up.cancelled) == ([180, 200], [0])


@pytest.mark.parametrize("answer", [200, 603])
def test_those_held_back_never_begin_when_the_search_is_over(answer: int) -> None:
    up = Upstream(3, begun=1)
    up.feed(0, answer)
    assert (up.sent, up.exhausted, up.fork.more) == ([answer], 1, False)


def test_those_held_back_never_begin_when_the_caller_gives_up() -> None:
    up = Upstream(3, begun=1)
    up.fork.cancel()
    assert (up.cancelled, up.exhausted, up.fork.more) == ([0], 1, False)
    up.feed(0, 487)
    assert up.sent == [487]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_every_search_ends_in_one_answer_whatever_the_branches_say(groups: list[int], data: st.DataObject) -> None:
    """The shell's loop, with answers in any order: one final answer, no branch before its group, none unanswered."""
    up = Upstream(sum(groups), begun=groups[0])
    begun, waiting = groups[0], list(range(groups[0]))
    left = groups[1:]
    while waiting:
        branch = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        up.feed(branch, data.draw(st.sampled_from([200, 302, 404, 486, 487, 503, 603])))
        if not waiting and left and up.fork.more:
            assert not up.sent
            up.fork.begin(left[0])
            waiting = list(range(begun, begun + left[0]))
            begun += left.pop(0)
    assert [status for status in up.sent if status >= 300][:2] == [s for s in up.sent if s >= 300]
    assert up.fork.done
    assert len([status for status in up.sent if status >= 300]) <= 1
