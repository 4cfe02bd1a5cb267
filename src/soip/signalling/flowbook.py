"""Which flows are open now, and how a way by name becomes one that can be sent on."""

from __future__ import annotations

from collections.abc import Callable

from soip.net.sip import Way as NetWay
from soip.net.target import Target
from soip.signalling.flows import FlowKey, InstanceFlow, TrunkFlow, Way
from soip.signalling.location import Location
from soip.signalling.trunks import Trunks
from soip.sip.flow import Flow


class FlowBook:
    """The open connections by key. `now` is the clock of the location table."""

    def __init__(self, location: Location, now: Callable[[], float], trunks: Trunks) -> None:
        self._location = location
        self._now = now
        self._trunks = trunks
        self._open: dict[FlowKey, Flow] = {}

    def seen(self, flow: Flow) -> None:
        """A request came over this flow."""
        if flow.transport != "udp":
            self._open[FlowKey.of(flow)] = flow

    def closed(self, flow: Flow) -> None:
        """The connection has ended."""
        self._open.pop(FlowKey.of(flow), None)

    def resolve(self, way: Way) -> NetWay | None:
        """What the endpoint can send on; None when the connection is gone, the instance is not registered, or it is a
        route, which has no one flow.
        """
        key = self.key(way)
        if key is None:
            return None
        if key.datagram:
            # The peer registered over UDP, so it is reached over UDP, however long the message.
            return Target("udp", key.host, key.port, tcp_allowed=False)
        return self._open.get(key)

    def matches(self, way: Way, source: FlowKey) -> bool:
        """Whether something from `source` came over this way.

        A device that sends from another port than it listens on is known by its binding, which names both.
        """
        if isinstance(way, TrunkFlow):
            return self._trunks.comes_from(way.route, source, self._open.get(source))
        if isinstance(way, InstanceFlow):
            return any(source in (b.flow, b.target) for b in self._location.bindings(way.instance, self._now()))
        if way == source:
            return True
        return self._location.leads_to(source, way)

    def name(self, source: FlowKey, account: str, instances: Callable[[str], object]) -> Way:
        """How the flow of an account is written into a token: a media instance's by its name, any other by its
        address.
        """
        for binding in self._location.on_flow(source, account, self._now()):
            if instances(binding.aor):
                return InstanceFlow(binding.aor)
        return source

    def key(self, way: Way) -> FlowKey | None:
        """The flow a way means now; None for a media instance that is not registered, and for a route."""
        if isinstance(way, FlowKey):
            return way
        if isinstance(way, TrunkFlow):
            return None
        found = self._location.bindings(way.instance, self._now())
        return found[0].target if found else None
