"""SIP over WebSocket (RFC 7118), the side of the server: one message in each frame, text or binary.

Browsers come through the web role, on loopback. What it says of them (`X-Forwarded-For`, `-Proto`, `-Host`) is believed
from there only: limits then count each browser by its own address. A page may connect when it is one of ours, which is
to say of the host it connects to, or of an origin we were told.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from soip.net.errors import FlowError
from soip.net.wire import Listener, Wire
from soip.sip.errors import SipParseError
from soip.sip.message import MAX_MESSAGE, parse_message
from soip.sip.stream import Keepalive, StreamItem

BAD_WEBSOCKET = "connections closed for bad WebSocket"
FOREIGN_PAGE = "WebSockets of foreign pages refused"

_MOST_HEAD = 16_384
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

# What a peer does wrong is counted, not logged: anybody can do it.
_quiet = logging.getLogger(f"{__name__}.protocol")
_quiet.setLevel(logging.CRITICAL)


def listener(host: str, port: int, origins: frozenset[str], setting: str) -> Listener:
    """An address for browsers. `origins`: pages of other hosts that may connect, as browsers write origins."""
    return Listener("ws", host, port, setting, lambda peer: WebSocketWire(peer, origins))


class WebSocketWire(Wire):
    """One connection's WebSocket; `peer` is the host at its other end."""

    transport = "ws"
    ready = False
    talks = True

    def __init__(self, peer: str, origins: frozenset[str]) -> None:
        self._relayed = ip_address(peer).is_loopback
        self._origins = origins
        self._protocol = ServerProtocol(subprotocols=[Subprotocol("sip")], max_size=MAX_MESSAGE, logger=_quiet)
        self._head = bytearray()
        self._message = bytearray()

    @property
    def partial(self) -> bool:
        begun = self._protocol.current_size is not None or self._protocol.reader.buffer
        return not self.ready or bool(begun)

    def feed(self, data: bytes) -> list[StreamItem]:
        if self.ended:
            return []
        if not self.ready:
            data = self._shake(data)
        items: list[StreamItem] = []
        if self.ready:
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    items += self._take(event)
        if self._protocol.handshake_exc is not None or self._protocol.parser_exc is not None:
            self._end(BAD_WEBSOCKET)
        elif self._protocol.close_expected():
            self._end("")
        return items

    def frame(self, data: bytes) -> bytes:
        try:
            if _is_text(data):
                self._protocol.send_text(data)
            else:
                self._protocol.send_binary(data)  # a text frame must be UTF-8 (RFC 6455 §5.6)
        except InvalidState as error:
            raise FlowError(f"the WebSocket has ended: {error}") from error
        return self.output()

    def output(self) -> bytes:
        return b"".join(self._protocol.data_to_send())

    def probe(self) -> bytes:
        if self._protocol.state is OPEN:
            self._protocol.send_ping(b"")
        return self.output()

    def farewell(self) -> bytes:
        if self._protocol.state is OPEN:
            self._protocol.send_close(CloseCode.GOING_AWAY)
        return self.output()

    def _shake(self, data: bytes) -> bytes:
        """Take the opening request. Nothing after it is looked at before it has been answered: that is returned."""
        searched = max(0, len(self._head) - 3)
        self._head += data
        end = self._head.find(b"\r\n\r\n", searched)
        if end < 0:
            if len(self._head) > _MOST_HEAD:
                self._end(BAD_WEBSOCKET)
            return b""
        head, rest = bytes(self._head[: end + 4]), bytes(self._head[end + 4 :])
        self._head.clear()
        self._protocol.receive_data(head)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._open(event)
        return rest

    def _open(self, request: Request) -> None:
        headers = request.headers
        if not self._is_own_page(headers):
            self._protocol.send_response(self._protocol.reject(403, "This page is not one of this server's.\n"))
            self._end(FOREIGN_PAGE)
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        if response.status_code != 101:
            return
        self.ready = True
        if self._relayed:
            self.source = _address(_one(headers, "X-Forwarded-For"))
            if _one(headers, "X-Forwarded-Proto") == "https":
                self.transport = "wss"

    def _is_own_page(self, headers: Headers) -> bool:
        """Browsers always say whose page connects; what says nothing is none."""
        if "Origin" not in headers:
            return True
        origin = _one(headers, "Origin").lower()
        host = (_one(headers, "X-Forwarded-Host") if self._relayed else "") or _one(headers, "Host")
        try:
            own = urlsplit(origin).netloc
        except ValueError:
            return False
        return origin in self._origins or (own != "" and own == host.lower())

    def _take(self, frame: Frame) -> list[StreamItem]:
        if frame.opcode not in _DATA:
            return []
        self._message += frame.data
        if not frame.fin:
            return []
        message = bytes(self._message)
        self._message.clear()
        if not message.strip(b"\r\n"):
            return [Keepalive.PING] if len(message) > 2 else []  # RFC 7118 §6, RFC 5626 §4.4.1
        try:
            return [parse_message(message)]
        except SipParseError as error:
            return [error]

    def _end(self, fault: str) -> None:
        if not self.ended:
            self.ended, self.fault = True, fault


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _one(headers: Headers, name: str) -> str:
    """The value of a header field, "" when it is absent or there are several."""
    values = headers.get_all(name)
    return values[0].strip() if len(values) == 1 else ""


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
