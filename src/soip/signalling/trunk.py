"""One route to another SIP server: its hops, our account there, whether it is up.

A request goes to one hop after the other until one takes it (RFC 3263 §4.3): a hop that does not answer, cannot be
reached or says 503 is left for the next, and tried last for a while. A challenge of the other side is answered with the
route's credentials, whoever's request it is.

What is known of the route comes from its REGISTER, where we keep one, else from an OPTIONS each half minute, and from
every call. While nobody answers there, new requests are refused at once rather than after the 32 s of a transaction.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from soip.config import SipRoute
from soip.net.auth import Authenticator
from soip.net.backoff import Backoff, default_jitter
from soip.net.errors import FlowError, NetError
from soip.net.exchange import Outgoing
from soip.net.registration import Registration
from soip.net.resolver import Resolver, draw
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip import headers as h
from soip.sip.digest import Credentials
from soip.sip.errors import SipError
from soip.sip.flow import Flow
from soip.sip.locate import is_literal, places
from soip.sip.message import Headers, Request, Response
from soip.sip.uri import NameAddr, Uri

PROBE_SECONDS = 30.0
AVOID_SECONDS = 60.0
"""For how long a hop that failed is tried last."""
MAX_HOPS = 16
REFUSED_SECONDS = 300.0
"""After a registration that was refused for good: somebody may have set it right there."""
EXPIRES = 600

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a route: `up`, `down` (nobody answers), `refused` (our registration), or `unknown`."""

    name: str = "unknown"
    why: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """What who sends a request wants to know on its way. `prepare` is called with the copy for each hop, `again` with
    one that answers a challenge, `started` when it has left, `passing` with each response under 300; once `wanted` is
    false no further hop is tried.
    """

    prepare: Callable[[Request, Target], None] = lambda request, target: None
    again: Callable[[Request], None] = lambda request: None
    started: Callable[[Outgoing], None] = lambda outgoing: None
    passing: Callable[[Response], None] = lambda response: None
    wanted: Callable[[], bool] = lambda: True


class Trunk:
    """See above. `changed` is called when the state is another. `transports`: what we can speak."""

    def __init__(
        self,
        route: SipRoute,
        endpoint: SipEndpoint,
        resolver: Resolver,
        transports: tuple[str, ...],
        domain: str,
        changed: Callable[[], None],
    ) -> None:
        self.route = route
        self.state = State()
        self.flow: Flow | None = None
        """The connection over which we are registered."""
        self._endpoint = endpoint
        self._resolver = resolver
        self._transports = transports
        self._domain = domain
        self._changed = changed
        self._next_hop = Uri.parse(route.to)
        credentials = Credentials(route.username, route.password) if route.username else None
        self._auth = Authenticator(credentials)
        self._registration: Registration | None = None
        self._hosts: set[str] = {self._next_hop.host} if is_literal(self._next_hop.host) else set()
        self._avoided: dict[Target, float] = {}

    @property
    def is_down(self) -> bool:
        """Whether the last request there found nobody."""
        return self.state.name == "down"

    def is_at(self, host: str) -> bool:
        """Whether one of the hops has this address."""
        return host in self._hosts

    # -- requests of others

    async def send(self, request: Request, watch: Watch) -> Response:
        """A copy of the request over this route, to its final response. Its CSeq stays when a challenge is answered:
        the caller's dialog goes by it, and a new transaction is told by its branch.

        Raises RequestTimeoutError or FlowError of the last hop.
        """
        try:
            return await self._send(request, self._named(request), watch)
        except NetError:
            if self.is_down and self._registration is not None:
                self._registration.renew()  # or this was known only when it is due
            raise

    async def _send(self, request: Request, named: Target | None, watch: Watch) -> Response:
        failure: NetError = FlowError(f"{self.route.to} leads nowhere")
        answer: Response | None = None
        async with aclosing(self._targets(named)) as targets:
            async for target in targets:
                try:
                    answer = await self._ask(request.copy(), target, watch)
                except NetError as error:
                    answer, failure = None, error
                else:
                    self._heard()
                    if answer.status != 503:
                        return answer
                self._avoid(target)
                if not watch.wanted():
                    break
        if answer is not None:
            return answer
        if watch.wanted():
            self._tell("down", str(failure))
        raise failure

    async def hop(self, request: Request) -> Target:
        """Where a request of a dialog goes that has no answer: an ACK. Raises FlowError."""
        return await self._first(self._named(request))

    async def _first(self, named: Target | None) -> Target:
        async with aclosing(self._targets(named)) as targets:
            async for target in targets:
                return target
        raise FlowError(f"{self.route.to} leads nowhere")

    async def _ask(self, request: Request, target: Target, watch: Watch) -> Response:
        attempt = self._auth.attempt()

        def passing(response: Response) -> None:
            if response.status < 300:
                watch.passing(response)

        watch.prepare(request, target)
        self._auth.prepare(request)
        while True:
            outgoing = await self._endpoint.send(request, target, on_response=passing)
            watch.started(outgoing)
            final = await outgoing.final()
            if not self._is_for_us(final) or not attempt.answer(request, final):
                return final
            watch.again(request)

    def _is_for_us(self, response: Response) -> bool:
        """Whether a challenge is of the realm in which we have an account: one of somebody further on is not, and a
        digest for whoever asks is something to guess the password by.
        """
        realm = self.route.realm
        names = [name for name in ("WWW-Authenticate", "Proxy-Authenticate") if name in response.headers]
        try:
            found = {challenge.realm for name in names for challenge in h.challenges(response.headers, name)}
        except SipError:
            return False
        return not realm or realm in found

    async def _targets(self, named: Target | None) -> AsyncGenerator[Target, None]:
        """The hops to try, `named` first, at most so many. Raises FlowError."""
        tried: set[Target] = set()
        if named is not None:
            tried.add(named)
            yield named
        try:
            found = await self._resolver.places(places(self._next_hop, self._transports, draw))
        except SipError as error:
            raise FlowError(f"route {self.route.name}: {error}") from error
        late: list[Target] = []
        now = asyncio.get_running_loop().time()
        for place in found:
            try:
                targets = await self._resolver.targets(place, self._endpoint.family)
            except FlowError as error:
                _log.debug("hop without an address", route=self.route.name, reason=str(error))
                continue
            for target in targets:
                if len(self._hosts) < 2 * MAX_HOPS:
                    self._hosts.add(target.host)
                if target in tried or len(tried) >= MAX_HOPS:
                    continue
                tried.add(target)
                if self._avoided.get(target, 0.0) > now:
                    late.append(target)
                else:
                    yield target
        for target in late:
            yield target

    def _named(self, request: Request) -> Target | None:
        """The hop that a dialog itself names, by its route set or remote target (RFC 3261 §16.6 step 6), if it is one
        of this route's: nobody is to make us call others, nor in the clear where the route is not.
        """
        if not h.to(request.headers).tag:
            return None
        routes = h.routes(request.headers)
        uri = routes[0].uri if routes else request.uri
        if not uri.is_sip or uri.host not in self._hosts:
            return None
        try:
            found = Target.of(uri)
        except FlowError:
            return None
        if found.transport not in self._transports or (found.transport != "tls" and self._is_private):
            return None
        return Target(found.transport, found.host, found.port, name=self._next_hop.host)

    @property
    def _is_private(self) -> bool:
        return self._next_hop.scheme == "sips" or (self._next_hop.param("transport") or "").lower() == "tls"

    def _avoid(self, target: Target) -> None:
        now = asyncio.get_running_loop().time()
        self._avoided = {known: until for known, until in self._avoided.items() if until > now}
        if len(self._avoided) < 2 * MAX_HOPS:
            self._avoided[target] = now + AVOID_SECONDS

    # -- what is known

    def _heard(self) -> None:
        """Somebody has answered. Where we register, that alone does not make it up."""
        if not self.route.register_there or (self._registration is not None and self._registration.registered):
            self._tell("up")

    def _tell(self, name: str, why: str = "") -> None:
        if (before := self.state).name != name:
            self.state = State(name, why)
            log = _log.info if name == "up" else _log.warning
            log("route", name=self.route.name, state=name, before=before.name, reason=why)
            self._changed()

    # -- requests of our own

    async def run(self) -> None:
        """Keep the registration, or keep asking whether somebody is there; until cancelled."""
        while True:
            if self.route.register_there:
                await self._stay_registered()
                await asyncio.sleep(REFUSED_SECONDS * (0.5 + 0.5 * default_jitter()))
            else:
                await self._probe()
                await asyncio.sleep(PROBE_SECONDS * (0.8 + 0.2 * default_jitter()))

    async def close(self) -> None:
        """Take the registration back. Raises NetError."""
        if self._registration is not None:
            await self._registration.unregister()

    def flow_closed(self, flow: Flow) -> None:
        """A connection has ended; if it was the registration's, a new one is opened (RFC 5626 §4.5)."""
        if flow == self.flow:
            self.flow = None
            if self._registration is not None:
                self._registration.renew()

    async def _probe(self) -> None:
        us = f"<{Uri('sip', '', self._domain)}>"
        there = Uri("sip", "", self.route.domain)
        lines = [
            ("Max-Forwards", "70"),
            ("From", f"{us};tag={secrets.token_hex(6)}"),
            ("To", f"<{there}>"),
            ("Call-ID", secrets.token_hex(12)),
            ("CSeq", "1 OPTIONS"),
        ]
        request = Request("OPTIONS", there, Headers(lines))
        try:
            answer = await self._send(request, None, Watch(again=_counted(request)))
        except (NetError, SipError) as error:
            self._tell("down", str(error))
        else:
            if answer.status == 503:
                self._tell("down", "503 Service Unavailable")

    async def _stay_registered(self) -> None:
        """Register and renew; ends when the registration is refused for good."""
        contact = NameAddr("", await self._contact())
        registration = Registration(
            Uri("sip", self.route.username, self.route.domain),
            contact,
            self._register,
            Backoff(),
            default_jitter,
            self._registered,
        )
        self._registration = registration
        await registration.run(EXPIRES)
        error = registration.first.result()
        self._tell("refused", str(error))

    def _registered(self, registered: bool, why: str) -> None:
        if registered:
            self._tell("up", why)
        elif not self.is_down:
            self._tell("refused", why)

    async def _register(self, request: Request) -> Response:
        """One REGISTER to its final response, with a higher CSeq for each try (RFC 3261 §10.2, §22.2)."""
        flows: list[Flow] = []
        again = _counted(request)
        watch = Watch(lambda copy, _target: again(copy), again, lambda outgoing: flows.append(outgoing.flow))
        final = await self._send(request, None, watch)
        if final.status < 300:
            self.flow = flows[-1] if flows[-1].reliable else None
        return final

    async def _contact(self) -> Uri:
        """Where the other side reaches us: our address on the way to its first hop, under the route's name."""
        backoff, failures = Backoff(), 0
        while True:
            try:
                target = await self._first(None)
            except FlowError as error:
                failures += 1
                self._tell("down", str(error))
                await asyncio.sleep(backoff.delay(failures, default_jitter))
                continue
            host, port = self._endpoint.address_towards(target.host, target.transport)
            params = () if target.transport == "udp" else (("transport", target.transport),)
            return Uri("sip", self.route.name, host, port, params)


def _counted(request: Request) -> Callable[[Request], None]:
    """For copies of a request of our own: each has a CSeq higher than the one before (RFC 3261 §22.2)."""

    def count(copy: Request) -> None:
        cseq = h.cseq(request.headers)
        for each in (request, copy):
            each.headers.set("CSeq", f"{cseq.number + 1} {cseq.method}")

    return count
