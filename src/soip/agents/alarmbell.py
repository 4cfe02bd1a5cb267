"""Alarms of a software camera (`soip simulate --alarm-every`): raised again and again, each until the server has it."""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from soip.control import manscdp
from soip.control.errors import ControlParseError
from soip.control.manscdp import Alarm, AlarmResponse
from soip.net.backoff import Backoff, default_jitter
from soip.net.errors import NetError
from soip.net.exchange import IncomingRequest
from soip.net.ua import ALLOW, UserAgent
from soip.sip import headers
from soip.sip.message import Response
from soip.sip.uri import Uri

_BACKOFF = Backoff(0.5, 8.0)
_VIDEO, _MOTION = 5, 2  # of GB/T 28181 Annex A: AlarmMethod, and AlarmType of that

log = structlog.get_logger(__name__)


class AlarmBell:
    """Rings every so many seconds. `run` until cancelled; give `told` to the user agent for what the server says."""

    def __init__(self, agent: UserAgent, identity: str, every: float) -> None:
        self._agent = agent
        self._identity = identity
        self._every = every
        self._log = log.bind(camera=identity)

    async def run(self) -> None:
        """Raise alarms, their SN rising. The first comes at any time of the first pause: many cameras start at once."""
        number = 0
        await asyncio.sleep(self._every * default_jitter())
        while True:
            number += 1
            now = datetime.now().isoformat(timespec="seconds")  # a device writes its own clock, without a zone
            await self._raise(Alarm(self._identity, number, now, 3, _VIDEO, f"test alarm {number}", type=_MOTION))
            await asyncio.sleep(self._every)

    async def told(self, incoming: IncomingRequest) -> None:
        """The server's answer to an alarm, a MESSAGE of its own."""
        if incoming.request.method != "MESSAGE":
            incoming.reply(405, headers=[("Allow", ALLOW)])
            return
        incoming.reply(200)
        try:
            message = manscdp.parse(incoming.request.body)
        except ControlParseError:
            return
        if isinstance(message, AlarmResponse):
            self._log.info("alarm acknowledged", sn=message.sn, ok=message.ok)

    async def _raise(self, alarm: Alarm) -> None:
        """Send one alarm until it is answered for good."""
        failures = 0
        while True:
            failures += 1
            response = await self._send(alarm)
            if response is not None and response.status < 300:
                self._log.info("alarm taken", sn=alarm.sn)
                return
            if response is not None and response.status != 503:
                self._log.warning("alarm refused", sn=alarm.sn, status=response.status)
                return
            asked = headers.retry_after(response.headers) if response is not None else None
            await asyncio.sleep(min(asked, 60) if asked is not None else _BACKOFF.delay(failures, default_jitter))

    async def _send(self, alarm: Alarm) -> Response | None:
        try:
            to = Uri("sip", "", self._agent.aor.host)
            return await self._agent.request("MESSAGE", to, manscdp.build(alarm), manscdp.CONTENT_TYPE)
        except NetError as error:
            self._log.info("alarm not sent yet", sn=alarm.sn, why=str(error))
            return None
