"""Which worker serves a camera: rendezvous (highest random weight) hashing.

Every process computes the same answer from the same list, without asking anyone, and when a worker leaves
only its own cameras move (Thaler and Ravishankar, 1998). The order of the list does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def worker_for(camera: str, workers: Iterable[str]) -> str | None:
    """The worker that serves `camera`, or None when there is no worker at all."""
    return max(workers, key=lambda worker: (_weight(camera, worker), worker), default=None)


def _weight(camera: str, worker: str) -> bytes:
    # A zero byte keeps ("ab", "c") and ("a", "bc") apart: it can be in neither id.
    return blake2b(f"{camera}\0{worker}".encode(), digest_size=8).digest()
