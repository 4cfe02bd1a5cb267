"""Memory for access units, used again.

To have fresh memory for all that comes from a camera costs nearly as much as to put it there: the system fills it with
zeros, and so does Python. So it is kept, and given out again when nobody looks at it any more: a ``bytearray`` cannot
change its size while there is a view of it, and that can be tried.
"""

from __future__ import annotations

from collections import deque

ARENA = 256 << 10
"""Bytes of an arena."""
_TRIED = 4
"""So many are tried before a new one is made; a disk that stands still, or somebody who keeps a picture, holds some."""
_SPARED = 16
"""Once in so many times one that is not needed now is given up: after a stall there are too many."""


class Arenas:
    """Those of a process. Given out are views; an arena is in use as long as its view, or a part of it, is."""

    def __init__(self) -> None:
        self._known: deque[bytearray] = deque()
        """The one that was given out longest ago is the first."""
        self._given = 0

    def __len__(self) -> int:
        return len(self._known)

    def take(self, size: int) -> memoryview:
        """An arena of so many bytes, or of `ARENA` if that is more. What is in it is not told."""
        if size > ARENA:
            return memoryview(bytearray(size))
        known = self._known
        self._given += 1
        if self._given % _SPARED == 0 and len(known) > _TRIED and _is_free(known[0]) and _is_free(known[1]):
            known.popleft()
        for _ in range(min(_TRIED, len(known))):
            known.rotate(-1)
            if _is_free(known[-1]):
                return memoryview(known[-1])
        known.append(bytearray(ARENA))
        return memoryview(known[-1])


def _is_free(arena: bytearray) -> bool:
    """Whether there is no view of it."""
    try:
        arena.pop()
    except BufferError:
        return False
    arena.append(0)
    return True
