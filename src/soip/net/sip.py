"""`SipEndpoint`: SIP over UDP and TCP on one port and more transports on others, with transactions; for user agents
and for a stateful proxy.

A user agent: `await endpoint.start()`, `endpoint.serve(handler)`, then `await endpoint.request(request,
target)`.

A proxy: its handler gets an `IncomingRequest`; it forwards a copy with `await endpoint.send(copy, way,
on_response=…)` (our Via is put on), hands what comes back (our Via removed) to `incoming.respond(response)`,
and calls `outgoing.cancel()` from `incoming.on_cancel`. ACKs for 2xx arrive at `Handler.ack` and go on with
`await endpoint.send_stateless(copy, way)`.

Received messages, timers and commands all go through one sans-IO `TransactionLayer`; `_pump` carries out what
it says.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any, ParamSpec

from soip.net.errors import EndpointClosedError, FlowError, NetError, RequestTimeoutError
from soip.net.exchange import Handler, IncomingRequest, Outgoing, Witness
from soip.net.limits import Limits, Pace
from soip.net.resolver import Resolver, draw
from soip.net.target import MAX_DATAGRAM_REQUEST, Target
from soip.net.tokens import Tokens
from soip.net.transport import Transport, local_host_towards
from soip.net.wire import Listener
from soip.sip import headers as h
from soip.sip.errors import SipError, SipParseError, TooManyTransactionsError
from soip.sip.flow import Address, Flow
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
    Transaction,
    TransactionLayer,
    Transmit,
    TransportFailed,
)
from soip.sip.locate import places_back, via_address
from soip.sip.message import Message, Request, Response
from soip.sip.reply import error_response
from soip.sip.timers import Timers
from soip.sip.uri import format_host

P = ParamSpec("P")

log = logging.getLogger(__name__)

Way = Flow | Target
"""Where a request goes: a specific flow (never another), or a target (an open connection is used again)."""

RETURNING = 100
"""Responses for which another way is being sought at once; for more there is none."""

_METHODS = frozenset(
    {"BYE", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK", "PUBLISH", "REFER", "REGISTER"}
    | {"SUBSCRIBE", "UPDATE"}
)
"""The methods that are counted apart: a peer may make up as many others as it likes."""

_ROUTED_BY = ("Call-ID", "From", "To", "CSeq")  # and Request-URI and Route: RFC 5393 §4.2.2
_VIA_ROOM = 120  # bytes our Via may take, for the size rule


class SipEndpoint:
    """SIP over UDP and TCP on one port. Not a singleton: a process may have several.

    `port` 0 lets the kernel choose one port for both transports. `advertised` is the host put into Via and
    contacts when `host` is a wildcard (default: our address on the way to the peer). `setting` names, in the
    error for a busy port, what the operator changes. `listeners` are further addresses, each for a transport of its own
    (TLS, WebSocket); `trust` says whom we believe when we connect by TLS (`tls.client_context`), without it we do not.
    With a `resolver` a final response whose connection has ended is sent over another one (RFC 3263 §5).
    `counters` counts what was refused or could not be read.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        transports: tuple[str, ...] = ("udp", "tcp"),
        advertised: str | None = None,
        setting: str = "",
        limits: Limits | None = None,
        timers: Timers | None = None,
        listeners: Sequence[Listener] = (),
        trust: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        limits = limits or Limits()
        self._resolver = resolver
        self._advertised = advertised
        self._mark = secrets.token_urlsafe(6)
        self._faults = Pace()
        self._transport = Transport(
            host, port, transports, setting, limits, self._received, self._flow_closed, listeners, trust
        )
        self._tokens = Tokens()
        self._layer = TransactionLayer(
            branches=lambda: self._mark + self._tokens(),
            tags=self._tokens,
            timers=timers,
            limit=limits.transactions,
        )
        self.requests: Counter[str] = Counter()
        """New requests by method."""
        self.responses: Counter[tuple[str, int]] = Counter()
        """Final responses of ours by method and status; 0: left unanswered."""
        self._handlers: dict[str | None, Handler] = {}
        self._incoming: dict[Transaction, IncomingRequest] = {}
        self._outgoing: dict[Transaction, Outgoing] = {}
        self._witness: Witness | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._returning: set[asyncio.Task[None]] = set()
        self._pumping = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # uvloop's handles cannot tell, once their time has come
        self._loop: asyncio.AbstractEventLoop

    @property
    def counters(self) -> Counter[str]:
        """How often what was refused, in words; for logs and metrics."""
        return self._transport.counters

    @property
    def timers(self) -> Timers:
        """The lengths of the timers in force."""
        return self._layer.timers

    @property
    def family(self) -> int:
        """The address family we listen on (`socket.AF_INET` or `AF_INET6`)."""
        return self._transport.family

    @property
    def transactions(self) -> int:
        """How many transactions are under way or absorbing repeats."""
        return len(self._layer)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._transport.streams)

    @property
    def strays(self) -> int:
        """Responses that fit no transaction."""
        return self._layer.strays

    @property
    def overflow(self) -> int:
        """Requests that were answered 503, since there were too many transactions."""
        return self._layer.refused

    @property
    def address(self) -> Address:
        """Host and port as bound, good for a Contact (`advertised` or `host`, real port)."""
        host, port = self._transport.bound
        return (self._advertised or host, port)

    def address_towards(self, host: str, transport: str = "udp") -> Address:
        """As `address`, for a transport; but with a wildcard and nothing advertised, the address the kernel would use
        to that host.
        """
        bound, port = self._transport.address_of(transport)
        if self._advertised is None and ip_address(bound).is_unspecified:
            return (local_host_towards(host), port)
        return (self._advertised or bound, port)

    # -- life

    def serve(self, handler: Handler, user: str | None = None) -> None:
        """Give requests whose Request-URI user (before any `;`) is `user` to `handler`; None: all others.

        Without any handler requests are answered 404.
        """
        self._handlers[user] = handler

    def unserve(self, user: str | None = None) -> None:
        """Undo `serve`."""
        self._handlers.pop(user, None)

    def show(self, witness: Witness) -> None:
        """Show this witness every message from now on."""
        self._witness = witness

    async def start(self) -> None:
        """Listen. Raises PortBusyError."""
        self._loop = asyncio.get_running_loop()
        await self._transport.start()

    async def close(self) -> None:
        """Stop listening, close all connections, fail what is under way with EndpointClosedError.
        Idempotent.
        """
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for outgoing in list(self._outgoing.values()):
            outgoing._fail(EndpointClosedError("the SIP endpoint has been closed"))
        self._outgoing.clear()
        self._incoming.clear()
        self._transport.close()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # sockets close in the loop's next turn

    # -- sending

    async def send(
        self,
        request: Request,
        way: Way,
        *,
        on_response: Callable[[Response], None] | None = None,
        on_failure: Callable[[NetError], None] | None = None,
    ) -> Outgoing:
        """Start a client transaction with a copy of `request`, our Via put on top.

        `on_response` gets every response (provisional, final, and each repeated or forked 2xx to INVITE) with
        our Via removed; `on_failure` RequestTimeoutError or FlowError, at most once and never after a final
        response. Raises FlowError when the way cannot be taken at all (connection refused, flow closed, too
        many requests).
        """
        flow = await self._flow_for(request, way)
        if self._closed:
            raise EndpointClosedError("the SIP endpoint has been closed")
        outgoing = Outgoing(self, on_response, on_failure)
        try:
            outgoing.transaction = self._layer.send_request(request, flow, self._sent_by(flow), self._loop.time())
        except TooManyTransactionsError as error:
            raise FlowError(str(error)) from error
        self._outgoing[outgoing.transaction] = outgoing
        self._pump()
        return outgoing

    async def request(
        self, request: Request, way: Way, *, on_provisional: Callable[[Response], None] | None = None
    ) -> Response:
        """`send` and wait for the final response. Raises RequestTimeoutError or FlowError."""

        def provisional(response: Response) -> None:
            if on_provisional is not None and response.status < 200:
                on_provisional(response)

        return await (await self.send(request, way, on_response=provisional)).final()

    async def send_stateless(self, message: Message, way: Way) -> None:
        """Send without a transaction: the ACK for a 2xx (our Via put on a copy), or a response as it is.

        Raises FlowError.
        """
        if isinstance(message, Response):
            flow = way if isinstance(way, Flow) else await self._transport.flow_to(way, way.transport)
            self._send(message, flow)
            return
        flow = await self._flow_for(message, way)
        copy = message.copy()
        branch = h.MAGIC_COOKIE + self._mark + self._tokens()
        sent_by = self._sent_by(flow)
        copy.headers.prepend("Via", f"SIP/2.0/{flow.transport.upper()} {sent_by};branch={branch};rport")
        self._send(copy, flow)

    def _send(self, message: Message, flow: Flow) -> None:
        """Send without a transaction. Raises FlowError."""
        self._transport.send(message.to_bytes(), flow)
        if self._witness is not None:
            self._show(self._witness.sent, message, flow)

    async def _flow_for(self, request: Request, way: Way) -> Flow:
        if isinstance(way, Flow):
            if not self.is_open(way):
                raise FlowError(f"the connection to {way} has ended")
            return way
        if way.transport == "udp" and way.tcp_allowed and _is_large(request):
            # RFC 3261 §18.1.1: what might be fragmented goes by TCP; back to UDP where nobody listens
            try:
                return await self._transport.flow_to(way, "tcp")
            except FlowError as error:
                log.debug("large %s goes by UDP: %s", request.method, error)
        return await self._transport.flow_to(way, way.transport)

    def _sent_by(self, flow: Flow) -> str:
        return format_host(*self.address_towards(flow.remote[0], flow.transport))

    async def connect(self, target: Target) -> Flow:
        """A stream to the target: the open connection if there is one, else a new one. Raises FlowError."""
        return await self._transport.flow_to(target, "tls" if target.transport == "tls" else "tcp")

    def certified(self, flow: Flow) -> frozenset[str]:
        """The DNS names that the peer of a TLS flow has proved to bear, by a certificate of the CA we ask for."""
        connection = None if flow.transport == "udp" else self._transport.streams.get(flow)
        return frozenset() if connection is None else connection.names

    def is_open(self, flow: Flow) -> bool:
        """Whether the flow can still be sent on (always true for UDP)."""
        return flow.transport == "udp" or self._transport.streams.get(flow) is not None

    def keep(self, flow: Flow, seconds: float) -> None:
        """Do not close an accepted connection for idling within so many seconds: a registration lives on it, and a
        device that does not ping is as silent as it may be (RFC 5626 asks only those for pings that say `ob`).
        """
        connection = self._transport.streams.get(flow)
        if connection is not None:
            connection.kept_until = self._loop.time() + seconds

    def trust(self, flow: Flow) -> None:
        """Somebody we know is at the other end of a connection: it is not closed to make room for others."""
        connection = self._transport.streams.get(flow)
        if connection is not None:
            self._transport.streams.trust(connection)

    def shut_out(self, flow: Flow, seconds: float) -> None:
        """Read nothing more of who is at the other end of a flow: a connection is closed, datagrams of that address and
        port are passed over for so long.
        """
        if flow.transport == "udp":
            self._transport.pass_over(flow.remote, self._loop.time() + seconds)
        else:
            self.disconnect(flow)

    async def ping(self, flow: Flow, within: float = 10.0) -> None:
        """CRLF keepalive on a stream, and wait for the pong (RFC 5626 §4.4.1). Raises FlowError and closes
        it.
        """
        connection = self._transport.streams.get(flow)
        if connection is None:
            raise FlowError(f"the connection to {flow} has ended")
        await connection.ping(within)

    def trail_of(self, request: Request) -> str:
        """What tells where a request would be sent on to, for the branch of our Via (RFC 5393 §4.2.2)."""
        headers = request.headers
        told = (str(request.uri), *(headers.get(name) or "" for name in _ROUTED_BY), *headers.get_all("Route"))
        return blake2b("\0".join(told).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()

    def has_looped(self, request: Request) -> bool:
        """Whether this endpoint has sent the request on before, as it would now (RFC 5393 §4.2.3). One that has come
        back with another address is no loop but a spiral.

        Told by the branch, not by the address: behind address translation others may have the same.
        """
        ours = h.MAGIC_COOKIE + self._mark
        if not any(ours in line for line in request.headers.get_all("Via")):
            return False
        trail = self.trail_of(request)
        return any(via.branch.startswith(ours) and via.branch.endswith(trail) for via in h.via_list(request.headers))

    def disconnect(self, flow: Flow) -> None:
        """Close a connection; nothing happens when it has ended."""
        connection = self._transport.streams.get(flow)
        if connection is not None:
            connection.close()

    # -- what arrives

    def _received(self, message: Message | SipParseError, flow: Flow) -> None:
        """Everything read from a socket comes through here."""
        if self._closed:
            return
        if isinstance(message, SipParseError):
            self._answer_unreadable(message, flow)
            self._pump()
            return
        try:
            reply_to = self._note_source(message, flow) if isinstance(message, Request) else None
            if self._witness is not None and _method(message) not in self._witness.ignores:
                self._show(self._witness.received, message, flow)
            self._layer.receive(message, flow, self._loop.time(), reply_to)
        except SipParseError as error:
            self._answer_unreadable(error, flow)
        self._pump()

    def _note_source(self, request: Request, flow: Flow) -> Flow | None:
        """Write the source into the top Via, and tell where responses go (RFC 3261 §18.2.1–2, RFC 3581
        §4).
        """
        via = h.top_via(request.headers)
        told = via.with_source(*flow.remote)
        if told is not via:
            h.set_top_via(request.headers, told)
        if flow.reliable or via.param("rport") is not None:
            return None  # back the way it came
        return Flow("udp", flow.local, (flow.remote[0], via.port or 5060))

    def _answer_unreadable(self, error: SipParseError, flow: Flow) -> None:
        self._transport.complaints.note("messages that could not be read", flow.remote[0], self._loop.time())
        log.debug("unreadable message from %s: %s", flow, error)
        # Its traceback leads to frames that hold the error: a cycle, which keeps what came until the collector looks.
        error.__traceback__ = None
        response = error_response(error, self._tokens())
        if response is not None:
            try:
                self._send(response, flow)
            except (FlowError, SipError) as failure:
                log.debug("cannot answer %s: %s", flow, failure)

    def _flow_closed(self, flow: Flow) -> None:
        if self._closed:
            return
        self._layer.flow_lost(flow, self._loop.time())
        self._pump()
        for handler in list(self._handlers.values()):
            self.guard(lambda handler=handler: handler.flow_closed(flow))  # type: ignore[misc]  # bound now

    # -- running the layer

    def drop(self, transaction: ServerTransaction, response: Response | None) -> None:
        """For `IncomingRequest.drop`."""
        if self._closed:
            return
        self._count(transaction, response.status if response is not None else 0)
        if response is not None:
            try:
                self._transport.send(response.to_bytes(), transaction.flow)
                self._show_sent(Transmit(b"", transaction.flow, transaction, response))
            except FlowError as error:
                log.debug("not sent: %s", error)
        self._layer.forget(transaction)
        self._pump()

    def respond(self, transaction: ServerTransaction, response: Response) -> None:
        """Send a response by its transaction; what `IncomingRequest.respond` does."""
        if not self._closed:
            if response.status >= 200:
                self._count(transaction, response.status)
            self._layer.send_response(transaction, response, self._loop.time())
            self._pump()

    def _count(self, transaction: ServerTransaction, status: int) -> None:
        if not transaction.answered:  # of a 2xx that is repeated the first one counts
            self.responses[_known(transaction.request.method), status] += 1

    def cancel(self, transaction: ClientTransaction, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Cancel an INVITE; what `Outgoing.cancel` does."""
        if not self._closed:
            self._layer.cancel(transaction, self._loop.time(), headers)
            self._pump()

    def _pump(self) -> None:
        """Carry out what the layer says. A callback that causes more does not recurse: the loop here goes
        on.
        """
        if self._pumping or self._closed:
            return
        self._pumping = True
        try:
            for output in self._layer.take():
                self._carry_out(output)
        finally:
            self._pumping = False
        self._schedule()

    def _schedule(self) -> None:
        deadline = self._layer.next_deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return  # a timer that fires too early finds nothing due and is set again
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(deadline, self._tick), deadline

    def _tick(self) -> None:
        self._timer = None
        self._layer.advance(self._loop.time())
        self._pump()

    def _carry_out(self, output: Output) -> None:
        match output:
            case Transmit():
                self._transmit(output)
            case RequestArrived():
                self._request_arrived(output.transaction)
            case Terminated(transaction):
                self._incoming.pop(transaction, None)
                self._outgoing.pop(transaction, None)
            case AckArrived(ack, flow):
                handler = self._handler_of(ack)
                if handler is not None:
                    self.guard(lambda: handler.ack(ack, flow))
            case Cancelled(cancelled, _):
                if cancelled in self._incoming:
                    self._incoming[cancelled]._cancel_arrived()
            case ResponseArrived(sent, response):
                h.pop_first(response.headers, "Via")
                if sent in self._outgoing:
                    self._outgoing[sent]._response(response)
            case TimedOut(transaction):
                self._failed(transaction, RequestTimeoutError("no final response in time"))
            case TransportFailed(transaction):
                self._failed(transaction, FlowError(f"{transaction.flow} cannot be sent on any more"))

    def _transmit(self, output: Transmit) -> None:
        transaction = output.transaction
        try:
            self._transport.send(output.data, output.flow)
        except FlowError as error:
            log.debug("not sent: %s", error)
            if isinstance(transaction, ServerTransaction):
                self._send_otherwise(output)
            if transaction is not None:
                self._layer.transport_failed(transaction, self._loop.time())
        else:
            self._show_sent(output)

    def _send_otherwise(self, output: Transmit) -> None:
        """A final response could not be sent: the connection on which its request came has ended.

        To strangers nothing is sent so, since they are answered without a transaction: else they could have us call
        whomever they name in their Via.
        """
        response = output.message
        if not isinstance(response, Response) or response.status < 200 or not output.flow.reliable:
            return
        if self._resolver is not None and len(self._returning) < RETURNING:
            task = self._loop.create_task(self._return(self._resolver, response, output.flow))
            self._returning.add(task)
            self._tasks.add(task)
            task.add_done_callback(self._returning.discard)
            task.add_done_callback(self._tasks.discard)

    async def _return(self, resolver: Resolver, response: Response, flow: Flow) -> None:
        """Open the way back anew: to the source of the request, else to whom its sender says it is."""
        try:
            via = h.top_via(response.headers)
            here = via_address(via, flow.remote)
            for place in [*([here] if here else []), *await resolver.places(places_back(via, draw))]:
                for target in await resolver.targets(place, self.family):
                    try:
                        self._send(response, await self._transport.flow_to(target, target.transport))
                        return
                    except FlowError as error:
                        log.debug("not sent: %s", error)
        except (NetError, SipError) as error:
            log.debug("%d not sent, and no other way to %s: %s", response.status, flow, error)

    def _show_sent(self, output: Transmit) -> None:
        witness, transaction = self._witness, output.transaction
        if witness is None or (transaction is not None and transaction.request.method in witness.ignores):
            return
        if output.message is not None:
            self._show(witness.sent, output.message, output.flow)
        elif transaction is not None:
            self._show(witness.sent_again, output.data, transaction.request, output.flow)

    def _show(self, tell: Callable[P, None], *what: P.args, **more: P.kwargs) -> None:
        """Show the witness something; one that fails must not take a call with it."""
        try:
            tell(*what, **more)
        except SipParseError:
            return  # who handles the message says so
        except Exception:
            if self._faults.due(self._loop.time()):
                log.exception("a message could not be shown")

    def _failed(self, transaction: Transaction, error: NetError) -> None:
        outgoing = self._outgoing.get(transaction)
        if outgoing is not None:
            outgoing._fail(error)

    def _handler_of(self, request: Request) -> Handler | None:
        user = request.uri.user.partition(";")[0]
        return self._handlers.get(user) or self._handlers.get(None)

    def _request_arrived(self, transaction: ServerTransaction) -> None:
        self.requests[_known(transaction.request.method)] += 1
        incoming = IncomingRequest(self, transaction)
        if transaction.is_invite:  # to tell it of a CANCEL
            self._incoming[transaction] = incoming
        handler = self._handler_of(transaction.request)
        if handler is None:
            incoming.reply(404)
            return
        try:
            rest = handler.request(incoming)
        except Exception as error:
            self._answer_fault(incoming, error)
            return
        if rest is not None:
            task = self._loop.create_task(self._finish(rest, incoming))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _finish(self, rest: Coroutine[Any, Any, None], incoming: IncomingRequest) -> None:
        try:
            await rest
        except Exception as error:
            self._answer_fault(incoming, error)

    def _answer_fault(self, incoming: IncomingRequest, error: Exception) -> None:
        """Called where the error is handled, for the log's sake."""
        if isinstance(error, SipParseError):  # a header nobody had looked at before
            incoming.reply(error.status, f"Bad Request - {error.what}" if error.status == 400 else "")
            return
        if self._faults.due(self._loop.time()):
            log.exception("%s from %s failed", incoming.request.method, incoming.flow)
        incoming.reply(500)

    def guard(self, callback: Callable[[], object]) -> None:
        """Call back; a callback that fails must not take the endpoint with it."""
        try:
            callback()
        except Exception:
            log.exception("a SIP callback failed")


def _known(method: str) -> str:
    return method if method in _METHODS else "other"


def _method(message: Message) -> str:
    return message.method if isinstance(message, Request) else ""


def _is_large(request: Request) -> bool:
    return len(request.to_bytes()) + _VIA_ROOM > MAX_DATAGRAM_REQUEST
