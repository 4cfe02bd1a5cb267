"""Routes for tests that have none, or that have no network."""

from __future__ import annotations

from soip.config import SipRoute
from soip.net.resolver import Resolver
from soip.net.sip import SipEndpoint
from soip.signalling.trunks import Trunks


async def _unheard(states: str) -> None:
    return None


def trunks(*routes: SipRoute) -> Trunks:
    """Routes that nobody keeps, on an endpoint that is not open."""
    return Trunks(routes, SipEndpoint("127.0.0.1", 0), Resolver(), ("udp", "tcp", "tls"), "soip.test", _unheard)
