"""Memory for access units, used again.

To have fresh memory for all that comes from a camera costs nearly as much as to put it there: the system fills it with
zeros, and so does Python. So it is kept. What was given back last is given out next: whoever wrote it to a disk has
just read it, so it is near the processor.
"""

from __future__ import annotations

import ctypes
import weakref

ARENA = 256 << 10
"""Bytes of an arena."""
_MOST = 2048
"""So many are kept that nobody uses."""
_LOOKED_AFTER = 256
"""When so many have been given out, it is seen how many lay there all the time: after a stall, many."""


class _Lent(ctypes.Array[ctypes.c_ubyte]):
    """What the views are of while an arena is in use: memory of the arena, that goes with the last of them."""

    _type_ = ctypes.c_ubyte
    _length_ = ARENA
    __hash__ = object.__hash__


class Arenas:
    """Those of a process. Taken by one thread, and given back by whichever lets the last view of one go: an arena is in
    use as long as the view that was given out, or a part of it, is.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        """The one that was given back last is the last."""
        self._lent: dict[weakref.ref[_Lent], bytearray] = {}
        self._taken = 0
        self._spare = 0
        """How many have lain there since it was looked after."""

    def __len__(self) -> int:
        return len(self._free) + len(self._lent)

    def take(self, size: int) -> memoryview:
        """An arena of so many bytes, or of `ARENA` if that is more. What is in it is not told."""
        if size > ARENA:
            return memoryview(bytearray(size))
        arena = self._free.pop() if self._free else bytearray(ARENA)
        if not _is_free(arena):
            arena = bytearray(ARENA)
        self._spare = min(self._spare, len(self._free))
        self._taken += 1
        if self._taken >= _LOOKED_AFTER:
            del self._free[: -(-self._spare // 2)]
            self._taken, self._spare = 0, len(self._free)
        lent = _Lent.from_buffer(arena)
        self._lent[weakref.ref(lent, self._give_back)] = arena
        return memoryview(lent).cast("B")

    def _give_back(self, lent: weakref.ref[_Lent]) -> None:
        arena = self._lent.pop(lent)
        if len(self._free) < _MOST:
            self._free.append(arena)


def _is_free(arena: bytearray) -> bool:
    """Whether there is no view of it: else it could not change its size. What the collector takes away is given back a
    moment before it is gone.
    """
    try:
        arena.pop()
    except BufferError:
        return False
    arena.append(0)
    return True
