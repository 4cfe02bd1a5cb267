"""Datagrams received by one system call, in one buffer that is used again for the next ones.

One object serves all streams of a process. The shell fills it (``net.batch``, or ``load`` in tests) and aims it at the
datagrams of one run after the other; a receiver takes what it is aimed at at once and keeps no view of it.

Datagrams lie at equal distances, ``stride``: a slot's each, or, where the kernel has joined those of one burst (UDP
GRO), one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

SLOTS = 32
SLOT_SIZE = 65_728
"""Bytes per slot: the largest datagram, joined or not, fits. A multiple of a cache line, and not of a page, so that
slots do not all fall into the same lines of the cache."""
START_SIZE = 14
"""What ``starts`` unpacks: the RTP header and the two bytes after it, FU indicator and header if it is H.264."""
_MOST_LAYOUTS = 512

_START = "IQH"


class DatagramBatch:
    """``count`` datagrams: the n-th one is ``slots[n][: sizes[n]]``. There may be more slots than datagrams."""

    def __init__(self) -> None:
        self.buffer = bytearray(SLOTS * SLOT_SIZE)
        self.count = 0
        self.sizes: Sequence[int] = ()
        self.slots: list[memoryview] = []
        self._whole = memoryview(self.buffer)
        self._base = 0
        self._stride = SLOT_SIZE
        self._starts: dict[tuple[int, int], Struct] = {}
        self._slots: dict[tuple[int, int], list[memoryview]] = {}
        self._bodies: dict[tuple[int, int, int], list[memoryview]] = {}

    def aim(self, slot: int, sizes: Sequence[int]) -> None:
        """Be the datagrams of these sizes in the slots from ``slot`` on."""
        self._lay_out(slot * SLOT_SIZE, SLOT_SIZE, sizes)

    def aim_at_joined(self, slot: int, size: int, segment: int) -> None:
        """Be the datagrams of ``segment`` bytes each, the last one perhaps shorter, that came joined into ``slot``."""
        whole, rest = divmod(size, segment)
        self._lay_out(slot * SLOT_SIZE, segment, (segment,) * whole + ((rest,) if rest else ()))

    def _lay_out(self, base: int, stride: int, sizes: Sequence[int]) -> None:
        self._base, self._stride = base, stride
        self.sizes, self.count = sizes, len(sizes)
        slots = self._slots.get((base, stride))
        if slots is None or len(slots) < self.count:
            slots = [self._whole[at : at + stride] for at in self._places()]
            _remember(self._slots, (base, stride), slots)
        self.slots = slots

    def starts(self) -> tuple[int, ...]:
        """Three numbers per datagram: first word up to the sequence number; timestamp and SSRC; the next two bytes.

        They are of something else as far as a datagram is shorter than ``START_SIZE``.
        """
        layout = (self._stride, self.count)
        starts = self._starts.get(layout)
        if starts is None:
            # The last one's gap is left out: it may reach beyond the buffer.
            one = _START + f"{max(0, self._stride - START_SIZE)}x"
            starts = Struct(">" + one * (self.count - 1) + _START) if self.count else Struct("")
            _remember(self._starts, layout, starts)
        return starts.unpack_from(self.buffer, self._base)

    @property
    def uniform(self) -> bool:
        """Whether ``starts`` holds: the datagrams do not lie closer together than what it unpacks."""
        return self._stride >= START_SIZE

    def bodies(self, size: int) -> list[memoryview]:
        """Every datagram's bytes from ``START_SIZE`` to ``size``, for datagrams of that size; made once. There may be
        more of them than datagrams.
        """
        layout = (self._base, self._stride, size)
        bodies = self._bodies.get(layout)
        if bodies is None or len(bodies) < self.count:
            bodies = [self._whole[at + START_SIZE : at + size] for at in self._places()]
            _remember(self._bodies, layout, bodies)
        return bodies

    def _places(self) -> range:
        return range(self._base, self._base + self.count * self._stride, self._stride)

    def load(self, datagrams: Sequence[bytes]) -> None:
        """Fill the batch, with at most SLOTS datagrams."""
        for number, datagram in enumerate(datagrams[:SLOTS]):
            self.buffer[number * SLOT_SIZE : number * SLOT_SIZE + len(datagram)] = datagram
        self.aim(0, [len(datagram) for datagram in datagrams[:SLOTS]])

    def load_joined(self, datagrams: Sequence[bytes]) -> None:
        """Fill the batch with datagrams of one size, the last one perhaps shorter, as the kernel joins them."""
        joined = b"".join(datagrams)
        self.buffer[: len(joined)] = joined
        self.aim_at_joined(0, len(joined), len(datagrams[0]))


def _remember(cache: dict[K, V], key: K, value: V) -> None:
    """Senders have a few sizes; who varies them shall not fill the memory."""
    if len(cache) >= _MOST_LAYOUTS:
        cache.clear()
    cache[key] = value
