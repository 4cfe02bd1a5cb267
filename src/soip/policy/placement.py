"""Which media instance is to serve a camera: the one with the least to do.

A camera stays where it was placed for as long as its home lives (`lease.py`); what is decided here is the home of those
that have none. What an instance has to do is what it says, and for each camera it was given and does not receive yet
what such a camera may bring: so a hundred cameras that are added at once do not all go to one that reports in five
seconds. Among equals rendezvous (highest random weight) hashing decides (Thaler and Ravishankar, 1998), so the order of
the list does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

ASSUMED_BPS = 4_000_000
"""What a camera is counted for that its home does not receive yet: pictures of 1080 lines."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A media instance that is there. `cameras` are placed on it, `streams` of them it receives, `traffic_bps` is what
    it receives and sends; `accepting`: its disk has room for more.
    """

    id: str
    cameras: int = 0
    streams: int = 0
    traffic_bps: int = 0
    accepting: bool = True

    @property
    def expected_bps(self) -> int:
        """What it has to do, or soon will."""
        return self.traffic_bps + ASSUMED_BPS * max(0, self.cameras - self.streams)


def place(cameras: Iterable[str], candidates: Iterable[Candidate]) -> dict[str, str]:
    """A home for each camera; none where there is no candidate.

    An instance that does not accept is given cameras only where none does: it can still show them live, and the gap
    says that the disk is full.
    """
    offers = list(candidates)
    offers = [each for each in offers if each.accepting] or offers
    loads = {each.id: each.expected_bps for each in offers}
    homes: dict[str, str] = {}
    for camera in sorted(cameras) if loads else ():
        least = min(loads.values())
        home = worker_for(camera, (each for each, load in loads.items() if load == least))
        assert home is not None
        loads[home] += ASSUMED_BPS
        homes[camera] = home
    return homes


def worker_for(camera: str, workers: Iterable[str]) -> str | None:
    """One of these, always the same for a camera, or None where there are none."""
    return max(workers, key=lambda worker: (_weight(camera, worker), worker), default=None)


def disk_for(camera: str, sizes: Mapping[str, int]) -> str | None:
    """One of these disks, or None where there are none: each gets cameras in proportion to its size, so that all reach
    about equally far back, and hardly a camera changes its disk when one comes or goes.

    Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005). The free space would be no good weight: it is about
    the same on all disks as soon as recordings expire.
    """

    def score(disk: str) -> tuple[float, str]:
        part = (int.from_bytes(_weight(camera, disk)) + 1) / ((1 << 64) + 1)
        return -max(1, sizes[disk]) / math.log(part), disk

    return max(sizes, key=score, default=None)


def _weight(camera: str, worker: str) -> bytes:
    # A zero byte keeps ("ab", "c") and ("a", "bc") apart: it can be in neither id.
    return blake2b(f"{camera}\0{worker}".encode(), digest_size=8).digest()
