"""Responses made from requests: the headers they copy, and the answer to a request that could not be read."""

from __future__ import annotations

import re

from soip.sip.errors import SipParseError
from soip.sip.message import Headers, Request, Response

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    430: "Flow Failed",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}


def make_response(
    request: Request,
    status: int,
    reason: str = "",
    *,
    to_tag: str = "",
    body: bytes = b"",
    content_type: str = "",
) -> Response:
    """A response with the headers RFC 3261 §8.2.6.2 copies: Via, From, To, Call-ID, CSeq.

    `to_tag` is put on a To that has none (not for 100). Timestamp is copied for 100. `reason` defaults to the
    phrase of the standard.
    """
    return _respond(request.headers, status, reason, to_tag, body, content_type)


def _respond(
    headers: Headers, status: int, reason: str, to_tag: str, body: bytes = b"", content_type: str = ""
) -> Response:
    copied = _COPIED | {"timestamp"} if status == 100 else _COPIED
    items = [item for item in headers._items if item[0] in copied]
    response = Response(status, reason or REASONS.get(status, "Unknown"), Headers._of(items), body)
    if to_tag and status > 100:
        for at, (key, name, value) in enumerate(items):
            if key == "to":
                if not has_tag(value):
                    items[at] = (key, name, f"{value};tag={to_tag}")
                break
    if content_type:
        response.headers.add("Content-Type", content_type)
    return response


_COPIED = frozenset({"via", "from", "to", "call-id", "cseq"})
_TAG = re.compile(r";[ \t]*+tag[ \t]*+=", re.IGNORECASE)


def has_tag(value: str) -> bool:
    """Whether a From or To value has a tag."""
    # Only what follows the address counts: a tag in the URI's own parameters is not a dialog's.
    return _TAG.search(value, value.rfind(">") + 1) is not None


def error_response(error: SipParseError, to_tag: str = "") -> Response | None:
    """The answer to a request that could not be read, or None when there is nobody to tell.

    That is so for responses, for ACK (never answered, RFC 3261 §17), and when Via, From, To, Call-ID or CSeq
    are missing: a response without them finds no transaction.
    """
    headers = error.headers
    if headers is None or error.method is None or error.method == "ACK":
        return None
    if not all(name in headers for name in _COPIED):
        return None
    reason = f"{REASONS[error.status]} - {error.what}" if error.status == 400 else ""
    return _respond(headers, error.status, reason, to_tag)
