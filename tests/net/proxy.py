"""A small registrar and Record-Routing stateful proxy, made of `SipEndpoint` alone: the other end for user agents,
and the proof that the endpoint carries a proxy. The real one is `soip.signalling`, which this room may not know.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from soip.net.errors import FlowError, NetError, RequestTimeoutError
from soip.net.exchange import IncomingRequest
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip import headers as h
from soip.sip.digest import NonceIssuer, Verdict, ha1, judge, make_challenge
from soip.sip.flow import Flow
from soip.sip.message import Request, Response
from soip.sip.reply import make_response
from soip.sip.uri import NameAddr, Uri

REALM = "test"


@dataclass
class SmallProxy:
    """Registers by user part, forwards to the flow of the binding, record-routes with the two flows it joined."""

    endpoint: SipEndpoint
    passwords: dict[str, str] = field(default_factory=dict)
    algorithm: str = "SHA-256"
    expires: int = 3600
    record_route: bool = True
    pass_cancel: bool = True
    fail_register: list[int] = field(default_factory=list)  # statuses for the next REGISTERs
    bindings: dict[str, Flow] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    closed_flows: list[Flow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._nonces = NonceIssuer(b"k" * 16)
        self._joined: dict[str, tuple[Flow, Flow]] = {}

    @property
    def target(self) -> Target:
        return Target("udp", *self.endpoint.address)

    @property
    def tcp(self) -> Target:
        return Target("tcp", *self.endpoint.address)

    def new_nonces(self) -> None:
        """As after a restart: nonces of before are foreign."""
        self._nonces = NonceIssuer(b"n" * 16)

    def flow_closed(self, flow: Flow) -> None:
        self.closed_flows.append(flow)

    async def request(self, incoming: IncomingRequest) -> None:
        request = incoming.request
        self.seen.append(request.method)
        self.requests.append(request)
        if request.method == "REGISTER":
            self._register(incoming)
            return
        routes = h.routes(request.headers)
        if routes and routes[0].uri.host == self.endpoint.address[0]:
            copy = request.copy()
            h.pop_first(copy.headers, "Route")
            self._forward(incoming, copy, self._other(routes[0].uri.user, incoming.flow))
        elif self._authenticated(incoming, 407):
            flow = self.bindings.get(request.uri.user.partition(";")[0])
            if flow is None:
                incoming.reply(404)
                return
            copy = request.copy()
            copy.headers.remove("Proxy-Authorization")
            user = h.from_(request.headers).uri.user
            copy.headers.set("P-Asserted-Identity", f"<sip:{user}@{REALM}>")
            if self.record_route:
                token = f"t{len(self._joined)}"
                self._joined[token] = (incoming.flow, flow)
                host, port = self.endpoint.address
                copy.headers.prepend("Record-Route", str(NameAddr("", Uri("sip", token, host, port, (("lr", None),)))))
            self._forward(incoming, copy, flow)

    def ack(self, request: Request, flow: Flow) -> None:
        self.seen.append("ACK")
        routes = h.routes(request.headers)
        if routes:
            copy = request.copy()
            h.pop_first(copy.headers, "Route")
            other = self._other(routes[0].uri.user, flow)
            if other is not None:
                self._ack_task = asyncio.ensure_future(self.endpoint.send_stateless(copy, other))

    def _other(self, token: str, flow: Flow) -> Flow | None:
        caller, callee = self._joined[token]
        if flow.transport != caller.transport or flow.remote == callee.remote:
            return caller if flow.remote == callee.remote else callee
        return callee

    def _register(self, incoming: IncomingRequest) -> None:
        if self.fail_register:
            incoming.reply(self.fail_register.pop(0), headers=[("Min-Expires", "1800"), ("Retry-After", "0")])
        elif self._authenticated(incoming, 401):
            user = h.to(incoming.request.headers).uri.user
            asked = h.expires(incoming.request.headers) or 0
            granted = min(asked, self.expires)
            if granted:
                self.bindings[user] = incoming.flow
            else:
                self.bindings.pop(user, None)
            contact = incoming.request.headers.get("Contact")
            incoming.reply(200, headers=[("Contact", f"{contact};expires={granted}")] if granted else ())

    def _authenticated(self, incoming: IncomingRequest, status: int) -> bool:
        names = (
            ("Authorization", "WWW-Authenticate") if status == 401 else ("Proxy-Authorization", "Proxy-Authenticate")
        )
        now = asyncio.get_running_loop().time()
        request = incoming.request
        verdict = Verdict.WRONG
        for given in h.authorizations(request.headers, names[0]):
            secret = ha1(given.username, REALM, self.passwords.get(given.username, "?"), self.algorithm)
            verdict = judge(given, request.method, secret, self.algorithm, self._nonces, now)
        if verdict is Verdict.GOOD:
            return True
        challenge = make_challenge(REALM, self._nonces.issue(now), self.algorithm, stale=verdict is Verdict.STALE)
        incoming.reply(status, headers=[(names[1], str(challenge))])
        return False

    def _forward(self, incoming: IncomingRequest, copy: Request, flow: Flow | None) -> None:
        if flow is None:
            incoming.reply(430)
            return
        self._forward_task = asyncio.ensure_future(self._forwarding(incoming, copy, flow))

    async def _forwarding(self, incoming: IncomingRequest, copy: Request, flow: Flow) -> None:
        def response(response: Response) -> None:
            if response.status != 100:
                incoming.respond(response)

        def failure(error: NetError) -> None:
            status = 408 if isinstance(error, RequestTimeoutError) else 503
            incoming.respond(make_response(incoming.request, status, to_tag=incoming.tag))

        try:
            outgoing = await self.endpoint.send(copy, flow, on_response=response, on_failure=failure)
        except FlowError as error:
            failure(error)
        else:
            if self.pass_cancel:
                incoming.on_cancel(outgoing.cancel)
