"""The routes to other SIP servers: which of them a request takes, and which of them a request came by.

Who is at the other end of a route is known by a certificate that bears its name, or by the connection over which we are
registered there: we opened it to the address in the settings. An address alone says nothing, so over UDP the other side
proves itself by digest like everybody.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress

import structlog

from soip.config import SipRoute
from soip.directory.errors import DirectoryError
from soip.net.errors import NetError
from soip.net.resolver import Resolver
from soip.net.sip import SipEndpoint
from soip.policy.dialplan import matches
from soip.signalling.flows import FlowKey
from soip.signalling.trunk import Trunk
from soip.sip.flow import Flow

CLOSE_SECONDS = 2.0

_log = structlog.get_logger()


class Trunks:
    """All routes of an installation. `publish` stores what `soip route list` shows."""

    def __init__(
        self,
        routes: Iterable[SipRoute],
        endpoint: SipEndpoint,
        resolver: Resolver,
        transports: tuple[str, ...],
        domain: str,
        publish: Callable[[str], Awaitable[None]],
    ) -> None:
        self._endpoint = endpoint
        self._publish = publish
        self._news = asyncio.Event()
        self._trunks = {
            route.name: Trunk(route, endpoint, resolver, transports, domain, self._news.set) for route in routes
        }
        self._domains = {domain: trunk for trunk in self for domain in trunk.route.domains}
        self._states: dict[str, tuple[str, str, int]] = {}

    def __iter__(self) -> Iterator[Trunk]:
        return iter(self._trunks.values())

    def get(self, name: str) -> Trunk | None:
        """The route of this name."""
        return self._trunks.get(name)

    def to_domain(self, domain: str) -> Trunk | None:
        """The route for addresses of a domain."""
        return self._domains.get(domain)

    def to_number(self, user: str) -> Trunk | None:
        """The first route for a number."""
        for trunk in self:
            if any(matches(pattern, user) for pattern in trunk.route.numbers):
                return trunk
        return None

    def behind(self, flow: Flow, names: frozenset[str]) -> SipRoute | None:
        """The route at whose other end a flow is, by the names that were proved there; of those that let callers in."""
        for trunk in self:
            if trunk.route.account and (flow == trunk.flow or not names.isdisjoint(trunk.route.certified)):
                return trunk.route
        return None

    def comes_from(self, name: str, source: FlowKey, flow: Flow | None) -> bool:
        """Whether something from `source`, whose connection is `flow`, may be of a dialog over this route.

        Who asks has shown our token of that dialog, which nobody else has seen: so here an address is enough.
        """
        trunk = self._trunks.get(name)
        if trunk is None:
            return False
        if trunk.is_at(source.host):
            return True
        return flow is not None and not self._endpoint.certified(flow).isdisjoint(trunk.route.certified)

    def flow_closed(self, flow: Flow) -> None:
        """A connection has ended."""
        for trunk in self:
            trunk.flow_closed(flow)

    async def run(self) -> None:
        """Keep all of them, and tell what is known of them; until cancelled, or at once where there are none."""
        if not self._trunks:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            for trunk in self:
                tasks.create_task(trunk.run())

    async def close(self) -> None:
        """Take our registrations back, as far as somebody answers soon; nothing is known from then on."""
        if not self._trunks:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*[self._close(trunk) for trunk in self])
        with suppress(DirectoryError):
            await self._publish("{}")

    @staticmethod
    async def _close(trunk: Trunk) -> None:
        with suppress(NetError):
            await trunk.close()

    async def _tell(self) -> None:
        """Publish the states, at the start and at each change, once a second at most."""
        while True:
            self._news.clear()
            for trunk in self:
                known = self._states.get(trunk.route.name, ("", "", 0))
                if known[0] != trunk.state.name:
                    self._states[trunk.route.name] = (trunk.state.name, trunk.state.why, time.time_ns() // 1000)
            try:
                await self._publish(json.dumps(self._states))
            except DirectoryError as error:
                _log.warning("states of routes not published", reason=str(error))
            await asyncio.sleep(1.0)
            await self._news.wait()
