"""The two sides of one exchange, as an endpoint's users hold them: a request that came, a request on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from soip.net.errors import NetError
from soip.sip.flow import Flow
from soip.sip.layer import ClientTransaction, ServerTransaction
from soip.sip.message import Message, Request, Response
from soip.sip.reply import make_response

if TYPE_CHECKING:
    from soip.net.sip import SipEndpoint


class Handler(Protocol):
    """Who takes requests. Called on the event loop; must not block."""

    def request(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        """A new request (never an ACK or CANCEL). What is still to be awaited runs in a task of its own; None when
        nothing is, which saves the task. May be done before it has answered. If it raises, the request is answered 500.
        """

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK for a 2xx. It has no transaction and cannot be answered."""

    def flow_closed(self, flow: Flow) -> None:
        """A connection has ended."""


class Witness(Protocol):
    """Who is shown every message that an endpoint receives and sends, in order. Called on the event loop; must neither
    block nor change a message, nor keep many: that costs the garbage collector more than reading them at once does.
    `ignores`: methods whose requests, and responses by a transaction, are not shown.
    """

    ignores: ClassVar[frozenset[str]] = frozenset()

    def received(self, message: Message, flow: Flow) -> None:
        """It came over this flow, and could be read."""

    def sent(self, message: Message, flow: Flow) -> None:
        """It has been sent on this flow."""

    def sent_again(self, data: bytes, request: Request, flow: Flow) -> None:
        """A message of the transaction of `request` has been repeated."""


class IncomingRequest:
    """A request and its server transaction.

    `request` is as received, but its top Via carries `received` and `rport` (RFC 3261 §18.2.1, RFC 3581).
    `flow` is where it came from: `flow.remote` is the true source address.
    """

    __slots__ = ("_cancel_callbacks", "_endpoint", "flow", "request", "transaction")

    def __init__(self, endpoint: SipEndpoint, transaction: ServerTransaction) -> None:
        self.request: Request = transaction.request
        self.flow: Flow = transaction.source
        self.transaction = transaction
        self._endpoint = endpoint
        self._cancel_callbacks: list[Callable[[], object]] = []

    @property
    def answered(self) -> bool:
        """A final response has been sent, or it is too late for one."""
        return self.transaction.answered

    @property
    def cancelled(self) -> bool:
        """A CANCEL has come before the final response. The CANCEL was answered by the endpoint."""
        return self.transaction.cancelled

    @property
    def tag(self) -> str:
        """The To tag of our own responses to this request."""
        return self.transaction.tag

    def respond(self, response: Response) -> None:
        """Send a response whose top Via is the request's (a proxy passes responses up with this).

        A final one after the first is ignored, save repeated 2xx to INVITE. 408 and late answers to
        non-INVITE are not sent (RFC 4320).
        """
        self._endpoint.respond(self.transaction, response)

    def reply(
        self,
        status: int,
        reason: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> Response:
        """Build a response (RFC 3261 §8.2.6; our tag in To unless there is one), send it, and return it.

        The tag is the same for all replies to one request.
        """
        response = make_response(self.request, status, reason, to_tag=self.tag, body=body, content_type=content_type)
        for name, value in headers:
            response.headers.add(name, value)
        self.respond(response)
        return response

    def drop(self, response: Response | None = None) -> None:
        """Forget the request: unanswered, or with a stateless `response` (RFC 3261 §8.2.7). For strangers: nothing is
        kept or repeated, and a repeat of the request counts as a new one.
        """
        self._endpoint.drop(self.transaction, response)

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Call back when the INVITE is cancelled (at once, if it already is). The INVITE still wants its
        answer: a user agent replies 487, a proxy cancels its branches.
        """
        if self.cancelled:
            callback()
        else:
            self._cancel_callbacks.append(callback)

    def _cancel_arrived(self) -> None:
        for callback in self._cancel_callbacks:
            self._endpoint.guard(callback)
        self._cancel_callbacks.clear()


class Outgoing:
    """A request on its way, and its client transaction. `request` is as sent (our Via on top), `flow` its
    way.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        on_response: Callable[[Response], None] | None,
        on_failure: Callable[[NetError], None] | None,
    ) -> None:
        self._endpoint = endpoint
        self._on_response = on_response
        self._on_failure = on_failure
        self._final: asyncio.Future[Response | NetError] = asyncio.get_running_loop().create_future()
        self.transaction: ClientTransaction  # set as soon as there is one

    @property
    def request(self) -> Request:
        """The request as sent."""
        return self.transaction.request

    @property
    def flow(self) -> Flow:
        """The way it was sent."""
        return self.transaction.flow

    async def final(self) -> Response:
        """The first final response. Raises RequestTimeoutError (64*T1) or FlowError."""
        result = await asyncio.shield(self._final)
        if isinstance(result, NetError):
            raise result
        return result

    def cancel(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Cancel an INVITE: CANCEL goes out now, or when the first provisional response comes (RFC 3261
        §9.1).

        `final()` then gives 487, or a 2xx that won the race, or RequestTimeoutError. `headers`: Reason (RFC
        3326).
        """
        self._endpoint.cancel(self.transaction, headers)

    def _response(self, response: Response) -> None:
        if response.status >= 200 and not self._final.done():
            self._final.set_result(response)
        callback = self._on_response
        if callback is not None:
            self._endpoint.guard(lambda: callback(response))

    def _fail(self, error: NetError) -> None:
        if self._final.done():
            return
        self._final.set_result(error)
        callback = self._on_failure
        if callback is not None:
            self._endpoint.guard(lambda: callback(error))
