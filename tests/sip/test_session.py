"""Session timers in virtual time (RFC 4028): what is asked, what is answered, who refreshes, who hangs up."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import headers as h
from soip.sip.errors import SipParseError
from soip.sip.headers import SessionExpires
from soip.sip.message import Request, Response
from soip.sip.reply import make_response
from soip.sip.session import LONGEST, Due, Policy, Session
from tests.sip.virtual import invite

STANDARD = Policy()


def asking(*lines: tuple[str, str]) -> Request:
    """An INVITE with these header lines."""
    request = invite(1)
    for name, value in lines:
        request.headers.add(name, value)
    return request


def answering(*lines: tuple[str, str], status: int = 200) -> Response:
    response = make_response(invite(1), status)
    for name, value in lines:
        response.headers.add(name, value)
    return response


def expires(lines: list[tuple[str, str]]) -> SessionExpires | None:
    return h.session_expires(answering(*lines).headers)


@dataclass
class Pair:
    """Both ends of one dialog; each exchange is delivered at once."""

    caller: Session
    callee: Session

    def exchange(self, asks: Session, answers: Session, now: float) -> None:
        request = asking(("Supported", "timer"), *asks.ask())
        while (least := answers.refusal(request)) is not None:
            assert asks.too_brief(answering(("Min-SE", str(least)), status=422))
            request = asking(("Supported", "timer"), *asks.ask())
        asks.accepted(answering(*answers.answer(request, now)), now)

    def run(self, since: float, until: float, *, deaf: bool = False) -> list[tuple[float, str, Due]]:
        """Let time pass; refreshes are exchanged, or lost where the two are `deaf`. What happened, and when."""
        happened: list[tuple[float, str, Due]] = []
        sides = {"caller": (self.caller, self.callee), "callee": (self.callee, self.caller)}
        now = since
        while True:
            deadlines = [d for d in (self.caller.next_deadline(), self.callee.next_deadline()) if d is not None]
            if not deadlines or min(deadlines) > until:
                return happened
            now = max(now, min(deadlines))
            for name, (mine, theirs) in sides.items():
                due = mine.advance(now)
                if due is None:
                    continue
                happened.append((now, name, due))
                if due is Due.REFRESH and not deaf:
                    self.exchange(mine, theirs, now)


def connected(caller: Policy = STANDARD, callee: Policy = STANDARD) -> Pair:
    pair = Pair(Session(caller), Session(callee))
    pair.exchange(pair.caller, pair.callee, 0.0)
    return pair


# -- what is said


def test_an_invite_asks_for_half_an_hour_and_leaves_the_refresher_open() -> None:
    assert Session(STANDARD).ask() == [("Session-Expires", "1800")]


def test_a_peer_that_leaves_it_open_is_told_to_refresh_as_the_caller() -> None:
    callee = Session(STANDARD)
    lines = callee.answer(asking(("Supported", "timer"), ("Session-Expires", "1800")), 0.0)
    assert lines == [("Require", "timer"), ("Session-Expires", "1800;refresher=uac")]
    assert (callee.interval, callee.refreshing) == (1800, False)


@pytest.mark.parametrize(
    ("lines", "answer", "required"),
    [
        # RFC 4028 §9, table 2, and what it leaves to us
        ((("Supported", "timer"), ("Session-Expires", "600;refresher=uas")), "600;refresher=uas", True),
        ((("Supported", "timer"), ("x", "600;refresher=uac")), "600;refresher=uac", True),
        ((("k", "100rel, TIMER"), ("Session-Expires", "600")), "600;refresher=uac", True),
        ((("Require", "timer"), ("Session-Expires", "600")), "600;refresher=uac", True),
        ((("Session-Expires", "600"),), "600;refresher=uas", False),  # a proxy wrote it: the caller knows no timers
        ((("Session-Expires", "30"),), "90;refresher=uas", False),
        ((("Supported", "timer"),), "1800;refresher=uac", True),
        ((("Supported", "timer"), ("Min-SE", "2400")), "2400;refresher=uac", True),
        ((("Supported", "timer"), ("Session-Expires", "86400")), "1800;refresher=uac", True),
        ((("Supported", "timer"), ("Session-Expires", "86400"), ("Min-SE", "3600")), "3600;refresher=uac", True),
    ],
)
def test_what_a_2xx_says(lines: tuple[tuple[str, str], ...], answer: str, required: bool) -> None:
    callee = Session(STANDARD)
    request = asking(*lines)
    assert callee.refusal(request) is None
    told = dict(callee.answer(request, 0.0))
    assert told["Session-Expires"] == answer
    assert told.get("Require") == ("timer" if required else None)
    assert callee.refreshing == answer.endswith("uas")


def test_who_asks_for_no_session_and_knows_none_is_not_told_of_any() -> None:
    callee = Session(STANDARD)
    assert callee.answer(asking(), 0.0) == []
    assert callee.interval is None


def test_too_short_an_interval_is_refused_to_who_understands_that() -> None:
    callee = Session(STANDARD)
    assert callee.refusal(asking(("Supported", "timer"), ("Session-Expires", "89"))) == 90
    assert callee.refusal(asking(("Supported", "timer"), ("Session-Expires", "90"))) is None
    assert callee.refusal(asking(("Session-Expires", "89"))) is None, "§9: who does not support it gets no 422"


@pytest.mark.parametrize(
    "line",
    [
        ("Session-Expires", "soon"),
        ("Session-Expires", "1800;refresher=me"),
        ("Session-Expires", "-1"),
        ("Min-SE", ""),
        ("Min-SE", "90, 91"),
    ],
)
def test_what_cannot_be_read_is_malformed(line: tuple[str, str]) -> None:
    with pytest.raises(SipParseError):
        Session(STANDARD).refusal(asking(("Supported", "timer"), line))


def test_a_422_is_answered_with_the_min_se_it_tells() -> None:
    caller = Session(STANDARD)
    assert caller.too_brief(answering(("Min-SE", "3600"), status=422))
    assert caller.ask() == [("Session-Expires", "3600"), ("Min-SE", "3600")]
    assert caller.too_brief(answering(("Min-SE", "4000"), status=422)), "a second proxy may want more"
    assert dict(caller.ask())["Min-SE"] == "4000"


@pytest.mark.parametrize("told", ["1800", "90", "x", str(LONGEST + 1), "99999999999999"])
def test_a_422_that_tells_nothing_new_or_too_much_is_a_refusal(told: str) -> None:
    caller = Session(STANDARD)
    assert not caller.too_brief(answering(("Min-SE", told), status=422))
    assert not caller.too_brief(answering(status=422))
    assert not caller.too_brief(answering(("Min-SE", "3600"), status=488))
    assert caller.ask() == [("Session-Expires", "1800")]


@pytest.mark.parametrize("line", [(), (("Session-Expires", "?"),)])
def test_a_2xx_without_a_session_makes_none(line: tuple[tuple[str, str], ...]) -> None:
    caller = Session(STANDARD)
    caller.accepted(answering(*line), 0.0)
    assert caller.interval is None


# -- what happens


def test_the_caller_refreshes_halfway_for_as_long_as_the_call_lasts() -> None:
    pair = connected()
    happened = pair.run(0.0, 7200.0)
    assert happened == [(at, "caller", Due.REFRESH) for at in range(900, 7201, 900)]


def test_the_called_side_refreshes_where_it_was_asked_to() -> None:
    pair = Pair(Session(STANDARD), Session(STANDARD))
    lines = pair.callee.answer(asking(("Supported", "timer"), ("Session-Expires", "600;refresher=uas")), 0.0)
    pair.caller.accepted(answering(*lines), 0.0)
    assert pair.run(0.0, 1000.0) == [
        (300.0, "callee", Due.REFRESH),
        (600.0, "callee", Due.REFRESH),
        (900.0, "callee", Due.REFRESH),
    ]
    assert not pair.caller.refreshing


def test_without_refreshes_both_sides_hang_up_32_s_before_the_end() -> None:
    happened = connected().run(0.0, 7200.0, deaf=True)
    assert happened[0] == (900.0, "caller", Due.REFRESH)
    assert (1768.0, "callee", Due.EXPIRED) in happened
    assert (1768.0, "caller", Due.EXPIRED) in happened
    assert happened[-1][0] == 1768.0, "and that is the end"


def test_a_short_session_ends_a_third_before_its_end() -> None:
    pair = connected(Policy(interval=90))
    assert pair.callee.interval == 90
    assert next(what for what in pair.run(0.0, 90.0, deaf=True) if what[2] is Due.EXPIRED)[0] == 60.0


def test_a_refused_refresh_is_tried_again_a_few_times_and_then_the_call_ends() -> None:
    pair = connected()
    now, tried = 0.0, []
    while (deadline := pair.caller.next_deadline()) is not None:
        now = deadline
        due = pair.caller.advance(now)
        if due is Due.REFRESH:
            tried.append(now)
            pair.caller.failed(now)
    assert tried == [900.0, 1125.0, 1350.0, 1575.0]
    assert now == 1768.0


def test_a_refresher_that_is_told_when_to_try_again_waits_so_long() -> None:
    pair = connected()
    assert pair.caller.advance(900.0) is Due.REFRESH
    pair.caller.failed(900.0, retry_after=500)
    assert pair.caller.next_deadline() == 1400.0
    pair.exchange(pair.caller, pair.callee, 1400.0)
    assert pair.caller.next_deadline() == 2300.0


def test_while_a_refresh_is_under_way_the_end_still_counts() -> None:
    pair = connected()
    assert pair.caller.advance(900.0) is Due.REFRESH
    assert pair.caller.advance(1000.0) is None
    assert pair.caller.next_deadline() == 1768.0


def test_a_reinvite_of_the_other_side_is_a_refresh_and_leaves_the_roles() -> None:
    pair = connected()
    pair.exchange(pair.callee, pair.caller, 500.0)
    assert (pair.caller.refreshing, pair.callee.refreshing) == (True, False)
    assert pair.caller.next_deadline() == 1400.0
    assert pair.callee.next_deadline() == 500.0 + 1768.0
    # and one that says nothing of it too
    pair.caller.answer(asking(("Supported", "timer")), 600.0)
    assert pair.caller.refreshing


def test_a_peer_without_timers_is_asked_as_often_and_never_hung_up_on() -> None:
    callee = Session(STANDARD)
    callee.answer(asking(), 0.0)
    assert callee.next_deadline() == 900.0
    assert callee.advance(900.0) is Due.ASK
    assert callee.next_deadline() is None, "one question at a time"
    callee.answered(901.0)
    assert callee.next_deadline() == 1801.0


def test_a_peer_that_has_answered_an_absurd_interval_is_not_asked_without_a_pause() -> None:
    caller = Session(STANDARD)
    caller.accepted(answering(("Session-Expires", "0;refresher=uac")), 0.0)
    assert caller.interval == 90
    assert caller.next_deadline() == 45.0


@given(
    wanted=st.integers(1, 5000),
    least=st.integers(90, 5000),
    theirs=st.integers(90, 5000),
    their_least=st.integers(90, 5000),
)
def test_two_of_us_agree_whatever_each_wants(wanted: int, least: int, theirs: int, their_least: int) -> None:
    pair = connected(Policy(wanted, least), Policy(theirs, their_least))
    assert pair.caller.interval == pair.callee.interval
    assert pair.caller.interval is not None
    assert pair.caller.interval >= max(least, their_least)
    assert pair.caller.refreshing != pair.callee.refreshing
    kept = pair.run(0.0, 3.0 * pair.caller.interval)
    assert {due for _, _, due in kept} == {Due.REFRESH}
    now = kept[-1][0]
    ends = [at for at, _, due in pair.run(now, now + 2.0 * pair.caller.interval, deaf=True) if due is Due.EXPIRED]
    assert len(ends) == 2
    assert all(at - now < pair.caller.interval for at in ends), "before the session has run out"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Session-Expires", "Min-SE", "Supported", "Require"]),
            st.text("0123456789;=,uacstimer refresh", max_size=20),
        )
    )
)
def test_whatever_is_asked_is_answered_within_bounds_or_malformed(lines: list[tuple[str, str]]) -> None:
    callee = Session(STANDARD)
    request = asking(*lines)
    try:
        if callee.refusal(request) is not None:
            return
        told = expires(callee.answer(request, 0.0))
    except SipParseError:
        return
    assert told is None or 90 <= told.seconds < 2**32
    deadline = callee.next_deadline()
    assert deadline is not None
    assert deadline >= 45
