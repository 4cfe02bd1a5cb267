"""Pieces of the SIP grammar that several headers share (RFC 3261 §25.1).

Every expression here is linear: alternatives start with different characters and repeats are possessive, those of
groups by an atomic group around them: interpreters before 3.11.5 go on behind what a possessive group had begun to
match when it failed (`tests/test_expressions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from soip.sip.errors import SipBuildError, SipParseError

Params = tuple[tuple[str, str | None], ...]
"""Parameters in order: name as received, value as received (still quoted if it was), None without "="."""

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]++")
_QUOTED = r'"[^"\\\x00\r\n]*+(?>(?:\\[^\r\n][^"\\\x00\r\n]*+)*)"'
QUOTED = re.compile(_QUOTED)
# A parameter: name, then perhaps "=" and a quoted string or a run without separators. Hosts with brackets and
# colons are values too (received=[2001:db8::1]), so the run only excludes what ends it.
_PARAM = re.compile(
    r"[ \t]*+;[ \t]*+(?>(?:([^\s;=,<>\"\x00]++)(?>(?:[ \t]*+=[ \t]*+(" + _QUOTED + r"|[^\s;,<>\"\x00]*+))?))?)"
)
_AUTH_PARAM = re.compile(
    r"[ \t]*+(?>(?:([^\s;=,<>\"\x00]++)[ \t]*+=[ \t]*+(" + _QUOTED + r"|[^\s,\"\x00]*+))?)[ \t]*+(?:,|\Z)"
)
_NAME_AND_VALUE = r"[ \t]*+([^\s;=,<>\"\x00]++)[ \t]*+=[ \t]*+(" + _QUOTED + r"|[^\s,\"\x00]*+)[ \t]*+(?:,|\Z)"
_AUTH_PAIRS = re.compile(f"(?>(?:{_NAME_AND_VALUE})*)")
_AUTH_PAIR = re.compile(_NAME_AND_VALUE)  # for `findall` of what is known to be such pairs only: else it is not linear
_LIST_ITEM = re.compile(r"(?>(?:[^,\"<\x00]++|" + _QUOTED + r"|<[^<>\x00]*+>)*)")
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SPACE = " \t"


def is_token(text: str) -> bool:
    """Whether `text` is a token, such as a method or a header name."""
    return TOKEN.fullmatch(text) is not None


def quote(text: str) -> str:
    """Text as a quoted string. Raises SipBuildError for line breaks and NUL, which no escape can carry."""
    if "\r" in text or "\n" in text or "\0" in text:
        raise SipBuildError("a quoted string cannot hold a line break or NUL")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The content of a quoted string; any other text as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return _UNESCAPE.sub(r"\1", inner) if "\\" in inner else inner


def address_in(reference: str) -> str:
    """The IPv6 address between brackets. The third of three colons before an IPv4 address, which the grammar of RFC
    3261 lets in by mistake, is passed over (RFC 5118 §4.10).
    """
    return reference[1:-1].replace(":::", "::") if "." in reference else reference[1:-1]


def split_list(value: str) -> list[str]:
    """The elements of a comma-separated header value, blank space removed.

    Commas in quoted strings and in angle brackets do not separate. An empty element is an error
    (RFC 4475 §3.1.2.1), and so are quotes or brackets that do not close.
    """
    if "," not in value:
        item = value.strip(_SPACE)
        if not item:
            raise SipParseError("empty list element", 0)
        return [item]
    items: list[str] = []
    at = 0
    while True:
        match = _LIST_ITEM.match(value, at)
        assert match is not None  # the expression matches the empty string
        item, end = match[0].strip(_SPACE), match.end()
        if not item:
            raise SipParseError("empty list element", at)
        items.append(item)
        if end == len(value):
            return items
        if value[end] != ",":
            raise SipParseError("quote or bracket does not close", end)
        at = end + 1


def parse_params(text: str, at: int = 0) -> Params:
    """Parameters from `text[at:]`, which is empty or starts with ";" (RFC 3261 generic-param).

    Empty parameters (";;") are passed over, since devices write them. Raises SipParseError for anything else
    that is not a parameter.
    """
    if at == len(text):
        return ()
    params: list[tuple[str, str | None]] = []
    end = len(text)
    while at < end:
        match = _PARAM.match(text, at)
        if match is None:
            if not text[at:].strip(_SPACE):
                break
            raise SipParseError("malformed parameter", at)
        if match[1] is not None:
            params.append((match[1], match[2]))
        at = match.end()
    return tuple(params)


def format_params(params: Iterable[tuple[str, str | None]]) -> str:
    """Parameters as ";a=b;c"."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params])


def find_param(params: Params, name: str) -> str | None:
    """Value of the first parameter called `name` (lower case), unquoted; "" when bare, None when absent."""
    for key, value in params:
        if key == name or key.lower() == name:
            return "" if value is None else unquote(value)
    return None


def replace_param(params: Params, name: str, value: str | None) -> Params:
    """`params` with `name=value` in place of the first of that name, or at the end."""
    out: list[tuple[str, str | None]] = []
    done = False
    for key, old in params:
        if key.lower() != name.lower():
            out.append((key, old))
        elif not done:
            out.append((key, value))
            done = True
    if not done:
        out.append((name, value))
    return tuple(out)


def replace_params(params: Params, changes: Mapping[str, str | None]) -> Params:
    """`replace_param` for several at once; their names in lower case."""
    left = dict(changes)
    out: list[tuple[str, str | None]] = []
    for key, old in params:
        name = key.lower()
        if name not in changes:
            out.append((key, old))
        elif name in left:
            out.append((key, left.pop(name)))
    return (*out, *left.items())


def parse_auth_params(text: str) -> tuple[tuple[str, str], ...]:
    """The comma-separated `name=value` list of a challenge or of credentials; values still quoted.

    Raises SipParseError for what is not such a list.
    """
    if _AUTH_PAIRS.fullmatch(text):
        return tuple(_AUTH_PAIR.findall(text))
    return _parse_unusual_auth_params(text)


def _parse_unusual_auth_params(text: str) -> tuple[tuple[str, str], ...]:
    """One by one: with empty elements, which are passed over, or with what is no parameter, which is told."""
    params: list[tuple[str, str]] = []
    at, end = 0, len(text)
    while at < end:
        match = _AUTH_PARAM.match(text, at)
        if match is None:
            raise SipParseError("malformed authentication parameter", at)
        if match[1] is not None:
            params.append((match[1], match[2]))
        at = match.end()
    return tuple(params)
