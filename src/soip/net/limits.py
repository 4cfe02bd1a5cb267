"""What one SIP endpoint takes from the network at most, and says about it."""

from __future__ import annotations

from dataclasses import dataclass


class Pace:
    """Lets through one of a kind in so many seconds: what anybody can provoke must not fill the disk with log."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def due(self, now: float) -> bool:
        """Whether it is time for the next one, which this then was."""
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


MOST_CONNECTIONS = 20_000
SPARE_FILES = 1200
"""Descriptors that are not for connections: what a listener's queue holds is accepted at once, before any is closed."""


def connections_for(files: int) -> int:
    """How many connections there may be in a process that may have so many files open."""
    return min(files - min(files // 2, SPARE_FILES), MOST_CONNECTIONS)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one endpoint; times in seconds, sizes in bytes."""

    connections: int = 4096
    strangers: int = 4096
    """Of the connections that peers opened, those over which nobody has proved who he is (`SipEndpoint.trust`). Where
    there are too many of anything, the oldest of these is closed to make room.
    """
    connections_per_source: int = 512
    """Of strangers."""
    grace_seconds: float = 2.0
    """How long a stranger's connection is not closed for others: when all devices come at once, all are strangers."""
    idle_seconds: float = 300.0
    """An accepted connection without a message or ping is closed, unless it is kept (`SipEndpoint.keep`)."""
    message_seconds: float = 10.0
    """From the first byte of a message to its last, and from accepting a connection to its first message."""
    connect_seconds: float = 5.0
    send_buffer: int = 1 << 20
    """Unsent bytes of a connection whose peer does not read; beyond it the connection is closed."""
    transactions: int = 200_000
    """Of each side. Answered requests are kept for 32 s to absorb repeats: this is 6,000 a second."""
