"""Serving an ASGI application inside a role: on a socket that is bound already, until cancelled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

_BACKLOG = 512
_MOST_CONNECTIONS = 4000
_MOST_FROM_BROWSER = 65_536  # Bytes of a WebSocket message: browsers only send tokens.


def configure(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn is to serve a role's application."""
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=_MOST_FROM_BROWSER,
        ws_per_message_deflate=False,  # Pictures are compressed already.
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
    )


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
