"""Multicast: the groups that one process may send to, sockets that send to one, and sockets that hear one.

What goes to a group leaves by the interface that has our own address, and is heard on that of the listener's; routes
for groups need not exist.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from struct import pack

from soip.net.batch import tell_times
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import Peer, RtpSocketPair, enlarge, open_pair
from soip.sip.mediaway import Group
from soip.sip.offer import Stream

PORTS = {"video": 5004, "audio": 5006}
"""The ports of every group (RFC 3551 §8), another one for sound: some receivers bind to the port alone."""
_ADDRESSES = Path("/proc/net/if_inet6")


class GroupPool:
    """The addresses of groups that are free, oldest released first: who stayed in a group sees nothing for long."""

    def __init__(self, addresses: Sequence[str], ttl: int) -> None:
        self.ttl = ttl
        self._free = deque(addresses)
        self._used: set[str] = set()

    @property
    def in_use(self) -> int:
        return len(self._used)

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self) -> str | None:
        """A group that nobody else has, None where none is left."""
        if not self._free:
            return None
        address = self._free.popleft()
        self._used.add(address)
        return address

    def release(self, address: str) -> None:
        """Give a group back; releasing one that is not taken does nothing."""
        if address in self._used:
            self._used.remove(address)
            self._free.append(address)


def open_sending(ports: PortPairs, host: str, now: Callable[[], float], ttl: int) -> RtpSocketPair:
    """A port pair at the IP address `host` whose datagrams to groups pass `ttl` networks; who listens on this machine
    hears them too. Raises PortsExhaustedError, OSError.
    """
    pair = open_pair(ports, host, now)
    try:
        for sock in (pair.rtp, pair.rtcp):
            _aim(sock, host, ttl)
    except OSError:
        pair.close()
        raise
    return pair


class HeardGroup(RtpSocketPair):
    """Hears a group, on sockets that others on this machine may share; reports leave by the pair `own`, which is closed
    with it. Made by `open_heard`.
    """

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, own: RtpSocketPair) -> None:
        super().__init__(rtp, rtcp, lambda: None)
        self.port = own.port
        self._own = own

    def watch(self, poll: MediaPoll, media: Callable[[], object], control: Callable[[], object]) -> None:
        """See `rtpway.RtpWay`."""
        super().watch(poll, media, control)
        poll.add(self._own.rtcp, control)

    def hear(self, stream: Stream) -> None:
        """Take media from the source of the group alone, which its description tells (RFC 4570); where it does not,
        from whom reports go to. Anybody may send to a group.
        """
        assert stream.way.group is not None
        self._own.hear(stream)
        self.allow([stream.way.group.source or stream.remote_rtcp[0]])

    def drain_control(self, buffer: memoryview) -> list[bytes]:
        """What the source tells the group; nobody tells us anything else."""
        self._own.drain_control(buffer)
        return super().drain_control(buffer)

    def send_control(self, packet: bytes, peer: Peer | None = None) -> bool:
        """Send one RTCP packet to where the group's description says."""
        return self._own.send_control(packet, peer)

    def close(self) -> None:
        """Leave the group, and close `own`."""
        if self._poll is not None:
            self._poll.remove(self._own.rtcp)
        self._own.close()
        super().close()


def open_heard(own: RtpSocketPair, group: Group, host: str) -> HeardGroup:
    """Join a group on the interface that has the IP address `host`. Raises OSError; `own` stays open then."""
    opened: list[socket.socket] = []
    try:
        for port in (group.port, group.port + 1):
            opened.append(_joined(group.address, port, host))
        _aim(own.rtcp, host, group.ttl)
    except OSError:
        for sock in opened:
            sock.close()
        raise
    enlarge(opened[0])
    tell_times(opened[0])
    return HeardGroup(opened[0], opened[1], own)


def _joined(address: str, port: int, host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        group = socket.inet_pton(family, address)
        # Bound to the group, not to any address: other groups on the port are none of its business.
        if family == socket.AF_INET6:
            index = _interface(host)
            sock.bind((address, port, 0, index))
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + pack("@I", index))
        else:
            sock.bind((address, port))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton(host))
    except OSError:
        sock.close()
        raise
    return sock


def _aim(sock: socket.socket, host: str, ttl: int) -> None:
    """Have what goes to groups leave by the interface of `host`, and pass so many networks."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, _interface(host))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)


def _interface(host: str) -> int:
    """The number of the interface that has an IPv6 address of ours; 0, which leaves it to the routes, if none has."""
    wanted = socket.inet_pton(socket.AF_INET6, host).hex()
    for line in _ADDRESSES.read_text().splitlines():
        address, index, *_ = line.split()
        if address == wanted:
            return int(index, 16)
    return 0
