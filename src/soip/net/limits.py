"""What one SIP endpoint takes from the network at most, and says about it."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

TOLD_SECONDS = 60.0
_MOST_SOURCES = 1000

log = logging.getLogger(__name__)


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


class Complaints:
    """What peers do wrong, by kind: `counters` have how often, and the log is told, once a minute of each kind, how
    often since the last time and by whom most.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._since: dict[str, Counter[str]] = {}
        self._paces: dict[str, Pace] = {}

    def note(self, kind: str, source: str, now: float) -> None:
        """It has happened once more. `kind` is one of a few words of ours, `source` the peer's host."""
        self.counters[kind] += 1
        since = self._since.setdefault(kind, Counter())
        since[source if source in since or len(since) < _MOST_SOURCES else "others"] += 1
        if self._paces.setdefault(kind, Pace(TOLD_SECONDS)).due(now):
            ((most, count),) = since.most_common(1)
            log.warning("%s: %d, most of %s: %d", kind, since.total(), most, count)
            since.clear()


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
