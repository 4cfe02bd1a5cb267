"""Limits on signing in, in virtual time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soip.web import attempts
from soip.web.attempts import PER_NAME, PER_NAME_AND_SOURCE, PER_SOURCE, WINDOW_S, Attempts, network_of


def _fail(limits: Attempts, source: str, name: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        assert limits.begin(source, name, now) == 0


def test_one_person_from_one_place_has_a_few_attempts() -> None:
    limits = Attempts()
    _fail(limits, "192.0.2.1", "admin", PER_NAME_AND_SOURCE)
    assert limits.begin("192.0.2.1", "admin", 100) == WINDOW_S - 100
    assert limits.begin("192.0.2.1", "other", 100) == 0
    assert limits.begin("192.0.2.2", "admin", 100) == 0


def test_after_the_window_all_is_forgiven() -> None:
    limits = Attempts()
    _fail(limits, "192.0.2.1", "admin", PER_NAME_AND_SOURCE)
    assert limits.begin("192.0.2.1", "admin", WINDOW_S - 0.1) > 0
    assert limits.begin("192.0.2.1", "admin", WINDOW_S) == 0


def test_a_refused_attempt_does_not_lengthen_the_wait() -> None:
    limits = Attempts()
    _fail(limits, "192.0.2.1", "admin", PER_NAME_AND_SOURCE)
    for now in range(0, 299, 10):
        assert limits.begin("192.0.2.1", "admin", now) == WINDOW_S - now
    assert limits.begin("192.0.2.1", "admin", WINDOW_S) == 0


def test_one_source_cannot_try_many_names() -> None:
    limits = Attempts()
    for index in range(PER_SOURCE):
        assert limits.begin("192.0.2.1", f"user{index}", 0) == 0
    assert limits.begin("192.0.2.1", "another", 0) > 0
    assert limits.begin("192.0.2.9", "another", 0) == 0


def test_many_sources_cannot_try_one_name_for_ever() -> None:
    limits = Attempts()
    for index in range(PER_NAME):
        assert limits.begin(f"192.0.2.{index}", "admin", 0) == 0
    assert limits.begin("198.51.100.1", "admin", 0) > 0
    assert limits.begin("198.51.100.1", "somebody", 0) == 0


def test_success_gives_back_the_attempts() -> None:
    limits = Attempts()
    _fail(limits, "192.0.2.1", "admin", PER_NAME_AND_SOURCE - 1)
    assert limits.begin("192.0.2.1", "admin", 0) == 0
    limits.succeeded("192.0.2.1", "admin")
    _fail(limits, "192.0.2.1", "admin", PER_NAME_AND_SOURCE)
    assert limits.begin("192.0.2.1", "admin", 0) > 0


def test_success_does_not_hide_a_sources_failures() -> None:
    limits = Attempts()
    taken = 0
    while limits.begin("192.0.2.1", f"victim{taken}", 0) == 0:
        taken += 1
        if limits.begin("192.0.2.1", "own", 0) == 0:
            limits.succeeded("192.0.2.1", "own")
    assert taken == PER_SOURCE


def test_only_success_leaves_nothing_behind() -> None:
    limits = Attempts()
    for now in range(1000):
        assert limits.begin("192.0.2.1", "admin", now) == 0
        limits.succeeded("192.0.2.1", "admin")
    assert len(limits) == 0


def test_success_that_was_not_begun_changes_nothing() -> None:
    limits = Attempts()
    limits.succeeded("192.0.2.1", "admin")
    assert len(limits) == 0


def test_memory_is_bounded() -> None:
    limits = Attempts()
    for index in range(30_000):
        limits.begin(f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", f"u{index}", index / 1000)
    assert len(limits) <= attempts._MOST_KEYS + 2


def test_ipv6_counts_by_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("testclient") == "testclient"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.floats(0, 50)), max_size=200))
def test_no_pair_gets_more_than_its_share_in_a_window(tries: list[tuple[str, str, float]]) -> None:
    limits = Attempts()
    taken: dict[tuple[str, str], list[float]] = {}
    now = 0.0
    for source, name, later in tries:
        now += later
        if limits.begin(source, name, now) == 0:
            taken.setdefault((source, name), []).append(now)
    for moments in taken.values():
        for first, after in zip(moments, moments[2 * PER_NAME_AND_SOURCE :], strict=False):
            # Fixed windows: twice the share can meet at a border, never more.
            assert after - first >= WINDOW_S
