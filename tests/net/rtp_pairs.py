"""Real sockets for the tests of media sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

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


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])
