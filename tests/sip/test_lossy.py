"""Many calls over a bad link, in virtual time: every call ends in an allowed state at both ends, and nothing leaks."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from soip.sip.layer import ServerTransaction
from tests.sip.virtual import Link, Phone, Proxy, World, invite

CALLS = 120

LINKS = {
    "good": Link(),
    "lossy": Link(loss=0.2, double=0.1, delay=(0.01, 0.8)),
    "awful": Link(loss=0.5, double=0.3, delay=(0.01, 3.0)),
    "tcp": Link(reliable=True, delay=(0.01, 0.8)),
}

# What alice thinks became of a call, and what bob may think then.
ALLOWED: dict[str, set[str | None]] = {
    "ended": {"ended", "never acknowledged"},
    "refused 486": {"486"},
    "refused 487": {"cancelled"},
    # Alice heard nothing in time; bob may never have heard of it, or have answered into the void.
    "refused 408": {None, "486", "cancelled", "ended", "never acknowledged", "ringing"},
    "timed out": {None, "486", "cancelled", "ended", "never acknowledged", "ringing"},
}


def busy_or_not(phone: Phone, transaction: ServerTransaction) -> None:
    """Bob: rings, then answers or refuses after a while, unless it is cancelled first."""
    rng = phone.world.random
    if rng.random() < 0.8:
        phone.reply(transaction, 180)
    delay = rng.choice([0.05, 0.3, 2.0, 10.0])
    if rng.random() < 0.3:

        def refuse() -> None:
            if not transaction.answered:
                phone.states[transaction.request.headers.get("Call-ID") or ""] = "486"
                phone.reply(transaction, 486)

        phone.world.at(delay, refuse)
    else:
        phone.world.at(delay, lambda: phone.accept(transaction))


def check_states(alice: Phone, bob: Phone) -> None:
    for call_id, state in alice.states.items():
        assert state in ALLOWED, f"{call_id}: alice {state}, bob {bob.states.get(call_id)}"
        assert bob.states.get(call_id) in ALLOWED[state], f"{call_id}: alice {state}, bob {bob.states.get(call_id)}"


def check_nothing_is_left(*phones: Phone) -> None:
    for phone in phones:
        assert len(phone.layer) == 0
        assert phone.next_deadline() is None
        assert phone.dialogs == {}
        assert len(phone.unacknowledged) == 0


def make_calls(world: World, calls: int, proxy: str = "") -> tuple[Phone, Phone]:
    alice, bob = Phone(world, "alice", proxy=proxy), Phone(world, "bob", answer=busy_or_not, proxy=proxy)
    for number in range(calls):
        cancel = world.random.choice([None, None, 0.02, 0.4, 2.0, 9.9])
        world.at(world.random.uniform(0, 60), partial(alice.call, number, cancel_after=cancel))
    return alice, bob


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LINKS)
def test_every_call_ends_as_it_may_and_nothing_leaks(name: str, seed: int) -> None:
    world = World(seed, LINKS[name])
    alice, bob = make_calls(world, CALLS)
    world.run()
    assert set(alice.states) == {f"call{number}" for number in range(CALLS)}
    check_states(alice, bob)
    check_nothing_is_left(alice, bob)
    assert alice.events["Terminated"] > 0
    outcomes = set(alice.states.values())
    assert {"ended", "refused 486", "refused 487"} <= outcomes
    if name in ("good", "tcp"):
        assert "timed out" not in outcomes
        assert "never acknowledged" not in bob.states.values()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", LINKS)
def test_the_same_through_a_stateful_proxy(name: str, seed: int) -> None:
    """The transactions of both hops are joined by a proxy; each hop loses by itself."""
    world = World(seed, LINKS[name])
    proxy = Proxy(world)
    alice, bob = make_calls(world, CALLS, proxy.name)
    world.run()
    check_states(alice, bob)
    check_nothing_is_left(alice, bob)
    assert len(proxy.layer) == 0
    assert proxy.next_deadline() is None
    assert not proxy.upstream
    assert not proxy.downstream
    assert {"ended", "refused 486", "refused 487"} <= set(alice.states.values())
    if name in ("good", "tcp"):
        assert proxy.late == 0


def test_a_callee_that_is_gone_is_408_from_the_proxy_for_an_invite_and_silence_for_the_rest() -> None:
    """RFC 4320: the proxy says nothing about a non-INVITE that timed out, since the caller's own timer has fired."""
    world = World(1)
    proxy = Proxy(world)
    alice, bob = Phone(world, "alice", proxy=proxy.name), Phone(world, "bob", proxy=proxy.name)
    carry = world.carry
    world.carry = lambda data, source, target: (  # type: ignore[method-assign]  # the link of this test
        None if target == "bob" else carry(data, source, target)
    )
    alice.call(1)
    alice.send(invite(2, method="MESSAGE"), "bob")
    world.run()
    assert alice.states == {"call1": "refused 408", "call2": "timed out"}
    answers = [data for _, source, data in world.sent if source == "proxy" and data.startswith(b"SIP/2.0 4")]
    assert answers
    assert all(b"CSeq: 1 INVITE" in data for data in answers)
    check_nothing_is_left(alice, bob)


@pytest.mark.parametrize("name", ["good", "tcp"])
def test_a_good_link_wastes_nothing(name: str) -> None:
    """On a good link each call costs what the RFC's flow diagrams show; UDP adds no repeats, TCP neither."""
    world = World(3, LINKS["good"] if name == "good" else Link(reliable=True))
    alice = Phone(world, "alice", hang_up=1.0)
    bob = Phone(world, "bob", answer=lambda phone, tx: phone.accept(tx), hang_up=0.0)
    for number in range(50):
        alice.call(number)
    world.run()
    # INVITE, 200, ACK, BYE, 200
    assert len(world.sent) == 5 * 50
    assert set(alice.states.values()) == set(bob.states.values()) == {"ended"}


def test_a_2xx_is_repeated_until_its_ack_gets_through() -> None:
    """The ACK is lost until second 10: bob repeats his 200 at T1, 2·T1 … T2, alice her ACK each time."""
    world = World(1)
    alice = Phone(world, "alice", hang_up=0.0)
    bob = Phone(world, "bob", answer=lambda phone, tx: phone.accept(tx), hang_up=0.0)
    carry = world.carry
    dropped = []

    def drop_acks(data: bytes, source: str, target: str) -> None:
        if data.startswith(b"ACK") and world.now < 10:
            dropped.append(world.now)
        else:
            carry(data, source, target)

    world.carry = drop_acks  # type: ignore[method-assign]  # the link of this test
    alice.call(1)
    world.run(100)
    answers = [at for at, source, data in world.sent if source == "bob" and data.startswith(b"SIP/2.0 200")]
    gaps = [round(later - earlier, 3) for earlier, later in itertools.pairwise(answers)]
    assert gaps == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert len(dropped) == 5
    assert bob.states == alice.states == {"call1": "up"}


def test_without_any_ack_the_called_side_hangs_up_after_64_t1() -> None:
    world = World(1)
    alice = Phone(world, "alice", hang_up=0.0)
    bob = Phone(world, "bob", answer=lambda phone, tx: phone.accept(tx))
    carry = world.carry
    world.carry = lambda data, source, target: (  # type: ignore[method-assign]  # the link of this test
        None if data.startswith(b"ACK") else carry(data, source, target)
    )
    alice.call(1)
    world.run(300)
    byes = [at for at, source, data in world.sent if source == "bob" and data.startswith(b"BYE")]
    assert len(byes) == 1
    assert 32 <= byes[0] <= 32.2
    assert alice.states == bob.states == {"call1": "ended"}
    assert len(bob.unacknowledged) == 0


def test_five_hundred_calls_in_a_minute_take_no_wall_time_to_speak_of() -> None:
    world = World(9, LINKS["lossy"])
    alice, bob = make_calls(world, 500)
    world.run()
    assert len(alice.layer) == len(bob.layer) == 0
    assert len(alice.states) == 500
