"""Fuzz target: what a browser, or what claims to be one, sends to the WebSocket port."""

from __future__ import annotations

from soip.net.websocket import BAD_WEBSOCKET, FOREIGN_PAGE, WebSocketWire
from soip.sip.errors import SipParseError
from soip.sip.stream import StreamItem

HANDSHAKE = (
    b"GET /sip HTTP/1.1\r\nHost: soip.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
)


def fuzz(data: bytes) -> None:
    """Whole, cut in two or byte by byte: the same messages and the same end, before and after a handshake; nothing is
    raised, and nothing arrives before the handshake.
    """
    cut = data[0] % (len(data) + 1) if data else 0
    for before in (b"", HANDSHAKE):
        whole = _run([before + data])
        assert _run([before, data[:cut], data[cut:]]) == whole
        assert _run([before, *(data[at : at + 1] for at in range(len(data)))]) == whole


def _run(pieces: list[bytes]) -> tuple[list[object], bool, bool, str]:
    wire = WebSocketWire("127.0.0.1", frozenset())
    items: list[StreamItem] = []
    for piece in pieces:
        found = wire.feed(piece)
        assert not found or wire.ready
        items += found
        wire.output()
    assert wire.fault in ("", BAD_WEBSOCKET, FOREIGN_PAGE)
    return [_comparable(item) for item in items], wire.ready, wire.ended, wire.fault


def _comparable(item: StreamItem) -> object:
    return (item.what, item.offset, item.status, item.method) if isinstance(item, SipParseError) else item
