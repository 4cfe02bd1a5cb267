"""What holds for every request and answer: bounded bodies, and headers that leave a browser nothing to guess."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soip.web.errors import TooLargeError
from soip.web.metrics import Traffic

MOST_BODY = 16_384

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self' blob:",  # Live pictures and hls.js both play from a MediaSource.
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # Media addresses carry tokens.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


class Guard:
    """An ASGI wrapper around everything; it looks at no byte of what passes, and counts what does."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        traffic = self._traffic
        if scope["type"] != "http":
            traffic.sockets += 1
            try:
                await self._app(scope, receive, send)
            finally:
                traffic.sockets -= 1
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                traffic.answered(scope["method"], message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        traffic.under_way += 1
        try:
            # Told at once where the length is announced; a body sent in chunks is stopped when it gets too long.
            if int(Headers(scope=scope).get("content-length") or 0) > MOST_BODY:
                raise TooLargeError(MOST_BODY)
            await self._app(scope, _bounded(receive), answer)
        except TooLargeError as error:
            body = {"error": error.code, "message": str(error)}
            await JSONResponse(body, error.status)(scope, receive, answer)
        finally:
            traffic.under_way -= 1


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BODY:
            raise TooLargeError(MOST_BODY)
        return message

    return bounded
