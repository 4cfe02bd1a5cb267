"""The transaction layer: runs the machines of `transaction.py` for many transactions at once (RFC 3261 §17).

Sans-IO. Messages, commands and `now` (monotonic seconds) go in; what is to be done comes out of `take()`, in
order.

Order of calls: any of `receive`, `send_request`, `send_response`, `cancel`, `transport_failed`, `flow_lost`,
`advance`; after each, carry out everything `take()` gives, and call `advance(now)` again when
`next_deadline()` has come.

Invariant: every transaction ends, whatever the peer does, except an INVITE server transaction whose user does
not answer (that is the user's to bound); `Terminated` is given exactly once for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from soip.sip import headers as h
from soip.sip.errors import TooManyTransactionsError
from soip.sip.flow import Flow
from soip.sip.message import Headers, Message, Request, Response
from soip.sip.reply import make_response
from soip.sip.timers import Timer, TimerHeap, Timers
from soip.sip.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Action,
    Event,
    Machine,
    Repeat,
    Slow,
    Start,
    State,
    Step,
    Stop,
    response_event,
)

Key = tuple[str, ...]
_NOTHING = Headers()


class Transaction:
    """What both sides have in common. `request` is as sent or received; `flow` where its messages go."""

    __slots__ = ("_running", "_sent", "flow", "key", "machine", "request", "state")

    def __init__(self, key: Key, machine: Machine, request: Request, flow: Flow) -> None:
        self.key = key
        self.machine = machine
        self.request = request
        self.flow = flow
        self.state = machine.initial
        self._sent: bytes = b""  # the request, or the last response
        self._running: dict[Timer, float] = {}  # timers that were started, and at which length

    @property
    def is_invite(self) -> bool:
        """Whether the request is an INVITE."""
        return self.request.method == "INVITE"

    def __repr__(self) -> str:
        return f"<{self.machine.name} {self.state.value} {self.request.method} {self.key[0]}>"


class ClientTransaction(Transaction):
    """A request we sent. `answered` once a final response was passed up."""

    __slots__ = ("_ack", "_cancel_headers", "answered", "silent")

    def __init__(self, key: Key, machine: Machine, request: Request, flow: Flow) -> None:
        super().__init__(key, machine, request, flow)
        self.answered = False
        self.silent = False  # a CANCEL: made by the layer, its outcome is nobody's concern
        self._ack: bytes = b""
        self._cancel_headers: tuple[tuple[str, str], ...] = ()


class ServerTransaction(Transaction):
    """A request we received. `source` is the flow it came over, `flow` the one its responses go to. `tag` is
    for the To of our own responses; `cancelled` once a CANCEL has come in time. Once a non-INVITE is
    answered only the first line is left of `request`: what absorbs repeats for 32 s is not to hold all that came.
    """

    __slots__ = ("cancelled", "source", "tag")

    def __init__(self, key: Key, machine: Machine, request: Request, flow: Flow, source: Flow, tag: str) -> None:
        super().__init__(key, machine, request, flow)
        self.source = source
        self.tag = tag
        self.cancelled = False

    @property
    def answered(self) -> bool:
        """A final response has been sent, or it is too late for one."""
        return self.state not in (State.TRYING, State.PROCEEDING)


class Transmit(NamedTuple):
    """Send these bytes. If that fails, call `transport_failed(transaction)` (None: nobody waits for it).

    `message` is what the bytes say, for who looks on; None when they are sent again.
    """

    data: bytes
    flow: Flow
    transaction: Transaction | None
    message: Message | None = None


class RequestArrived(NamedTuple):
    """A new request, no ACK and no CANCEL: answer with `send_response`. `now` is when it came."""

    transaction: ServerTransaction
    now: float


@dataclass(frozen=True, slots=True)
class AckArrived:
    """An ACK for a 2xx. A proxy forwards it without a transaction, a user agent matches its dialog."""

    request: Request
    flow: Flow


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The peer no longer wants this INVITE; the CANCEL has been answered, the INVITE has not."""

    transaction: ServerTransaction
    cancel: Request


@dataclass(frozen=True, slots=True)
class ResponseArrived:
    """A response, our Via still on top. Finals come once; 2xx to INVITE as often as they arrive."""

    transaction: ClientTransaction
    response: Response


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Client: no final response. Server: no ACK for our final response, or no answer of ours to a
    non-INVITE.
    """

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class TransportFailed:
    """A message could not be sent. A client transaction has ended by it, a server transaction has not."""

    transaction: Transaction


class Terminated(NamedTuple):
    """The transaction is gone; nothing more will come of it. Not told of CANCELs, which the layer handles itself."""

    transaction: Transaction


Output = Transmit | RequestArrived | AckArrived | Cancelled | ResponseArrived | TimedOut | TransportFailed | Terminated


class TransactionLayer:
    """All transactions of one endpoint. Bounded: `limit` client and as many server transactions.

    `branches` makes what follows the magic cookie of a branch, `tags` makes To tags; both must be unguessable
    and unique, since a response is trusted for knowing its branch.
    """

    def __init__(
        self,
        *,
        branches: Callable[[], str],
        tags: Callable[[], str],
        timers: Timers | None = None,
        limit: int = 200_000,
    ) -> None:
        self.timers = timers or Timers()
        self.limit = limit
        self.refused = 0  # requests answered 503 for the limit
        self.strays = 0  # responses that fit no transaction
        self._branches = branches
        self._tags = tags
        self._clients: dict[Key, ClientTransaction] = {}
        self._servers: dict[Key, ServerTransaction] = {}
        self._by_flow: dict[Flow, set[ClientTransaction]] = {}
        self._heap: TimerHeap[tuple[Transaction, Timer]] = TimerHeap()
        self._outputs: deque[Output] = deque()

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def take(self) -> Iterator[Output]:
        """What is to be done now, in order. New outputs caused while iterating are given too."""
        while self._outputs:
            output = self._outputs.popleft()
            try:
                yield output
            finally:
                if type(output) is RequestArrived:
                    self._await_answer(output.transaction, output.now)

    def next_deadline(self) -> float | None:
        """When `advance` is next to be called; None while nothing runs."""
        return self._heap.next()

    def advance(self, now: float) -> None:
        """Fire the timers that are due."""
        while (due := self._heap.pop_due(now)) is not None:
            transaction, timer = due
            self._run(transaction, timer, now)

    # -- what the network brings

    def receive(self, message: Message, flow: Flow, now: float, reply_to: Flow | None = None) -> None:
        """Take a message that came over `flow`; responses go to `reply_to` if that is another (§18.2.2).

        Raises SipParseError when it lacks what a transaction needs; see `reply.error_response`.
        """
        h.check(message)
        if isinstance(message, Response):
            self._receive_response(message, now)
        elif message.method == "ACK":
            self._receive_ack(message, flow, now)
        else:
            self._receive_request(message, reply_to or flow, flow, now)

    def _receive_response(self, response: Response, now: float) -> None:
        via, sequence = h.top_via(response.headers), h.cseq(response.headers)
        transaction = self._clients.get((via.branch, sequence.method))
        if transaction is None:
            # RFC 6026 §8.8: never handled nor forwarded: it is a leftover, or forged
            self.strays += 1
            return
        self._run(transaction, response_event(response.status, sending=False), now, response)

    def _receive_request(self, request: Request, flow: Flow, source: Flow, now: float) -> None:
        key = server_key(request)
        known = self._servers.get(key)
        if known is not None:
            self._run(known, Event.REQUEST, now)
            return
        if len(self._servers) >= self.limit:
            self.refused += 1
            answer = make_response(request, 503, to_tag=self._tags())
            answer.headers.add("Retry-After", "5")
            self._outputs.append(Transmit(answer.to_bytes(), flow, None, answer))
            return
        machine = INVITE_SERVER if request.method == "INVITE" else NON_INVITE_SERVER
        transaction = ServerTransaction(key, machine, request, flow, source, self._tags())
        self._servers[key] = transaction
        if request.method == "CANCEL":
            self._cancel_arrived(transaction, now)
        else:
            self._outputs.append(RequestArrived(transaction, now))

    def _await_answer(self, transaction: ServerTransaction, now: float) -> None:
        """The user has seen the request that came at `now`. Most are answered by then, and need no timer."""
        if not transaction.answered and not (transaction.is_invite and transaction._sent):
            self._do(transaction, transaction.machine.begin, now)

    def _receive_ack(self, ack: Request, flow: Flow, now: float) -> None:
        transaction = self._servers.get(server_key(ack))
        if transaction is None:
            # The ACK for a 2xx is a transaction of its own without answer (§17.1.1.3): its branch is new.
            self._outputs.append(AckArrived(ack, flow))
        else:
            transaction.source = flow
            self._run(transaction, Event.ACK, now, ack)

    def _cancel_arrived(self, cancel: ServerTransaction, now: float) -> None:
        # §9.2: answered here and now, whatever becomes of the INVITE; the To tag is that of the INVITE's
        # answer.
        invite = self._servers.get(server_key(cancel.request, method="INVITE"))
        status, tag = (481, cancel.tag) if invite is None else (200, invite.tag)
        self.send_response(cancel, make_response(cancel.request, status, to_tag=tag), now)
        if invite is None:
            self.forget(cancel)  # anybody can send one that fits nothing, as fast as he likes
        elif not invite.answered and not invite.cancelled:
            invite.cancelled = True
            self._outputs.append(Cancelled(invite, cancel.request))

    # -- what the user wants

    def send_request(self, request: Request, flow: Flow, sent_by: str, now: float) -> ClientTransaction:
        """Send a copy of `request` with our Via on top. `sent_by` is the `host:port` where responses reach
        us.

        Raises TooManyTransactionsError, and ValueError for an ACK, which has no transaction.
        """
        if request.method == "ACK":
            raise ValueError("an ACK has no transaction")
        if len(self._clients) >= self.limit:
            raise TooManyTransactionsError(f"{self.limit} requests are under way")
        branch = h.MAGIC_COOKIE + self._branches() + request.trail
        copy = request.copy()
        # rport is always asked for (RFC 3581 §3): it costs nothing, and gets answers back through address
        # translation
        copy.headers.prepend("Via", f"SIP/2.0/{flow.transport.upper()} {sent_by};branch={branch};rport")
        return self._begin_client(copy, branch, flow, now)

    def _begin_client(
        self, request: Request, branch: str, flow: Flow, now: float, *, silent: bool = False
    ) -> ClientTransaction:
        machine = INVITE_CLIENT if request.method == "INVITE" else NON_INVITE_CLIENT
        transaction = ClientTransaction((branch, request.method), machine, request, flow)
        transaction.silent = silent
        transaction._sent = request.to_bytes()
        self._clients[transaction.key] = transaction
        if flow.connection:
            self._by_flow.setdefault(flow, set()).add(transaction)
        self._do(transaction, machine.begin, now, request)
        return transaction

    def cancel(self, transaction: ClientTransaction, now: float, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Cancel an INVITE (§9.1); nothing happens once it has its final response. `headers`: Reason, for
        one.
        """
        if not transaction._cancel_headers:
            transaction._cancel_headers = tuple(headers)
        self._run(transaction, Event.CANCEL, now)

    def send_response(self, transaction: ServerTransaction, response: Response, now: float) -> None:
        """Send a response. What may not be sent any more, or never (RFC 4320), is dropped without a word."""
        if not transaction.is_invite and (response.status == 408 or 100 < response.status < 200):
            return  # RFC 4320 §4.1, §4.2
        event = response_event(response.status, sending=True)
        if (transaction.state, event) in transaction.machine.table:
            transaction._sent = response.to_bytes()
            self._run(transaction, event, now, response)
            if response.status >= 200 and not transaction.is_invite:
                transaction.request = Request(transaction.request.method, transaction.request.uri, _NOTHING)

    def forget(self, transaction: ServerTransaction) -> None:
        """Its user will not answer, or has answered statelessly (§8.2.7): a repeat of the request is a new one.

        For requests of strangers: an INVITE refused in the ordinary way is kept and its answer repeated for 64*T1,
        which a flood of forged ones would turn against us and against the forged source.
        """
        if transaction.state is not State.TERMINATED:
            transaction.state = State.TERMINATED
            self._end(transaction)

    def transport_failed(self, transaction: Transaction, now: float) -> None:
        """A Transmit of this transaction could not be done."""
        self._run(transaction, Event.TRANSPORT_ERROR, now)

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A connection has ended: no answer will come over it any more."""
        for transaction in self._by_flow.pop(flow, ()):
            self._run(transaction, Event.TRANSPORT_ERROR, now)

    # -- running the tables

    def _run(self, transaction: Transaction, event: Event | Timer, now: float, message: Message | None = None) -> None:
        row = transaction.machine.table.get((transaction.state, event))
        if row is None or transaction.state is State.TERMINATED:
            return
        transaction.state = row[0]
        self._do(transaction, row[1], now, message)
        if row[0] is State.TERMINATED:
            self._end(transaction)

    def _do(
        self, transaction: Transaction, steps: tuple[Step, ...], now: float, message: Message | None = None
    ) -> None:
        for step in steps:
            if isinstance(step, Action):
                self._act(transaction, step, now, message)
            elif isinstance(step, Stop):
                for timer in step.timers:
                    if transaction._running.pop(timer, None) is not None:
                        self._heap.drop((transaction, timer))
            else:
                self._start(transaction, step, now)

    def _start(self, transaction: Transaction, step: Start | Repeat | Slow, now: float) -> None:
        timer = step.timer
        if isinstance(step, Slow):
            length: float | None = self.timers.t2
        elif isinstance(step, Repeat):
            length = 2 * transaction._running[timer]
            if timer is not Timer.A:  # §17.1.2.2, §17.2.1: at most T2; A doubles without bound
                length = min(length, self.timers.t2)
        else:
            length = self.timers.length(timer, transaction.flow.reliable)
        if length is not None:
            transaction._running[timer] = length
            self._heap.set((transaction, timer), now + length)

    def _act(self, transaction: Transaction, action: Action, now: float, message: Message | None) -> None:
        if action in (Action.SEND_REQUEST, Action.SEND_RESPONSE):
            if transaction._sent:  # a repeated request before there is any response: nothing to say yet
                self._outputs.append(Transmit(transaction._sent, transaction.flow, transaction, message))
        elif action is Action.REPORT_TIMEOUT:
            self._report(TimedOut(transaction))
        elif action is Action.REPORT_FAILURE:
            self._report(TransportFailed(transaction))
        elif isinstance(transaction, ClientTransaction):
            self._act_client(transaction, action, now, message)
        elif action is Action.PASS_ACK:
            assert isinstance(message, Request)
            assert isinstance(transaction, ServerTransaction)
            self._outputs.append(AckArrived(message, transaction.source))
        elif action is Action.SEND_TRYING:
            trying = make_response(transaction.request, 100)
            transaction._sent = trying.to_bytes()
            self._outputs.append(Transmit(transaction._sent, transaction.flow, transaction, trying))

    def _act_client(self, transaction: ClientTransaction, action: Action, now: float, message: Message | None) -> None:
        if action is Action.SEND_CANCEL:
            self._begin_client(
                make_cancel(transaction.request, transaction._cancel_headers),
                transaction.key[0],
                transaction.flow,
                now,
                silent=True,
            )
            return
        assert isinstance(message, Response)
        if action is Action.SEND_ACK:
            ack = None if transaction._ack else make_ack(transaction.request, message)
            if ack is not None:
                transaction._ack = ack.to_bytes()
            self._outputs.append(Transmit(transaction._ack, transaction.flow, transaction, ack))
        else:
            transaction.answered = transaction.answered or message.status >= 200
            self._report(ResponseArrived(transaction, message))

    def _report(self, output: ResponseArrived | TimedOut | TransportFailed) -> None:
        transaction = output.transaction
        if not (isinstance(transaction, ClientTransaction) and transaction.silent):
            self._outputs.append(output)

    def _end(self, transaction: Transaction) -> None:
        for timer in transaction._running:
            self._heap.drop((transaction, timer))
        transaction._running.clear()
        if isinstance(transaction, ClientTransaction):
            del self._clients[transaction.key]
            on_flow = self._by_flow.get(transaction.flow)
            if on_flow is not None:
                on_flow.discard(transaction)
                if not on_flow:
                    del self._by_flow[transaction.flow]
        else:
            del self._servers[transaction.key]
        if transaction.request.method != "CANCEL":  # those are the layer's own business, both ways
            self._outputs.append(Terminated(transaction))


def server_key(request: Request, method: str = "") -> Key:
    """What a request and its repeats have in common (RFC 3261 §17.2.3); an ACK has the key of its INVITE.

    `method` asks for the key of another request of the same branch: the INVITE a CANCEL means.
    """
    via = h.top_via(request.headers)
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    if via.branch.startswith(h.MAGIC_COOKIE):
        return (via.branch, via.sent_by, method)
    # A peer of RFC 2543: the parts that do not change. To is left out, since an ACK has a tag there.
    sequence = h.cseq(request.headers)
    caller = h.from_(request.headers).tag
    top = str(via)
    return (str(request.uri), caller, h.call_id(request.headers), str(sequence.number), top, method)


def make_cancel(invite: Request, headers: Iterable[tuple[str, str]] = ()) -> Request:
    """The CANCEL of an INVITE as sent (§9.1): same branch, same way, CSeq number of the INVITE."""
    cancel = _same_hop(invite, "CANCEL", invite.headers.get("To") or "")
    for name, value in headers:
        cancel.headers.add(name, value)
    return cancel


def make_ack(invite: Request, response: Response) -> Request:
    """The hop-by-hop ACK for a final response other than 2xx (§17.1.1.3): To is that of the response."""
    return _same_hop(invite, "ACK", response.headers.get("To") or "")


def _same_hop(invite: Request, method: str, to: str) -> Request:
    source = invite.headers
    headers = Headers([("Via", str(h.top_via(source)))])
    for value in source.get_all("Route"):
        headers.add("Route", value)
    headers.add("Max-Forwards", "70")
    headers.add("From", source.get("From") or "")
    headers.add("To", to)
    headers.add("Call-ID", h.call_id(source))
    headers.add("CSeq", f"{h.cseq(source).number} {method}")
    return Request(method, invite.uri, headers)
