"""TCP connections that carry SIP: accepted and opened ones, their framing, keepalive and limits."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from soip.net.errors import FlowError
from soip.net.limits import Limits
from soip.sip.errors import SipParseError
from soip.sip.flow import Address, Flow
from soip.sip.message import Message
from soip.sip.stream import Keepalive, StreamParser

PING_SECONDS = 25.0
"""How often we ping over a connection we opened and that is otherwise silent (RFC 5626 §4.4.1: under 120 s
for servers, and under the idle limit of our own kind)."""


# Asked after two minutes of silence, and given up after four unanswered questions half a minute apart.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))

Received = Callable[[Message | SipParseError, Flow], None]


class Connection(asyncio.Protocol):
    """One connection. `opened`: by us, so we ping; else accepted, so we answer pings and limit idling."""

    def __init__(self, streams: Streams, *, opened: bool) -> None:
        self.opened = opened
        self.flow: Flow | None = None
        self.target: Address | None = None
        self.kept_until = 0.0
        self._streams = streams
        self._parser = StreamParser(opened=opened)
        self._transport: asyncio.Transport | None = None
        self._active = 0.0
        self._partial_since: float | None = None
        self._pongs: list[asyncio.Future[None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are none by inheritance
        self._active = asyncio.get_running_loop().time()
        if not self.opened:
            self._partial_since = self._active  # the first message may not be long in coming
        _watch_peer(transport)
        remote, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not remote or not local or not self._streams._admit(self, remote[:2], local[:2]):
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for pong in self._pongs:
            if not pong.done():
                pong.cancel()
        self._streams._forget(self)

    def data_received(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        items = self._parser.feed(data)
        if items:
            self._active, self._partial_since = now, None
        if self._parser.partial and self._partial_since is None:
            self._partial_since = now
        for item in items:
            self._take(item)
        if self._parser.broken is not None:
            self._streams.counters["connections closed for bad framing"] += 1
            self.close()

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
        transport = self._transport
        if transport is None or transport.is_closing():
            raise FlowError(f"the connection to {self.flow} is closed")
        if transport.get_write_buffer_size() + len(data) > self._streams.limits.send_buffer:
            self._streams.counters["connections closed for not reading"] += 1
            transport.abort()
            raise FlowError(f"the peer at {self.flow} does not read")
        transport.write(data)

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
        """Close what idles or drips; ping over what we opened."""
        limits = self._streams.limits
        if self._transport is None:
            return
        if self._partial_since is not None and now - self._partial_since > limits.message_seconds:
            self._streams.counters["connections closed for slowness"] += 1
            self.abort()
        elif not self.opened and now > max(self.kept_until, self._active + limits.idle_seconds):
            self._streams.counters["connections closed for idling"] += 1
            self.close()
        elif self.opened and now - self._active > PING_SECONDS and not self._transport.is_closing():
            self._active = now
            self._transport.write(Keepalive.PING.value)

    def close(self) -> None:
        """End the connection when what was written has left."""
        if self._transport is not None:
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
    """All TCP connections of one endpoint. `received` gets messages, and errors fit for an answer."""

    def __init__(
        self,
        limits: Limits,
        received: Received,
        closed: Callable[[Flow], None],
        counters: Counter[str],
    ) -> None:
        self.limits = limits
        self.counters = counters
        self._received = received
        self._closed = closed
        self._by_number: dict[int, Connection] = {}
        self._by_target: dict[Address, Connection] = {}
        self._opening: dict[Address, asyncio.Task[Connection]] = {}
        self._by_source: Counter[str] = Counter()
        self._number = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._period = max(0.05, min(limits.message_seconds, limits.idle_seconds, PING_SECONDS) / 4)

    def __len__(self) -> int:
        return len(self._by_number)

    def accept(self) -> Connection:
        """The protocol of a connection that a peer opens."""
        return Connection(self, opened=False)

    def get(self, flow: Flow) -> Connection | None:
        """The connection of a flow, None when it has ended."""
        return self._by_number.get(flow.connection)

    async def connect(self, address: Address, local_host: str | None) -> Connection:
        """The connection we opened to an address, or a new one. Raises FlowError.

        Those who ask at the same time share one attempt; one who gives up does not end it for the others.
        """
        known = self._by_target.get(address)
        if known is not None:
            return known
        task = self._opening.get(address)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._open(address, local_host))
            self._opening[address] = task
            task.add_done_callback(lambda _: self._opening.pop(address, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise FlowError("the endpoint has been closed") from None
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    async def _open(self, address: Address, local_host: str | None) -> Connection:
        if len(self._by_number) >= self.limits.connections:
            raise FlowError(f"{self.limits.connections} connections are open already")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, opened=True),
                    *address,
                    local_addr=None if local_host is None else (local_host, 0),
                )
        except TimeoutError as error:
            raise FlowError(f"no connection to {address} in {self.limits.connect_seconds:g} s") from error
        except OSError as error:
            raise FlowError(f"no connection to {address}: {error.strerror or error}") from error
        if connection.flow is None or connection.flow.connection not in self._by_number:
            raise FlowError(f"the connection to {address} was closed at once")
        connection.target = address
        self._by_target[address] = connection
        return connection

    def close(self) -> None:
        """End all connections and attempts."""
        for task in list(self._opening.values()):
            task.cancel()
        for connection in list(self._by_number.values()):
            connection.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _admit(self, connection: Connection, remote: Address, local: Address) -> bool:
        """Give a new connection its flow, or refuse it when there are too many."""
        over = len(self._by_number) >= self.limits.connections
        if over or self._by_source[remote[0]] >= self.limits.connections_per_source:
            self.counters["connections refused"] += 1
            return False
        self._number += 1
        connection.flow = Flow("tcp", local, remote, self._number)
        self._by_number[self._number] = connection
        self._by_source[remote[0]] += 1
        if self._sweeper is None:
            self._sweep()
        return True

    def _forget(self, connection: Connection) -> None:
        flow = connection.flow
        if flow is None or self._by_number.pop(flow.connection, None) is None:
            return
        self._by_source[flow.remote[0]] -= 1
        if not self._by_source[flow.remote[0]]:
            del self._by_source[flow.remote[0]]
        if connection.target is not None and self._by_target.get(connection.target) is connection:
            del self._by_target[connection.target]
        self._closed(flow)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._by_number.values()):
            connection.check(now)
        self._sweeper = loop.call_later(self._period, self._sweep) if self._by_number else None
