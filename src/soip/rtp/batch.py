"""Datagrams received by one system call, in one buffer that is used again for the next ones.

One object serves all streams of a process. The shell fills it (``net.batch``, or ``load`` in tests) and aims it at the
datagrams of one run after the other; a receiver takes what it is aimed at at once and keeps no view of it.

Datagrams lie at equal distances: a slot's each, or, where the kernel has joined those of one burst (UDP GRO), one
behind the other. Those of a stream (`rtp.framing`) lie one behind the other too, with their lengths between them.
"""

from __future__ import annotations

from collections.abc import Sequence

SLOTS = 32
SLOT_SIZE = 65_728
"""Bytes per slot: the largest datagram, joined or not, fits. A multiple of a cache line, and not of a page, so that
slots do not all fall into the same lines of the cache."""
_MOST_LAYOUTS = 512


class Layout:
    """Views of datagrams in their places, made once."""

    def __init__(self, whole: memoryview, base: int, stride: int, count: int) -> None:
        places = range(base, base + count * stride, stride)
        self.slots = [whole[at : at + stride] for at in places]
        """Where each of them lies; it may be shorter."""
        self.starts: dict[int, list[memoryview]] = {}
        """Their first bytes, by how many, as far as somebody cut them."""
        self._bodies: tuple[int, int, list[memoryview]] = (0, 0, [])

    def cut(self, size: int) -> list[memoryview]:
        """The first ``size`` bytes of each: RTP header and what else stands before a fragment."""
        starts = self.starts[size] = [slot[:size] for slot in self.slots]
        return starts

    def bodies(self, start: int, size: int) -> list[memoryview]:
        """What follows the first ``start`` bytes in each, for datagrams of that size."""
        known_start, known, bodies = self._bodies
        if known != size or known_start != start:
            bodies = [slot[start:size] for slot in self.slots]
            self._bodies = (start, size, bodies)
        return bodies


class DatagramBatch:
    """``count`` datagrams: the n-th one is ``layout.slots[n][: sizes[n]]``. The layout may be of more of them."""

    def __init__(self) -> None:
        self.buffer = bytearray(SLOTS * SLOT_SIZE)
        self.count = 0
        self.age = 0.0
        """Seconds since they came to this machine."""
        self.sizes: Sequence[int] = ()
        self._whole = memoryview(self.buffer)
        self._apart = [Layout(self._whole, slot * SLOT_SIZE, SLOT_SIZE, SLOTS - slot) for slot in range(SLOTS)]
        self._joined: dict[tuple[int, int, int], Layout] = {}
        self.layout = self._apart[0]

    def aim(self, slot: int, sizes: Sequence[int]) -> None:
        """Be the datagrams of these sizes in the slots from ``slot`` on."""
        self.layout = self._apart[slot]
        self.sizes, self.count = sizes, len(sizes)

    def aim_at_joined(self, slot: int, size: int, segment: int) -> None:
        """Be the datagrams of ``segment`` bytes each, the last one perhaps shorter, that came joined into ``slot``."""
        count = -(-size // segment)
        self.layout = self._layout(slot, segment, count)
        self.sizes = (segment,) * (count - 1) + (size - segment * (count - 1),)
        self.count = count

    def load_framed(self, content: memoryview, gap: int, sizes: Sequence[int]) -> None:
        """Fill the batch with datagrams of these sizes, equal but for the last one, which may be shorter, that lie in
        ``content`` one behind the other with ``gap`` bytes between them. They are copied, for layouts are of places:
        to have one ready costs less than to make it for where they lie.
        """
        self.buffer[: len(content)] = content
        self.layout = self._layout(0, sizes[0] + gap, len(sizes))
        self.sizes, self.count = sizes, len(sizes)

    def _layout(self, slot: int, stride: int, count: int) -> Layout:
        layout = self._joined.get((slot, stride, count))
        if layout is None:
            # Senders have a few sizes; who varies them shall not fill the memory.
            if len(self._joined) >= _MOST_LAYOUTS:
                self._joined.clear()
            layout = Layout(self._whole, slot * SLOT_SIZE, stride, count)
            self._joined[slot, stride, count] = layout
        return layout

    def load(self, datagrams: Sequence[bytes]) -> None:
        """Fill the batch, with at most SLOTS datagrams."""
        for number, datagram in enumerate(datagrams[:SLOTS]):
            self.buffer[number * SLOT_SIZE : number * SLOT_SIZE + len(datagram)] = datagram
        self.aim(0, tuple(map(len, datagrams[:SLOTS])))

    def load_joined(self, datagrams: Sequence[bytes]) -> None:
        """Fill the batch with datagrams of one size, the last one perhaps shorter, as the kernel joins them."""
        joined = b"".join(datagrams)
        self.buffer[: len(joined)] = joined
        self.aim_at_joined(0, len(joined), len(datagrams[0]))
