"""What a trace tells of a message: its start line and a few facts, each one short printable line.

Only what is named here ever leaves a message: no credentials, no body, no password of an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from soip.sip import grammar
from soip.sip.message import Message, Request, Response
from soip.sip.reply import has_tag
from soip.sip.sdp import STATIC_TYPES

LINE = 100
"""Characters of a start line."""
FACT = 160
"""Characters of one fact."""

_SDP_BYTES = 8192
_SDP_MEDIA = 6
_CODECS = 4
_DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
_WARNING = re.compile(r"[0-9]{3} [^ ]++ (\"(?>(?:[^\"\\]|\\.)*)\")")
_REASON_TEXT = re.compile(r";\s*+text\s*+=\s*+(\"(?>(?:[^\"\\]|\\.)*)\")", re.IGNORECASE)


def clean(text: str, limit: int) -> str:
    """The text as it may go to a terminal and a page: printable, and not longer than `limit`."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


View = Mapping[str, str]
"""The headers of a message that are looked at, by their names in lower case: read once, since it is done for each."""

_READ = frozenset({"call-id", "cseq", "from", "to", "content-type", "reason", "retry-after", "warning"})


def view_of(message: Message) -> View:
    """What is looked at of a message."""
    return message.headers.pick(_READ)


def opens_dialog(message: Message, view: View) -> bool:
    """Whether this is a request outside of any dialog (RFC 3261 §12.2: one inside has a To tag)."""
    return isinstance(message, Request) and not has_tag(view.get("to", ""))


def line_of(message: Message, view: View) -> str:
    """`INVITE sip:cam1@soip.local` for a request that may begin a call, `BYE` inside of one, `200 OK` for a response.

    Of the address only who and where: its password and parameters are nobody's concern.
    """
    if isinstance(message, Response):
        return _status_line(message.status, message.reason[:LINE])
    if message.method == "INVITE" and opens_dialog(message, view):
        uri = message.uri
        who = f"{uri.user}@{uri.host}" if uri.user else uri.host or "?"
        return clean(f"INVITE {uri.scheme}:{who}", LINE)
    return clean(message.method, LINE)


@lru_cache(maxsize=256)
def _status_line(status: int, reason: str) -> str:
    return clean(f"{status} {reason}".strip(), LINE)


def facts_of(message: Message, view: View) -> tuple[str, ...]:
    """What else is worth a line: why it was refused or ended, when to try again, what the media are."""
    found = []
    if isinstance(message, Response):
        if message.status < 300:
            if not message.body:
                return ()  # most are like that
        else:
            if (wait := view.get("retry-after")) is not None:
                found.append(f"Retry-After: {wait}")
            if told := warning_text(view):
                found.append(f"Warning: {told}")
    elif message.method in ("BYE", "CANCEL") and (reason := view.get("reason")) is not None:
        found.append(f"Reason: {reason}")
    if message.body and view.get("content-type", "").lower().startswith("application/sdp"):
        found.append(f"SDP: {media_line(message.body)}")
    return tuple([clean(fact, FACT) for fact in found]) if found else ()


def warning_text(view: View) -> str:
    """The text of a Warning header (RFC 3261 §20.43), for people; "" without one."""
    match = _WARNING.match(view.get("warning", ""))
    return "" if match is None else clean(grammar.unquote(match[1]), FACT)


def reason_text(view: View) -> str:
    """The text of a Reason header (RFC 3326), else its value; "" without one."""
    value = view.get("reason", "")
    match = _REASON_TEXT.search(value)
    return clean(grammar.unquote(match[1]) if match else value, FACT)


@lru_cache(maxsize=64)  # a proxy sees each twice: as it comes and as it goes
def media_line(body: bytes) -> str:
    """A session description in a line: `video H264 20000 sendonly, audio refused`; of SRTP that it is, never its keys.

    Read with a glance, not parsed: it is shown, and nothing is decided by it.
    """
    media: list[_Media] = []
    whole = ""
    for line in body[:_SDP_BYTES].decode("utf-8", "replace").splitlines():
        if line.startswith("m="):
            if len(media) == _SDP_MEDIA:
                break
            media.append(_Media(line[2:].split()))
        elif line.startswith("a=rtpmap:"):
            if media:
                media[-1].name(line[9:])
        elif line.startswith("a=") and line[2:].strip() in _DIRECTIONS:
            if media:
                media[-1].direction = line[2:].strip()
            else:
                whole = line[2:].strip()
    return ", ".join([each.words(whole) for each in media]) or "no media"


class _Media:
    """One m= line and what follows it."""

    __slots__ = ("direction", "formats", "kind", "names", "port", "secure")

    def __init__(self, words: list[str]) -> None:
        self.kind, self.port = words[0] if words else "?", words[1] if len(words) > 1 else "?"
        self.secure = "SRTP" if len(words) > 2 and "SAVP" in words[2].upper() else ""
        self.formats = words[3:23]
        self.names: dict[str, str] = {}
        self.direction = ""

    def name(self, rtpmap: str) -> None:
        number, _, encoding = rtpmap.partition(" ")
        if number in self.formats:
            self.names[number] = encoding.strip().partition("/")[0]

    def words(self, whole: str) -> str:
        if self.port == "0":
            return f"{self.kind} refused"
        codecs = dict.fromkeys(self.names.get(number) or _STATIC.get(number, "") for number in self.formats)
        named = [codec for codec in codecs if codec]
        shown = "/".join(named[:_CODECS]) + ("/…" if len(named) > _CODECS else "")
        return " ".join(filter(None, (self.kind, self.secure, shown, self.port, self.direction or whole)))


_STATIC = {str(number): entry.encoding for number, entry in STATIC_TYPES.items()}
