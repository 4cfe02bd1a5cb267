"""SIP over a byte stream: messages framed by Content-Length, keepalives in between (RFC 3261 §18.3, RFC 5626
§4.4.1).

Order of calls: `feed` what was read, handle every item it returns, and close the connection when `broken` is
set.
"""

from __future__ import annotations

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

    def _take_line_breaks(self) -> Keepalive | None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n\r\n"):
            del buffer[:4]
            return Keepalive.PING
        if buffer == b"\r\n" and self._opened:
            buffer.clear()
            return Keepalive.PONG
        if buffer.startswith(b"\r\n") and (len(buffer) > 3 or (len(buffer) == 3 and buffer[2] != 13)):
            # What follows is a message: the line break before it means nothing (RFC 3261 §7.5).
            del buffer[:2]
            return Keepalive.PONG if self._opened else None
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
