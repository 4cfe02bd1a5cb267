"""What every agent stands on: a SIP endpoint on the interface that faces the server, RTP ports, one poll."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import secrets
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from soip.agents.errors import AgentError
from soip.net.errors import FlowError, TlsError
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.resolver import Resolver, draw
from soip.net.rtp import DATAGRAM_SIZE, open_pair
from soip.net.rtptcp import open_tcp
from soip.net.rtpway import RtpWay
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.tls import client_context
from soip.sip.errors import SipParseError
from soip.sip.locate import is_literal, places
from soip.sip.sdes import MATERIAL, Srtp
from soip.sip.uri import Uri

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Server:
    """The SIP server (registrar and outbound proxy): `host` is a name or an address; with `port` 0 a domain, whose
    server the DNS knows (RFC 3263). By TLS it must be certified, under that name, by the CA in `tls_ca`, else by one
    this machine trusts. `srtp`, by TLS only: media is encrypted, and nothing else taken.
    """

    host: str
    port: int = 5060
    transport: str = "udp"
    tls_ca: Path | None = None
    srtp: bool = False


class Station:
    """Order of calls: `await start(server)`, then `open_way()` per stream of a call, last `await close()`."""

    def __init__(self, rtp_ports: tuple[int, int]) -> None:
        self.buffer = memoryview(bytearray(DATAGRAM_SIZE))
        self.host = ""
        self._srtp = False
        self._ports = PortPairs(*rtp_ports)

    async def start(self, server: Server) -> None:
        """Listen on the local address that faces `server`, any port. Raises AgentError if it has no address, or
        if the CA cannot be used.
        """
        self._srtp = server.srtp
        self.outbound = await (_resolve(server) if server.port else _locate(server))
        self.host = local_address(self.outbound.host, self.outbound.port)
        self.endpoint = SipEndpoint(self.host, 0, trust=_trust(server))
        await self.endpoint.start()
        self.poll = MediaPoll(asyncio.get_running_loop())

    async def close(self) -> None:
        """Close everything `start` opened."""
        await self.endpoint.close()
        self.poll.close()

    @staticmethod
    def now() -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def open_way(self, transport: str = "udp") -> RtpWay:
        """A way for RTP and RTCP, over "udp" or "tcp". Raises PortsExhaustedError."""
        return (open_tcp if transport == "tcp" else open_pair)(self._ports, self.host, self.now)

    def keys(self) -> Srtp | None:
        """New keys of ours for one media part, if it is to be SRTP."""
        return Srtp(secrets.token_bytes(MATERIAL), required=True) if self._srtp else None


def address_of_record(identity: str, domain: str) -> Uri:
    """`sip:identity@domain`; raises AgentError if that is none (ids are opaque tokens, domains names or addresses)."""
    text = f"sip:{identity}@{domain}"
    try:
        uri = Uri.parse(text)
    except SipParseError as error:
        raise AgentError(f"{text!r} is no SIP address ({error}); check id and domain") from error
    if not _ID.fullmatch(identity):
        raise AgentError(f"{identity!r} is no id: use 1 to 64 letters, digits, dots, dashes, underscores")
    return uri


def random_word() -> int:
    """32 random bits for SSRCs, sequence numbers and timestamp offsets (RFC 3550 §5.1)."""
    return random.SystemRandom().getrandbits(32)


def local_address(remote: str, port: int) -> str:
    """Our address towards `remote`, as the kernel would route it; nothing is sent."""
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((remote, port))
        except OSError as error:
            raise AgentError(f"no way to {remote}: {error.strerror}; check --server and the network") from error
        return str(probe.getsockname()[0])


def _trust(server: Server) -> ssl.SSLContext | None:
    if server.transport != "tls":
        return None
    try:
        return client_context(server.tls_ca)
    except TlsError as error:
        raise AgentError(f"{error}; check --tls-ca") from error


async def _resolve(server: Server) -> Target:
    name = server.host.strip("[]")
    if not is_literal(name):
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise AgentError(f"cannot find {server.host}: {error.strerror}; check --server") from error
        return Target(server.transport, str(found[0][4][0]), server.port, name=name)
    return Target(server.transport, name, server.port, name=name)


async def _locate(server: Server) -> Target:
    """The first server of a domain, for the transport that is wanted, that has an address (RFC 3263 §4.2)."""
    uri = Uri("sip", "", server.host.strip("[]"), None, (("transport", server.transport),))
    resolver = Resolver()
    try:
        found = await resolver.places(places(uri, (server.transport,), draw))
        for place, family in itertools.product(found, (socket.AF_INET, socket.AF_INET6)):
            with suppress(FlowError):
                return (await resolver.targets(place, family))[0]
    finally:
        await resolver.close()
    raise AgentError(f"cannot find {server.host}: the DNS knows no SIP server of that name; check --server")
