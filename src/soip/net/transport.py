"""The sockets of one SIP endpoint: UDP and TCP on one port (RFC 3261 §18), and listeners with ports of their own."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address

from soip.net.errors import FlowError, PortBusyError
from soip.net.limits import Complaints, Limits
from soip.net.streams import Connection, Hop, Received, Streams
from soip.net.target import Target, resolve
from soip.net.wire import Listener, PlainWire
from soip.sip import stun
from soip.sip.errors import SipParseError
from soip.sip.flow import Address, Flow
from soip.sip.message import parse_message
from soip.sip.uri import format_host

_RECEIVE_BUFFER = 4 << 20  # a cold restart: everyone registers at once, before we have read the first
_SO_RCVBUFFORCE = 33  # Linux; the socket module does not name it
_PORT_TRIES = 20
_MAX_DATAGRAM = 65_536
_MOST_PASSED_OVER = 10_000
_BUDGET = 64  # datagrams in one turn of the loop: timers and streams get theirs


class _Datagrams:
    """The UDP side: a datagram is a message, or a keepalive: STUN (RFC 5626 §4.4.2), or line breaks and NULs that some
    phones send.

    The socket is read and written here, not by an asyncio transport, which costs as much per datagram as the kernel.
    """

    def __init__(self, sock: socket.socket, local: Address, received: Received, counters: Counter[str]) -> None:
        self._sock = sock
        self._local = local
        self._received = received
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._passed_over: dict[Address, float] = {}
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        for _ in range(_BUDGET):
            try:
                data, address = self._sock.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._counters["datagrams the network refused"] += 1  # whose it was is not said
            else:
                self.take(data, (address[0], address[1]))

    def take(self, data: bytes, remote: Address) -> None:
        """One datagram."""
        if self._passed_over and self._is_passed_over(remote):
            return
        if len(data) < 16 and not data.strip(b"\r\n\0 "):
            return
        if data[0] == 0 and (answer := stun.answer(data, remote)) is not None:  # no message begins with NUL
            self.send(answer, remote)
            return
        flow = Flow("udp", self._local, remote)
        try:
            message = parse_message(data)
        except SipParseError as error:
            self._received(error, flow)
        else:
            self._received(message, flow)

    def pass_over(self, remote: Address, until: float) -> None:
        """Drop what comes from there, unread, until a time of the loop's clock."""
        self._passed_over.pop(remote, None)
        self._passed_over[remote] = until
        if len(self._passed_over) > _MOST_PASSED_OVER:
            del self._passed_over[next(iter(self._passed_over))]

    def _is_passed_over(self, remote: Address) -> bool:
        until = self._passed_over.get(remote)
        if until is None:
            return False
        if until <= self._loop.time():
            del self._passed_over[remote]
            return False
        self._counters["datagrams passed over"] += 1
        return True

    def send(self, data: bytes, remote: Address) -> None:
        """Send, as if lost on the way where the kernel has no room; repeats and timers take care of it."""
        try:
            self._sock.sendto(data, remote)
        except (OSError, OverflowError):
            self._counters["datagrams the network refused"] += 1

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()


class Transport:
    """Listens, sends on flows, opens connections. `received` and `closed` are called on the event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        transports: tuple[str, ...],
        setting: str,
        limits: Limits,
        received: Received,
        closed: Callable[[Flow], None],
        listeners: Sequence[Listener] = (),
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.complaints = Complaints()
        self.counters = self.complaints.counters
        self.streams = Streams(limits, received, closed, self.complaints, trust)
        self.bound: Address = (host, port)
        self.family = socket.AF_INET
        self._transports = transports
        self._listeners = listeners
        self._elsewhere: dict[str, Address] = {}
        self._setting = setting
        self._limits = limits
        self._received = received
        self._udp: _Datagrams | None = None
        self._servers: list[asyncio.Server] = []

    @property
    def wildcard(self) -> bool:
        """Whether we listen on all addresses, so that our own is not known."""
        return ip_address(self.bound[0]).is_unspecified

    def address_of(self, transport: str) -> Address:
        """Where we listen for a transport, as bound."""
        return self._elsewhere.get("ws" if transport == "wss" else transport, self.bound)

    async def start(self) -> None:
        """Bind and listen. Raises PortBusyError."""
        host, port = self.bound
        self.family, address = await _find(host, port, self._setting)
        sockets = _bind(self.family, address, port, self._transports, self._setting)
        name = next(iter(sockets.values())).getsockname()
        self.bound = (address, name[1])
        if "udp" in sockets:
            self._udp = _Datagrams(sockets["udp"], self.bound, self._received, self.counters)
        if "tcp" in sockets:
            await self._accept(sockets["tcp"], Listener("tcp", address, port, "", lambda _: PlainWire(opened=False)))
        for listener in self._listeners:
            await self._listen(listener)

    async def _listen(self, listener: Listener) -> None:
        setting = listener.setting
        family, address = await _find(listener.host, listener.port, setting)
        (made,) = _bind(family, address, listener.port, ("tcp",), setting).values()
        self._elsewhere[listener.transport] = (address, made.getsockname()[1])
        await self._accept(made, listener)

    async def _accept(self, made: socket.socket, listener: Listener) -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: self.streams.accept(listener.wire), sock=made, backlog=1024
        )
        self._servers.append(server)

    def close(self) -> None:
        """Stop listening and end all connections."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.streams.close()

    def send(self, data: bytes, flow: Flow) -> None:
        """Send on a flow, now or never. Raises FlowError."""
        if flow.transport == "udp":
            if self._udp is None:
                raise FlowError("this endpoint does not speak UDP")
            if len(data) > 65507:
                raise FlowError("too long for a datagram")
            self._udp.send(data, flow.remote)
            return
        connection = self.streams.get(flow)
        if connection is None:
            raise FlowError(f"the connection to {flow} has ended")
        connection.send(data)

    def pass_over(self, remote: Address, until: float) -> None:
        """Read no datagrams of an address and port until a time of the loop's clock."""
        if self._udp is not None:
            self._udp.pass_over(remote, until)

    async def flow_to(self, target: Target, transport: str) -> Flow:
        """A flow to a target: for streams the open connection or a new one. Raises FlowError."""
        address = await resolve(target.host, target.port, self.family, self._limits.connect_seconds)
        if transport == "udp":
            return Flow("udp", self.bound, address)
        if transport == "tcp" and "tcp" not in self._transports:
            raise FlowError("this endpoint does not speak TCP")
        hop = Hop(transport, address, (target.name or target.host) if transport == "tls" else "")
        connection: Connection = await self.streams.connect(hop, None if self.wildcard else self.bound[0])
        assert connection.flow is not None
        return connection.flow


async def _find(host: str, port: int, setting: str) -> tuple[socket.AddressFamily, str]:
    """The family and the literal of an address to listen on. Raises PortBusyError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise PortBusyError(f"SIP cannot listen on {host!r}: no such address here. {_advice(setting)}") from error
    return found[0][0], str(found[0][4][0])


def _bind(
    family: socket.AddressFamily, host: str, port: int, transports: tuple[str, ...], setting: str
) -> dict[str, socket.socket]:
    """One socket for each transport, all on one port; port 0 is tried again until all are free."""
    for attempt in range(_PORT_TRIES):
        sockets: dict[str, socket.socket] = {}
        try:
            for transport in sorted(transports):  # TCP first
                wanted = next(iter(sockets.values())).getsockname()[1] if sockets else port
                sockets[transport] = _bind_one(family, transport, host, wanted)
            return sockets
        except OSError as error:
            for made in sockets.values():
                made.close()
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < _PORT_TRIES - 1:
                continue
            raise _explain(host, port, transports, setting, error) from error
    raise AssertionError("unreachable")


def _bind_one(family: socket.AddressFamily, transport: str, host: str, port: int) -> socket.socket:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if transport == "tcp":  # or a restart waits for connections of before in TIME_WAIT
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            with suppress(OSError):  # beyond net.core.rmem_max, for those who may
                made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        made.bind((host, port))
        if transport == "tcp":
            made.listen(1024)
    except OSError:
        made.close()
        raise
    return made


def _explain(host: str, port: int, transports: tuple[str, ...], setting: str, error: OSError) -> PortBusyError:
    place = f"{format_host(host, port)} ({' and '.join(transports)})"
    if error.errno == errno.EADDRINUSE:
        return PortBusyError(
            f"SIP cannot listen on {place}: port {port} is in use by another program. "
            f"Stop that program, or c{_advice(setting)[1:]}"
        )
    return PortBusyError(f"SIP cannot listen on {place}: {error.strerror}. {_advice(setting)}")


def _advice(setting: str) -> str:
    return "Choose another address or port" + (f" with {setting}." if setting else ".")


@lru_cache(maxsize=1024)
def local_host_towards(host: str) -> str:
    """Our address on the way to a host, as the kernel would choose it; nothing is sent."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return str(probe.getsockname()[0])
