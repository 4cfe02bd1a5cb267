"""When an instance may act for its cameras, and when others take them: by monotonic clocks alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soip.policy.lease import TOLD_S, Lease, Mark, Watch

LEASE_S, FAILOVER_S = 15.0, 30.0
START = 1000.0


def lease(*others: str, renewed: float = START) -> Lease:
    one = Lease("m", LEASE_S, START)
    one.renewed(renewed, others)
    return one


def awake_until(one: Lease, until: float, *, connected: bool = True) -> None:
    """The process runs all the time, and every heartbeat of it fails."""
    now = START
    while now < until:
        now += 1.0
        one.awake(now, connected=connected)
        one.failed(now)


def test_nothing_is_held_before_the_first_heartbeat() -> None:
    assert not Lease("m", LEASE_S, START).holds(START, connected=True)


def test_a_lease_runs_from_before_its_heartbeat() -> None:
    one = lease("far")
    awake_until(one, START + LEASE_S + 1)
    assert one.holds(START + LEASE_S, connected=False)
    assert not one.holds(START + LEASE_S + 0.1, connected=False)


def test_an_older_heartbeat_shortens_nothing() -> None:
    one = lease("far", renewed=START + 5)
    one.renewed(START, ["far"])
    assert one.holds(START + 5 + LEASE_S, connected=False)


def test_a_lone_instance_records_through_any_outage() -> None:
    one = lease()
    awake_until(one, START + 600)
    assert one.holds(START + 600, connected=False)


def test_the_workers_of_one_machine_record_through_any_outage() -> None:
    one = lease("m", "m")
    awake_until(one, START + 600)
    assert one.holds(START + 600, connected=False)


def test_who_the_sip_server_can_reach_would_have_been_told() -> None:
    one = lease("far")
    awake_until(one, START + 600)
    assert one.holds(START + 600, connected=True)
    assert not one.holds(START + 600, connected=False)


def test_who_was_out_of_reach_gives_the_sip_server_time_to_tell() -> None:
    one = lease("far")
    awake_until(one, START + 100, connected=False)
    assert not one.holds(START + 100 + TOLD_S - 0.1, connected=True)
    one.awake(START + 100 + TOLD_S, connected=True)
    assert not one.holds(START + 100 + TOLD_S, connected=True), "a heartbeat would say more"
    one.failed(START + 100 - 1)
    assert not one.holds(START + 100 + TOLD_S, connected=True), "that one was begun before"
    one.failed(START + 100 + 1)
    assert one.holds(START + 100 + TOLD_S, connected=True)
    assert not one.holds(START + 100 + TOLD_S - 0.1, connected=True)


def test_who_was_out_of_reach_within_its_lease_need_not_ask_again() -> None:
    one = lease("far", renewed=START)
    one.awake(START + 1, connected=False)
    one.renewed(START + 2, ["far"])
    for second in range(3, 60):
        one.awake(START + second, connected=True)
    assert one.holds(START + 60, connected=True), "its heartbeats hang, and the SIP server would have told"


def test_who_has_slept_asks_first() -> None:
    for others in (["m"], ["far"], []):
        one = lease(*others)
        late = START + LEASE_S + 10
        assert not one.holds(late, connected=True)
        one.awake(late, connected=True)
        assert not one.holds(late, connected=True), "waking up makes nothing true"
        one.renewed(late, others)
        assert one.holds(late, connected=True)


def test_where_nobody_was_it_is_enough_to_have_tried() -> None:
    one = lease()
    late = START + 100
    one.awake(late, connected=True)
    one.failed(late)
    assert one.holds(late, connected=False)
    other = lease("m")
    other.awake(late, connected=True)
    other.failed(late)
    assert not other.holds(late, connected=True), "it may have been overtaken before the directory went away"


def test_a_sleep_within_the_lease_is_none() -> None:
    one = lease("far")
    one.awake(START + LEASE_S, connected=True)
    assert one.holds(START + LEASE_S, connected=False)


def marks(**of: tuple[int, int]) -> dict[str, tuple[Mark, float]]:
    return {name: (mark, LEASE_S) for name, mark in of.items()}


def test_silence_is_measured_from_when_it_was_seen() -> None:
    watch = Watch(FAILOVER_S)
    for second in range(0, 30, 5):
        watch.look(START + second, marks(a=(1, 1), b=(1, second)))
    assert watch.lapsed() == set()
    assert watch.fresh() == {"b"}
    watch.look(START + 30, marks(a=(1, 1), b=(1, 30)))
    assert watch.lapsed() == {"a"}
    watch.look(START + 35, marks(a=(2, 0), b=(1, 35)))
    assert watch.lapsed() == set()


def test_who_has_not_looked_for_long_looks_anew() -> None:
    watch = Watch(FAILOVER_S)
    watch.look(START, marks(a=(1, 1)))
    watch.look(START + 1000, marks(a=(1, 1)))
    assert watch.lapsed() == set(), "the directory may have been away for all"


def test_a_longer_lease_of_another_is_kept() -> None:
    watch = Watch(FAILOVER_S)
    for second in range(0, 121, 10):
        watch.look(START + second, {"a": ((1, 1), 60.0)})
        assert watch.lapsed() == ({"a"} if second >= 120 else set())


@given(
    renewed=st.floats(0, 1000),
    writing_s=st.floats(0, 20),
    first_look_s=st.floats(0, 20),
    step_s=st.floats(0.1, 14),
    rate=st.floats(0.7, 1.4),
    offset=st.floats(-1e6, 1e6),
)
def test_no_watch_lapses_before_the_lease_does(
    renewed: float, writing_s: float, first_look_s: float, step_s: float, rate: float, offset: float
) -> None:
    """Clocks that differ in rate by forty percent, and in what they say by any amount."""
    holder = Lease("m", LEASE_S, renewed)
    holder.renewed(renewed, ["far"])
    watch = Watch(FAILOVER_S)
    now = renewed + writing_s + first_look_s
    for _ in range(1000):
        watch.look(offset + now * rate, marks(a=(1, 1)))
        if watch.lapsed():
            break
        now += step_s / rate
    assert watch.lapsed() == {"a"}
    holder.awake(now, connected=False)
    assert not holder.holds(now, connected=False)
