"""Requests for the server itself: OPTIONS and keepalives (RFC 3261 §11.2, GB/T 28181 §9.6).

A keepalive tells the device that it is still registered. Without a binding it therefore gets no 200, and the
device registers again.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from soip.signalling.accounts import AccountTable
from soip.signalling.answers import ALLOW, Answer, bad_extension
from soip.sip import headers
from soip.sip.message import Request
from soip.sip.uri import split_user

KEEPALIVE_TYPE = "application/manscdp+xml"
_KEEPALIVE = re.compile(rb"<CmdType>\s*Keepalive\s*</CmdType>", re.IGNORECASE)


def speaks_for(request: Request, bound: Callable[[str], object], accounts: AccountTable) -> str:
    """The account whose own registered flow this request came over, "" when it is not on such a flow.

    `bound` tells whether an account is registered over the flow. Two devices may share one (a bridge), so it is the
    one in From that must be.
    """
    owner = accounts.owner_of(split_user(headers.from_(request.headers).uri.user)[0])
    return owner.id if owner is not None and bound(owner.id) else ""


def is_keepalive(request: Request) -> bool:
    """Whether this is a device's sign of life, whatever id of ours it is addressed to (GB/T 28181 §9.6: devices write
    the server's code there).
    """
    return request.method == "MESSAGE" and _KEEPALIVE.search(request.body) is not None


def answer(request: Request, *, registered: bool) -> Answer:
    """The answer to a trusted request without a user part; `registered`: its sender has a binding on this
    flow.
    """
    if required := headers.option_tags(request.headers, "Require"):
        return bad_extension(required)
    if request.method not in ("OPTIONS", "MESSAGE"):
        return Answer(405, f"{request.method} is for a camera or a person", (("Allow", ALLOW),))
    if not registered:
        return Answer(403, "not registered over this way; register first")
    if request.method == "OPTIONS":
        return Answer(200, headers=(("Allow", ALLOW), ("Accept", KEEPALIVE_TYPE)))
    kind = headers.content_type(request.headers)
    if request.body and kind != KEEPALIVE_TYPE:
        return Answer(415, "the server takes keepalives only", (("Accept", KEEPALIVE_TYPE),))
    if request.body and not is_keepalive(request):
        return Answer(488, "the server takes keepalives only")
    return Answer(200)
