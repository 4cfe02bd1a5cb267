"""What routing reads: accounts, bindings and routes, as they are now."""

from __future__ import annotations

from collections.abc import Callable

from soip.config import SipRoute
from soip.signalling.accounts import AccountTable
from soip.signalling.location import Binding, Location
from soip.signalling.trunk import Trunk
from soip.signalling.trunks import Trunks
from soip.sip.locate import is_literal


class Tables:
    """What `routing.route` reads: accounts and bindings as they are now."""

    def __init__(
        self, accounts: AccountTable, location: Location, trunks: Trunks, domain: str, now: Callable[[], float]
    ) -> None:
        self._trunks = trunks
        self._domain = domain
        self._location = location
        self._now = now
        self.kind = accounts.kind
        self.device_of = accounts.device_of
        self.instances = accounts.instances
        self.home = accounts.home

    def bindings(self, aor: str) -> tuple[Binding, ...]:
        """The contacts of an address, the latest first."""
        return self._location.bindings(aor, self._now())

    def route_to_domain(self, domain: str) -> SipRoute | None:
        """The route for addresses of another domain."""
        return _route(self._trunks.to_domain(domain))

    def route_to_number(self, user: str) -> SipRoute | None:
        """The route for a number that nobody here has."""
        return _route(self._trunks.to_number(user))

    def is_down(self, route: SipRoute) -> bool:
        """Whether nobody answers there."""
        trunk = self._trunks.get(route.name)
        return trunk is not None and trunk.is_down

    def is_ours(self, host: str) -> bool:
        """Whether a host is this server: its domain, or an address, which is ours or a device's own."""
        return host == self._domain or is_literal(host)


def _route(trunk: Trunk | None) -> SipRoute | None:
    return None if trunk is None else trunk.route
