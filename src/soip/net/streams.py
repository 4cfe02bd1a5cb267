"""Connections that carry SIP, whatever their wire: accepted and opened ones, their keepalive and limits."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from soip.net.errors import FlowError
from soip.net.limits import Complaints, Limits
from soip.net.tls import TlsWire
from soip.net.wire import PlainWire, Wire
from soip.sip.errors import SipParseError
from soip.sip.flow import Address, Flow
from soip.sip.message import Message
from soip.sip.stream import Keepalive
from soip.sip.uri import format_host

PING_SECONDS = 25.0
"""How often we ping over a connection we opened and that is otherwise silent (RFC 5626 §4.4.1: under 120 s
for servers, and under the idle limit of our own kind); and how soon a silent WebSocket is asked whether it is there."""

CROWDED = "strangers' connections closed to make room"

# Asked after two minutes of silence, and given up after four unanswered questions half a minute apart.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))

Received = Callable[[Message | SipParseError, Flow], None]


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a connection of ours leads. `name` is what a TLS peer's certificate must bear; a connection to one name is
    never used for another.
    """

    transport: str
    address: Address
    name: str = ""

    def __str__(self) -> str:
        return f"{self.transport}:{format_host(*self.address)}"


class Connection(asyncio.Protocol):
    """One connection. `opened`: by us, so we ping; else accepted, so we answer pings and limit idling.

    `make` makes its wire, once the peer's host is known. `flow` is there when the wire's handshake is over.
    """

    def __init__(self, streams: Streams, make: Callable[[str], Wire], *, opened: bool) -> None:
        self.opened = opened
        self.number = 0
        self.source = ""  # the peer's host
        self.flow: Flow | None = None
        self.target: Hop | None = None
        self.since = 0.0  # when it was made
        self.kept_until = 0.0
        self._streams = streams
        self._make = make
        self._wire: Wire
        self._transport: asyncio.Transport | None = None
        self._ends: tuple[Address, Address]
        self._up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._heard = self._active = 0.0
        self._probed = False
        self._partial_since: float | None = None
        self._pongs: list[asyncio.Future[None]] = []

    @property
    def names(self) -> frozenset[str]:
        """The names of the certificate the peer has proved to be its own."""
        return self._wire.names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are none by inheritance
        self.since = self._heard = self._active = asyncio.get_running_loop().time()
        if not self.opened:
            self._partial_since = self._active  # handshake and first message may not be long in coming
        _watch_peer(transport)
        remote, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.source = remote[0] if remote else ""
        if not remote or not local or not self._streams._admit(self, remote[0]):
            self._transport.abort()
            return
        self._ends = local[:2], remote[:2]
        self._wire = self._make(remote[0])
        self._write(self._wire.output())
        if self._wire.ready:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._up.cancel()
        for pong in self._pongs:
            if not pong.done():
                pong.cancel()
        self._streams._forget(self)

    def data_received(self, data: bytes) -> None:
        now = self._heard = asyncio.get_running_loop().time()
        self._probed = False
        if not self.number:
            return  # refused
        items = self._wire.feed(data)
        self._write(self._wire.output())
        if self.flow is None and self._wire.ready:
            self._begin()
            if self._wire.talks:
                self._active, self._partial_since = now, None
        if items:
            self._active, self._partial_since = now, None
        if self._wire.partial and self._partial_since is None:
            self._partial_since = now
        for item in items:
            self._take(item)
        if self._wire.ended:
            if self._wire.fault:
                self._streams.complain(self._wire.fault, self.source)
            self.close()

    async def established(self) -> None:
        """Until the handshake is over. Raises FlowError when the connection ends before that."""
        await asyncio.wait([self._up])
        if self._up.cancelled():
            raise FlowError(self._wire.why if self.number and self._wire.why else "it was closed at once")

    def _begin(self) -> None:
        """The handshake is over, and so it is known who is at the other end."""
        local, (host, port) = self._ends
        if self._wire.source and not self._streams._recount(self, self._wire.source):
            self.abort()
            return
        self.flow = Flow(self._wire.transport, local, (self._wire.source or host, port), self.number)
        self._up.set_result(None)

    def _take(self, item: Message | Keepalive | SipParseError) -> None:
        if self.flow is None or self._transport is None:
            return
        if item is Keepalive.PING:
            with suppress(FlowError):
                self.send(Keepalive.PONG.value)
        elif item is Keepalive.PONG:
            for pong in self._pongs:
                if not pong.done():
                    pong.set_result(None)
            self._pongs.clear()
        else:
            assert not isinstance(item, Keepalive)
            self._streams._received(item, self.flow)

    def send(self, data: bytes) -> None:
        """Write, or raise FlowError when the connection is gone or its peer does not read."""
        if self._transport is None or self._transport.is_closing():
            raise FlowError(f"the connection to {self.flow} is closed")
        if not self._write(self._wire.frame(data)):
            raise FlowError(f"the peer at {self.flow} does not read")

    def _write(self, data: bytes) -> bool:
        """Write unless the peer has too much unread already: then it is dropped, and this is False."""
        transport = self._transport
        if not data or transport is None:
            return True
        if transport.get_write_buffer_size() + len(data) > self._streams.limits.send_buffer:
            self._streams.complain("connections closed for not reading", self.source)
            transport.abort()
            return False
        transport.write(data)
        return True

    async def ping(self, within: float) -> None:
        """Ping and wait for the pong; without one the connection is closed (RFC 5626 §4.4.1). Raises
        FlowError.
        """
        pong = asyncio.get_running_loop().create_future()
        self.send(Keepalive.PING.value)
        self._pongs.append(pong)
        try:
            async with asyncio.timeout(within):
                await asyncio.wait([pong])
        except TimeoutError:
            self.abort()
            raise FlowError(f"no pong from {self.flow} in {within:g} s") from None
        if pong.cancelled():
            raise FlowError(f"the connection to {self.flow} has ended")

    def check(self, now: float) -> None:
        """Close what idles, drips or answers no more; ping over what we opened."""
        limits = self._streams.limits
        if self._transport is None:
            return
        if self._partial_since is not None and now - self._partial_since > limits.message_seconds:
            self._streams.complain("connections closed for slowness", self.source)
            self.abort()
        elif not self.opened and now > max(self.kept_until, self._active + limits.idle_seconds):
            self._streams.counters["connections closed for idling"] += 1
            self.close()
        elif now - self._heard > PING_SECONDS + limits.message_seconds and self._probed:
            self._streams.counters["connections closed for not answering"] += 1
            self.abort()
        elif self._transport.is_closing() or self.flow is None:
            return
        elif self.opened and now - self._active > PING_SECONDS:
            self._active = now
            self._write(self._wire.frame(Keepalive.PING.value))
        elif now - self._heard > PING_SECONDS and not self._probed and (question := self._wire.probe()):
            self._probed = True
            self._write(question)

    def close(self) -> None:
        """End the connection when what was written has left."""
        if self._transport is not None and not self._transport.is_closing():
            self._write(self._wire.farewell())
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()


def _watch_peer(transport: asyncio.BaseTransport) -> None:
    """Let the kernel ask a silent peer whether it is still there, so that one that vanished is noticed in minutes."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Streams:
    """All connections of one endpoint. `received` gets messages, and errors fit for an answer; `trust` says whom we
    believe when we open a TLS connection.
    """

    def __init__(
        self,
        limits: Limits,
        received: Received,
        closed: Callable[[Flow], None],
        complaints: Complaints,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits
        self.counters = complaints.counters
        self._complaints = complaints
        self._received = received
        self._closed = closed
        self._trust = trust
        self._by_number: dict[int, Connection] = {}
        self._by_target: dict[Hop, Connection] = {}
        self._opening: dict[Hop, asyncio.Task[Connection]] = {}
        # Accepted ones on which nobody has proved who he is, the oldest first; all, and by source.
        self._strangers: OrderedDict[int, Connection] = OrderedDict()
        self._strangers_of: dict[str, OrderedDict[int, Connection]] = {}
        self._number = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._period = max(0.05, min(limits.message_seconds, limits.idle_seconds, PING_SECONDS) / 4)

    def __len__(self) -> int:
        return len(self._by_number)

    def accept(self, make: Callable[[str], Wire]) -> Connection:
        """The protocol of a connection that a peer opens; `make` makes its wire."""
        return Connection(self, make, opened=False)

    def get(self, flow: Flow) -> Connection | None:
        """The connection of a flow, None when it has ended."""
        return self._by_number.get(flow.connection)

    async def connect(self, hop: Hop, local_host: str | None) -> Connection:
        """The connection we opened to a hop, or a new one. Raises FlowError.

        Those who ask at the same time share one attempt; one who gives up does not end it for the others.
        """
        known = self._by_target.get(hop)
        if known is not None:
            return known
        task = self._opening.get(hop)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._open(hop, local_host))
            self._opening[hop] = task
            task.add_done_callback(lambda _: self._opening.pop(hop, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise FlowError("the endpoint has been closed") from None
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    async def _open(self, hop: Hop, local_host: str | None) -> Connection:
        if len(self._by_number) >= self.limits.connections:
            raise FlowError(f"{self.limits.connections} connections are open already")
        make = self._wire_to(hop)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self, make, opened=True),
                    *hop.address,
                    local_addr=None if local_host is None else (local_host, 0),
                )
                await connection.established()
        except TimeoutError as error:
            raise FlowError(f"no connection to {hop} in {self.limits.connect_seconds:g} s") from error
        except OSError as error:
            raise FlowError(f"no connection to {hop}: {error.strerror or error}") from error
        except FlowError as error:
            raise FlowError(f"no connection to {hop}: {error}") from error
        finally:
            if connection is not None and connection.flow is None:
                connection.abort()
        if connection.number not in self._by_number:
            raise FlowError(f"no connection to {hop}: it was closed at once")
        connection.target = hop
        self._by_target[hop] = connection
        return connection

    def _wire_to(self, hop: Hop) -> Callable[[str], Wire]:
        if hop.transport == "tcp":
            return lambda _: PlainWire(opened=True)
        trust = self._trust
        if trust is None:
            raise FlowError("this endpoint does not speak TLS")
        return lambda _: TlsWire(trust, hop.name)

    def close(self) -> None:
        """End all connections and attempts."""
        for task in list(self._opening.values()):
            task.cancel()
        for connection in list(self._by_number.values()):
            connection.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _admit(self, connection: Connection, host: str) -> bool:
        """Give a new connection its number, or refuse it when there are too many."""
        full = len(self._by_number) >= self.limits.connections
        if full if connection.opened else not (self._has_room_for(host) and self._has_room()):
            self.complain("connections refused", host)
            return False
        self._number += 1
        connection.number = self._number
        self._by_number[self._number] = connection
        if not connection.opened:
            self._strangers[connection.number] = connection
            self._count(connection, host)
        if self._sweeper is None:
            self._sweep()
        return True

    def _recount(self, connection: Connection, host: str) -> bool:
        """Count a connection under the address a proxy of ours has told, or refuse it when it has too many."""
        self._uncount(connection)
        if not self._has_room_for(host):
            self.complain("connections refused", host)
            return False
        self._count(connection, host)
        return True

    def _has_room(self) -> bool:
        """Whether another stranger's connection fits, if need be in the place of the oldest."""
        if len(self._strangers) < self.limits.strangers and len(self._by_number) < self.limits.connections:
            return True
        return self._close_oldest(self._strangers)

    def _has_room_for(self, host: str) -> bool:
        """The same among those of one source."""
        own = self._strangers_of.get(host) or OrderedDict[int, Connection]()
        return len(own) < self.limits.connections_per_source or self._close_oldest(own)

    def _close_oldest(self, strangers: Mapping[int, Connection]) -> bool:
        oldest = next(iter(strangers.values()), None)
        if oldest is None or asyncio.get_running_loop().time() < oldest.since + self.limits.grace_seconds:
            return False
        source = oldest.source
        self._forget(oldest)
        oldest.abort()
        self.complain(CROWDED, source)
        return True

    def complain(self, kind: str, source: str) -> None:
        """A peer has done something wrong, or met somebody who did."""
        self._complaints.note(kind, source, asyncio.get_running_loop().time())

    def trust(self, connection: Connection) -> None:
        """Somebody we know is at its other end: it is no stranger's any more."""
        if self._strangers.pop(connection.number, None) is not None:
            self._uncount(connection)

    def _count(self, connection: Connection, host: str) -> None:
        connection.source = host
        self._strangers_of.setdefault(host, OrderedDict())[connection.number] = connection

    def _uncount(self, connection: Connection) -> None:
        own = self._strangers_of.get(connection.source)
        if own is not None and own.pop(connection.number, None) is not None and not own:
            del self._strangers_of[connection.source]

    def _forget(self, connection: Connection) -> None:
        if self._by_number.pop(connection.number, None) is None:
            return
        self._strangers.pop(connection.number, None)
        self._uncount(connection)
        if connection.target is not None and self._by_target.get(connection.target) is connection:
            del self._by_target[connection.target]
        if connection.flow is not None:
            self._closed(connection.flow)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._by_number.values()):
            connection.check(now)
        self._sweeper = loop.call_later(self._period, self._sweep) if self._by_number else None
