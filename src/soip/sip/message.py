"""SIP messages: the start line typed, header lines as received, the body as bytes (RFC 3261 §7).

Reading a message costs one pass and makes no typed headers: a registrar looks at six of fifteen lines. What
`headers.py` is asked for is parsed then, and what nobody asks for leaves as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from soip.sip import grammar
from soip.sip.errors import SipBuildError, SipParseError, UriError
from soip.sip.uri import Uri

MAX_MESSAGE = 65536
MAX_HEADERS = 256
MAX_LINE = 8192

# RFC 3261 §7.3.3 and the registry at IANA; these compact forms are read everywhere and never written by us.
COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_SPELLINGS = """
    Accept Allow Authorization Call-ID Call-Id Contact Content-Length Content-Type CSeq Cseq Date Event
    Expires From Max-Forwards Min-Expires P-Asserted-Identity Path Proxy-Authenticate
    Proxy-Authorization Reason Record-Route Require Retry-After Route Server Subject Subscription-State
    Supported To Unsupported User-Agent Via Warning WWW-Authenticate
"""
# The key of a header is its name in lower case and long form. Spellings seen on the wire skip the conversion.
_KEYS: dict[str, str] = {name: name.lower() for name in _SPELLINGS.split()}
_KEYS.update({name.lower(): name.lower() for name in _SPELLINGS.split()})
_KEYS.update(COMPACT)
_KEYS.update({name.upper(): key for name, key in COMPACT.items()})

_START = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]++) ([^ ]++) ([A-Za-z]++/[0-9]++\.[0-9]++)[ \t]*+")
_STATUS = re.compile(r"[sS][iI][pP]/2\.0 ([1-6][0-9]{2})(?>(?: (.*+))?)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(r"\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]++")
_UNSAFE = re.compile(r"[\r\n\x00]")


def header_key(name: str) -> str:
    """The one key of all spellings of a header name."""
    key = _KEYS.get(name)
    if key is None:
        key = name.lower()
        key = COMPACT.get(key, key)
    return key


class Headers:
    """Header lines in order: a multimap of raw strings whose names match in any case and in compact form.

    Names and values are kept as received, folds made one space (RFC 3261 §7.3.1). A value may hold several
    elements separated by commas; `headers.py` knows which.

    `read` holds what `headers.py` has parsed, by key: one message is asked for its From by many. A change of a header
    drops what was read of it. So are the values by key, made when first asked for and dropped by any change.
    """

    __slots__ = ("_by_key", "_items", "read")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: list[tuple[str, str, str]] = []
        self._by_key: dict[str, list[str]] | None = None
        self.read: dict[str, Any] = {}
        for name, value in items:
            self.add(name, value)

    @classmethod
    def _of(cls, items: list[tuple[str, str, str]]) -> Headers:
        headers = cls.__new__(cls)
        headers._items = items
        headers._by_key = None
        headers.read = {}
        return headers

    def _values(self, key: str) -> Sequence[str]:
        by_key = self._by_key
        if by_key is None:
            by_key = self._by_key = {}
            for each, _, value in self._items:
                if each in by_key:
                    by_key[each].append(value)
                else:
                    by_key[each] = [value]
        return by_key.get(key, ())

    def _change(self, key: str) -> None:
        """Forget what is known of the header that is about to be another."""
        self._by_key = None
        self.read.pop(key, None)

    def get(self, name: str) -> str | None:
        """The first value of that name."""
        values = self._values(header_key(name))
        return values[0] if values else None

    def pick(self, keys: frozenset[str]) -> dict[str, str]:
        """The first values of several headers in one pass, by their names in lower case and long form."""
        found: dict[str, str] = {}
        for key, _, value in self._items:
            if key in keys and key not in found:
                found[key] = value
        return found

    def get_all(self, name: str) -> list[str]:
        """All values of that name, one for each line."""
        return list(self._values(header_key(name)))

    def add(self, name: str, value: str) -> None:
        """Append a line. Raises SipBuildError for a name that is no token and a value with a line break."""
        item = _item(name, value)
        self._change(item[0])
        self._items.append(item)

    def prepend(self, name: str, value: str) -> None:
        """Insert a line above the others of its name, or at the top."""
        item = _item(name, value)
        self._change(item[0])
        for at, old in enumerate(self._items):
            if old[0] == item[0]:
                self._items.insert(at, item)
                return
        self._items.insert(0, item)

    def set(self, name: str, value: str) -> None:
        """Make this the only line of that name, in the place of the first one."""
        item = _item(name, value)
        self._change(item[0])
        for at, old in enumerate(self._items):
            if old[0] == item[0]:
                rest = [later for later in self._items[at + 1 :] if later[0] != item[0]]
                self._items[at:] = [item, *rest]
                return
        self._items.append(item)

    def set_all(self, name: str, values: Iterable[str]) -> None:
        """Make these the lines of that name, in the place of the first one; none removes them."""
        items = [_item(name, value) for value in values]
        key = header_key(name)
        self._change(key)
        at = next((n for n, item in enumerate(self._items) if item[0] == key), len(self._items))
        rest = [later for later in self._items[at:] if later[0] != key]
        self._items[at:] = items + rest

    def remove(self, name: str) -> None:
        """Drop all lines of that name; none is fine."""
        key = header_key(name)
        if not self._values(key):
            return
        self._change(key)
        self._items = [item for item in self._items if item[0] != key]

    def single(self, key: str) -> str | None:
        """The value of the only line of that key (lower case, long form); None when there are none or several."""
        values = self._values(key)
        return values[0] if len(values) == 1 else None

    def replace_first(self, name: str, value: str) -> None:
        """Change the first line of that name. Raises SipBuildError as `add` does, and ValueError when there is none."""
        item = _item(name, value)
        for at, old in enumerate(self._items):
            if old[0] == item[0]:
                self._items[at] = item
                self.read.pop(item[0], None)
                if self._by_key is not None:  # the one change that most requests meet: their Via is told the source
                    self._by_key[item[0]][0] = item[2]
                return
        raise ValueError(f"there is no {name}")

    def items(self) -> Iterator[tuple[str, str]]:
        """Name and value of each line, in order."""
        return iter([(name, value) for _, name, value in self._items])

    def copy(self) -> Headers:
        """A copy to change."""
        copy = Headers._of(self._items.copy())
        copy.read = self.read.copy()
        return copy

    def __contains__(self, name: str) -> bool:
        return bool(self._values(header_key(name)))

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._items == other._items

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({list(self.items())!r})"


def _item(name: str, value: str) -> tuple[str, str, str]:
    key = _KEYS.get(name)
    if key is None:
        if not grammar.is_token(name):
            raise SipBuildError(f"not a header name: {name!r}")
        key = header_key(name)
    if _UNSAFE.search(value):
        raise SipBuildError(f"line break in header {name}")
    return (key, name, value.strip(" \t"))


@dataclass(slots=True)
class Request:
    """A request. `method` is case-sensitive (RFC 3261 §7.1); headers may be changed, the body is bytes.

    `trail` is no part of it: what the branch of our Via is to end with when it is sent.
    """

    method: str
    uri: Uri
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    trail: str = field(default="", compare=False)

    def to_bytes(self) -> bytes:
        """The message on the wire, with the Content-Length it has."""
        if not grammar.is_token(self.method):
            raise SipBuildError(f"not a method: {self.method!r}")
        return _serialise(f"{self.method} {self.uri} SIP/2.0\r\n", self.headers, self.body)

    def copy(self) -> Request:
        """A copy whose headers may be changed: what a proxy forwards."""
        return Request(self.method, self.uri, self.headers.copy(), self.body, self.trail)


@dataclass(slots=True)
class Response:
    """A response. `reason` is for people; `status` 100 to 699."""

    status: int
    reason: str = ""
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def to_bytes(self) -> bytes:
        """The message on the wire, with the Content-Length it has."""
        if not 100 <= self.status <= 699 or _UNSAFE.search(self.reason):
            raise SipBuildError(f"not a status line: {self.status} {self.reason!r}")
        return _serialise(f"SIP/2.0 {self.status} {self.reason}\r\n", self.headers, self.body)

    def copy(self) -> Response:
        """A copy whose headers may be changed."""
        return Response(self.status, self.reason, self.headers.copy(), self.body)


Message = Request | Response


def _serialise(start: str, headers: Headers, body: bytes) -> bytes:
    parts = [start]
    length_written = False
    for key, name, value in headers._items:
        if key == "content-length":
            if length_written:
                continue
            length_written = True
            value = str(len(body))
        parts.append(f"{name}: {value}\r\n")
    parts.append("\r\n" if length_written else f"Content-Length: {len(body)}\r\n\r\n")
    return "".join(parts).encode("utf-8", "surrogateescape") + body


def parse_message(data: bytes) -> Message:
    """Read one message from a datagram (RFC 3261 §7, §18.3).

    Line breaks before it are passed over (§7.5), bytes beyond Content-Length are dropped, without
    Content-Length the body is the rest. Raises SipParseError; `reply.error_response` makes the answer it
    deserves.
    """
    if len(data) > MAX_MESSAGE:
        raise SipParseError("message too long", MAX_MESSAGE, 513)
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    head_end, body_at = find_head(data)
    if head_end < 0:
        _raise_truncated(data)
    message = parse_head(data[:head_end])
    length = _declared_length(message)
    if length is None or length == len(data) - body_at:
        message.body = data[body_at:]
        return message
    if length > len(data) - body_at:
        error = SipParseError("body shorter than Content-Length", len(data))
        raise _of_message(error, message)
    message.body = data[body_at : body_at + length]
    return message


def find_head(data: bytes | bytearray, start: int = 0) -> tuple[int, int]:
    """Where the head ends and where the body begins; (-1, -1) when the empty line is not there yet.

    Search starts at `start`. A bare LF ends a line as well as CR LF: what leaves has CR LF either way.
    """
    at = data.find(b"\r\n\r\n", start)
    end = at + 2 if at >= 0 else len(data)
    if data.find(b"\n\n", start, end) < 0 and data.find(b"\n\r\n", start, end) < 0:
        return (at, at + 4) if at >= 0 else (-1, -1)
    match = _HEAD_END.search(data, start)
    return (-1, -1) if match is None else (match.start(), match.end())


def parse_head(head: bytes) -> Message:
    """Start line and header lines, without the empty line, as a message with no body.

    Raises SipParseError.
    """
    text = head.decode("utf-8", "surrogateescape")
    breaks = text.count("\n")
    if "\0" in text or text.count("\r") != breaks or text.count("\r\n") != breaks:
        text = _normal_lines(text)
    start, _, rest = text.partition("\r\n")
    if rest[:1] in (" ", "\t"):
        raise SipParseError("folded start line", len(start))
    if "\r\n " in rest or "\r\n\t" in rest:
        rest = _FOLD.sub(" ", rest)
    items, error = _read_lines(rest, len(start) + 2)
    headers = Headers._of(items)
    if start[:4].upper() == "SIP/":
        response = _status_line(start, headers)
        if error is not None:
            raise error
        return response
    return _request_line(start, headers, error)


def _normal_lines(text: str) -> str:
    """Bare LF as CR LF; a bare CR or NUL could mean a line break to someone else, and is refused."""
    if "\0" in text:
        raise SipParseError("NUL in the head of the message", text.index("\0"))
    text = _LINE_END.sub("\r\n", text)
    if text.count("\r") != text.count("\n"):
        raise SipParseError("CR without LF in the head of the message")
    return text


def _read_lines(text: str, offset: int) -> tuple[list[tuple[str, str, str]], SipParseError | None]:
    """All readable header lines, and the first error: an answer needs the lines around a bad one."""
    items: list[tuple[str, str, str]] = []
    error: SipParseError | None = None
    lines = text.split("\r\n") if text else []
    if len(lines) > MAX_HEADERS:
        error = SipParseError("too many header lines", offset, 513)
        del lines[MAX_HEADERS:]
    keys, short = _KEYS, len(text) <= MAX_LINE
    for number, line in enumerate(lines):
        name, colon, value = line.partition(":")
        key = keys.get(name)
        if key is None:
            name = name.rstrip(" \t")
            if not colon or not grammar.is_token(name):
                error = error or SipParseError("malformed header line", offset + _length(lines[:number]))
                continue
            key = header_key(name)
        elif not colon:
            error = error or SipParseError("header line without a colon", offset + _length(lines[:number]))
        value = value.strip(" \t")
        if not short and len(name) + len(value) > MAX_LINE:
            error = error or SipParseError("header line too long", offset + _length(lines[:number]), 513)
        items.append((key, name, value))
    return items, error


def _length(lines: list[str]) -> int:
    """Of lines with their ends."""
    return sum(map(len, lines)) + 2 * len(lines)


def _status_line(line: str, headers: Headers) -> Response:
    match = _STATUS.fullmatch(line)
    if match is None:
        raise SipParseError("malformed status line", 0, 505)
    return Response(int(match[1]), match[2] or "", headers)


def _request_line(line: str, headers: Headers, error: SipParseError | None) -> Request:
    match = _START.fullmatch(line)
    if match is None:
        raise _answerable(SipParseError("malformed request line"), line.split(" ", 1)[0], headers)
    method, target, version = match.groups()
    if version.upper() != "SIP/2.0":
        error = SipParseError("unknown SIP version", match.start(3), 505)
    if error is None:
        try:
            return Request(method, Uri.parse(target), headers)
        except UriError as bad:
            error = SipParseError(bad.what, len(method) + 1 + bad.offset, bad.status)
    raise _answerable(error, method, headers)


def _answerable(error: SipParseError, method: str, headers: Headers) -> SipParseError:
    if grammar.is_token(method):
        error.method, error.headers = method, headers
    return error


def _of_message(error: SipParseError, message: Message) -> SipParseError:
    return _answerable(error, message.method, message.headers) if isinstance(message, Request) else error


def _raise_truncated(data: bytes) -> None:
    """A datagram without the empty line: read what there is, for the sake of an answer."""
    error = SipParseError("no empty line after the headers", len(data))
    message = parse_head(data.rstrip(b"\r\n"))
    raise _of_message(error, message)


def _declared_length(message: Message) -> int | None:
    try:
        return content_length(message.headers)
    except SipParseError as error:
        raise _of_message(error, message) from None


def content_length(headers: Headers) -> int | None:
    """Content-Length, None when absent. Raises SipParseError when malformed, too large, or given twice
    with different values (RFC 4475 §3.3.9)."""
    length: int | None = None
    for value in headers.get_all("Content-Length"):
        if not (value.isascii() and value.isdigit()) or len(value) > 9:
            raise SipParseError("malformed Content-Length")
        if length is not None and length != int(value):
            raise SipParseError("conflicting Content-Length")
        length = int(value)
    if length is not None and length > MAX_MESSAGE:
        raise SipParseError("body too long", 0, 513)
    return length
