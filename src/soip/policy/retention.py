"""What is kept, and who gives way where a disk cannot take all: recordings expire, then cameras stop.

In this order: what has been kept long enough goes; what is oldest goes, until `min_free` is free; where nothing more
may go (the rest is held), cameras stop, those of the lowest priority first. The highest go on until the disk is full.
A disk that is too slow has the same order: the queue before it takes less of cameras of low priority.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar


class Kept(Protocol):
    """A recording, as far as this is concerned."""

    @property
    def end_us(self) -> int: ...
    @property
    def bytes(self) -> int: ...


R = TypeVar("R", bound=Kept)


class Rank(NamedTuple):
    """How many priorities are below a camera's, and how many there are in all."""

    below: int = 0
    levels: int = 1

    @property
    def share(self) -> float:
        """The part of a queue that may be full before a fragment of this camera is refused: more than a half."""
        return 0.5 + 0.5 * (self.below + 1) / self.levels

    def floor(self, min_free: int) -> int:
        """The free bytes below which this camera is not recorded, where nothing more can expire."""
        return min_free >> self.below if self.below + 1 < self.levels else 0


def ranks(priorities: Iterable[int]) -> dict[int, Rank]:
    """The rank of each priority, from all there are."""
    levels = sorted(set(priorities))
    return {priority: Rank(below, len(levels)) for below, priority in enumerate(levels)}


def outlived(oldest: Sequence[R], before_us: int, missing: int) -> list[R]:
    """Of recordings that may go, oldest first, those that do: all that ended before `before_us`, and more until
    `missing` bytes are freed.
    """
    going: list[R] = []
    for one in oldest:
        if one.end_us >= before_us and missing <= 0:
            break
        going.append(one)
        missing -= one.bytes
    return going
