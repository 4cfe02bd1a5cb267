"""SIP over a byte stream: messages framed by Content-Length, keepalives in between (RFC 3261 §18.3, RFC 5626
§4.4.1).

Order of calls: `feed` what was read, handle every item it returns, and close the connection when `broken` is
set.
"""

from __future__ import annotations

import re
from enum import Enum

from soip.sip.errors import SipParseError
from soip.sip.message import (
    MAX_MESSAGE,
    Message,
    Request,
    content_length,
    find_head,
    parse_head,
)


class Keepalive(Enum):
    """CR LF between messages (RFC 5626 §4.4.1)."""

    PING = b"\r\n\r\n"
    """Asks for a PONG; sent by the side that opened the connection."""
    PONG = b"\r\n"
    """The answer to a PING."""


_LINE_BREAKS = re.compile(rb"(?>(?:\r\n)+)")

StreamItem = Message | Keepalive | SipParseError


class StreamParser:
    """Cuts one connection's bytes into messages and keepalives, however they were segmented.

    `opened` says that we opened the connection: then a lone CR LF is the PONG to our own PING. On a
    connection that a peer opened it is half a PING, and the other half is waited for. Memory is bounded by
    MAX_MESSAGE and the size of one `feed`.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self._opened = opened
        self._buffer = bytearray()
        self._searched = 0
        self._pending: Message | SipParseError | None = None
        self._body_length = 0
        self.broken: SipParseError | None = None
        """Why the framing is lost: nothing after this point can be read."""

    def feed(self, data: bytes) -> list[StreamItem]:
        """Take bytes, return what is complete.

        A message that cannot be read but whose end is known comes as a SipParseError, fit for
        `reply.error_response`, and the stream goes on. When the end is not known either, the error is the
        last item and `broken` is set; further bytes are ignored.
        """
        items: list[StreamItem] = []
        if self.broken is not None:
            return items
        self._buffer += data
        try:
            while (item := self._next()) is not None:
                items.append(item)
        except SipParseError as error:
            self.broken = error
            self._buffer.clear()
            items.append(error)
        return items

    def _next(self) -> StreamItem | None:
        if self._pending is None:
            keepalive = self._take_line_breaks()
            if keepalive is not None or not self._take_head():
                return keepalive
        item = self._pending
        if item is None or len(self._buffer) < self._body_length:
            return None
        body = bytes(self._buffer[: self._body_length])
        del self._buffer[: self._body_length]
        self._pending = None
        if not isinstance(item, SipParseError):
            item.body = body
        return item

    @property
    def partial(self) -> bool:
        """Whether a message has begun and its end is waited for."""
        return self._pending is not None or bool(self._buffer.lstrip(b"\r\n"))

    def _take_line_breaks(self) -> Keepalive | None:
        """All line breaks in front, however many, as one keepalive: a peer must not make us work by the byte."""
        found = _LINE_BREAKS.match(self._buffer)
        if found is None:
            return None
        if self._opened:
            del self._buffer[: found.end()]
            return Keepalive.PONG  # Only who opened a connection pings: two at once are two PONGs (RFC 5626 §3.5.1).
        if found.end() > 2:
            del self._buffer[: found.end()]
            return Keepalive.PING
        if self._buffer[2:].lstrip(b"\r"):
            del self._buffer[:2]  # before a message it means nothing (RFC 3261 §7.5)
        return None

    def _take_head(self) -> bool:
        """Move a complete head from the buffer to `_pending`. Raises when the framing is lost."""
        if self._buffer[:1] == b"\r" and len(self._buffer) < 4:
            return False
        # The empty line may have begun three bytes before what was new.
        end, body_at = find_head(self._buffer, max(0, self._searched - 3))
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > MAX_MESSAGE:
                raise SipParseError("head too long", MAX_MESSAGE, 513)
            return False
        self._searched = 0
        self._pending, self._body_length = _read_head(bytes(self._buffer[:end]))
        del self._buffer[:body_at]
        return True


def _read_head(head: bytes) -> tuple[Message | SipParseError, int]:
    """The message, or why it cannot be read, and the length of its body. Raises when that is unknown."""
    item: Message | SipParseError
    if len(head) > MAX_MESSAGE:
        raise SipParseError("head too long", MAX_MESSAGE, 513)
    try:
        item = parse_head(head)
        headers = item.headers
    except SipParseError as error:
        if error.headers is None:
            raise
        item, headers = error, error.headers
    try:
        length = content_length(headers)
        if length is None:
            # Without it the next message cannot be found (RFC 3261 §20.14).
            raise SipParseError("no Content-Length on a stream")
    except SipParseError as error:
        if isinstance(item, Request):
            error.method, error.headers = item.method, headers
        raise
    if len(head) + length > MAX_MESSAGE:
        raise SipParseError("message too long", MAX_MESSAGE, 513)
    return item, length
