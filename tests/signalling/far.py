"""Another SIP server for the tests of routes: an endpoint on loopback with a registrar's and a proxy's manners."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from soip.net.exchange import IncomingRequest
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.wire import Listener
from soip.sip import headers as h
from soip.sip.digest import ha1, verify
from soip.sip.flow import Flow
from soip.sip.message import Headers, Request, Response
from soip.sip.uri import Uri

_numbers = itertools.count(1)
WITHIN = 30.0
USER, PASSWORD, REALM = "site", "route-secret", "pbx.example"
CHALLENGE = f'Digest realm="{REALM}", nonce="n1", algorithm=MD5, qop="auth"'


class Far:
    """Keeps what arrives until the test answers it; OPTIONS and, with `asks`, challenges it deals with itself."""

    def __init__(self, *, asks: tuple[str, ...] = ()) -> None:
        self.arrived: asyncio.Queue[IncomingRequest] = asyncio.Queue()
        self.acks: asyncio.Queue[Request] = asyncio.Queue()
        self.options = asyncio.Event()
        self.asked: list[Request] = []
        """The OPTIONS that were answered."""
        self.challenged: list[Request] = []
        self.answer_options = 200
        self.refuses: Callable[[Request], int] = lambda request: 0
        self.endpoint: SipEndpoint
        self._asks = asks

    @property
    def port(self) -> int:
        return self.endpoint.address[1]

    def request(self, incoming: IncomingRequest) -> None:
        request = incoming.request
        refused = 0 if request.method == "OPTIONS" else self.refuses(request)
        if refused:
            incoming.reply(refused)
        elif request.method in self._asks and not self._knows(request):
            register = request.method == "REGISTER"
            status, name = (401, "WWW-Authenticate") if register else (407, "Proxy-Authenticate")
            incoming.reply(status, headers=((name, CHALLENGE),))
            self.challenged.append(request)
        elif request.method == "OPTIONS":
            incoming.reply(self.answer_options)
            self.asked.append(request)
            self.options.set()
        else:
            self.arrived.put_nowait(incoming)

    def _knows(self, request: Request) -> bool:
        name = "Authorization" if request.method == "REGISTER" else "Proxy-Authorization"
        secret = ha1(USER, REALM, PASSWORD)
        given = [each for each in h.authorizations(request.headers, name) if each.realm == REALM]
        return any(each.username == USER and verify(each, request.method, secret) for each in given)

    def ack(self, request: Request, flow: Flow) -> None:
        self.acks.put_nowait(request)

    def flow_closed(self, flow: Flow) -> None:
        pass

    async def arrives(self, method: str) -> IncomingRequest:
        """The next request; it must be of this method."""
        incoming = await asyncio.wait_for(self.arrived.get(), WITHIN)
        assert incoming.request.method == method, incoming.request
        return incoming

    def accept(self, incoming: IncomingRequest, status: int = 200) -> Response:
        """Answer an INVITE, with our contact and the recorded route."""
        routes = [("Record-Route", value) for value in incoming.request.headers.get_all("Record-Route")]
        return incoming.reply(status, headers=(*routes, ("Contact", f"<sip:carl@127.0.0.1:{self.port}>")))

    def back(self, method: str, invite: Request, answer: Response) -> Request:
        """A request of the called side in the dialog of an INVITE that arrived."""
        lines = [
            ("Max-Forwards", "70"),
            ("From", answer.headers.get("To") or ""),
            ("To", invite.headers.get("From") or ""),
            ("Call-ID", h.call_id(invite.headers)),
            ("CSeq", f"77 {method}"),
            *(("Route", str(route)) for route in h.record_routes(invite.headers)),
        ]
        return Request(method, h.contacts(invite.headers)[0].uri, Headers(lines))

    async def asks(self, method: str, uri: str, way: Target | Flow, *headers: tuple[str, str]) -> Response:
        """A request outside a dialog, of carl, to its final response."""
        return await self.endpoint.request(self.new(method, uri, *headers), way)

    def new(self, method: str, uri: str, *headers: tuple[str, str]) -> Request:
        """A request outside a dialog, of carl."""
        lines = [
            ("Max-Forwards", "70"),
            ("From", "<sip:carl@pbx.example>;tag=far"),
            ("To", f"<{uri}>"),
            ("Call-ID", f"far-{next(_numbers)}"),
            ("CSeq", f"1 {method}"),
            ("Contact", f"<sip:carl@127.0.0.1:{self.port}>"),
            *headers,
        ]
        return Request(method, Uri.parse(uri), Headers(lines))


@asynccontextmanager
async def far(*, asks: tuple[str, ...] = (), listeners: tuple[Listener, ...] = ()) -> AsyncIterator[Far]:
    """Another server that runs while the block does."""
    made = Far(asks=asks)
    made.endpoint = SipEndpoint("127.0.0.1", 0, listeners=listeners)
    await made.endpoint.start()
    made.endpoint.serve(made)
    try:
        yield made
    finally:
        await made.endpoint.close()
