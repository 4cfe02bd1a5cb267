"""Max-Breadth (RFC 5393): a request never becomes more branches than it may, however it is sent round."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.signalling.forking import Fork, shares
from soip.sip import headers as h
from soip.sip.errors import SipParseError
from soip.sip.layer import (
    Cancelled,
    ClientTransaction,
    RequestArrived,
    ResponseArrived,
    ServerTransaction,
    TimedOut,
    TransactionLayer,
    Transmit,
)
from soip.sip.message import Headers, Response, parse_message
from soip.sip.reply import make_response
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer
from tests.sip.virtual import Link, Phone, World, flow_between, invite

ANN = f"sip:ann@{DOMAIN}"


@given(st.integers(0, 200), st.integers(1, 8))
def test_the_shares_are_the_whole(breadth: int, branches: int) -> None:
    result = shares(breadth, branches)
    if breadth < branches:
        assert result == []
    else:
        assert len(result) == branches
        assert sum(result) == breadth
        assert max(result) - min(result) <= 1


def test_who_says_nothing_gets_sixty() -> None:
    assert shares(None, 1) == [60]
    assert shares(None, 8) == [8, 8, 8, 8, 7, 7, 7, 7]


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "99999999999", "4294967296"])
def test_a_malformed_one_is_told(value: str) -> None:
    with pytest.raises(SipParseError, match="malformed Max-Breadth"):
        h.max_breadth(Headers([("Max-Breadth", value)]))


@dataclass
class Proxy:
    """A forking proxy of few lines in virtual time: every address stands for the same two at the next proxy.

    It looks for no loops, and so is the proxy of which RFC 5393 §3 warns. `limits`: whether it keeps to Max-Breadth.
    """

    world: World
    name: str
    following: str
    limits: bool = True
    forwarded: int = 0
    under_way: int = 0
    forks: dict[ServerTransaction, Fork] = field(default_factory=dict)
    branches: dict[ClientTransaction, tuple[Fork, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = itertools.count()
        self.layer = TransactionLayer(
            branches=lambda: f"{self.name}{next(numbers)}", tags=lambda: f"{self.name}-tag{next(numbers)}"
        )
        self.world.nodes[self.name] = self

    def arrived(self, data: bytes, source: str) -> None:
        self.layer.receive(parse_message(data), flow_between(self.world, self.name, source), self.world.now)
        self.pump()

    def next_deadline(self) -> float | None:
        return self.layer.next_deadline()

    def advance(self) -> None:
        self.layer.advance(self.world.now)
        self.pump()

    def pump(self) -> None:
        for output in self.layer.take():
            match output:
                case Transmit(data, flow, _):
                    self.world.carry(data, self.name, flow.remote[0])
                case RequestArrived(transaction):
                    self.forward(transaction)
                case Cancelled(transaction, _):
                    if transaction in self.forks:
                        self.forks[transaction].cancel()
                case ResponseArrived(transaction, response):
                    h.pop_first(response.headers, "Via")
                    self.answered(transaction, response)
                case TimedOut(transaction) if isinstance(transaction, ClientTransaction):
                    self.answered(transaction, make_response(transaction.request, 408, to_tag="t"))

    def forward(self, transaction: ServerTransaction) -> None:
        request, now = transaction.request, self.world.now
        hops = h.max_forwards(request.headers) or 0
        breadths = shares(h.max_breadth(request.headers), 2) if self.limits else [60, 60]
        if not hops or not breadths:
            self.layer.send_response(transaction, make_response(request, 440 if hops else 483, to_tag="t"), now)
            return
        started: list[ClientTransaction] = []
        fork = Fork(
            2,
            lambda response: self.layer.send_response(transaction, response, self.world.now),
            lambda branch: self.layer.cancel(started[branch], self.world.now),
        )
        self.forks[transaction] = fork
        for branch, (user, breadth) in enumerate(zip("ab", breadths, strict=True)):
            copy = request.copy()
            copy.uri = copy.uri.with_user(user)
            copy.headers.set("Max-Forwards", str(hops - 1))
            copy.headers.set("Max-Breadth", str(breadth))
            flow = flow_between(self.world, self.name, self.following)
            sent = self.layer.send_request(copy, flow, f"{self.name}.test", now)
            started.append(sent)
            self.branches[sent] = (fork, branch)
            self.forwarded += 1
            self.under_way += 1

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        fork, branch = self.branches[transaction]
        if response.status >= 200 and transaction in self.branches:
            self.under_way -= 1
        fork.response(branch, response)


def attack(hops: int, *, limits: bool) -> tuple[int, list[str]]:
    """Two proxies whose addresses stand for each other's: how often a request is sent on, and what the caller hears."""
    world = World(link=Link(reliable=True))
    one = Proxy(world, "one", "two", limits)
    two = Proxy(world, "two", "one", limits)
    alice = Phone(world, "alice", proxy="one")
    request = invite(1, "a")
    request.headers.set("Max-Forwards", str(hops))
    alice.states["call1"] = "calling"
    alice.send(request, "one")
    world.run()
    assert not one.under_way
    assert not two.under_way
    heard = [
        str(o.response.status) for o in alice.outputs if isinstance(o, ResponseArrived) and o.response.status > 100
    ]
    return one.forwarded + two.forwarded, heard


def test_two_proxies_that_fork_to_each_other_are_no_amplifier() -> None:
    """The attack of RFC 5393 §3: without the limit each hop doubles the requests, 2**70 of them."""
    sent, heard = attack(70, limits=True)
    assert sent < 2 * 60
    assert heard == ["440"]


def test_without_the_limit_they_are() -> None:
    """So that the test above shows something: ten hops make two thousand requests."""
    sent, heard = attack(10, limits=False)
    assert sent == 2**11 - 2
    assert heard == ["483"]


async def two_phones(house: ServerHouse) -> tuple[Peer, Peer]:
    phones = await house.peer("ann"), await house.peer("ann")
    for phone in phones:
        assert (await phone.register()).status == 200
    return phones


async def test_what_a_request_may_become_is_shared_by_its_branches(house: ServerHouse) -> None:
    bob, phones = await house.peer("bob"), await two_phones(house)
    for given_breadth, expected in ((None, ["30", "30"]), ("7", ["3", "4"])):
        lines = (("Max-Breadth", given_breadth),) if given_breadth else ()
        asking = asyncio.ensure_future(bob.ask(bob.request("MESSAGE", ANN, headers=lines)))
        arrived = [await phone.arrives("MESSAGE") for phone in phones]
        assert sorted(request.headers.get("Max-Breadth") or "" for request in arrived) == expected
        for phone, request in zip(phones, arrived, strict=True):
            phone.reply(request, 200)
        assert (await asking).status == 200
        await asyncio.sleep(0)
        for phone in phones:
            assert phone.inbox.empty()


async def test_more_branches_than_it_may_have_are_440(house: ServerHouse) -> None:
    bob, phones = await house.peer("bob"), await two_phones(house)
    for breadth in ("1", "0"):
        response = await bob.ask(bob.request("MESSAGE", ANN, headers=(("Max-Breadth", breadth),)))
        assert (response.status, response.reason) == (440, "Max-Breadth Exceeded")
    assert all(phone.inbox.empty() for phone in phones)
    assert (await bob.ask(bob.request("MESSAGE", ANN, headers=(("Max-Breadth", "some"),)))).status == 400


async def test_one_branch_keeps_what_it_has(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    await worker.call(f"sip:cam1@{DOMAIN}", headers=(("Max-Breadth", "1"),))
    assert (await camera.arrives("INVITE")).headers.get("Max-Breadth") == "1"
