"""Fuzz target: what a stranger sends to the TLS port before and after a handshake."""

from __future__ import annotations

from soip.net.tls import BAD_TLS, TlsWire
from soip.net.wire import BAD_FRAMING
from tests.net.certs import NAME, ours

IDENTITY = ours().identity()
TRUST = ours().trust()


def fuzz(data: bytes) -> None:
    """Any bytes end the connection, with a fault or in good order, or are waited for; nothing is raised or made up."""
    stranger = TlsWire(IDENTITY.context())
    assert stranger.feed(data) == []
    assert stranger.ended or (stranger.partial and not stranger.ready)
    client, server = TlsWire(TRUST, NAME), TlsWire(IDENTITY.context())
    while not (client.ready and server.ready):
        server.feed(client.output())
        client.feed(server.output())
    server.feed(client.output() + data)
    assert server.fault in ("", BAD_TLS)
    client, server = TlsWire(TRUST, NAME), TlsWire(IDENTITY.context())
    while not (client.ready and server.ready):
        server.feed(client.output())
        client.feed(server.output())
    if data:
        server.feed(client.output() + client.frame(data))
        assert server.fault in ("", BAD_FRAMING)
