"""What a file holds, fragment by fragment: from its `sidx` when it is sealed, from a walk when it is not."""

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .boxes import Buffer, box_at, full_box
from .errors import BoxError
from .reader import FragmentHead, Init
from .times import us_of

_ENTRY = struct.Struct(">III")
_SAP_TYPE_1 = 0x9000_0000
_FRONT = 40  # bytes of a version-1 sidx before its entries
_SIZE_LIMIT = (1 << 31) - 1
_DURATION_LIMIT = (1 << 32) - 1


class Fragment(NamedTuple):
    """One fragment, or in a merged index several in a row.

    `offset`, `size`: bytes in the file. `time`: when its first frame is shown, in the first track's timescale from the
    movie's start; `utc_us`: the same in UTC. `sync`: begins with a keyframe. `frames` of the first track; 0: not known.
    `damaged` ones of them, from `whole` ticks after the start on; `lost`: packets missing. A merged index knows none.
    """

    offset: int
    size: int
    time: int
    duration: int
    sync: bool
    utc_us: int
    frames: int = 0
    damaged: int = 0
    lost: int = 0
    whole: int = 0


@dataclass(frozen=True, slots=True)
class FileIndex:
    """A file's fragments in order. `end`: the byte after the last whole one."""

    init: Init
    fragments: tuple[Fragment, ...]
    end: int

    @property
    def sealed(self) -> bool:
        return self.init.sealed

    @property
    def start_us(self) -> int:
        return self.fragments[0].utc_us if self.fragments else self.init.head.start_us

    @property
    def end_us(self) -> int:
        """UTC of the end of the last frame."""
        if not self.fragments:
            return self.init.head.start_us
        last = self.fragments[-1]
        return last.utc_us + us_of(last.duration, self.init.tracks[0].timescale)

    def position(self, utc_us: int) -> int:
        """Number of the fragment that holds the instant; the first or the last one when it lies outside."""
        return max(0, bisect_right(self.fragments, utc_us, key=lambda one: one.utc_us) - 1)

    def keyframe(self, utc_us: int) -> int:
        """Number of the last fragment that begins with a keyframe at or before the instant (else the first)."""
        found = self.position(utc_us)
        while found and not self.fragments[found].sync:
            found -= 1
        return found


def entry_of(init: Init, offset: int, head: FragmentHead) -> Fragment:
    """The index entry of a fragment that lies at `offset`."""
    first = init.tracks[0]
    for run in head.runs:
        if run.track_id == first.track_id:
            shown = run.decode_time + run.offsets[0] - init.delay
            total = sum(run.durations)
            entry = Fragment(offset, head.size, shown, total, run.syncs[0], head.utc_us, len(run.sizes))
            return with_damage(entry, run.durations, run.damaged, run.lost)
    raise BoxError("a fragment without the first track", offset)


def with_damage(entry: Fragment, durations: Sequence[int], damaged: Sequence[bool], lost: int) -> Fragment:
    """The entry of a fragment with these frames in the first track, of which some may be damaged."""
    count = sum(damaged)
    if not count and not lost:
        return entry
    first = damaged.index(True) if count else 0
    return entry._replace(damaged=count, lost=lost, whole=sum(durations[:first]))


def index_space(init: Init, fragments: Sequence[Fragment]) -> bytes:
    """What the reserved space holds once sealed, to the byte: `sidx`, then what is left as `free`.

    Entries are merged, neighbours first, until they fit. The first eight bytes are the ones that flip the box from
    `free` to `sidx`: everything else may be written before them.
    """
    room = (init.index_size - 8 - _FRONT) // 12
    entries = merged(fragments, min(room, 0xFFFF))
    size = _FRONT + 12 * len(entries)
    first = init.tracks[0]
    gap = init.index_size - size
    fixed = struct.pack(">IIQQHH", first.track_id, first.timescale, max(0, entries[0].time), gap, 0, len(entries))
    rows = b"".join(
        _ENTRY.pack(one.size, min(max(0, one.duration), _DURATION_LIMIT), _SAP_TYPE_1 if one.sync else 0)
        for one in entries
    )
    return full_box(b"sidx", 1, 0, fixed, rows) + struct.pack(">I4s", gap, b"free") + bytes(gap - 8)


def merged(fragments: Sequence[Fragment], limit: int) -> list[Fragment]:
    """At most `limit` entries that cover the same bytes without a hole, each reaching to the next one's time."""
    if limit < 1 or not fragments:
        raise ValueError("nothing to index, or no room for an index")
    step = -(-len(fragments) // limit)
    groups = [fragments[at : at + step] for at in range(0, len(fragments), step)]
    entries: list[Fragment] = []
    for number, group in enumerate(groups):
        first, last = group[0], group[-1]
        following = groups[number + 1][0] if number + 1 < len(groups) else None
        end = following.offset if following else last.offset + last.size
        until = following.time if following else last.time + last.duration
        entries.append(
            first._replace(size=end - first.offset, duration=until - first.time, frames=0, damaged=0, lost=0, whole=0)
        )
    if any(one.size > _SIZE_LIMIT for one in entries):
        raise ValueError("a part of the file is larger than an index can say")
    return entries


def parse_index(data: Buffer, init: Init) -> FileIndex:
    """The index of a sealed file from its front. UTC is counted from the start at the media clock's own pace."""
    sidx = box_at(data, init.index_at, init.index_at + init.index_size)
    if sidx.kind != b"sidx" or sidx.end > len(data) or sidx.end - sidx.start < _FRONT:
        raise BoxError("the file is not sealed, or its index is cut", init.index_at)
    _, _, timescale, time, gap, _, count = struct.unpack_from(">IIIQQHH", data, sidx.body)
    if timescale != init.tracks[0].timescale or sidx.body + 32 + 12 * count != sidx.end or time > 1 << 62:
        raise BoxError("sidx does not fit the file", sidx.start)
    offset, fragments = sidx.end + gap, []
    for size, duration, access in _ENTRY.iter_unpack(bytes(data[sidx.body + 32 : sidx.end])):
        if size > _SIZE_LIMIT or size == 0:
            raise BoxError("sidx points to another index", sidx.start)
        utc_us = init.head.start_us + us_of(time, timescale)
        fragments.append(Fragment(offset, size, time, duration, bool(access >> 31), utc_us))
        offset, time = offset + size, time + duration
    return FileIndex(init, tuple(fragments), offset)
