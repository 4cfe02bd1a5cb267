"""The table of subscriptions in virtual time: alone, and between two endpoints on a link that loses and doubles."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from soip.signalling.errors import TooManySubscriptionsError
from soip.signalling.flows import FlowKey
from soip.signalling.subscriptions import (
    DEACTIVATED,
    PROBATION,
    REJECTED,
    Notice,
    Subscription,
    Subscriptions,
)
from soip.sip import headers as h
from soip.sip.dialog import Dialog, DialogId
from soip.sip.headers import EventType
from soip.sip.layer import RequestArrived, ResponseArrived, ServerTransaction, TimedOut, TransactionLayer, Transmit
from soip.sip.message import Headers, Request, Response, parse_message
from soip.sip.reply import make_response
from soip.sip.uri import NameAddr, Uri
from tests.sip.virtual import Link, World, flow_between

WAY = FlowKey("udp", "192.0.2.1", 5060)
OTHER_WAY = FlowKey("tcp", "192.0.2.2", 5060, 7)
US = NameAddr.parse("<sip:server.test>")
SAYS = Notice(b"news", "text/plain")


def subscribe(number: int, cseq: int = 1) -> Request:
    lines = [
        ("From", f"<sip:ann@test>;tag=a{number}"),
        ("To", "<sip:cam1@test>"),
        ("Call-ID", f"call{number}"),
        ("CSeq", f"{cseq} SUBSCRIBE"),
        ("Contact", "<sip:ann@ann.test>"),
        ("Event", "presence"),
    ]
    return Request("SUBSCRIBE", Uri("sip", "cam1", "test"), Headers(lines))


def subscription(
    number: int, *, account: str = "ann", resource: str = "cam1", package: str = "presence", pace: float = 1.0
) -> Subscription:
    dialog = Dialog.uas(subscribe(number), f"b{number}", US)
    return Subscription(dialog, WAY, account, EventType(package), resource, pace)


def opened(table: Subscriptions, number: int = 1, expires: float = 600, now: float = 0.0) -> Subscription:
    found = subscription(number)
    table.open(found, expires, now)
    return found


def tell(table: Subscriptions, now: float, *, taken: bool = True) -> list[str]:
    """Tell everybody whose turn it is; the states that were told."""
    states = []
    for due in table.due(now):
        request = table.notify(due.subscription, SAYS, now)
        assert request is not None
        states.append(request.headers.get("Subscription-State") or "")
        table.answered(due.subscription, taken=taken)
    return states


def test_the_first_notify_is_due_at_once_and_full() -> None:
    table = Subscriptions()
    found = opened(table)
    assert table.find(found.dialog.id) is found
    (due,) = table.due(0.0)
    assert due.subscription is found
    assert due.full
    request = table.notify(found, SAYS, 0.0)
    assert request is not None
    assert request.method == "NOTIFY"
    assert request.body == b"news"
    assert request.headers.get("Content-Type") == "text/plain"
    assert request.headers.get("Event") == "presence"
    assert request.headers.get("Subscription-State") == "active;expires=600"
    assert request.headers.get("Contact") == str(US)
    assert str(request.uri) == "sip:ann@ann.test"
    assert table.due(100.0) == [], "one at a time"
    assert table.answered(found, taken=True)
    assert table.next_deadline() == 600


def test_news_wait_for_the_answer_and_for_the_pace() -> None:
    table = Subscriptions()
    found = opened(table)
    table.due(0.0)
    table.notify(found, SAYS, 0.0)
    table.news("presence", "cam1")
    assert table.due(5.0) == []
    table.answered(found, taken=True)
    (due,) = table.due(5.0)
    assert not due.full
    table.notify(found, SAYS, 5.0)
    table.answered(found, taken=True)
    for _ in range(10):
        table.news("presence", "cam1")
    assert table.next_deadline() == 6.0
    assert table.due(5.99) == []
    assert len(table.due(6.0)) == 1


def test_news_of_others_are_none() -> None:
    table = Subscriptions()
    opened(table)
    tell(table, 0.0)
    table.news("presence", "cam2")
    table.news("reg", "cam1")
    assert table.next_deadline() == 600


def test_silence_is_no_notify() -> None:
    table = Subscriptions()
    found = opened(table)
    tell(table, 0.0)
    table.news("presence", "cam1")
    assert len(table.due(1.0)) == 1
    table.silent(found)
    table.news("presence", "cam1")
    assert len(table.due(1.0)) == 1, "what was not said sets no pace"


def test_what_cannot_be_said_is_said_later_and_wholly() -> None:
    table = Subscriptions()
    opened(table)
    (due,) = table.due(0.0)
    table.postpone(due, 3.0)
    assert table.next_deadline() == 3.0
    (again,) = table.due(3.0)
    assert again.full


def test_more_to_say_is_said_without_a_pause_where_there_is_no_pace() -> None:
    table = Subscriptions()
    found = subscription(1, pace=0.0)
    table.open(found, 600, 0.0)
    for _ in range(5):
        (due,) = table.due(0.0)
        table.notify(due.subscription, Notice(b"x", "t/t", more=True), 0.0)
        table.answered(found, taken=True)
    (due,) = table.due(0.0)
    table.silent(found)
    assert table.due(1.0) == []


@pytest.mark.parametrize("reason", [REJECTED, DEACTIVATED])
def test_who_has_no_right_is_told_that_and_nothing_else(reason: str) -> None:
    table = Subscriptions()
    found = opened(table)
    table.due(0.0)
    table.notify(found, SAYS, 0.0)
    table.end(found, reason)
    assert table.due(0.5) == [], "not before the answer"
    table.answered(found, taken=True)
    table.due(0.5)
    request = table.notify(found, SAYS, 0.5)
    assert request is not None
    assert request.body == b""
    assert request.headers.get("Content-Type") is None
    assert request.headers.get("Subscription-State") == f"terminated;reason={reason}"
    assert len(table) == 0
    assert not table.answered(found, taken=True)
    assert table.next_deadline() is None


def test_its_time_runs_out() -> None:
    table = Subscriptions()
    opened(table, expires=60)
    tell(table, 0.0)
    assert tell(table, 59.9) == []
    assert tell(table, 60.0) == ["terminated;reason=timeout"]
    assert len(table) == 0


def test_its_time_runs_out_while_nobody_answers() -> None:
    table = Subscriptions()
    found = opened(table, expires=60)
    table.due(0.0)
    table.notify(found, SAYS, 0.0)
    assert table.due(61.0) == []
    table.answered(found, taken=True)
    assert tell(table, 61.0) == ["terminated;reason=timeout"]


def test_a_refresh_lasts_longer_and_tells_all() -> None:
    table = Subscriptions()
    found = opened(table, expires=60)
    tell(table, 0.0)
    table.refresh(found, OTHER_WAY, 600, 50.0)
    (due,) = table.due(50.0)
    assert due.full
    request = table.notify(found, SAYS, 50.0)
    assert request is not None
    assert request.headers.get("Subscription-State") == "active;expires=600"
    table.answered(found, taken=True)
    assert table.next_deadline() == 650.0
    assert table.lost(WAY) == []
    assert table.lost(OTHER_WAY) == [found]


def test_the_end_asked_for_is_told_with_the_state() -> None:
    table = Subscriptions()
    found = opened(table)
    tell(table, 0.0)
    table.refresh(found, WAY, 0, 5.0)
    (due,) = table.due(5.0)
    assert due.full
    request = table.notify(found, SAYS, 5.0)
    assert request is not None
    assert request.body == b"news"
    assert request.headers.get("Subscription-State") == "terminated;reason=timeout"
    assert len(table) == 0


def test_nobody_there_ends_it() -> None:
    table = Subscriptions()
    opened(table)
    tell(table, 0.0, taken=False)
    assert len(table) == 0
    assert table.next_deadline() is None


def test_a_closed_way_ends_it_without_a_word_even_while_it_is_told() -> None:
    table = Subscriptions()
    found = opened(table)
    table.due(0.0)
    assert table.lost(WAY) == [found]
    assert table.notify(found, SAYS, 0.0) is None
    table.silent(found)
    assert not table.answered(found, taken=True)
    assert table.due(1e9) == []


def test_the_last_word_says_when_to_come_back() -> None:
    table = Subscriptions()
    table.end(opened(table), PROBATION)
    assert tell(table, 0.0) == ["terminated;reason=probation;retry-after=5"]


def test_bounds() -> None:
    table = Subscriptions(per_account=2, limit=3)
    first = opened(table, 1)
    opened(table, 2)
    with pytest.raises(TooManySubscriptionsError, match="ann"):
        opened(table, 3)
    table.open(subscription(4, account="bob"), 60, 0.0)
    with pytest.raises(TooManySubscriptionsError):
        table.check_room("eve")
    assert len(table) == 3
    table.end(first, REJECTED)
    tell(table, 0.0)
    table.check_room("ann")


class Table(RuleBasedStateMachine):
    """Whatever happens in whatever order, what the docstring of the room promises holds."""

    numbers = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.table = Subscriptions(per_account=4, limit=6)
        self.now = 0.0
        self.held: list[Subscription] = []
        self.composing: list[Subscription] = []
        self.flying: list[Subscription] = []
        self.sequence: dict[DialogId, int] = {}
        self.told_at: dict[DialogId, float] = {}

    @rule(account=st.sampled_from("ab"), resource=st.sampled_from("xy"), expires=st.sampled_from([0, 5, 60]))
    def open(self, account: str, resource: str, expires: int) -> None:
        found = subscription(next(self.numbers), account=account, resource=resource)
        try:
            self.table.open(found, expires, self.now)
        except TooManySubscriptionsError:
            return
        self.held.append(found)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 4.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for due in self.table.due(self.now):
            assert due.subscription not in self.composing
            assert due.subscription not in self.flying
            assert self.table.find(due.subscription.dialog.id) is due.subscription
            self.composing.append(due.subscription)

    @precondition(lambda self: self.composing)
    @rule(quiet=st.booleans(), more=st.booleans())
    def compose(self, quiet: bool, more: bool) -> None:
        found = self.composing.pop(0)
        if quiet and not found.ends:
            self.table.silent(found)
            return
        request = self.table.notify(found, Notice(b"x", "t/t", more), self.now)
        if request is None:
            return
        name, number = found.dialog.id, h.cseq(request.headers).number
        assert number == self.sequence.get(name, 0) + 1
        self.sequence[name] = number
        state = request.headers.get("Subscription-State") or ""
        if state.startswith("active"):
            assert self.now - self.told_at.get(name, -1e9) >= 1.0
            self.flying.append(found)
        else:
            assert self.table.find(name) is None
        self.told_at[name] = self.now

    @precondition(lambda self: self.flying)
    @rule(taken=st.booleans())
    def answer(self, taken: bool) -> None:
        self.table.answered(self.flying.pop(0), taken=taken)

    @rule(resource=st.sampled_from("xyz"))
    def news(self, resource: str) -> None:
        self.table.news("presence", resource)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), reason=st.sampled_from([REJECTED, DEACTIVATED]))
    def end(self, data: st.DataObject, reason: str) -> None:
        found = data.draw(st.sampled_from(self.held))
        if self.table.find(found.dialog.id) is found:
            self.table.end(found, reason)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), expires=st.sampled_from([0, 60]), way=st.sampled_from([WAY, OTHER_WAY]))
    def refresh(self, data: st.DataObject, expires: int, way: FlowKey) -> None:
        found = data.draw(st.sampled_from(self.held))
        if self.table.find(found.dialog.id) is found and not found.ends:
            self.table.refresh(found, way, expires, self.now)

    @rule(way=st.sampled_from([WAY, OTHER_WAY]))
    def lose(self, way: FlowKey) -> None:
        for found in self.table.lost(way):
            assert found.way == way

    @invariant()
    def each_has_a_next_moment(self) -> None:
        if not hasattr(self, "table"):
            return
        held = list(self.table.all())
        assert len(held) == len(self.table) <= 6
        idle = [found for found in held if found not in self.composing and found not in self.flying]
        assert (self.table.next_deadline() is None) == (not idle)

    def teardown(self) -> None:
        """Left alone and answered, all of them end."""
        for found in self.composing:
            if found.ends:
                self.table.notify(found, SAYS, self.now)
            else:
                self.table.silent(found)
        for found in self.flying:
            self.table.answered(found, taken=True)
        for _ in range(3):
            self.now += 100.0
            tell(self.table, self.now)
        assert len(self.table) == 0


TestTable = Table.TestCase


# -- between two endpoints


@dataclass
class Notifier:
    """A server whose resource changes; `value` is its state."""

    world: World
    name: str = "server"
    value: int = 0
    ended: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = itertools.count()
        self.layer = TransactionLayer(branches=lambda: f"s{next(numbers)}", tags=lambda: f"st{next(numbers)}")
        self.table = Subscriptions()
        self.asked: dict[object, Subscription] = {}
        self.world.nodes[self.name] = self

    def change(self) -> None:
        self.value += 1
        self.table.news("presence", "cam1")

    def arrived(self, data: bytes, source: str) -> None:
        self.layer.receive(parse_message(data), flow_between(self.world, self.name, source), self.world.now)
        self.pump()

    def next_deadline(self) -> float | None:
        times = [at for at in (self.layer.next_deadline(), self.table.next_deadline()) if at is not None]
        return min(times, default=None)

    def advance(self) -> None:
        self.layer.advance(self.world.now)
        self.pump()

    def pump(self) -> None:
        now = self.world.now
        for output in self.layer.take():
            match output:
                case Transmit(data, flow, _):
                    self.world.carry(data, self.name, flow.remote[0])
                case RequestArrived(transaction):
                    self._subscribed(transaction)
                case ResponseArrived(client, response) if response.status >= 200:
                    self.table.answered(self.asked.pop(client), taken=response.status < 300)
                case TimedOut(client):
                    self.table.answered(self.asked.pop(client), taken=False)
        for due in self.table.due(now):
            request = self.table.notify(due.subscription, Notice(b"%d" % self.value, "text/plain"), now)
            assert request is not None
            flow = flow_between(self.world, self.name, "phone")
            self.asked[self.layer.send_request(request, flow, "server.test:5060", now)] = due.subscription
        if self.layer._outputs:
            self.pump()

    def _subscribed(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        expires = h.expires(request.headers) or 0
        known = self.table.find(DialogId.of_request(request))
        if known is None:
            dialog = Dialog.uas(request, transaction.tag, US)
            self.table.open(Subscription(dialog, WAY, "ann", EventType("presence"), "cam1"), expires, self.world.now)
        else:
            known.dialog.check(request)
            self.table.refresh(known, WAY, expires, self.world.now)
        answer = make_response(request, 200, to_tag=transaction.tag)
        answer.headers.add("Contact", str(US))
        self.layer.send_response(transaction, answer, self.world.now)


@dataclass
class Phone:
    """A subscriber that keeps what it is told; `deaf` answers nothing."""

    world: World
    name: str = "phone"
    deaf: bool = False
    told: list[tuple[float, int, str, int]] = field(default_factory=list)  # when, CSeq, state, value
    dialog: Dialog | None = None

    def __post_init__(self) -> None:
        numbers = itertools.count()
        self.layer = TransactionLayer(branches=lambda: f"p{next(numbers)}", tags=lambda: f"pt{next(numbers)}")
        self.world.nodes[self.name] = self

    def subscribe(self, expires: int) -> None:
        request = subscribe(1) if self.dialog is None else self.dialog.request("SUBSCRIBE")
        request.headers.set("Expires", str(expires))
        request.headers.set("Max-Forwards", "70")
        flow = flow_between(self.world, self.name, "server")
        self.layer.send_request(request, flow, "phone.test:5060", self.world.now)
        self.pump()

    def arrived(self, data: bytes, source: str) -> None:
        if not self.deaf:
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
                    self._notified(transaction)
                case ResponseArrived(client, response) if response.status == 200 and self.dialog is None:
                    self._made(client.request, response)

    def _made(self, request: Request, response: Response) -> None:
        self.dialog = Dialog.uac(request, response)

    def _notified(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        state = (request.headers.get("Subscription-State") or "").partition(";")[0]
        self.told.append((self.world.now, h.cseq(request.headers).number, state, int(request.body or b"-1")))
        self.layer.send_response(transaction, make_response(request, 200, to_tag=transaction.tag), self.world.now)


@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.2, 0.4]),
    changes=st.lists(st.floats(0.0, 30.0), max_size=40),
    reliable=st.booleans(),
)
def test_on_a_bad_link_all_is_told_in_order_and_the_newest_in_the_end(
    seed: int, loss: float, changes: list[float], reliable: bool
) -> None:
    world = World(seed, Link(loss=loss, double=0.2, delay=(0.01, 0.3), reliable=reliable))
    server, phone = Notifier(world), Phone(world)
    world.at(0.0, lambda: phone.subscribe(120))
    for moment in changes:
        world.at(5.0 + moment, server.change)
    world.run()
    assert len(server.table) == 0
    numbers = [number for _, number, _, _ in phone.told]
    # What was lost for 32 s is given up, and with it the subscription; on these links that is next to never.
    assert numbers == sorted(set(numbers)), "in order, and each once"
    values = [value for *_, value in phone.told]
    assert values == sorted(values), "never an older state after a newer one"
    if phone.told and phone.told[-1][2] == "terminated":
        assert values[-1] == server.value
        assert {state for _, _, state, _ in phone.told[:-1]} == {"active"}
    # The pace is the sender's; repeats of a lost one may bring two nearer to each other at the other end.
    sent = dict[bytes, float]()
    for at, source, data in world.sent:
        if source == "server" and data.startswith(b"NOTIFY"):
            sent.setdefault(data, at)
    times = list(sent.values())
    # A second is added to a moment and the moment taken off again: floating point may lose the last bit of it.
    assert all(later - earlier > 1.0 - 1e-9 for earlier, later in itertools.pairwise(times[:-1]))


def test_a_refresh_in_time_keeps_it_and_an_end_is_told() -> None:
    world = World(7, Link(loss=0.3, double=0.1))
    server, phone = Notifier(world), Phone(world)
    for at in range(0, 600, 100):
        world.at(at, lambda: phone.subscribe(120))
    world.at(450.0, server.change)
    world.at(600.0, lambda: phone.subscribe(0))
    world.run()
    assert len(server.table) == 0
    assert phone.told[-1][2] == "terminated"
    assert phone.told[-1][0] < 640
    assert phone.told[-1][3] == 1


def test_a_phone_that_vanishes_is_forgotten_when_it_does_not_answer() -> None:
    world = World(3, Link())
    server, phone = Notifier(world), Phone(world)
    world.at(0.0, lambda: phone.subscribe(3600))

    def vanish() -> None:
        phone.deaf = True

    world.at(10.0, vanish)
    world.at(20.0, server.change)
    world.run(100.0)
    assert len(server.table) == 0
    assert world.now < 3600
