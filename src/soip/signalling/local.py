"""Requests for the server itself: OPTIONS, and what devices tell it (RFC 3261 §11.2, GB/T 28181 §9.4, §9.6).

A keepalive tells the device that it is still registered. Without a binding it therefore gets no 200, and the
device registers again. An alarm is answered by `alarms.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from soip.control import manscdp
from soip.control.errors import ControlParseError
from soip.control.manscdp import Alarm, Keepalive
from soip.signalling.accounts import AccountTable
from soip.signalling.answers import ALLOW, Answer, bad_extension
from soip.signalling.events import ALLOW_EVENTS
from soip.sip import headers
from soip.sip.message import Request
from soip.sip.uri import split_user

NOTICE_TYPE = manscdp.CONTENT_TYPE.lower()


def speaks_for(request: Request, bound: Callable[[str], object], accounts: AccountTable) -> str:
    """The account whose own registered flow this request came over, "" when it is not on such a flow.

    `bound` tells whether an account is registered over the flow. Two devices may share one (a bridge), so it is the
    one in From that must be.
    """
    owner = accounts.owner_of(split_user(headers.from_(request.headers).uri.user)[0])
    return owner.id if owner is not None and bound(owner.id) else ""


def is_notice(request: Request) -> bool:
    """Whether a device tells the server itself something, whatever id it addresses (devices write the server's code
    there). The body is not looked at: nobody has been asked yet who is sending it.
    """
    return request.method == "MESSAGE" and headers.content_type(request.headers) == NOTICE_TYPE


def answer(request: Request, *, registered: bool) -> Answer | Alarm:
    """The answer to a trusted request for the server itself; `registered`: its sender has a binding on this flow.

    An alarm is given back instead: what is answered to it is not decided here, and does not depend on a binding.
    """
    if required := headers.option_tags(request.headers, "Require"):
        return bad_extension(required)
    if request.method not in ("OPTIONS", "MESSAGE"):
        return Answer(405, f"{request.method} is for a camera or a person", (("Allow", ALLOW),))
    told = _message(request) if request.method == "MESSAGE" else None
    if isinstance(told, Alarm):
        return told
    if not registered:
        return Answer(403, "not registered over this way; register first")
    if told is None:
        kinds = ("Accept", manscdp.CONTENT_TYPE), ("Allow-Events", ALLOW_EVENTS)
        return Answer(200, headers=(("Allow", ALLOW), *kinds))
    return told


def _message(request: Request) -> Answer | Alarm:
    """What is answered to a MESSAGE of a registered device, or the alarm it tells."""
    if not request.body:
        return Answer(200)
    if headers.content_type(request.headers) != NOTICE_TYPE:
        return Answer(415, "the server takes keepalives and alarms only", (("Accept", manscdp.CONTENT_TYPE),))
    try:
        told = manscdp.parse(request.body)
    except ControlParseError as error:
        return Answer(488, error.what)
    if isinstance(told, Alarm):
        return told
    return Answer(200) if isinstance(told, Keepalive) else Answer(488, "the server takes keepalives and alarms only")
