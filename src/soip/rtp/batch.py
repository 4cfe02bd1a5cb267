"""Datagrams received by one system call, in one buffer that is used again for the next ones.

One object serves all sockets of a process. The shell fills it (``net.batch``, or ``load`` in tests); a receiver takes
what is in it at once and keeps no view of it.

Datagrams lie in slots; where the kernel has joined those of one burst (UDP GRO), one behind the other in one slot.
Those of a stream (`rtp.framing`) lie one behind the other too, with their lengths between them. Receivers see none of
that, but runs: datagrams of one size, the last one perhaps shorter, at equal distances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

SLOTS = 32
SLOT_SIZE = 65_728
"""Bytes per slot: the largest datagram, joined or not, fits. A multiple of a cache line, and not of a page, so that
slots do not all fall into the same lines of the cache."""
TOGETHER_S = 0.004
"""Datagrams of a run that were not joined came within this time, and are said to have come when the first did."""
_MOST_LAYOUTS = 512
_LEAST_PLACES = 16


class Layout:
    """Views of datagrams in their places, made once."""

    def __init__(self, whole: memoryview, base: int, stride: int, count: int) -> None:
        self.slots = [whole[at : at + stride] for at in range(base, base + count * stride, stride)]
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


Run = tuple[Layout, int, int, int, int, float]
"""Datagrams of one size: the layout, which place of it the first one has, how many there are, their size, that of the
last one (not larger), and the seconds since they came to this machine. A plain tuple, for one with names is taken apart
more slowly.
"""


class DatagramBatch:
    """What came, as `runs`."""

    def __init__(self) -> None:
        self.buffer = bytearray(SLOTS * SLOT_SIZE)
        self.runs: list[Run] = []
        self._whole = memoryview(self.buffer)
        self._apart = Layout(self._whole, 0, SLOT_SIZE, SLOTS)
        self._joined: dict[tuple[int, int], Layout] = {}

    def datagrams(self) -> Iterator[tuple[memoryview, int, float]]:
        """Where each datagram lies, how long it is, and its age."""
        for layout, first, count, size, last, age in self.runs:
            end = first + count - 1
            for slot in layout.slots[first:end]:
                yield slot, size, age
            yield layout.slots[end], last, age

    def fill(self, sizes: Sequence[int], segments: Sequence[int], ages: Sequence[float]) -> None:
        """Hold what is in the first slots: so many bytes in each, that came so long ago. Where the kernel has joined
        datagrams there, ``segments`` says of how many bytes each, the last one perhaps of less; else it says 0.
        """
        runs = self.runs = []
        alone = whole = shortest = 0
        since = 0.0
        for at, (size, segment, age) in enumerate(zip(sizes, segments, ages, strict=True)):
            if 0 < segment < size:
                count = -(-size // segment)
                layout = self._joined.get((at, segment))
                if layout is None or len(layout.slots) < count:
                    layout = self._lay(at, segment, count)
                runs.append((layout, 0, count, segment, size - segment * (count - 1), age))
                alone = 0
            elif alone and size <= whole == shortest and since - age <= TOGETHER_S:
                alone, shortest = alone + 1, size
                runs[-1] = (self._apart, at + 1 - alone, alone, whole, size, since)
            else:
                alone, whole, shortest, since = 1, size, size, age
                runs.append((self._apart, at, 1, size, size, age))

    def resize(self, sizes: Sequence[int]) -> None:
        """The datagrams have these sizes now, in the order of `datagrams`; none is longer than it was."""
        before, self.runs = self.runs, []
        done = 0
        for layout, first, count, _, _, age in before:
            at = 0
            mine = sizes[done : done + count]
            while at < count:
                begin = at
                at += 1
                while at < count and mine[at] <= mine[begin] == mine[at - 1]:
                    at += 1
                self.runs.append((layout, first + begin, at - begin, mine[begin], mine[at - 1], age))
            done += count

    def load_framed(self, content: memoryview, gap: int, sizes: Sequence[int]) -> None:
        """Fill the batch with datagrams of these sizes, equal but for the last one, which may be shorter, that lie in
        ``content`` one behind the other with ``gap`` bytes between them. They are copied, for layouts are of places:
        to have one ready costs less than to make it for where they lie.
        """
        self.buffer[: len(content)] = content
        count = len(sizes)
        self.runs = [(self._lay(0, sizes[0] + gap, count), 0, count, sizes[0], sizes[-1], 0.0)]

    def _lay(self, slot: int, stride: int, count: int) -> Layout:
        layout = self._joined.get((slot, stride))
        if layout is None or len(layout.slots) < count:
            # Senders have a few sizes; who varies them shall not fill the memory.
            if len(self._joined) >= _MOST_LAYOUTS:
                self._joined.clear()
            # Runs of one size have various lengths: what was made for one of them serves shorter ones too.
            layout = Layout(self._whole, slot * SLOT_SIZE, stride, max(count, _LEAST_PLACES))
            self._joined[slot, stride] = layout
        return layout

    def load(self, datagrams: Sequence[bytes]) -> None:
        """Fill the batch, with at most SLOTS datagrams."""
        held = datagrams[:SLOTS]
        for number, datagram in enumerate(held):
            self.buffer[number * SLOT_SIZE : number * SLOT_SIZE + len(datagram)] = datagram
        self.fill(tuple(map(len, held)), (0,) * len(held), (0.0,) * len(held))

    def load_joined(self, datagrams: Sequence[bytes]) -> None:
        """Fill the batch with datagrams of one size, the last one perhaps shorter, as the kernel joins them."""
        joined = b"".join(datagrams)
        self.buffer[: len(joined)] = joined
        self.fill((len(joined),), (len(datagrams[0]),), (0.0,))
