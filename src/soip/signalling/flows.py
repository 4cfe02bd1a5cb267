"""Flow keys: the name of a way a message came, so that an answer or a later request can go back the same way.

RFC 5626 §5: a flow is the pair of transport addresses a REGISTER came over. UDP flows are addresses and
survive a restart of this server; all others are connections and die with theirs. Media instances keep one
connection each and are written by name, so that a flow token stays good when they reconnect; so are routes to other
servers, which may have several hops.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple

from soip.sip import headers
from soip.sip.flow import Flow
from soip.sip.message import Request

TRANSPORTS = frozenset({"udp", "tcp", "tls", "ws", "wss"})
_PARAMETERS = {"udp": "", "wss": "ws"}


class FlowKey(NamedTuple):
    """One way to a peer: `transport` in lower case, the peer's address and, for streams, the connection's
    number.
    """

    transport: str
    host: str
    port: int
    connection: int = 0

    @property
    def datagram(self) -> bool:
        """Whether the flow is only an address, and so outlives a restart."""
        return self.transport == "udp"

    @property
    def parameter(self) -> str:
        """The transport parameter of a URI that leads over such a flow; "" for the default (RFC 7118 §5.3: `ws` also
        where the WebSocket is secure).
        """
        return _PARAMETERS.get(self.transport, self.transport)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}" + (f"#{self.connection}" if self.connection else "")

    @classmethod
    def of(cls, flow: Flow) -> FlowKey:
        """The key of a flow of the endpoint."""
        transport, _, (host, port), connection = flow
        return cls(transport, host, port, connection)

    @classmethod
    def parse(cls, text: str) -> FlowKey:
        """The inverse of `str()`. Raises ValueError when the text is not one."""
        transport, _, rest = text.partition(":")
        address, _, connection = rest.partition("#")
        host, _, port = address.rpartition(":")
        if transport not in TRANSPORTS or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"not a flow: {text[:80]!r}")
        if connection and not (connection.isascii() and connection.isdigit() and len(connection) < 20):
            raise ValueError(f"not a flow: {text[:80]!r}")
        host = str(ipaddress.ip_address(host.strip("[]")))
        return cls(transport, host, int(port), int(connection or 0))


@dataclass(frozen=True, slots=True)
class InstanceFlow:
    """The way to a media instance, whatever connection it holds now."""

    instance: str

    def __str__(self) -> str:
        return f"instance:{self.instance}"


@dataclass(frozen=True, slots=True)
class TrunkFlow:
    """The way over a route to another SIP server, whichever of its hops takes a request."""

    route: str

    def __str__(self) -> str:
        return f"route:{self.route}"


Way = FlowKey | InstanceFlow | TrunkFlow


def parse_way(text: str) -> Way:
    """Any kind of way from its text. Raises ValueError."""
    kind, _, rest = text.partition(":")
    if kind == "route":
        if not rest:
            raise ValueError("not a flow: no route")
        return TrunkFlow(rest)
    if kind == "instance":
        if not rest:
            raise ValueError("not a flow: no instance")
        return InstanceFlow(rest)
    return FlowKey.parse(text)


def way_back(request: Request, flow: Flow) -> FlowKey:
    """Where a later request to the sender of this one goes.

    That is the flow it came over, so that it passes the sender's NAT (RFC 5626 §5.3, RFC 3581). Only a sender
    that does not ask for `rport` and names its true address may be listening elsewhere than it sends from:
    then the port in its Via counts, as for a response (RFC 3261 §18.2.2).
    """
    key = FlowKey.of(flow)
    via = headers.top_via(request.headers)
    if key.datagram and via.param("rport") is None and via.host == key.host:
        return FlowKey(key.transport, key.host, via.port or 5060)
    return key
