"""A REFER: somebody asks us to call somebody else, and is told how that goes (RFC 3515).

A REFER that was accepted is a subscription to the event `refer`: each NOTIFY carries the status line that the call has
come to (message/sipfrag), the last one its final status. One NOTIFY is under way at a time; what has changed meanwhile
is told by the next, the newest alone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from soip.net.errors import NetError
from soip.net.exchange import IncomingRequest
from soip.sip import headers as h
from soip.sip.dialog import Dialog
from soip.sip.errors import DialogError, SipParseError
from soip.sip.reply import REASONS
from soip.sip.uri import NameAddr, Uri

if TYPE_CHECKING:
    from soip.net.call import Call
    from soip.net.ua import UserAgent

log = logging.getLogger(__name__)

LIFETIME_S = 180
"""How long the subscription lasts at most: longer than anybody is let ring."""


class Referral:
    """One REFER. Exactly one of `accept` and `reject` answers it; after `accept`, `tell` as the call goes on, and once
    `finish`.

    `target` is Refer-To; `user` the user part it was sent to; `caller` who sends it, as the proxy asserts. `call` is
    the call it came in, None for one outside of calls. Raises SipParseError when Refer-To is not there exactly once.
    """

    def __init__(self, ua: UserAgent, incoming: IncomingRequest, call: Call | None) -> None:
        headers = incoming.request.headers
        self.target: NameAddr = h.refer_to(headers)
        self.user = incoming.request.uri.user
        self.call = call
        asserted = h.asserted_identity(headers)
        # Inside a call nobody is asserted again: it is the call's other end, which the proxy has let through.
        identity = NameAddr.parse(call.peer_identity) if call is not None and call.peer_identity else None
        self.caller: Uri = (identity or (asserted[0] if asserted else h.from_(headers))).uri
        self._ua = ua
        self._incoming = incoming
        # §2.4.6: in a call there may be several; outside of calls the dialog is this REFER's own
        self._event = h.EventType("refer", "" if call is None else str(h.cseq(headers).number))
        self._status = (100, REASONS[100])
        self._over = ""
        self._changed = asyncio.Event()

    def reject(self, status: int, warning: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Refuse; `warning` is text for a Warning header."""
        extra = [("Warning", h.warning(399, self._ua.aor.host, warning))] if warning else []
        self._incoming.reply(status, headers=[*extra, *headers])

    def accept(self) -> None:
        """Answer 202 and begin to tell, 100 Trying first (§2.4.4). Raises DialogError when the REFER makes no dialog
        (it is answered 400 then).
        """
        request = self._incoming.request
        if self.call is None:
            try:
                dialog = Dialog.uas(request, self._incoming.tag, self._ua.contact)
            except DialogError as error:
                self._incoming.reply(error.status, f"Bad Request - {error.what}")
                raise
        else:
            dialog = self.call.dialog
        self._incoming.reply(202, headers=self._ua._dialog_headers(request if self.call is None else None))
        self._ends = asyncio.get_running_loop().time() + LIFETIME_S
        self._ua._referrals[dialog.id, self._event.id] = self
        self._changed.set()
        self._ua._spawn(self._run(dialog))

    def tell(self, status: int, reason: str = "") -> None:
        """The call has come to this status."""
        if not self._over:
            self._status = (status, reason or REASONS.get(status, "Unknown"))
            self._changed.set()

    def finish(self, status: int, reason: str = "") -> None:
        """The call has got its final answer: nothing more will be told (§2.4.7)."""
        self.tell(status, reason)
        self._end("noresource")

    def subscribe(self, incoming: IncomingRequest) -> None:
        """A SUBSCRIBE in its dialog: who has lost interest ends it, nobody prolongs it. Raises SipParseError."""
        wanted = h.expires(incoming.request.headers)
        left = 0 if wanted == 0 else self._left
        incoming.reply(200, headers=[("Expires", str(left)), ("Contact", str(self._ua.contact))])
        if left == 0:
            self._end("timeout")
        self._changed.set()

    @property
    def _left(self) -> int:
        return max(0, round(self._ends - asyncio.get_running_loop().time()))

    def _end(self, why: str) -> None:
        self._over = self._over or why
        self._changed.set()

    async def _run(self, dialog: Dialog) -> None:
        try:
            async with asyncio.timeout(LIFETIME_S):
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    over = self._over
                    if not await self._notify(dialog, over) or over:
                        return
        except TimeoutError:
            await self._notify(dialog, "timeout")
        finally:
            self._over = self._over or "timeout"
            del self._ua._referrals[dialog.id, self._event.id]

    async def _notify(self, dialog: Dialog, over: str) -> bool:
        """One NOTIFY; False when nobody listens any more."""
        request = dialog.request("NOTIFY")
        state = f"terminated;reason={over}" if over else f"active;expires={self._left}"
        for name, value in (
            ("Event", str(self._event)),
            ("Subscription-State", state),
            ("Allow", self._ua.allow),
            ("Content-Type", "message/sipfrag;version=2.0"),
        ):
            request.headers.add(name, value)
        status, reason = self._status
        request.body = f"SIP/2.0 {status} {reason}\r\n".encode()
        try:
            response = await self._ua._exchange_in(dialog, request)
        except (NetError, SipParseError) as error:
            log.info("NOTIFY of a REFER of %s: %s", self.caller, error)
            return False
        return response.status < 300
