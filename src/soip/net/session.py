"""The session timer of one call at work (RFC 4028): refreshes are sent, and a call that was not refreshed is ended.

A refresh is an UPDATE without a body where the peer allows that (it touches no media), else a re-INVITE with the
description that is in force.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from soip.net.errors import NetError, RequestRefusedError
from soip.sip import headers as h
from soip.sip.errors import DialogError, SipParseError
from soip.sip.message import Response
from soip.sip.session import Due, Session

if TYPE_CHECKING:
    from soip.net.call import Call

log = logging.getLogger(__name__)


class Keeper:
    """`schedule` after each agreement about the session; `stop` at the end of the call."""

    def __init__(self, call: Call, session: Session) -> None:
        self._call = call
        self._session = session
        self._timer: asyncio.TimerHandle | None = None

    def schedule(self) -> None:
        """Wake up when something is next due."""
        self.stop()
        deadline = self._session.next_deadline()
        if deadline is not None and self._call.end is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(deadline, lambda: self.advance(loop.time()))

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def advance(self, now: float) -> None:
        """Do what is due at this time of the loop's clock."""
        due = self._session.advance(now)
        ua = self._call._ua
        if due is Due.EXPIRED:
            log.info("call %s was not refreshed", self._call.dialog.id.call_id)
            ua._spawn(self._call.bye('SIP;cause=408;text="the session was not refreshed"'))
        elif due is Due.REFRESH:
            ua._spawn(self._refresh())
        elif due is Due.ASK:
            ua._spawn(self._ask())
        self.schedule()

    async def _refresh(self) -> None:
        try:
            if "UPDATE" in self._call.peer_allows:
                await self._update()
            else:
                await self._call.reinvite(self._call.local_sdp)
        except RequestRefusedError as error:
            self._refused(error.response)
        except NetError as error:  # no answer has ended the call already; another way may be open again later
            log.info("refresh of call %s: %s", self._call.dialog.id.call_id, error)
            self._refused(None)

    async def _update(self) -> None:
        """UPDATE without an offer (RFC 3311 §5.1)."""
        response = await self._call.request("UPDATE", headers=self._session.ask())
        if self._session.too_brief(response):
            response = await self._call.request("UPDATE", headers=self._session.ask())
        if not 200 <= response.status < 300:
            raise RequestRefusedError(response)
        with suppress(DialogError):  # an unusable Contact moves nothing
            self._call.dialog.update(response, "UPDATE")
        self._call._accepted(response)

    def _refused(self, response: Response | None) -> None:
        pause = 0
        if response is not None:
            with suppress(SipParseError):
                pause = h.retry_after(response.headers) or 0
        self._session.failed(asyncio.get_running_loop().time(), pause)
        self.schedule()

    async def _ask(self) -> None:
        with suppress(NetError):  # no answer, or that there is no such dialog, has ended the call already
            await self._call.request("OPTIONS")
        self._session.answered(asyncio.get_running_loop().time())
        self.schedule()
