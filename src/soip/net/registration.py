"""One REGISTER kept fresh (RFC 3261 §10.2): renewed in time, repeated with back-off while nobody answers."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from soip.net.backoff import Backoff, Jitter
from soip.net.errors import AuthError, FlowError, NetError, RequestRefusedError, RequestTimeoutError
from soip.sip import headers as h
from soip.sip.errors import SipParseError
from soip.sip.message import Headers, Request, Response
from soip.sip.uri import NameAddr, Uri, equivalent

log = logging.getLogger(__name__)

_INCURABLE = (400, 401, 403, 404, 405, 407, 416, 420, 604)
"""Answers that waiting does not change: the operator has to."""

Exchange = Callable[[Request], Awaitable[Response]]
"""Sends a request, answers challenges, gives the final response. Raises RequestTimeoutError or FlowError."""


class Registration:
    """Run `run()` in a task; `first` tells how the first attempt ended, `changed(registered, why)` each change."""

    def __init__(
        self,
        aor: Uri,
        contact: NameAddr,
        exchange: Exchange,
        backoff: Backoff,
        jitter: Jitter,
        changed: Callable[[bool, str], None],
    ) -> None:
        self.first: asyncio.Future[NetError | None] = asyncio.get_running_loop().create_future()
        self._aor = aor.address_only()
        self._contact = contact
        self._exchange = exchange
        self._backoff = backoff
        self._jitter = jitter
        self._changed = changed
        self._call_id = secrets.token_hex(12)
        self._tag = secrets.token_hex(6)
        self._cseq = 0
        self._until = 0.0
        self._was = False
        self._wake = asyncio.Event()

    @property
    def registered(self) -> bool:
        """Whether a binding is in force by our clock."""
        return asyncio.get_running_loop().time() < self._until

    def renew(self) -> None:
        """Register again now: over a new flow, for one."""
        self._wake.set()

    async def run(self, expires: int) -> None:
        """Register and renew, for ever, or until the first attempt is refused for good."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                granted = await self._register(expires)
            except (RequestTimeoutError, FlowError) as error:
                failures, pause = failures + 1, self._backoff.delay(failures + 1, self._jitter)
                self._tell(False, str(error))
            except RequestRefusedError as error:
                if error.status == 423:  # §10.2.8: the registrar wants longer intervals
                    expires = max(expires, h.min_expires(error.response.headers) or 0) + 1
                self._until = 0.0
                if error.status in _INCURABLE and not self.first.done():
                    self.first.set_result(error)
                    return
                failures, pause = failures + 1, self._pause(error, failures + 1)
                self._tell(False, str(error))
            else:
                failures = 0
                # Well before it ends, and not in step with everybody else.
                pause = granted * (0.5 + 0.3 * self._jitter())
                self._tell(True, f"for {granted} s")
                if not self.first.done():
                    self.first.set_result(None)
            await self._sleep(pause)

    def _pause(self, error: RequestRefusedError, failures: int) -> float:
        if error.status in _INCURABLE:
            return self._backoff.ceiling
        try:
            asked = h.retry_after(error.response.headers) or 0
        except SipParseError:
            asked = 0
        # asked for by an overloaded server; more than an hour is a mistake
        return max(min(asked, 3600), self._backoff.delay(failures, self._jitter))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _tell(self, registered: bool, why: str) -> None:
        if registered != self._was:
            self._was = registered
            self._changed(registered, why)
        elif not registered:
            log.info("%s is not registered: %s", self._aor, why)

    async def _register(self, expires: int) -> int:
        """One REGISTER; gives the seconds granted."""
        now = asyncio.get_running_loop().time()
        request = self._request(expires)
        try:
            response = await self._exchange(request)
        finally:
            self._cseq = h.cseq(request.headers).number  # a challenge was answered with a higher one
        if response.status in (401, 407):
            raise AuthError(response)
        if not 200 <= response.status < 300:
            raise RequestRefusedError(response)
        granted = self._granted(response, expires)
        self._until = now + granted
        return granted

    def _request(self, expires: int) -> Request:
        self._cseq += 1
        headers = Headers(
            [
                ("Max-Forwards", "70"),
                ("From", f"<{self._aor}>;tag={self._tag}"),
                ("To", f"<{self._aor}>"),
                ("Call-ID", self._call_id),
                ("CSeq", f"{self._cseq} REGISTER"),
                ("Contact", str(self._contact)),
                ("Expires", str(expires)),
            ]
        )
        return Request("REGISTER", Uri("sip", "", self._aor.host, self._aor.port), headers)

    def _granted(self, response: Response, asked: int) -> int:
        try:
            for contact in h.contacts(response.headers):
                if equivalent(contact.uri, self._contact.uri):
                    return max(1, h.contact_expires(contact, response.headers, asked))
            return max(1, min(asked, h.expires(response.headers) or asked))
        except SipParseError as error:
            log.debug("unreadable Contact in a registrar's answer: %s", error)
            return max(1, asked)

    async def unregister(self) -> None:
        """Remove the binding; what becomes of it matters to nobody but the registrar. Raises NetError."""
        if self.registered:
            self._until = 0.0
            await self._exchange(self._request(0))
