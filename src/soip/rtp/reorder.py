"""A bounded window for packets that came ahead of a gap.

The receive path uses it only while a gap is open; in order, no packet passes through here. Time is the
caller's: a gap is given up when the packet that opened it has waited ``patience`` seconds, which is looked at
when packets come. Packets of a stream that falls silent over a gap stay here, a bounded number.
"""

from __future__ import annotations

from itertools import islice

MAX_HELD = 64
"""Packets: more than a LAN ever reorders, and 80 kB a camera at most."""
MAX_HELD_ASKED = 512
"""Packets where what is missing is asked for: half a second of a camera of 10 Mbit/s."""
PATIENCE = 0.1
"""Seconds to wait for a packet that is missing."""


class ReorderWindow:
    """Packets by extended sequence number, and since when the gap is open."""

    def __init__(self, max_held: int = MAX_HELD, patience: float = PATIENCE) -> None:
        self.held: dict[int, bytes] = {}
        """Packets by their numbers; read only. Asked about with every packet, so it is no method."""
        self._since = 0.0
        self._max_held = max_held
        self.patience = patience
        """Seconds; may be changed."""

    def __len__(self) -> int:
        return len(self.held)

    def hold(self, sequence: int, packet: bytes, now: float) -> bool:
        """Keep a packet; False when it is held already (a duplicate)."""
        if sequence in self.held:
            return False
        if not self.held:
            self._since = now
        self.held[sequence] = packet
        return True

    def take(self, sequence: int) -> bytes | None:
        """Take out the packet of that number if it is held."""
        return self.held.pop(sequence, None)

    def gap_is_final(self, now: float) -> bool:
        """Tell whether waiting longer is pointless: the window is full, or the wait was long enough."""
        return len(self.held) >= self._max_held or now - self._since > self.patience

    def lowest(self) -> int:
        """Return the lowest number held. The window must not be empty."""
        return min(self.held)

    def highest(self) -> int:
        """Return the highest number held. The window must not be empty."""
        return max(self.held)

    def missing(self, expected: int, most: int) -> list[int]:
        """Return the numbers from ``expected`` on that are missing before the highest one held, ``most`` at most."""
        held = self.held
        numbers = (number for number in range(expected, max(held, default=expected)) if number not in held)
        return list(islice(numbers, most))

    def still_waiting(self, now: float) -> None:
        """Begin a new wait: a gap was closed or given up and another one lies behind it."""
        self._since = now

    def clear(self) -> None:
        """Drop everything."""
        self.held.clear()
