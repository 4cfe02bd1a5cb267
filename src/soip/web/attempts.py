"""How often somebody may try to sign in. Sans-IO: the time is handed in (seconds of any steady clock).

Attempts are counted when they begin, not when they fail, so that a thousand sent at once are not all taken before
the first has failed. Three counts are kept: for a name from a source, for a source, and for a name. The last one is
wide, because somebody else's wrong guesses must not keep a person out for long.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

WINDOW_S = 300.0
PER_NAME_AND_SOURCE = 5
PER_SOURCE = 20
PER_NAME = 60
_MOST_KEYS = 20_000

Key = tuple[str, str]


@dataclass(slots=True)
class _Count:
    since: float
    tries: int = 0


def network_of(source: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 that one IPv6 customer has at least."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


class Attempts:
    """`begin` each attempt, and `succeeded` when it was one of the right person."""

    def __init__(self) -> None:
        self._counts: dict[Key, _Count] = {}

    def begin(self, source: str, name: str, now: float) -> float:
        """Seconds to wait before another attempt is taken; 0 when this one is, and it is counted then."""
        limits = self._limits(source, name)
        wait = max(self._wait(key, limit, now) for key, limit in limits.items())
        if wait > 0:
            return wait
        for key in limits:
            self._count(key, now)
        return 0.0

    def succeeded(self, source: str, name: str) -> None:
        """Forgets what was counted for this person here, and takes the attempt back elsewhere."""
        for key, limit in self._limits(source, name).items():
            count = self._counts.get(key)
            if count is None:
                continue
            count.tries -= count.tries if limit == PER_NAME_AND_SOURCE else 1
            if count.tries <= 0:
                del self._counts[key]

    def __len__(self) -> int:
        """How many counts are kept."""
        return len(self._counts)

    @staticmethod
    def _limits(source: str, name: str) -> dict[Key, int]:
        network = network_of(source)
        return {(network, name): PER_NAME_AND_SOURCE, (network, ""): PER_SOURCE, ("", name): PER_NAME}

    def _wait(self, key: Key, limit: int, now: float) -> float:
        count = self._counts.get(key)
        if count is None or now - count.since >= WINDOW_S or count.tries < limit:
            return 0.0
        return count.since + WINDOW_S - now

    def _count(self, key: Key, now: float) -> None:
        count = self._counts.get(key)
        if count is None or now - count.since >= WINDOW_S:
            # Taken out first, so that the dictionary stays in the order of the windows' beginnings.
            self._counts.pop(key, None)
            self._shed(now)
            count = self._counts[key] = _Count(now)
        count.tries += 1

    def _shed(self, now: float) -> None:
        """Drops what is over, oldest first, and the oldest of all when there is no room."""
        while self._counts:
            oldest = next(iter(self._counts))
            if now - self._counts[oldest].since < WINDOW_S and len(self._counts) < _MOST_KEYS:
                return
            del self._counts[oldest]
