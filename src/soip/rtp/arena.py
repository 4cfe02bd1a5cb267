"""Memory for access units, used again.

To have fresh memory for all that comes from a camera costs nearly as much as to put it there: the system fills it with
zeros, and so does Python. So it is kept, and given out again when nobody looks at it any more: a ``bytearray`` cannot
change its size while there is a view of it, and that can be tried.
"""

from __future__ import annotations

from collections import deque

ARENA = 256 << 10
"""Bytes of an arena."""
_TRIED = 32
"""So many are tried before a new one is made; a disk that stands still, or somebody who keeps a picture, holds some."""
_MOST = 2048
"""So many are kept for use; beyond that, each is by itself and gone when it is no longer used."""
_LOOKED_AFTER = 256
"""When so many have been given out and none of them was new, there are more than needed: after a stall, too many."""
_SPARED = 8
"""One in so many of those that are free is given up then."""


class Arenas:
    """Those of a process, for one thread. Given out are views; an arena is in use as long as its view, or a part of it,
    is.
    """

    def __init__(self) -> None:
        self._known: deque[bytearray] = deque()
        """The one that was given out longest ago is the first."""
        self._since_new = 0
        """How many have been given out since one was made."""

    def __len__(self) -> int:
        return len(self._known)

    def take(self, size: int) -> memoryview:
        """An arena of so many bytes, or of `ARENA` if that is more. What is in it is not told."""
        if size > ARENA:
            return memoryview(bytearray(size))
        known = self._known
        self._since_new += 1
        if self._since_new > _LOOKED_AFTER:
            self._spare()
        for _ in range(min(_TRIED, len(known))):
            known.rotate(-1)
            if _is_free(known[-1]):
                return memoryview(known[-1])
        arena = bytearray(ARENA)
        self._since_new = 0
        if len(known) < _MOST:
            known.append(arena)
        return memoryview(arena)

    def _spare(self) -> None:
        """Give some up that are free."""
        self._since_new = 0
        free, kept = 0, deque[bytearray]()
        for arena in self._known:
            free += _is_free(arena)
            if free < _SPARED:
                kept.append(arena)
            else:
                free = 0
        self._known = kept


def _is_free(arena: bytearray) -> bool:
    """Whether there is no view of it."""
    try:
        arena.pop()
    except BufferError:
        return False
    arena.append(0)
    return True
