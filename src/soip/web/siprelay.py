"""The way of SIP through the web role: from a page's WebSocket to the SIP server's, messages untouched.

The SIP server decides all of it, also whose page may connect; it is told whose address, host and scheme were asked for,
which it believes from this machine only.
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.typing import Origin, Subprotocol

from soip.directory.errors import UnavailableError
from soip.directory.settings import SIP_WEBSOCKET
from soip.web.relay import CLOSE_UNREACHABLE, carry, refuse
from soip.web.state import state_of

_MOST_MESSAGE = 65_536  # What SIP takes at most over any transport.


class SipRelay:
    """An ASGI endpoint for `WS /sip`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser = WebSocket(scope, receive, send)
        try:
            address = await state_of(browser).directory.settings.get(SIP_WEBSOCKET)
        except UnavailableError:
            address = None
        if address is None:
            await refuse(browser, CLOSE_UNREACHABLE)
            return
        origin = browser.headers.get("origin")
        await carry(
            browser,
            f"ws://{address}/sip",
            _MOST_MESSAGE,
            subprotocols=[Subprotocol(name) for name in scope["subprotocols"]],
            origin=None if origin is None else Origin(origin),
            headers=_forwarded(browser),
        )


def _forwarded(browser: WebSocket) -> dict[str, str]:
    """What the SIP server cannot see itself."""
    return {
        "X-Forwarded-For": browser.client.host if browser.client else "",
        "X-Forwarded-Proto": "https" if browser.url.scheme == "wss" else "http",
        "X-Forwarded-Host": browser.headers.get("host", ""),
    }
