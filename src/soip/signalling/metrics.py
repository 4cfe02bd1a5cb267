"""What the SIP server tells at `/metrics` (docs/metrics.md), read at the scrape from what its rooms have counted."""

from __future__ import annotations

from collections.abc import Iterator

from soip.metrics import PROCESS, Family, Sample, of_process
from soip.net.sip import SipEndpoint
from soip.signalling.blocklist import Blocklist
from soip.signalling.location import Location
from soip.signalling.trunks import Trunks

REGISTRATIONS = Family("soip_sip_registrations", "gauge", "Bindings of devices, people and media servers.")
TRANSACTIONS = Family("soip_sip_transactions", "gauge", "SIP transactions under way or absorbing repeats.")
CONNECTIONS = Family("soip_sip_connections", "gauge", "Open SIP connections (TCP, TLS, WebSocket).")
BLOCKED = Family("soip_sip_blocked_sources", "gauge", "Addresses that are listed for guessing passwords.")
ROUTES = Family("soip_sip_route_up", "gauge", "Whether a route to another SIP server is up.", ("route",))
REQUESTS = Family("soip_sip_requests", "counter", "New requests, by method.", ("method",))
RESPONSES = Family(
    "soip_sip_responses", "counter", "Final responses; status 0 is a request left unanswered.", ("method", "status")
)
FAULTS = Family("soip_sip_faults", "counter", "What peers did wrong and what was refused, in words.", ("kind",))

FAMILIES = (REGISTRATIONS, TRANSACTIONS, CONNECTIONS, BLOCKED, ROUTES, REQUESTS, RESPONSES, FAULTS, *PROCESS)


class Metrics:
    """The figures of the SIP server."""

    def __init__(self, endpoint: SipEndpoint, location: Location, blocklist: Blocklist, trunks: Trunks) -> None:
        self._endpoint = endpoint
        self._location = location
        self._blocklist = blocklist
        self._trunks = trunks

    def figures(self) -> Iterator[tuple[Family, list[Sample]]]:
        """All families with their samples; the numbers are those of now."""
        endpoint = self._endpoint
        faults = {
            **endpoint.counters,
            "responses to nothing": endpoint.strays,
            "requests beyond the limit of transactions": endpoint.overflow,
        }
        yield REGISTRATIONS, [((), len(self._location))]
        yield TRANSACTIONS, [((), endpoint.transactions)]
        yield CONNECTIONS, [((), endpoint.connections)]
        yield BLOCKED, [((), len(self._blocklist))]
        yield ROUTES, [((trunk.route.name,), float(not trunk.is_down)) for trunk in self._trunks]
        yield REQUESTS, [((method,), count) for method, count in sorted(endpoint.requests.items())]
        yield RESPONSES, [((method, str(status)), n) for (method, status), n in sorted(endpoint.responses.items())]
        yield FAULTS, [((kind,), count) for kind, count in sorted(faults.items())]
        yield from of_process("sip")
