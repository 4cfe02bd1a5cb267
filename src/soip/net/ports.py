"""The RTP port range of one process: pairs of an even RTP port and the odd RTCP port above (RFC 3550 §11).

A pair is not given again before it was released and its quarantine has passed: late packets of the old
session must not reach the new one. Ports of journalled dialogs that may still send are reserved until those
have ended.
"""

from __future__ import annotations

from collections import deque

from soip.net.errors import NetError

QUARANTINE = 10.0
"""Seconds from release to the next use: longer than a peer sends on after BYE or a missed one is noticed."""


class PortsExhaustedError(NetError):
    """No port pair of the range is free: widen the range, or wait for the quarantine of released ones."""


class PortPairs:
    """The free and used pairs in ``low…high``, oldest released first. ``now`` is monotonic seconds.

    ``start``, from 0 to 1, is where in the range to begin: who comes back after a crash begins elsewhere, since peers
    may still send to the ports of before.
    """

    def __init__(self, low: int, high: int, quarantine: float = QUARANTINE, start: float = 0.0) -> None:
        first = low + low % 2
        if not 0 < first < high <= 65_535:
            raise ValueError(f"no port pair in {low}-{high}")
        self.low = low
        self.high = high
        self._quarantine = quarantine
        self._free: deque[tuple[float, int]] = deque((0.0, port) for port in range(first, high, 2))
        self._free.rotate(-int(start * len(self._free)))
        self._used: set[int] = set()
        self._reserved: set[int] = set()

    @property
    def in_use(self) -> int:
        """Pairs taken and not released."""
        return len(self._used)

    def take(self, now: float) -> int:
        """Return a free even port. Raises PortsExhaustedError."""
        for _ in range(len(self._free)):
            free_at, port = self._free.popleft()
            if port in self._reserved or free_at > now:
                self._free.append((free_at, port))
                continue
            self._used.add(port)
            return port
        raise PortsExhaustedError(f"all RTP port pairs in {self.low}-{self.high} are in use or in quarantine")

    def release(self, port: int, now: float) -> None:
        """Give a pair back; releasing one that is not taken does nothing."""
        if port in self._used:
            self._used.remove(port)
            self._free.append((now + self._quarantine, port))

    def reserve(self, port: int) -> None:
        """Keep a pair out of use: a dialog of an earlier life still points at it."""
        self._reserved.add(port & ~1)

    def unreserve(self, port: int) -> None:
        """End a reservation."""
        self._reserved.discard(port & ~1)
