"""Where a request may go when no flow is given: transport, host and port; and which transport its size asks
for.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from soip.net.errors import FlowError
from soip.sip.flow import Address
from soip.sip.uri import Uri, format_host

DEFAULT_PORT = 5060
TLS_PORT = 5061

MAX_DATAGRAM_REQUEST = 1300
"""Larger requests go by a stream transport: the path's MTU is not known (RFC 3261 §18.1.1)."""


@dataclass(frozen=True, slots=True)
class Target:
    """The next hop. `tcp_allowed`: a request over 1300 bytes goes by TCP although `transport` is `udp`
    (RFC 3261 §18.1.1); set it to False for peers known to listen on UDP only. `name` is what a TLS peer's certificate
    must bear where that is not `host`.
    """

    transport: str
    host: str
    port: int = DEFAULT_PORT
    tcp_allowed: bool = True
    name: str = ""

    @classmethod
    def of(cls, uri: Uri) -> Target:
        """The target a URI names, without DNS service records (RFC 3263 §4: literals, or names with a port).

        Raises FlowError for a scheme or transport we do not speak.
        """
        transport = (uri.param("transport") or "udp").lower()
        if uri.scheme == "sips" and transport in ("udp", "tcp"):
            transport = "tls"  # RFC 3261 §26.2.2; `transport=tcp` there means TLS over TCP (RFC 5630 §3.1.3)
        if uri.scheme not in ("sip", "sips") or transport not in ("udp", "tcp", "tls") or not uri.host:
            raise FlowError(f"cannot reach {uri}: only sip: over UDP, TCP and TLS")
        port = uri.port or (TLS_PORT if transport == "tls" else DEFAULT_PORT)
        maddr = uri.param("maddr")
        return cls(transport, maddr or uri.host, port, name=uri.host if maddr else "")

    def __str__(self) -> str:
        return f"{self.transport}:{format_host(self.host, self.port)}"


async def resolve(host: str, port: int, family: int, within: float) -> Address:
    """The address of a host; a literal is returned at once. Raises FlowError when there is none of that
    family.
    """
    try:
        literal = ip_address(host)
    except ValueError:
        pass
    else:
        if (literal.version == 6) != (family == socket.AF_INET6):
            raise FlowError(f"{host} is not of the address family this endpoint listens on")
        return (str(literal), port)
    try:
        async with asyncio.timeout(within):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise FlowError(f"the host name {host!r} cannot be resolved: {error}") from error
    return (str(found[0][4][0]), port)
