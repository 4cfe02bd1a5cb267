"""`Call` and `IncomingCall`: one INVITE dialog, as a user agent sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soip.net.errors import CallEndedError, NetError, RequestRefusedError, RequestTimeoutError
from soip.net.exchange import IncomingRequest
from soip.net.session import Keeper
from soip.sip import headers as h
from soip.sip.dialog import Dialog, DialogId
from soip.sip.errors import DialogError, OfferError, SipParseError
from soip.sip.message import Message, Request, Response
from soip.sip.session import Session

if TYPE_CHECKING:
    from soip.net.ua import UserAgent

log = logging.getLogger(__name__)

InDialogHandler = Callable[[IncomingRequest], Awaitable[None]]
OfferHandler = Callable[[bytes], bytes]

SDP = "application/sdp"

_ATTEMPTS = 6
"""How often one offer of ours is sent at most, when it crosses the peer's (491) or the session is too short (422)."""

_GONE = frozenset((404, 410, 480, 481, 604))
"""Answers in a dialog that end it, or at least its call (RFC 5057 §5.1)."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """Why a call has ended. `by_peer`: the peer's BYE. `reason`: the Reason header's value, or our own words."""

    by_peer: bool
    reason: str


class Call:
    """An established call. Both sides look the same from here on.

    `remote_sdp` is the peer's offer or answer (empty for a delayed offer until `confirmed()`), `local_sdp` ours.
    `peer_identity` is the value of P-Asserted-Identity of the INVITE (incoming) or its 2xx (outgoing), else empty.
    `end` is None while the call is up. `session` is its timer, `peer_allows` the methods the peer has named in Allow.
    """

    def __init__(
        self, ua: UserAgent, dialog: Dialog, local_sdp: bytes, remote_sdp: bytes, identity: str, session: Session
    ) -> None:
        self.dialog = dialog
        self.session = session
        self.peer_allows: frozenset[str] = frozenset()
        self.local_sdp = local_sdp
        self.remote_sdp = remote_sdp
        self.peer_identity = identity
        self.end: CallEnd | None = None
        self._ua = ua
        self._confirmed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._keeper = Keeper(self, session)
        self._end_callbacks: list[Callable[[CallEnd], None]] = []
        self._on_request: InDialogHandler | None = None
        self._on_reinvite: OfferHandler | None = None
        self._on_answer: Callable[[bytes], None] | None = None
        self._bye: asyncio.Task[None] | None = None
        self._offer_pending = False  # our re-INVITE is under way (RFC 3261 §14.1)
        self._unacknowledged: int | None = None  # CSeq of the INVITE whose 2xx waits for its ACK

    async def confirmed(self) -> None:
        """Incoming: wait for the ACK (then `remote_sdp` is there even for a delayed offer). Raises CallEndedError."""
        if not await asyncio.shield(self._confirmed):
            raise CallEndedError("the call ended before it was acknowledged")

    def on_end(self, callback: Callable[[CallEnd], None]) -> None:
        """Call back once when the call has ended for whatever cause (at once, if it has)."""
        if self.end is not None:
            callback(self.end)
        else:
            self._end_callbacks.append(callback)

    def on_request(self, handler: InDialogHandler) -> None:
        """In-dialog requests other than BYE and re-INVITE (INFO, MESSAGE …). Without: 405, and 200 for OPTIONS."""
        self._on_request = handler

    def on_reinvite(self, handler: OfferHandler) -> None:
        """Answer a new offer: SDP in (empty: make an offer), SDP out; OfferError → its status.

        Without a handler an offer is answered with what is in force.
        """
        self._on_reinvite = handler

    def on_answer(self, handler: Callable[[bytes], None]) -> None:
        """Told of answers to what `on_reinvite` offered, and of new ones to a refresh. OfferError ends the call."""
        self._on_answer = handler

    # -- what we want

    async def bye(self, reason: str = "") -> None:
        """Hang up; `reason` is a Reason header value, for example `SIP;cause=200;text="done"` (RFC 3326).

        Returns when answered or timed out; idempotent; never raises for what the peer does.
        """
        if self._bye is None:
            if self.end is not None:
                return
            self._finish(CallEnd(False, reason))
            self._bye = self._ua._spawn(self._send_bye(reason))
        await asyncio.shield(self._bye)

    async def _send_bye(self, reason: str) -> None:
        try:
            # RFC 3261 §15: the called side may not hang up before the ACK has come, or its time is over.
            await asyncio.shield(self._confirmed)
            request = self.dialog.request("BYE")
            if reason:
                request.headers.add("Reason", reason)
            await self._ua._exchange_in(self.dialog, request)
        except NetError as error:
            log.info("BYE of %s: %s", self.dialog.id.call_id, error)
        finally:
            self._ua._forget(self)

    async def request(
        self, method: str, body: bytes = b"", content_type: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> Response:
        """Send an in-dialog request (challenges answered) and give its final response, whatever its status.

        Raises CallEndedError, RequestTimeoutError, FlowError. No answer, 408 and what says that the peer
        is gone end the call (RFC 3261 §12.2.1.2, RFC 5057 §5.1).
        """
        if self.end is not None:
            raise CallEndedError(f"the call has ended: {self.end.reason}")
        request = self.dialog.request(method)
        request.body = body
        for name, value in [*headers, *([("Content-Type", content_type)] if content_type else [])]:
            request.headers.add(name, value)
        try:
            response = await self._ua._exchange_in(self.dialog, request)
        except RequestTimeoutError:
            self._ua._spawn(self.bye('SIP;cause=408;text="no answer in the dialog"'))
            raise
        if response.status == 408:
            self._ua._spawn(self.bye('SIP;cause=408;text="no answer in the dialog"'))
        elif response.status in _GONE:
            self._lost(f"the peer cannot be reached in this call any more: {response.status} {response.reason}")
        return response

    async def reinvite(self, offer: bytes) -> bytes:
        """Offer anew; returns the answer. An offer that crosses the peer's is repeated after a pause (RFC 3261 §14.1).

        Raises RequestRefusedError, and the call goes on as it was; CallEndedError.
        """
        for attempt in range(_ATTEMPTS):
            response = await self._offer(offer)
            if 200 <= response.status < 300:
                break
            if attempt + 1 < _ATTEMPTS and response.status == 491:
                await asyncio.sleep(self.dialog.glare_pause(self._ua._jitter()))
            elif attempt + 1 == _ATTEMPTS or not self.session.too_brief(response):
                raise RequestRefusedError(response)
        refreshed = offer == self.local_sdp and response.body != self.remote_sdp
        self.local_sdp, self.remote_sdp = offer, response.body
        self._accepted(response)
        if refreshed:
            self._answer_arrived(response.body)
        return response.body

    async def _offer(self, offer: bytes) -> Response:
        if self._offer_pending or self._unacknowledged is not None:
            raise CallEndedError("an offer is under way already")  # §14.1
        self._offer_pending = True
        try:
            return await self.request("INVITE", offer, SDP, [*self._ua._capabilities(), *self.session.ask()])
        finally:
            self._offer_pending = False

    def _accepted(self, response: Response) -> None:
        """A 2xx to an INVITE or UPDATE of ours."""
        self._heed(response)
        self.session.accepted(response, asyncio.get_running_loop().time())
        self._keeper.schedule()

    def _heed(self, message: Message) -> None:
        if "Allow" in message.headers:
            with suppress(SipParseError):  # what cannot be read allows nothing more than before
                self.peer_allows = frozenset(h.option_tags(message.headers, "Allow"))

    # -- what arrives; called by the user agent

    async def _request_arrived(self, incoming: IncomingRequest) -> None:
        request = incoming.request
        try:
            self.dialog.check(request)
        except DialogError as error:
            incoming.reply(error.status, headers=[("Retry-After", "1")] if error.status == 500 else ())
            return
        if request.method == "BYE":
            incoming.reply(200)
            self._finish(CallEnd(True, request.headers.get("Reason") or "the peer hung up"))
            self._ua._forget(self)
        elif self.end is not None:
            incoming.reply(481)
        elif request.method == "INVITE":
            self._reinvite_arrived(incoming)
        elif request.method == "REFER" and self._ua._on_refer is not None:
            await self._ua._refer_arrived(incoming, self)
        elif self._on_request is not None:
            await self._on_request(incoming)
        else:
            self._ua._reply_default(incoming)

    def _reinvite_arrived(self, incoming: IncomingRequest) -> None:
        if self._offer_pending:
            incoming.reply(491)  # §14.2: both offered at once
            return
        if self._unacknowledged is not None:
            incoming.reply(500, headers=[("Retry-After", "1")])  # §14.2: one after the other
            return
        offer = incoming.request.body
        if self._ua._unfit(incoming):
            return
        try:
            answer = self._on_reinvite(offer) if self._on_reinvite is not None else self.local_sdp
        except (OfferError, SipParseError) as error:
            warning = h.warning(399, self._ua.aor.host, error.what)
            incoming.reply(error.status, headers=[("Warning", warning)])
            return
        self.local_sdp = answer
        self.remote_sdp = offer or self.remote_sdp
        response = incoming.reply(
            200, headers=self._ua._dialog_headers() + self._agree(incoming.request), body=answer, content_type=SDP
        )
        self._ua._await_ack(self, incoming, response)

    def _agree(self, request: Request) -> list[tuple[str, str]]:
        """What our 2xx to an INVITE says of the session."""
        self._heed(request)
        lines = self.session.answer(request, asyncio.get_running_loop().time())
        self._keeper.schedule()
        return lines

    def _ack_arrived(self, ack: Request) -> None:
        if self._unacknowledged != h.cseq(ack.headers).number:
            return
        self._unacknowledged = None
        if ack.body:  # the answer to a delayed offer
            self.remote_sdp = ack.body
        if not self._confirmed.done():
            self._confirmed.set_result(True)
        elif ack.body:
            self._answer_arrived(ack.body)

    def _answer_arrived(self, answer: bytes) -> None:
        try:
            if self._on_answer is not None:
                self._on_answer(answer)
        except (OfferError, SipParseError) as error:
            log.info("call %s: unusable answer: %s", self.dialog.id.call_id, error.what)
            self._ua._spawn(self.bye('SIP;cause=488;text="unusable answer"'))

    def _never_acknowledged(self) -> None:
        """§13.3.1.4: 64·T1 are over without an ACK; hang up."""
        self._unacknowledged = None
        if not self._confirmed.done():
            self._confirmed.set_result(False)
        self._ua._spawn(self.bye('SIP;cause=408;text="no ACK"'))

    def _lost(self, why: str) -> None:
        """The peer has no such dialog: there is nobody to say BYE to."""
        self._finish(CallEnd(True, why))
        self._ua._forget(self)

    def _finish(self, end: CallEnd) -> None:
        if self.end is not None:
            return
        self.end = end
        self._keeper.stop()
        if end.by_peer and not self._confirmed.done():
            self._confirmed.set_result(False)
        for callback in self._end_callbacks:
            try:
                callback(end)
            except Exception:
                log.exception("a callback at the end of a call failed")
        self._end_callbacks.clear()


class IncomingCall:
    """An INVITE that has not been answered. Exactly one of `answer` and `reject` ends it, else a CANCEL.

    `offer` is the peer's SDP; empty: a delayed offer, `answer` then makes the offer. `user` is the user part of the
    Request-URI, as dialled, parameters included. `caller` is P-Asserted-Identity as the proxy sent it, else From.
    `call_id` is its Call-ID. `replaces` is the call whose place it takes (RFC 3891), which is ended once it is up.
    """

    def __init__(self, ua: UserAgent, incoming: IncomingRequest, replaces: Call | None = None) -> None:
        self.replaces = replaces
        self.request: Request = incoming.request
        self.offer = incoming.request.body
        self.user = incoming.request.uri.user
        self.call_id = h.call_id(incoming.request.headers)
        asserted = h.asserted_identity(incoming.request.headers)
        self.caller = str(asserted[0].uri if asserted else h.from_(incoming.request.headers).uri)
        self._asserted = str(asserted[0]) if asserted else ""
        self._ua = ua
        self._incoming = incoming
        self._given_up = False
        self._cancel_callbacks: list[Callable[[], object]] = []
        incoming.on_cancel(self._cancelled)

    def same_caller(self, call: Call) -> bool:
        """Whether the proxy asserts for this call whom it asserted as the caller of that one."""
        return not call.dialog.initiated and self._asserted != "" and self._asserted == call.peer_identity

    @property
    def answered(self) -> bool:
        """Answered, rejected or cancelled."""
        return self._incoming.answered

    def ring(self, status: int = 180, reason: str = "") -> None:
        """Send a provisional response."""
        self._incoming.reply(status, reason, self._ua._dialog_headers(self.request))

    def answer(self, sdp: bytes, headers: Iterable[tuple[str, str]] = ()) -> Call:
        """Send 200 with our SDP; it is repeated until the ACK comes, and the call ends if none does in 64*T1.

        Raises CallEndedError when it was cancelled or answered before, DialogError when the INVITE makes no dialog
        (it is then answered 400).
        """
        if self._incoming.answered or self._incoming.cancelled:
            raise CallEndedError("the call was cancelled, or answered before")
        try:
            dialog = Dialog.uas(self.request, self._incoming.tag, self._ua.contact)
        except DialogError as error:
            self._incoming.reply(error.status, f"Bad Request - {error.what}")
            raise
        call = Call(self._ua, dialog, sdp, self.offer, self._asserted, Session(self._ua.session))
        ours = [*self._ua._dialog_headers(self.request), *call._agree(self.request), *headers]
        response = self._incoming.reply(200, headers=ours, body=sdp, content_type=SDP)
        self._ua._remember(call)
        self._ua._await_ack(call, self._incoming, response)
        if self.replaces is not None:
            self._ua._spawn(self._replace(call, self.replaces))
        return call

    @staticmethod
    async def _replace(call: Call, replaced: Call) -> None:
        """The new call is up: the one it replaces has done its duty (RFC 3891 §3). Without an ACK it goes on."""
        with suppress(CallEndedError):
            await call.confirmed()
            await replaced.bye('SIP;cause=200;text="replaced by another call"')

    def reject(self, status: int, warning: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        """Refuse; `warning` is text for a Warning header (code 399, RFC 3261 §20.43). Ignored once cancelled."""
        extra = [("Warning", h.warning(399, self._ua.aor.host, warning))] if warning else []
        self._incoming.reply(status, headers=[*extra, *headers])

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """The caller gave up (487 has been sent); at once, if it already has."""
        if self._incoming.cancelled or self._given_up:
            callback()
        else:
            self._cancel_callbacks.append(callback)

    def _hung_up(self, bye: IncomingRequest) -> None:
        """A BYE in the early dialog: the caller gave up that way (RFC 3261 §15.1.2)."""
        bye.reply(200)
        self._cancelled()

    def _cancelled(self) -> None:
        self._given_up = True
        self._incoming.reply(487)
        for callback in self._cancel_callbacks:
            callback()
        self._cancel_callbacks.clear()


def invite_id(dialog: Dialog, request: Request) -> tuple[DialogId, int]:
    """What an INVITE and its ACK have in common."""
    return (dialog.id, h.cseq(request.headers).number)
