"""One outgoing INVITE until it is answered: challenges, cancelling, and every 2xx that comes (RFC 3261 §13.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from soip.net.call import SDP, Call, OfferHandler
from soip.net.errors import AuthError, NetError, RequestRefusedError, RequestTimeoutError
from soip.net.exchange import Outgoing
from soip.sip import headers as h
from soip.sip.dialog import Dialog, DialogId
from soip.sip.errors import DialogError, OfferError, SipParseError
from soip.sip.message import Request, Response
from soip.sip.session import Session

if TYPE_CHECKING:
    from soip.net.ua import UserAgent

log = logging.getLogger(__name__)

INTERVALS = 4
"""How often a longer session is asked for when the last was too short: each proxy on the way may have its own least."""


class Inviting:
    """Sends the INVITE; `call()` waits for the outcome. What arrives after that is acknowledged and hung up.

    A 2xx may come after we stopped wanting it (it crossed our CANCEL) and from several phones (forks). Each is a call
    in the eyes of its sender: it gets its ACK, and all but the first wanted one a BYE (§13.2.2.4).
    """

    def __init__(
        self,
        ua: UserAgent,
        request: Request,
        on_provisional: Callable[[Response], None] | None,
        answerer: OfferHandler | None,
    ) -> None:
        self._ua = ua
        self._request = request
        self._on_provisional = on_provisional
        self._answerer = answerer
        self._outgoing: Outgoing | None = None
        self._session = Session(ua.session)
        self._wanted = True
        self._established: asyncio.Future[Call | NetError] = asyncio.get_running_loop().create_future()

    async def call(self, within: float) -> Call:
        """The call, or RequestRefusedError, RequestTimeoutError, FlowError. Cancelling the task cancels the INVITE."""
        try:
            async with asyncio.timeout(within):
                return await self._attempts()
        except TimeoutError:
            raise RequestTimeoutError(f"not answered in {within:g} s") from None
        finally:
            self._wanted = False
            self._abandon()

    async def _attempts(self) -> Call:
        attempt = self._ua._auth.attempt()
        self._ua._auth.prepare(self._request)
        intervals = 0
        while True:
            for name, value in self._session.ask():
                self._request.headers.set(name, value)
            way = await self._ua._way_out()
            self._outgoing = await self._ua.endpoint.send(
                self._request, way, on_response=self._response, on_failure=self._failed
            )
            result = await self._outcome(self._outgoing)
            if isinstance(result, Call):
                call, self._established = result, asyncio.get_running_loop().create_future()
                return call
            if result.status in (401, 407):
                if not attempt.answer(self._request, result):
                    raise AuthError(result)
            elif intervals < INTERVALS and self._session.too_brief(result):
                intervals += 1
                self._ua._auth.prepare(self._request)
            else:
                raise RequestRefusedError(result)
            number = h.cseq(self._request.headers).number + 1
            self._request.headers.set("CSeq", f"{number} INVITE")

    async def _outcome(self, outgoing: Outgoing) -> Call | Response:
        """The established call, or the final response that is not 2xx."""
        response = await outgoing.final()
        if not 200 <= response.status < 300:
            return response
        result = await asyncio.shield(self._established)
        if isinstance(result, NetError):
            raise result
        return result

    def _abandon(self) -> None:
        """Nobody waits any more: cancel what is under way, hang up what was just established."""
        if self._outgoing is not None and not self._outgoing.transaction.answered:
            self._outgoing.cancel()
        if self._established.done():
            result = self._established.result()
            if isinstance(result, Call):
                self._ua._spawn(result.bye())

    def _failed(self, error: NetError) -> None:
        if not self._wanted:
            log.info("cancelled INVITE to %s: %s", self._request.uri, error)

    def _response(self, response: Response) -> None:
        if response.status < 200:
            if self._on_provisional is not None and self._wanted:
                self._on_provisional(response)
        elif response.status < 300:
            self._accepted(response)

    def _accepted(self, response: Response) -> None:
        number = h.cseq(response.headers).number
        if self._ua._ack_again((DialogId.of_response(response), number)):
            return
        first = self._wanted and not self._established.done()
        try:
            dialog = Dialog.uac(self._request, response)
        except (DialogError, SipParseError) as error:
            log.warning("2xx to INVITE %s makes no dialog: %s", self._request.uri, error)
            if first:
                self._established.set_result(NetError(f"the answer makes no dialog: {error}"))
            return
        call = self._make_call(dialog, response)
        ack = dialog.ack(number)
        problem: NetError | None = None
        if not self._request.body:
            problem = self._answer_offer(call, ack)
        self._ua._acknowledge((dialog.id, number), dialog, ack)
        self._ua._remember(call)
        if problem is not None or not first:
            self._ua._spawn(call.bye("SIP;cause=488" if problem else 'SIP;cause=487;text="not wanted any more"'))
        if first:
            self._established.set_result(problem or call)

    def _make_call(self, dialog: Dialog, response: Response) -> Call:
        identity = response.headers.get("P-Asserted-Identity") or ""
        session = Session(self._ua.session, self._session.min_se)
        call = Call(self._ua, dialog, self._request.body, response.body, identity, session)
        call._confirmed.set_result(True)
        call._accepted(response)
        return call

    def _answer_offer(self, call: Call, ack: Request) -> NetError | None:
        """A delayed offer: our answer goes into the ACK (§13.2.1)."""
        try:
            if self._answerer is None:
                return NetError("the peer offers, and there is no answerer")
            call.local_sdp = self._answerer(call.remote_sdp)
        except (OfferError, SipParseError) as error:
            return NetError(f"the peer's offer cannot be answered: {error.what}")
        ack.body = call.local_sdp
        ack.headers.add("Content-Type", SDP)
        return None
