"""The way of media bytes through the web role: to the worker's HTTP face and back, untouched.

`/media/{instance}/…` goes to the HTTP address that the instance published, path and query as they came. Both
directions push back: what the browser does not take is not read from the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import httpx
import structlog
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Origin, Subprotocol

from soip.directory.errors import UnavailableError
from soip.directory.rows import MediaInstance
from soip.web.errors import ApiError, MediaAwayError
from soip.web.state import state_of

CLOSE_UNREACHABLE = 4503
"""The live socket's close code for "cannot be reached now, try again"."""

_TIMEOUT = httpx.Timeout(60, connect=3)
_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=50, keepalive_expiry=30)
_OPEN_S = 5
_MOST_FRAME = 32 << 20  # A keyframe of a large camera with its box headers is far below this.

# Only these pass; cookies in particular are none of the worker's business.
_ASKED = ("accept", "accept-encoding", "if-modified-since", "if-none-match", "if-range", "range", "user-agent")
_ANSWERED = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "retry-after",
    "x-export-parts",
)

_log = structlog.get_logger()


class MediaRelay:
    """An ASGI endpoint for `/media/{instance}/…`. Use it as `async with MediaRelay() as relay`."""

    def __init__(self) -> None:
        self.client = httpx.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, trust_env=False)

    async def __aenter__(self) -> MediaRelay:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(WebSocket(scope, receive, send))
            return
        try:
            await self._fetch(Request(scope, receive), send)
        except ApiError as error:
            body = {"error": error.code, "message": str(error)}
            await JSONResponse(body, error.status, dict(error.headers))(scope, receive, send)

    async def _fetch(self, request: Request, send: Send) -> None:
        worker = await _worker(request.scope)
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        # Without this httpx would ask for compression the browser did not offer.
        headers.setdefault("accept-encoding", "identity")
        asked = self.client.build_request(
            request.method, f"http://{worker.http}{_target(request.scope)}", headers=headers
        )
        answering = asyncio.create_task(self._answer(asked, worker, send))
        leaving = asyncio.create_task(_gone(request.receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.wait({answering, leaving})
        if not answering.cancelled():
            answering.result()

    async def _answer(self, asked: httpx.Request, worker: MediaInstance, send: Send) -> None:
        try:
            answer = await self.client.send(asked, stream=True)
        except httpx.HTTPError as error:
            raise MediaAwayError(f"the media server {worker.id!r} does not answer: try again") from error
        try:
            headers = [(name.encode(), answer.headers[name].encode()) for name in _ANSWERED if name in answer.headers]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except httpx.HTTPError as error:
            # The answer stays unfinished, so that a browser takes half a recording for no whole one.
            _log.warning("media broke off", instance=worker.id, path=asked.url.path, reason=repr(error))
        finally:
            await answer.aclose()

    async def _socket(self, browser: WebSocket) -> None:
        try:
            worker = await _worker(browser.scope)
        except (UnavailableError, MediaAwayError):
            await refuse(browser, CLOSE_UNREACHABLE)
            return
        await carry(browser, f"ws://{worker.http}{_target(browser.scope)}", _MOST_FRAME)


async def carry(
    browser: WebSocket,
    address: str,
    most: int,
    *,
    subprotocols: Sequence[Subprotocol] = (),
    origin: Origin | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Joins a browser's WebSocket with one that is opened to `address`, messages untouched, until either ends; `most`
    bytes may a message for the browser have.
    """
    try:
        async with connect(
            address,
            subprotocols=subprotocols or None,
            origin=origin,
            additional_headers=headers,
            compression=None,
            open_timeout=_OPEN_S,
            close_timeout=2,
            max_size=most,
            max_queue=4,  # More would only be delay: the worker drops by the age of its own queue.
            proxy=None,
        ) as upstream:
            await browser.accept(upstream.subprotocol)
            await _join(browser, upstream)
    except InvalidStatus as error:
        await refuse(browser, 4000 + error.response.status_code)
    except (OSError, TimeoutError, WebSocketException):
        await refuse(browser, CLOSE_UNREACHABLE)


async def _worker(scope: Scope) -> MediaInstance:
    state = state_of(HTTPConnection(scope))
    name = str(scope["path_params"]["instance"])
    worker = (await state.overview.get()).reach.get(name)
    if worker is None:
        raise MediaAwayError(f"the media server {name[:64]!r} is not running: ask for a new media address")
    return worker


def _target(scope: Scope) -> str:
    """Path and query exactly as they came: the worker decodes them, and nobody before it."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("ascii")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _join(browser: WebSocket, upstream: ClientConnection) -> None:
    """Carries messages both ways until one side ends, and tells the other side how."""
    down = asyncio.create_task(_down(upstream, browser))
    up = asyncio.create_task(_up(browser, upstream))
    try:
        await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (down, up):
            task.cancel()
        await asyncio.wait({down, up})
    if upstream.close_code is not None:
        # 1005 and 1006 say that no code was sent; they must not be sent themselves (RFC 6455 §7.4.1).
        code = upstream.close_code if upstream.close_code not in {1005, 1006} else CLOSE_UNREACHABLE
        with suppress(RuntimeError, OSError):
            await browser.close(code, upstream.close_reason or "")


async def _down(upstream: ClientConnection, browser: WebSocket) -> None:
    with suppress(ConnectionClosed, RuntimeError, OSError):
        async for message in upstream:
            if isinstance(message, str):
                await browser.send_text(message)
            else:
                await browser.send_bytes(message)


async def _up(browser: WebSocket, upstream: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while (message := await browser.receive())["type"] == "websocket.receive":
            text = message.get("text")
            await upstream.send(text if text is not None else message["bytes"])


async def refuse(browser: WebSocket, code: int) -> None:
    """Says why with a close code; a refused handshake would tell a page nothing, nor one without its subprotocol."""
    with suppress(RuntimeError, OSError):
        await browser.accept(next(iter(browser.scope["subprotocols"]), None))
        await browser.close(code if 4000 <= code <= 4999 else CLOSE_UNREACHABLE)
