"""How long to wait before the next attempt, so that ten thousand clients do not come back at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Jitter = Callable[[], float]
"""A number in [0, 1), by chance; injected by tests."""

# for spreading load, not for secrets
default_jitter: Jitter = random.random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between attempts: `base`, doubled up to `ceiling`, each shortened by chance to 50–100 %
    (RFC 5626 §4.5).
    """

    base: float = 1.0
    ceiling: float = 60.0

    def delay(self, failures: int, jitter: Jitter) -> float:
        """Seconds to wait after so many failures in a row (1 or more)."""
        longest = min(self.ceiling, self.base * 2.0 ** min(failures - 1, 30))
        return longest * (0.5 + 0.5 * jitter())
