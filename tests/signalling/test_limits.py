"""Limits per source, in virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soip.signalling.limits import Buckets, Budget, Gate, default_gate


def test_a_burst_then_the_rate() -> None:
    buckets = Buckets(Budget(rate=2, burst=5))
    assert [buckets.take("a", 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert buckets.wait("a", 0.0) == 1
    assert buckets.take("b", 0.0), "another source is not touched"
    assert not buckets.take("a", 0.4)
    assert buckets.take("a", 2.0)


def test_refusals_cost_but_never_for_ever() -> None:
    buckets = Buckets(Budget(rate=1, burst=5))
    for _ in range(1000):
        buckets.take("a", 0.0)
    assert buckets.level("a", 0.0) == -5
    assert buckets.wait("a", 0.0) == 6
    assert buckets.take("a", 6.0)


def test_the_table_is_bounded_and_forgets_the_longest_unused() -> None:
    buckets = Buckets(Budget(rate=0.001, burst=1), size=3)
    for key in "abc":
        assert buckets.take(key, 0)
    assert not buckets.take("a", 0)
    assert buckets.take("d", 0)
    assert len(buckets) == 3
    assert buckets.take("b", 0), "b was forgotten, a was not"
    assert not buckets.take("a", 0)


@given(st.lists(st.floats(0, 10), max_size=50), st.floats(0.1, 10), st.integers(1, 10))
def test_never_more_than_burst_plus_rate(pauses: list[float], rate: float, burst: int) -> None:
    buckets, now, taken = Buckets(Budget(rate, burst)), 0.0, 0
    for pause in pauses:
        now += pause
        taken += buckets.take("a", now)
        assert taken <= burst + rate * now + 1e-6


def test_a_clock_that_stands_still_gives_nothing() -> None:
    buckets = Buckets(Budget(rate=5, burst=1))
    assert buckets.take("a", 10.0)
    assert not buckets.take("a", 10.0)
    assert not buckets.take("a", 9.0)


def gate() -> Gate:
    return Gate(Budget(1, 4), Budget(0.1, 2), Budget(0.1, 5), Budget(1, 2))


def test_a_flood_of_strangers_ends_in_silence() -> None:
    g = gate()
    assert [g.stranger("x", 0) for _ in range(8)] == ["ok"] * 4 + ["refuse", "drop", "drop", "drop"]
    assert g.stranger("y", 0) == "ok"


def test_wrong_passwords_close_the_id_before_the_source() -> None:
    g = gate()
    assert g.may_try("x", "x cam1", False, 0)
    g.failed("x", "x cam1", 0)
    g.failed("x", "x cam1", 0)
    assert not g.may_try("x", "x cam1", False, 0)
    assert not g.may_try("x", "x cam1", True, 0)
    assert g.may_try("x", "x cam2", False, 0)
    assert g.may_try("y", "y cam1", False, 0), "someone elsewhere cannot lock the camera out"
    assert g.retry_after("x", "x cam1", False, 0) == 10


def test_guessing_many_ids_closes_the_source_but_not_for_those_registered_there() -> None:
    g = gate()
    for n in range(5):
        g.failed("x", f"x guess{n}", 0)
    assert not g.may_try("x", "x cam1", False, 0)
    assert g.may_try("x", "x:5060 cam1", True, 0)
    assert g.retry_after("x", "x cam1", False, 0) == 10
    assert g.retry_after("x", "x:5060 cam1", True, 0) == 1
    assert g.may_try("x", "x cam1", False, 20)


def test_accounts_are_counted_by_name() -> None:
    g = gate()
    assert [g.account("user1", 0) for _ in range(3)] == [True, True, False]
    assert g.account("user2", 0)


def test_a_whole_site_may_register_at_once_behind_one_address() -> None:
    g = default_gate()
    assert {g.stranger("site", 0) for _ in range(10_000)} == {"ok"}
