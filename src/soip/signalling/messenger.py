"""Messages of the server's own: to a device, that its alarm was taken; to a media server, that there was one."""

from __future__ import annotations

import asyncio
import secrets

from soip.net.errors import NetError
from soip.net.sip import SipEndpoint
from soip.signalling.flowbook import FlowBook
from soip.signalling.flows import Way
from soip.sip.message import Headers, Request
from soip.sip.uri import Uri

MESSAGE_SECONDS = 5.0
"""How long the answer to one of ours is waited for."""


class Messenger:
    """Sends MESSAGEs in the name of the domain (RFC 3428), by a way of the flow book."""

    def __init__(self, endpoint: SipEndpoint, book: FlowBook, domain: str) -> None:
        self._endpoint = endpoint
        self._book = book
        self._domain = domain

    async def send(
        self,
        uri: Uri,
        way: Way,
        body: bytes,
        content_type: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> int:
        """The status of the answer; 0 when the way is closed or nobody answers in `MESSAGE_SECONDS`."""
        resolved = self._book.resolve(way)
        if resolved is None:
            return 0
        us = f"<{Uri('sip', '', self._domain)}>"
        lines = [
            ("Max-Forwards", "70"),
            ("From", f"{us};tag={secrets.token_hex(6)}"),
            ("To", f"<{uri.address_only()}>"),
            ("Call-ID", secrets.token_hex(12)),
            ("CSeq", "1 MESSAGE"),
            # Nobody else can be asserted so: whoever comes through the proxy has a user part (RFC 3325).
            ("P-Asserted-Identity", us),
            ("Content-Type", content_type),
            *headers,
        ]
        try:
            async with asyncio.timeout(MESSAGE_SECONDS):
                return (await self._endpoint.request(Request("MESSAGE", uri, Headers(lines), body), resolved)).status
        except (NetError, TimeoutError):
            return 0
