"""Datagrams received by one system call, side by side in one buffer that is used again for the next ones.

One object serves all streams of a process. The shell fills it (``net.batch``, or ``load`` in tests), a receiver takes
what is in it at once and keeps no view of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

SLOTS = 32
SLOT_SIZE = 9344
"""Bytes per datagram: jumbo frames fit. A multiple of a cache line, and not of a page, so that slots do not all fall
into the same lines of the cache."""
START_SIZE = 14
"""What ``starts`` unpacks: the RTP header and the two bytes after it, FU indicator and header if it is H.264."""
_MAX_SIZES = 64

_START = "IQH"


class DatagramBatch:
    """``count`` datagrams: the n-th one is ``slots[n][: sizes[n]]``."""

    def __init__(self) -> None:
        self.buffer = bytearray(SLOTS * SLOT_SIZE)
        whole = memoryview(self.buffer)
        self.slots = [whole[at : at + SLOT_SIZE] for at in range(0, len(whole), SLOT_SIZE)]
        self.count = 0
        self.sizes: Sequence[int] = ()
        gap = f"{SLOT_SIZE - START_SIZE}x"
        self._starts = [Struct(">" + (_START + gap) * count) for count in range(SLOTS + 1)]
        self._bodies: dict[int, list[memoryview]] = {}

    def starts(self) -> tuple[int, ...]:
        """Three numbers per datagram: first word up to the sequence number; timestamp and SSRC; the next two bytes.

        They are of an earlier datagram as far as this one is shorter than ``START_SIZE``.
        """
        return self._starts[self.count].unpack_from(self.buffer)

    def bodies(self, size: int) -> list[memoryview]:
        """Every slot's bytes from ``START_SIZE`` to ``size``, for datagrams of that size. Made once per size."""
        bodies = self._bodies.get(size)
        if bodies is None:
            if len(self._bodies) >= _MAX_SIZES:  # cameras have a few sizes; who varies them shall not fill the memory
                self._bodies.clear()
            bodies = self._bodies[size] = [slot[START_SIZE:size] for slot in self.slots]
        return bodies

    def load(self, datagrams: Sequence[bytes]) -> None:
        """Fill the batch, with at most SLOTS datagrams."""
        for slot, datagram in zip(self.slots, datagrams, strict=False):
            slot[: len(datagram)] = datagram
        self.sizes = [len(datagram) for datagram in datagrams[:SLOTS]]
        self.count = len(self.sizes)
