"""RTP and RTCP of one media session over TCP (RFC 4571): a `rtpway.RtpWay`.

Who connects was agreed on (RFC 4145, `sip.mediaway`). A passive side takes one connection, from the negotiated host
alone, within `CONNECT_S`, and closes its listening socket then; others are reset at once. RTCP goes over a connection
of its own to the port above, or over that of RTP where both sides said rtcp-mux (RFC 5761); what comes is taken on
either.

Sending never waits. What the kernel has no room for queues, whole access units at a time; when the oldest of them has
waited for `QUEUE_AGE_S`, all that have not begun to leave are dropped, so that who is slow does not see ever older
pictures. Who takes nothing at all for `STALLED_S` is gone.

A connection that ends is `trouble`: whoever has the call ends it, or a new connection is agreed on, which replaces it.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial

from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs, PortsExhaustedError
from soip.net.rtp import BIND_ATTEMPTS, CONTROL_AT_ONCE, normal_host
from soip.net.rtpway import Receiver, T
from soip.rtp.batch import DatagramBatch
from soip.rtp.errors import RtpParseError
from soip.rtp.framing import MAX_LEFT, PREFIX, Deframer, frame, frame_runs, is_rtcp, runs_of
from soip.sip.offer import Stream
from soip.sip.sdes import Keying

CONNECT_S = 10.0
"""Seconds in which the connection must be there once it is agreed on."""
QUEUE_AGE_S = 2.0
STALLED_S = 15.0
QUEUE_BYTES = 8 << 20
"""What may wait in one connection, whatever its age."""
UNSENT_BYTES = 256 << 10
"""What the kernel may hold that has not left yet (TCP_NOTSENT_LOWAT): beyond it the queue is here, where it is bounded
by age."""
READ_BYTES = 256 << 10
READS = 4
"""Reads of one connection before the others have their turn."""
BACKLOG = 32
"""Connections of strangers, mostly, that the kernel keeps until they are looked at."""
ACCEPTS = 16
"""Connections looked at in a row."""

_NOTSENT_LOWAT = 25  # Linux; the socket module does not name it
_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN)
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a connection of a stranger is reset, and leaves nothing behind."""


class _Connection:
    """One connection: its frames in, its queue out."""

    def __init__(self, sock: socket.socket, deframer: Deframer, *, connected: bool) -> None:
        self.sock = sock
        self.deframer = deframer
        self.connected = connected
        self.ended = ""
        """Why it is over."""
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._begun: memoryview | None = None
        """What is left of what has begun to leave."""
        self._moved = 0.0
        """When it last took something, or had nothing to take."""
        self.watched = not connected
        """Whether the poll tells when it can be written to."""

    @property
    def waits(self) -> bool:
        """Whether there is something that the kernel had no room for."""
        return self._begun is not None or bool(self._queue)

    def old(self, now: float) -> bool:
        """Whether something has waited for too long, or too much does."""
        return bool(self._queue) and (now - self._queue[0][0] > QUEUE_AGE_S or self._queued > QUEUE_BYTES)

    def stalled(self, now: float) -> bool:
        return self.connected and self.waits and now - self._moved > STALLED_S

    def drop(self) -> int:
        """Drop what has not begun to leave; return how many access units or reports."""
        count = len(self._queue)
        self._queue.clear()
        self._queued = 0
        return count

    def send(self, content: bytes, now: float) -> None:
        """Send, or queue, what must stay together."""
        if not self.waits:
            self._moved = now
        self._queue.append((now, content))
        self._queued += len(content)
        if self.connected and self._begun is None:
            self.flush(now)

    def flush(self, now: float) -> None:
        """Send what the kernel takes."""
        while self.waits and not self.ended:
            if self._begun is None:
                _, content = self._queue.popleft()
                self._queued -= len(content)
                self._begun = memoryview(content)
            try:
                sent = self.sock.send(self._begun)
            except BlockingIOError:
                return
            except OSError as error:
                self.ended = f"the media connection broke: {error.strerror}"
                return
            self._moved = now
            self._begun = self._begun[sent:] if sent < len(self._begun) else None

    def read(self, buffer: memoryview) -> list[tuple[int, int]] | None:
        """Read once; return where in `buffer` packets lie now, None when there is nothing more to read."""
        at = self.deframer.begin(buffer)
        try:
            size = self.sock.recv_into(buffer[at : at + READ_BYTES])
        except BlockingIOError:
            return None
        except OSError as error:
            self.ended = f"the media connection broke: {error.strerror}"
            return None
        if not size:
            self.ended = "the peer has closed the media connection"
            return None
        try:
            return self.deframer.take(buffer, at + size)
        except RtpParseError as error:
            self.ended = f"what came over the media connection is no RTP: {error}"
            return None


class TcpWay:
    """Made by `open_tcp`; see `rtpway.RtpWay`."""

    transport = "tcp"

    def __init__(self, port: int, host: str, release: Callable[[], None], now: Callable[[], float]) -> None:
        self.port = port
        self.foreign = 0
        """Connections from elsewhere, and those that were too many."""
        self.refused = 0
        self.control_age = 0.0
        self.skipped = 0
        """Bytes of connections before this one that were no frames."""
        self._host = host
        self._release: Callable[[], None] | None = release
        self._now = now
        self._poll: MediaPoll | None = None
        self._media: Callable[[], object] = lambda: None
        self._control: Callable[[], object] = lambda: None
        self._listeners: dict[int, socket.socket] = {}
        """By which of both they are for: 0 for RTP, 1 for RTCP."""
        self._connections: dict[int, _Connection] = {}
        self._wanted: frozenset[int] = frozenset()
        """Which connections are to come."""
        self._stream: Stream | None = None
        self._reports: list[bytes] = []
        self._deadline = 0.0
        self._ended = ""
        self._early: deque[tuple[float, bytes]] = deque()
        """What waits for the connection to come."""
        self._early_bytes = 0
        self._sender: TcpSender | None = None
        self._listen()

    # -- agreed on

    def watch(self, poll: MediaPoll, media: Callable[[], object], control: Callable[[], object]) -> None:
        self._poll, self._media, self._control = poll, media, control
        if self._wanted:
            self._watch_listeners()
        for which, connection in self._connections.items():
            poll.add(connection.sock, partial(self._ready, which))
            poll.writable(connection.sock, connection.watched)

    def rest(self, resting: bool) -> None:
        """Nothing: nobody tells when what waits in a connection has come."""

    def hear(self, stream: Stream) -> None:
        self._agree(stream)

    def direct(self, stream: Stream) -> None:
        self._agree(stream)

    def secure(self, keying: Keying | None) -> None:
        """See `rtpway.RtpWay`: SRTP is not agreed on over TCP."""

    def _agree(self, stream: Stream) -> None:
        """Make the connection, or let it come; where there is one, only if a new one was agreed on (RFC 4145 §5)."""
        before, self._stream = self._stream, stream
        both = frozenset((0,)) if stream.way.mux else frozenset((0, 1))
        again = before is not None and (stream.way.fresh and stream != before)
        if stream.way.setup == "holdconn" or (self._connections.keys() >= both and not again):
            return
        if before is not None and not again and self._wanted:
            return  # it is to come already
        self._ended = ""
        self._wanted = both
        self._deadline = self._now() + CONNECT_S
        if stream.way.setup == "active":
            self._unlisten(both | {1})
            for which in sorted(both):
                self._connect(which, stream.remote if which == 0 else stream.remote_rtcp)
            return
        self._listen()
        self._unlisten({1} - both)
        self._watch_listeners()

    def _watch_listeners(self) -> None:
        if self._poll is not None:
            for which, listener in self._listeners.items():
                self._poll.remove(listener)
                self._poll.add(listener, partial(self._accept, which))

    def _listen(self) -> None:
        try:
            for which in {0, 1} - self._listeners.keys():
                self._listeners[which] = _listener(self._host, self.port + which)
        except OSError:
            self._unlisten({0, 1})
            raise

    def _unlisten(self, which: frozenset[int] | set[int]) -> None:
        for one in which:
            listener = self._listeners.pop(one, None)
            if listener is not None:
                if self._poll is not None:
                    self._poll.remove(listener)
                listener.close()

    def _connect(self, which: int, remote: tuple[str, int]) -> None:
        host, port = normal_host(remote[0]), remote[1]
        sock = socket.socket(_family(host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.bind((self._host, 0))
            code = sock.connect_ex((host, port))
            if code and code not in _UNDER_WAY:
                raise OSError(code, errno.errorcode.get(code, ""))
            self._take(which, sock, connected=not code)
        except OSError:
            sock.close()
            raise

    def _accept(self, which: int) -> None:
        listener = self._listeners[which]
        assert self._stream is not None
        for _ in range(ACCEPTS):
            try:
                sock, source = listener.accept()
            except OSError:
                return  # none left; or one that was there is gone
            if normal_host(source[0]) != normal_host(self._stream.remote[0]):
                self.foreign += 1
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.close()
                continue
            sock.setblocking(False)
            self._unlisten({which})
            self._take(which, sock, connected=True)
            return

    def _take(self, which: int, sock: socket.socket, *, connected: bool) -> None:
        """A connection begins; one that was there before ends."""
        assert self._stream is not None
        for level, option, number in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, _NOTSENT_LOWAT, UNSENT_BYTES),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            # Who has gone without a word is noticed by what is not acknowledged.
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_S * 1000)),
        ):
            with suppress(OSError):
                sock.setsockopt(level, option, number)
        self._close(which)
        types = self._stream.receive_types | {self._stream.payload_type}
        connection = _Connection(sock, Deframer(types), connected=connected)
        self._connections[which] = connection
        if self._poll is not None:
            self._poll.add(sock, partial(self._ready, which))
            self._poll.writable(sock, not connected)
        if which == 0:
            for since, content in self._early:
                connection.send(content, since)
            self._early.clear()
            self._early_bytes = 0
        if connected:
            self._connected(which)
            self._look_after(which)

    def _connected(self, which: int) -> None:
        self._wanted -= {which}
        if which == 0 and self._sender is not None:
            self._sender.connected()

    # -- what comes

    def _ready(self, which: int) -> None:
        """A connection can be read from, or written to."""
        connection = self._connections[which]
        if not connection.connected:
            code = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                connection.ended = f"no media connection: {errno.errorcode.get(code, code)}"
                self._look_after(which)
                return
            connection.connected = True
            self._connected(which)
        connection.flush(self._now())
        if which == 0:
            self._media()
        if which == 1 or self._reports:
            self._control()
        self._look_after(which)

    def drain(self, receiver: Receiver[T], buffer: memoryview, now: float) -> list[T]:
        connection = self._connections.get(0)
        ready: list[T] = []
        if connection is None or not connection.connected:
            return ready
        batch, whole = _batch(), _buffer()
        for _ in range(READS):
            spans = connection.read(whole)
            if spans is None:
                break
            for begin, end, sizes in runs_of(self._without_reports(whole, spans)):
                batch.load_framed(whole[begin:end], PREFIX, sizes)
                ready += receiver.take(batch, now)
        return ready

    def _without_reports(self, whole: memoryview, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        reports = [(at, size) for at, size in spans if is_rtcp(whole[at + 1])]
        if not reports:
            return spans
        for at, size in reports:
            if len(self._reports) < CONTROL_AT_ONCE:
                self._reports.append(bytes(whole[at : at + size]))
        return [span for span in spans if span not in reports]

    def drain_control(self, buffer: memoryview) -> list[bytes]:
        reports, self._reports = self._reports, []
        connection = self._connections.get(1)
        if connection is not None and connection.connected:
            whole = _buffer()
            for at, size in connection.read(whole) or ():
                if is_rtcp(whole[at + 1]):
                    reports.append(bytes(whole[at : at + size]))
        return reports

    # -- what goes

    def send_packet(self, packet: bytes) -> None:
        self.give(frame(packet), self._now())

    def send_control(self, packet: bytes) -> bool:
        which = 0 if self._stream is None or self._stream.way.mux else 1
        connection = self._connections.get(which)
        if connection is None or connection.ended or connection.old(self._now()):
            self.refused += 1
            return False
        connection.send(frame(packet), self._now())
        self._look_after(which)
        return True

    def sender(self, size: int, lost: Callable[[], None]) -> TcpSender:
        self._sender = TcpSender(self, size, lost, self._now)
        return self._sender

    def give(self, content: bytes, now: float) -> int:
        """Send frames that belong together, or queue them; returns how many of those before them were dropped, and then
        these are too.
        """
        connection = self._connections.get(0)
        if connection is None and 0 in self._wanted:
            return self._wait(content, now)
        if connection is None or connection.ended:
            self.refused += 1
            return 1
        if connection.old(now):
            return connection.drop() + 1
        connection.send(content, now)
        self._look_after(0)
        return 0

    def _wait(self, content: bytes, now: float) -> int:
        """The same while the connection is still to come."""
        self._early_bytes += len(content)
        if self._early and (now - self._early[0][0] > QUEUE_AGE_S or self._early_bytes > QUEUE_BYTES):
            dropped = len(self._early) + 1
            self._early.clear()
            self._early_bytes = 0
            return dropped
        self._early.append((now, content))
        return 0

    def _look_after(self, which: int) -> None:
        """Note what has ended; be told when there is room again."""
        connection = self._connections.get(which)
        if connection is None or self._poll is None:
            return
        if connection.ended:
            if which == 0:  # that of RTCP may be missing
                self._ended = connection.ended
            self._close(which)
        elif connection.watched != (connection.waits or not connection.connected):
            connection.watched = not connection.watched
            self._poll.writable(connection.sock, connection.watched)

    def _close(self, which: int) -> None:
        connection = self._connections.pop(which, None)
        if connection is not None:
            self.skipped += connection.deframer.skipped
            if self._poll is not None:
                self._poll.remove(connection.sock)
            connection.sock.close()

    # -- how it is

    @property
    def damaged(self) -> int:
        """Bytes that were no frames."""
        return self.skipped + sum(one.deframer.skipped for one in self._connections.values())

    def kernel_drops(self) -> int:
        return 0

    def trouble(self, now: float) -> str:
        if self._ended:
            return self._ended
        if any(connection.stalled(now) for connection in self._connections.values()):
            return f"the peer has taken nothing for {STALLED_S:.0f} s"
        if self._wanted and now > self._deadline:
            self._unlisten({0, 1})
            self._wanted = frozenset()
            if 0 not in self._connections or not self._connections[0].connected:
                self._ended = f"no media connection in {CONNECT_S:.0f} s"
        return self._ended

    def close(self) -> None:
        self._unlisten({0, 1})
        for which in (0, 1):
            self._close(which)
        if self._release is not None:
            self._release()
            self._release = None


class TcpSender:
    """The way out of a stream over TCP."""

    def __init__(self, way: TcpWay, size: int, lost: Callable[[], None], now: Callable[[], float]) -> None:
        self.dropped = 0
        """Access units dropped because those before them had waited for too long."""
        self._way, self._size, self._lost, self._now = way, size, lost, now
        self._missing = False

    @property
    def refused(self) -> int:
        return self._way.refused

    def send(self, runs: Sequence[bytes]) -> None:
        """See `rtpway.Sender`."""
        dropped = self._way.give(_framed(runs, self._size), self._now())
        if dropped:
            self.dropped += dropped
            self._missing = True
            self._lost()

    def connected(self) -> None:
        """The connection is there: what was sent before it was, is missing."""
        if self._missing:
            self._missing = False
            self._lost()


def open_tcp(ports: PortPairs, host: str, now: Callable[[], float]) -> TcpWay:
    """Listen on a free pair of `ports` on the IP address `host`. Nothing is accepted before `hear` or `direct`.

    Raises PortsExhaustedError, or OSError for a wrong host.
    """
    failure: OSError | None = None
    for _ in range(BIND_ATTEMPTS):
        port = ports.take(now())
        release = partial(_give_back, ports, port, now)
        try:
            return TcpWay(port, host, release, now)
        except OSError as error:
            release()
            if error.errno != errno.EADDRINUSE:
                raise
            failure = error
    raise PortsExhaustedError(f"other programs hold the RTP ports in {ports.low}-{ports.high}") from failure


def _give_back(ports: PortPairs, port: int, now: Callable[[], float]) -> None:
    ports.release(port, now())


def _listener(host: str, port: int) -> socket.socket:
    sock = socket.socket(_family(host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A connection that ended a moment ago must not keep the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@cache
def _batch() -> DatagramBatch:
    """What goes to the receivers of all connections of the process, one run after the other."""
    return DatagramBatch()


@cache
def _buffer() -> memoryview:
    """What all connections of the process are read into, one after the other."""
    return memoryview(bytearray(MAX_LEFT + READ_BYTES))


class _Framing:
    """The frames of an access unit, made once for all who get it one after the other."""

    def __init__(self) -> None:
        self._runs: Sequence[bytes] = ()
        self._size = 0
        self._framed = b""

    def __call__(self, runs: Sequence[bytes], size: int) -> bytes:
        if runs is not self._runs or size != self._size:
            self._framed = frame_runs(runs, size)
            self._runs, self._size = runs, size
        return self._framed


_framed = _Framing()
