"""What the SIP server tells: alarms, noted beside the recordings of the camera; cameras that went elsewhere.

The SIP server has the alarm in the directory already and repeats it until it is answered 200. The note makes a folder
of recordings tell by itself what happened when; the same alarm again replaces its own line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import structlog

from soip.control import manscdp, moved
from soip.control.errors import ControlParseError
from soip.control.manscdp import Alarm
from soip.media.context import Context
from soip.net.exchange import IncomingRequest
from soip.sip import headers
from soip.sip.errors import SipParseError
from soip.sip.message import Request
from soip.store.journal import Entry

_log = structlog.get_logger()


class Alarms:
    """Give `take` to the user agent. `note` writes a line into the journal of a camera, `lost` is told of cameras that
    went elsewhere.
    """

    def __init__(
        self, context: Context, note: Callable[[str, Entry], None], lost: Callable[[Mapping[str, int]], None]
    ) -> None:
        self._context = context
        self._note = note
        self._lost = lost

    async def take(self, incoming: IncomingRequest) -> None:
        """Answer one request outside a dialog that is neither INVITE nor OPTIONS."""
        request = incoming.request
        if request.method != "MESSAGE" or not is_of_the_server(request, self._context.domain):
            incoming.reply(405, headers=[("Allow", self._context.agent.allow)])
            return
        try:
            if request.headers.get("Content-Type") == moved.CONTENT_TYPE:
                self._lost(moved.parse(request.body))
                incoming.reply(200)
                return
            told = manscdp.parse(request.body)
        except ControlParseError as error:
            incoming.reply(488, headers=[("Warning", headers.warning(399, self._context.domain, error.what))])
            return
        if isinstance(told, Alarm):
            self._note(told.device, entry_of(told, _date_us(request) or self._context.now_us()))
            _log.info("alarm", camera=told.device, event_id=told.event_id, priority=told.priority)
        incoming.reply(200)


def is_of_the_server(request: Request, domain: str) -> bool:
    """Whether the SIP server itself has sent this. It asserts an id for everybody else, and none for itself."""
    try:
        asserted = headers.asserted_identity(request.headers)
    except SipParseError:
        return False
    return len(asserted) == 1 and not asserted[0].uri.user and asserted[0].uri.host == domain.lower()


def entry_of(alarm: Alarm, at_us: int) -> Entry:
    """The line of an alarm; `at_us` is when the SIP server took it."""
    facts: dict[str, object] = {"priority": alarm.priority, "method": alarm.method, "time": alarm.time}
    if alarm.type is not None:
        facts["type"] = alarm.type
    if alarm.description:
        facts["description"] = alarm.description
    return Entry("event", alarm.event_id, at_us, at_us, "alarm", facts=facts)


def _date_us(request: Request) -> int | None:
    """The Date of a request (RFC 3261 §20.17), None without one that can be read."""
    try:
        return int(parsedate_to_datetime(request.headers.get("Date") or "").timestamp()) * 1_000_000
    except (ValueError, OverflowError):
        return None
