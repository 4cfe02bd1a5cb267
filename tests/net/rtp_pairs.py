"""Real sockets for the tests of media sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from soip.net.batch import TOLD, age_of, tell_times
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE, RtpSocketPair, open_pair

BUFFER = memoryview(bytearray(DATAGRAM_SIZE))
LOOPBACK = "127.0.0.1"


@contextmanager
def open_pairs(count: int = 1) -> Iterator[list[RtpSocketPair]]:
    """Open pairs of a range that other tests at the same time hardly use."""
    ports = PortPairs(34_000, 34_998, quarantine=0)
    pairs = [open_pair(ports, LOOPBACK, time.monotonic) for _ in range(count)]
    try:
        yield pairs
    finally:
        for pair in pairs:
            pair.close()
    assert ports.in_use == 0


@contextmanager
def peer(host: str = LOOPBACK) -> Iterator[socket.socket]:
    """A plain UDP socket on a port of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(20)
        yield sock


@contextmanager
def stamped() -> Iterator[None]:
    """While the kernel tells when datagrams came. It begins to look at the clock for that a moment after the first
    socket of the machine asks for it; what came before has the time at which it is read.
    """
    with peer() as probe:
        tell_times(probe)
        for _ in range(500):
            probe.sendto(b"x", probe.getsockname())
            time.sleep(0.01)  # It waits so long.
            if age_of(probe.recvmsg(1, TOLD)[1]) >= 0.005:
                break
        else:
            raise AssertionError("the kernel does not tell when datagrams came")
        yield


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])
