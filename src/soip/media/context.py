"""What everything in a media worker shares: made once by the role, handed to whoever needs it."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from soip.directory.directory import Directory
from soip.directory.writebehind import WriteBehind
from soip.media.patience import Patience
from soip.media.rights import Rights
from soip.media.walltime import WallClock
from soip.net.multicast import GroupPool
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE, open_pair
from soip.net.rtptcp import open_tcp
from soip.net.rtpway import RtpWay
from soip.net.ua import UserAgent
from soip.sip.errors import OfferError
from soip.sip.sdes import MATERIAL, Srtp

CALLS_AT_ONCE = 64
"""INVITEs under way at once: after a restart all cameras are called, and a proxy is not to be flooded."""


@dataclass(slots=True)
class Context:
    """One media worker: its identity, its ways out, its clocks.

    `address` is the IP address RTP is sent from and received on, as it is written into SDP.
    """

    instance: str
    domain: str
    address: str
    directory: Directory
    later: WriteBehind
    rights: Rights
    agent: UserAgent
    ports: PortPairs
    poll: MediaPoll
    wall: WallClock
    patience: Patience = field(default_factory=Patience)
    srtp: Literal["off", "optional", "required"] = "optional"
    """Whether media by RTP may be encrypted, and whether it must be. That keys travel only by TLS is the SIP server's
    care."""
    groups: GroupPool = field(default_factory=lambda: GroupPool((), 1))
    """The multicast groups that live pictures may be sent to."""
    holds: Callable[[str], bool] = lambda _camera: True
    """Whether a camera is this worker's to call and record now (`group.py`)."""
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(DATAGRAM_SIZE)))
    calling: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CALLS_AT_ONCE))
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def now(self) -> float:
        """Monotonic seconds: the event loop's clock, so that timers and arrivals share one."""
        return asyncio.get_running_loop().time()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def now_us(self) -> int:
        """UTC microseconds, as recordings see it."""
        return self.wall.utc_us(self.now())

    def open_way(self, transport: str = "udp") -> RtpWay:
        """A way for RTP and RTCP at our own address, over "udp" or "tcp". Raises PortsExhaustedError."""
        return (open_tcp if transport == "tcp" else open_pair)(self.ports, self.address, self.now)

    def keys(self) -> Srtp | None:
        """New keys of ours for one media part; None where there is no SRTP here."""
        return None if self.srtp == "off" else Srtp(secrets.token_bytes(MATERIAL), self.srtp == "required")

    def session_id(self) -> int:
        """A number for the o= line, unique among ours (RFC 8866 §5.2)."""
        return secrets.randbits(62)


def own_address(host: str) -> str:
    """The IP address to write into SDP when listening on `host`; for a wildcard the one the default route leaves by.

    Loopback when the machine has no route at all.
    """
    if host not in ("0.0.0.0", "::"):
        return socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0]  # type: ignore[return-value]
    family = socket.AF_INET6 if host == "::" else socket.AF_INET
    anywhere = "2001:db8::1" if host == "::" else "192.0.2.1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((anywhere, 9))  # Only looks up the route: nothing is sent.
        except OSError:
            return "::1" if host == "::" else "127.0.0.1"
        return str(probe.getsockname()[0])


def numeric(host: str) -> str:
    """An address of SDP, if it is an IP address: names would have to be resolved, and the loop does not wait for that.

    Raises OfferError.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise OfferError(f"{host!r} is a name: media goes to and comes from IP addresses only", 301) from None
