"""Two or more user agents in virtual time, joined by a seeded link that loses, doubles and reorders.

`World` is the clock and the link, `Phone` a user agent made of the sans-IO parts: a `TransactionLayer`, dialogs, and
`accept` for the 2xx. No sleeps: an hour of timers costs milliseconds.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from soip.sip import headers as h
from soip.sip.accept import Again, SentAcks, Unacknowledged
from soip.sip.dialog import Dialog, DialogId
from soip.sip.flow import Flow
from soip.sip.layer import (
    AckArrived,
    Cancelled,
    ClientTransaction,
    Output,
    RequestArrived,
    ResponseArrived,
    ServerTransaction,
    Terminated,
    TimedOut,
    TransactionLayer,
    Transmit,
)
from soip.sip.message import Headers, Request, Response, parse_message
from soip.sip.reply import make_response
from soip.sip.uri import NameAddr, Uri


@dataclass
class Link:
    """How bad the network is: probabilities of loss and of doubling, and a range of delays in seconds."""

    loss: float = 0.0
    double: float = 0.0
    delay: tuple[float, float] = (0.01, 0.05)
    reliable: bool = False


class Node(Protocol):
    """Who is joined by the link."""

    def arrived(self, data: bytes, source: str) -> None: ...
    def next_deadline(self) -> float | None: ...
    def advance(self) -> None: ...


class World:
    """Virtual time, and the link between phones."""

    def __init__(self, seed: int = 1, link: Link | None = None) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.link = link or Link()
        self.nodes: dict[str, Node] = {}
        self.sent: list[tuple[float, str, bytes]] = []
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._last: dict[tuple[str, str], float] = {}

    def at(self, delay: float, action: Callable[[], object]) -> None:
        """Do something later."""
        heapq.heappush(self._due, (self.now + delay, next(self._numbers), action))

    def carry(self, data: bytes, source: str, target: str) -> None:
        """Take a message onto the link."""
        self.sent.append((self.now, source, data))
        link, rng = self.link, self.random
        copies = 1
        if not link.reliable:
            copies = 0 if rng.random() < link.loss else 2 if rng.random() < link.double else 1
        for _ in range(copies):
            delay = rng.uniform(*link.delay)
            if link.reliable:  # in order: never before what was sent earlier
                arrival = max(self.now + delay, self._last.get((source, target), 0.0))
                self._last[source, target] = arrival
                delay = arrival - self.now
            self.at(delay, lambda: self.nodes[target].arrived(data, source))

    def run(self, until: float = 1e6) -> None:
        """Run until nothing is due any more, or until a time."""
        while True:
            wake = [deadline for node in self.nodes.values() if (deadline := node.next_deadline()) is not None]
            upcoming = [*wake, *([self._due[0][0]] if self._due else [])]
            if not upcoming or min(upcoming) > until:
                self.now = max(self.now, until) if upcoming else self.now
                return
            self.now = max(self.now, min(upcoming))
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
            for node in self.nodes.values():
                node.advance()


def flow_between(world: World, here: str, there: str) -> Flow:
    reliable = world.link.reliable
    return Flow("tcp" if reliable else "udp", (here, 5060), (there, 5060), 1 if reliable else 0)


def invite(number: int, to: str = "bob", method: str = "INVITE") -> Request:
    """A request outside a dialog, from alice."""
    return Request(
        method,
        Uri("sip", to, "test"),
        Headers(
            [
                ("Max-Forwards", "70"),
                ("From", f"<sip:alice@test>;tag=a{number}"),
                ("To", f"<sip:{to}@test>"),
                ("Call-ID", f"call{number}"),
                ("CSeq", f"1 {method}"),
                ("Contact", "<sip:alice@alice.test>"),
            ]
        ),
    )


@dataclass
class Phone:
    """A user agent core of few lines. `states` says what became of each call, by Call-ID."""

    world: World
    name: str
    answer: Callable[[Phone, ServerTransaction], None] | None = None
    talk: tuple[float, float] = (1.0, 20.0)
    hang_up: float = 1.0  # probability that this side ends a call it has
    proxy: str = ""  # where everything goes; else straight to the peer
    states: dict[str, str] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        numbers = itertools.count()
        self.layer = TransactionLayer(
            branches=lambda: f"{self.name}{next(numbers)}", tags=lambda: f"{self.name}-tag{next(numbers)}"
        )
        self.unacknowledged = Unacknowledged(self.layer.timers)
        self.acks: SentAcks[None] = SentAcks(self.layer.timers)
        self.dialogs: dict[DialogId, Dialog] = {}
        self.acknowledged: set[DialogId] = set()
        self.unwanted: set[str] = set()
        self.world.nodes[self.name] = self

    # -- the shell

    def flow(self, to: str) -> Flow:
        return flow_between(self.world, self.name, self.proxy or to)

    def arrived(self, data: bytes, source: str) -> None:
        self.layer.receive(parse_message(data), self.flow(source), self.world.now)
        self.pump()

    def next_deadline(self) -> float | None:
        deadlines = [d for d in (self.layer.next_deadline(), self.unacknowledged.next_deadline()) if d is not None]
        return min(deadlines, default=None)

    def advance(self) -> None:
        self.layer.advance(self.world.now)
        for due in self.unacknowledged.advance(self.world.now):
            if isinstance(due, Again):
                self.layer.send_response(due.transaction, due.response, self.world.now)
            else:
                self.states[due.invite[0].call_id] = "never acknowledged"
                self.bye(due.invite[0])
        self.pump()

    def pump(self) -> None:
        for output in self.layer.take():
            self.outputs.append(output)
            self.events[type(output).__name__] += 1
            match output:
                case Transmit(data, flow, _):
                    self.world.carry(data, self.name, flow.remote[0])
                case RequestArrived(transaction):
                    self._request(transaction)
                case Cancelled(transaction, _):
                    self.states[h.call_id(transaction.request.headers)] = "cancelled"
                    self.reply(transaction, 487)
                case AckArrived(request, _):
                    self._ack(request)
                case ResponseArrived(transaction, response):
                    self._response(transaction, response)
                case TimedOut(transaction) if isinstance(transaction, ClientTransaction):
                    self._timed_out(transaction)

    # -- commands

    def send(self, request: Request, to: str) -> ClientTransaction:
        transaction = self.layer.send_request(request, self.flow(to), f"{self.name}.test:5060", self.world.now)
        self.pump()
        return transaction

    def call(self, number: int, to: str = "bob", cancel_after: float | None = None) -> ClientTransaction:
        self.states[f"call{number}"] = "calling"
        transaction = self.send(invite(number, to), to)
        if cancel_after is not None:
            self.world.at(cancel_after, lambda: self.cancel(transaction))
        return transaction

    def cancel(self, transaction: ClientTransaction) -> None:
        self.unwanted.add(h.call_id(transaction.request.headers))
        self.layer.cancel(transaction, self.world.now)
        self.pump()

    def reply(self, transaction: ServerTransaction, status: int) -> Response:
        response = make_response(transaction.request, status, to_tag=transaction.tag)
        if transaction.is_invite and status < 300:
            response.headers.add("Contact", f"<sip:{self.name}@{self.name}.test>")
        self.layer.send_response(transaction, response, self.world.now)
        self.pump()
        return response

    def accept(self, transaction: ServerTransaction) -> None:
        """Answer with 200, unless it was cancelled meanwhile."""
        if transaction.answered:
            return
        call_id = h.call_id(transaction.request.headers)
        contact = NameAddr.parse(f"<sip:{self.name}@{self.name}.test>")
        dialog = Dialog.uas(transaction.request, transaction.tag, contact)
        self.dialogs[dialog.id] = dialog
        self.states[call_id] = "up"
        response = self.reply(transaction, 200)
        number = h.cseq(transaction.request.headers).number
        self.unacknowledged.sent((dialog.id, number), transaction, response, self.world.now)

    def bye(self, dialog_id: DialogId) -> None:
        dialog = self.dialogs.get(dialog_id)
        if dialog is not None and self.states[dialog_id.call_id] not in ("ended", "ending"):
            self.states[dialog_id.call_id] = "ending"
            self.send(dialog.request("BYE"), "bob" if self.name == "alice" else "alice")

    # -- what happens

    def _established(self, dialog: Dialog) -> None:
        if self.world.random.random() < self.hang_up:
            self.world.at(self.world.random.uniform(*self.talk), lambda: self.bye(dialog.id))

    def _request(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if request.method == "INVITE":
            self.states.setdefault(h.call_id(request.headers), "ringing")
            assert self.answer is not None
            self.answer(self, transaction)
        elif request.method == "BYE":
            dialog = self.dialogs.pop(DialogId.of_request(request), None)
            if dialog is None:
                self.reply(transaction, 481)
                return
            dialog.check(request)
            self.unacknowledged.acknowledged((dialog.id, 1))
            self.states[dialog.id.call_id] = "ended"
            self.reply(transaction, 200)
        else:
            self.reply(transaction, 200)

    def _ack(self, request: Request) -> None:
        dialog_id = DialogId.of_request(request)
        first = self.unacknowledged.acknowledged((dialog_id, h.cseq(request.headers).number))
        if first and dialog_id in self.dialogs:
            self._established(self.dialogs[dialog_id])

    def _response(self, transaction: ClientTransaction, response: Response) -> None:
        call_id = h.call_id(response.headers)
        if response.status < 200:
            return
        if transaction.request.method == "BYE":
            self.dialogs.pop(DialogId.of_response(response), None)
            self.states[call_id] = "ended"
        elif transaction.request.method != "INVITE":
            self.states[call_id] = str(response.status)
        elif response.status >= 300:
            self.states[call_id] = f"refused {response.status}"
        else:
            self._accepted(transaction, response)

    def _accepted(self, transaction: ClientTransaction, response: Response) -> None:
        peer = transaction.flow.remote[0]
        number = h.cseq(response.headers).number
        invite_id = (DialogId.of_response(response), number)
        again = self.acks.again(invite_id, self.world.now)
        if again is None:
            dialog = Dialog.uac(transaction.request, response)
            self.dialogs[dialog.id] = dialog
            ack = dialog.ack(number)
            ack.headers.prepend("Via", f"SIP/2.0/UDP {self.name}.test;branch=z9hG4bKack{dialog.id.call_id}")
            self.acks.sent(invite_id, ack, None, self.world.now)
            self.states[dialog.id.call_id] = "up"
            self.world.carry(ack.to_bytes(), self.name, peer)
            if dialog.id.call_id in self.unwanted:
                self.bye(dialog.id)
            else:
                self._established(dialog)
        else:
            self.world.carry(again[0].to_bytes(), self.name, peer)

    def _timed_out(self, transaction: ClientTransaction) -> None:
        call_id = h.call_id(transaction.request.headers)
        self.states[call_id] = "timed out"
        if transaction.request.method == "BYE":
            self.states[call_id] = "ended"
            headers = transaction.request.headers
            self.dialogs.pop(DialogId(call_id, h.from_(headers).tag, h.to(headers).tag), None)


@dataclass
class Proxy:
    """A stateful proxy of few lines (RFC 3261 §16): forwards by the user part, keeps both transactions together."""

    world: World
    name: str = "proxy"

    def __post_init__(self) -> None:
        numbers = itertools.count()
        self.layer = TransactionLayer(
            branches=lambda: f"{self.name}{next(numbers)}", tags=lambda: f"{self.name}-tag{next(numbers)}"
        )
        self.upstream: dict[ClientTransaction, ServerTransaction] = {}
        self.downstream: dict[ServerTransaction, ClientTransaction] = {}
        self.late = 0
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
        now = self.world.now
        for output in self.layer.take():
            match output:
                case Transmit(data, flow, _):
                    self.world.carry(data, self.name, flow.remote[0])
                case RequestArrived(server):
                    flow = flow_between(self.world, self.name, server.request.uri.user)
                    client = self.layer.send_request(server.request, flow, f"{self.name}.test:5060", now)
                    self.upstream[client], self.downstream[server] = server, client
                case Cancelled(server, _):
                    self.layer.cancel(self.downstream[server], now)
                case AckArrived(request, _):
                    copy = request.copy()
                    branch = f"z9hG4bKp{h.top_via(copy.headers).branch}"
                    copy.headers.prepend("Via", f"SIP/2.0/UDP {self.name}.test;branch={branch}")
                    self.world.carry(copy.to_bytes(), self.name, request.uri.user)
                case ResponseArrived(client, response):
                    h.pop_first(response.headers, "Via")
                    if response.status > 100:
                        self.layer.send_response(self.upstream[client], response, now)
                case TimedOut(client) if isinstance(client, ClientTransaction):
                    self.late += 1
                    server = self.upstream[client]
                    self.layer.send_response(server, make_response(server.request, 408, to_tag=server.tag), now)
                case Terminated(client) if isinstance(client, ClientTransaction):
                    server = self.upstream.pop(client)
                    self.downstream.pop(server)
