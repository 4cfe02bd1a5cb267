"""Serving an ASGI application inside a role: on a socket that is bound already, until cancelled.

Both HTTP faces, the web role's and a media worker's, are served by this, with the same bounds on who connects and
what they send before it is known who they are.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_CONNECTIONS = 4000
MOST_HEAD = 65_536
"""Bytes a request's line and header fields may take, beyond those of the read that brings their beginning."""
REQUEST_S = 15.0
"""Within this a request has to be there, head and body; and a new connection has to have sent one."""
_BACKLOG = 512
_MOST_FROM_BROWSER = 65_536  # Bytes of a WebSocket message: browsers only send tokens.
_TOO_LARGE = b'{"error": "too_large", "message": "the request\'s header fields are too large"}'


def configure(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn is to serve a role's application."""
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        http=_Protocol,
        ws="websockets-sansio",
        ws_max_size=_MOST_FROM_BROWSER,
        ws_per_message_deflate=False,  # Pictures are compressed already.
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
    )


class _Protocol(HttpToolsProtocol):
    """HTTP whose requests are bounded while they arrive: uvicorn itself would store and wait without end."""

    _head: int | None = None  # Bytes that came for the head under way after its first ones.
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        # uvicorn answers 503 to requests beyond its limit; connections that ask nothing do not get that far.
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            if self._head > MOST_HEAD:
                self._refuse()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        self._wait()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._wait_no_longer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Any byte ends uvicorn's own wait for the next request, even one that begins none.
        if self._patience is None and self.cycle.response_complete:
            self._wait()

    def _wait(self) -> None:
        self._wait_no_longer()
        self._patience = self.loop.call_later(REQUEST_S, self.transport.close)

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self) -> None:
        """Says why (RFC 6585 §5), unless that would stand amid another answer, and closes."""
        if self.cycle is None or self.cycle.response_complete:
            head = (
                b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Type: application/json"
            )
            self.transport.write(b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(_TOO_LARGE), _TOO_LARGE))
        self.transport.close()


class _Server(uvicorn.Server):
    """A server whose process has its own idea of signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(config: uvicorn.Config, listener: socket.socket) -> None:
    """Serve on a socket until cancelled, then end its connections within a few seconds."""
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens. Raises OSError, gaierror."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
