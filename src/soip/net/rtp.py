"""The sockets of one media session: RTP and RTCP on a port pair, bound to one peer.

Until the peer is known to send from where it said, datagrams are taken by ``recvfrom`` and only from the
hosts the session allows (the negotiated address; where the camera sits behind NAT, the address its signalling
came from). The first of them latches: the socket is connected to its source, and from then on the kernel
drops all others. One from another port than was agreed on latches only when nothing has come from that one for
`GUESS_S`: behind NAT the port differs, but so it does where a camera still sends to the port for a call of before.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from struct import calcsize, unpack_from
from typing import Any

from soip.net.batch import TOLD, BatchReader, age_of, prepare, tell_times
from soip.net.gso import GsoSender
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs, PortsExhaustedError
from soip.net.rtpway import Receiver, T
from soip.net.srtp import Opened, Srtp, SrtpSender
from soip.rtp.batch import SLOTS, DatagramBatch
from soip.rtp.framing import is_rtcp
from soip.rtp.packet import HEADER_SIZE
from soip.sip.offer import Stream
from soip.sip.sdes import Keying

RECEIVE_BUFFER = 4 << 20
"""Bytes asked of the kernel per RTP socket: 8 s of a 4 Mbit/s camera, or a burst of several large keyframes.
"""
DATAGRAM_SIZE = 65_536
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
SO_MEMINFO = 55
_MEMINFO = "9I"
_MEMINFO_DROPS = 8
MAX_BATCHES = 16
"""Batches read from one socket before the others have their turn."""
FOREIGN_BUDGET = 256
"""Datagrams of strangers read in a row before the other sockets have their turn."""
GUESS_S = 1.0
"""Seconds in which the agreed port may still show itself, after another of the same host has."""
BIND_ATTEMPTS = 64
"""Port pairs tried before giving up: others may hold some of the range."""

CONTROL_AT_ONCE = 16
"""RTCP packets read in a row."""
_NOT_RTCP = bytes(second for second in range(256) if not is_rtcp(second))


Address = tuple[Any, ...]
"""As the socket module has it: host and port, in IPv6 two numbers more."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An address media goes to or comes from."""

    host: str
    port: int


class RtpSocketPair:
    """RTP on an even port, RTCP on the odd one above. Made by ``open_pair``; ``close`` gives the ports
    back.
    """

    transport = "udp"

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, release: Callable[[], None]) -> None:
        self.rtp = rtp
        self.rtcp = rtcp
        self._number = rtp.fileno()
        self._deep = rtp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= RECEIVE_BUFFER
        self.port: int = rtp.getsockname()[1]
        self.remote: Peer | None = None
        """The peer whose packets are taken, once latched or connected."""
        self.foreign = 0
        """Datagrams from addresses the session does not allow, dropped (the kernel counts none after
        latching)."""
        self.refused = 0
        """ICMP errors the sockets were told of."""
        self.control_age = 0.0
        """See `rtpway.RtpWay`."""
        self.srtp: Srtp | None = None
        """What protects all that goes and comes (``secure``)."""
        self._release: Callable[[], None] | None = release
        self._poll: MediaPoll | None = None
        self._mux = False
        """RTCP comes and goes on the RTP socket (RFC 5761)."""
        self._muxed: list[bytes] = []
        self._control_peer: Peer | None = None
        self._allowed: frozenset[str] = frozenset()
        self._agreed = 0
        """The port that media was agreed to come from; 0 where none was."""
        self._guess_ends: float | None = None
        """Until when the peer, who sends from another port, is a guess."""
        self._settled = False
        self._source: Address | None = None
        """The peer's address as recvfrom gives it, once seen: compared before anything is parsed."""

    def watch(self, poll: MediaPoll, media: Callable[[], object], control: Callable[[], object]) -> None:
        """See `rtpway.RtpWay`."""

        def readable() -> None:
            media()
            if self._muxed:
                control()

        self._poll = poll
        poll.add(self.rtp, readable)
        poll.add(self.rtcp, control)

    def rest(self, resting: bool) -> None:
        """See `rtpway.RtpWay`. Only where the kernel keeps for us what comes meanwhile, and tells when it came."""
        if self._poll is not None and (not resting or (self._settled and self._deep)):
            self._poll.rest(self.rtp, resting)

    def hear(self, stream: Stream) -> None:
        """Take media from the negotiated host; its first packet latches the port, the agreed one before others."""
        self._mux = stream.way.mux
        self.secure(stream.srtp)
        self.allow([stream.remote[0]], stream.remote[1])
        self._control_peer = Peer(*stream.remote_rtcp)

    def direct(self, stream: Stream) -> None:
        """Send only to, and hear only from, the negotiated address. Raises OSError."""
        self._mux = stream.way.mux
        self.secure(stream.srtp)
        self._control_peer = None
        self.connect(Peer(*stream.remote), Peer(*stream.remote_rtcp))

    def allow(self, hosts: Collection[str], port: int = 0) -> None:
        """Take media from these IP addresses, any port; the first datagram latches, where a `port` is given one from
        there. Also undoes an earlier latch.
        """
        self._allowed = frozenset(normal_host(host) for host in hosts)
        self._agreed = port
        self._guess_ends = None
        self.remote = None
        self._settled = False
        self._source = None

    def connect(self, peer: Peer, rtcp: Peer | None = None) -> None:
        """Send to and take from ``peer`` only; RTCP one port above unless told. Raises OSError without a
        route."""
        self.rtp.connect((peer.host, peer.port))
        control = rtcp or Peer(peer.host, peer.port + 1)
        self.rtcp.connect((control.host, control.port))
        self.remote = peer
        self._guess_ends = None
        self._allowed = frozenset((normal_host(peer.host),))
        self._settled = False
        self._source = None

    def secure(self, keying: Keying | None) -> None:
        """See `rtpway.RtpWay`."""
        if keying is None:
            self.srtp = None
        elif self.srtp is None:
            self.srtp = Srtp(keying)
        else:
            self.srtp.rekey(keying)

    def drain(self, receiver: Receiver[T], buffer: memoryview, now: float) -> list[T]:
        """Read the RTP socket into ``receiver`` until it is empty or MAX_BATCHES were read; return what that
        completed.

        ``buffer`` is one for all sockets of the process, of DATAGRAM_SIZE. ``now`` is monotonic seconds.
        """
        ready: list[T] = []
        if self.srtp is not None:
            receiver = Opened(self.srtp, receiver)
        try:
            if not self._settled:
                for _ in range(MAX_BATCHES * SLOTS):
                    size, age = self._fill_checked(buffer, now)
                    datagram = buffer[:size]
                    if self._mux and size > 1 and is_rtcp(datagram[1]):
                        self.control_age = age
                        self._keep_control(datagram)
                    else:
                        ready += receiver.receive(datagram, now - age)
                return ready
            reader = _reader()
            for _ in range(MAX_BATCHES):
                count = reader.read(self._number)
                if self._mux and _has_control(reader.batch):
                    ready += self._sorted(reader.batch, receiver, now)
                else:
                    ready += receiver.take(reader.batch, now)
                if count < SLOTS:
                    break
        except BlockingIOError:
            pass
        except ConnectionError:
            # An ICMP error for something we sent; cleared by being told. The rest comes at the next wake-up.
            self.refused += 1
        return ready

    def _sorted(self, batch: DatagramBatch, receiver: Receiver[T], now: float) -> list[T]:
        """The datagrams of a batch with RTCP in it, one by one."""
        ready: list[T] = []
        for slot, size, age in batch.datagrams():
            if size > 1 and is_rtcp(slot[1]):
                self.control_age = age
                self._keep_control(slot[:size])
            else:
                ready += receiver.receive(slot[:size], now - age)
        return ready

    def _keep_control(self, datagram: memoryview) -> None:
        if len(self._muxed) < CONTROL_AT_ONCE:
            self._muxed.append(bytes(datagram))

    def _fill_checked(self, buffer: memoryview, now: float) -> tuple[int, float]:
        """Read one datagram from an allowed host, latching the first; then connected, the kernel checks. Its size, and
        the seconds since it came: while the first ones wait, a process that has just started may be busy.
        """
        for _ in range(FOREIGN_BUDGET):
            try:
                size, told, _, source = self.rtp.recvmsg_into([buffer], TOLD)
            except BlockingIOError:
                # Connected and empty: nothing that came before the connect can be left in the queue.
                if self.remote is not None and self._guess_ends is None:
                    self._settled = True
                    prepare(self.rtp)
                raise
            if source == self._source:
                if self._guess_ends is not None and now >= self._guess_ends:
                    self._latch(source)
                return size, age_of(told)
            if self._is_peer(source):
                self._take_source(source, now)
                return size, age_of(told)
            self.foreign += 1
        raise BlockingIOError  # others have their turn while someone floods this port

    def _is_peer(self, source: Address) -> bool:
        """Whether a source that is not the one so far may be the peer."""
        host, port, remote = normal_host(source[0]), source[1], self.remote
        if remote is None or self._guess_ends is not None:
            return host in self._allowed and (remote is None or port == self._agreed)
        return port == remote.port and host == normal_host(remote.host)

    def _take_source(self, source: Address, now: float) -> None:
        known = self.remote is not None and self._guess_ends is None
        self._source = source
        if known:
            return
        self.remote = Peer(normal_host(source[0]), source[1])
        if self._agreed in (0, source[1]):
            self._latch(source)
        else:
            self._guess_ends = now + GUESS_S

    def _latch(self, source: Address) -> None:
        self.rtp.connect(source)
        self._guess_ends = None

    def drain_control(self, buffer: memoryview) -> list[bytes]:
        """Read the RTCP datagrams of the session's peer, at most 16 at once."""
        came, self._muxed = self._muxed, []
        for _ in range(CONTROL_AT_ONCE):
            try:
                size, source = self.rtcp.recvfrom_into(buffer)
            except BlockingIOError:
                break
            except ConnectionError:
                self.refused += 1
                continue
            if normal_host(source[0]) in self._allowed:
                came.append(bytes(buffer[:size]))
            else:
                self.foreign += 1
        if self.srtp is None:
            return came
        return [plain for packet in came if (plain := self.srtp.unprotect_control(packet))]

    def send_control(self, packet: bytes, peer: Peer | None = None) -> bool:
        """Send one RTCP packet to ``peer``, or to the one agreed on; False when it could not leave."""
        if self.srtp is not None:
            packet = self.srtp.protect_control(packet)
            if not packet:
                return False
        peer = peer or self._control_peer
        sock = self.rtp if self._mux else self.rtcp
        try:
            if peer is None:
                sock.send(packet)
            else:
                sock.sendto(packet, (peer.host, peer.port))
        except OSError:
            self.refused += 1
            return False
        return True

    def send_packet(self, packet: bytes) -> None:
        """Send one RTP packet; what the kernel refuses is gone, as on any wire."""
        if self.srtp is not None:
            packet = self.srtp.protect(packet)
        try:
            if packet:
                self.rtp.send(packet)
        except OSError:
            self.refused += 1

    def sender(self, size: int, lost: Callable[[], None]) -> GsoSender:
        """A way out by the frame. Nothing waits here, so nothing that waited is lost."""
        return GsoSender(self.rtp, size) if self.srtp is None else SrtpSender(self.rtp, size, self.srtp)

    def trouble(self, now: float) -> str:
        """None that a socket of UDP would know of."""
        return ""

    @property
    def damaged(self) -> int:
        """None: a datagram is a packet, or not."""
        return 0

    def kernel_drops(self) -> int:
        """Return how many datagrams the kernel dropped for want of buffer since the socket was made
        (SO_MEMINFO)."""
        info = self.rtp.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, calcsize(_MEMINFO))
        return int(unpack_from(_MEMINFO, info)[_MEMINFO_DROPS])

    def close(self) -> None:
        """Close both sockets and give the ports back. Sockets that were not given to `watch` are to be removed from
        their poll first.
        """
        for sock in (self.rtp, self.rtcp):
            if self._poll is not None:
                self._poll.remove(sock)
            sock.close()
        if self._release is not None:
            self._release()
            self._release = None


def open_pair(ports: PortPairs, host: str, now: Callable[[], float]) -> RtpSocketPair:
    """Bind a free pair of ``ports`` on the IP address ``host``. Raises PortsExhaustedError, or OSError for a
    wrong host."""
    failure: OSError | None = None
    for _ in range(BIND_ATTEMPTS):
        port = ports.take(now())
        rtp = rtcp = None
        try:
            rtp = _udp_socket(host, port)
            rtcp = _udp_socket(host, port + 1)
        except OSError as error:
            if rtp is not None:
                rtp.close()
            ports.release(port, now())
            if error.errno != errno.EADDRINUSE:
                raise
            failure = error
            continue
        enlarge(rtp)
        tell_times(rtp)
        return RtpSocketPair(rtp, rtcp, partial(_give_back, ports, port, now))
    raise PortsExhaustedError(f"other programs hold the RTP ports in {ports.low}-{ports.high}") from failure


def _has_control(batch: DatagramBatch) -> bool:
    """Whether any of the datagrams is RTCP, told by all second bytes of a run at once (RFC 5761 §4)."""
    for layout, first, count, size, _, _ in batch.runs:
        starts = (layout.starts.get(HEADER_SIZE) or layout.cut(HEADER_SIZE))[first : first + count]
        if size > 1 and b"".join(starts)[1 :: len(starts[0])].translate(None, _NOT_RTCP):
            return True
    return False


@cache
def _reader() -> BatchReader:
    """The batch that all media sockets of the process are read into."""
    return BatchReader()


def _give_back(ports: PortPairs, port: int, now: Callable[[], float]) -> None:
    ports.release(port, now())


def _udp_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def enlarge(sock: socket.socket) -> None:
    """Ask for large buffers; beyond the system's limit only with CAP_NET_ADMIN, else as much as it gives."""
    for force, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, RECEIVE_BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, RECEIVE_BUFFER)


def normal_host(host: str) -> str:
    """Return an IP address as the kernel writes it, IPv4 in IPv6 as IPv4."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
