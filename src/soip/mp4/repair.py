"""Walk a file that was not sealed, box by box, and find what of it is whole.

A crash leaves at most a torn last fragment. A power cut may also leave zeros: a tail of them, or a hole where the file
grew before its data reached the disk. A whole fragment that follows a hole is kept: the hole becomes a `free` box.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .boxes import Buffer, box_at
from .errors import BoxError
from .index import Fragment, entry_of
from .reader import MOOF_LIMIT, Init, parse_fragment, samples, split_nals

Read = Callable[[int, int], Buffer]

_GLANCE = 4096  # holds the front of a fragment of up to 240 frames
_STRIDE = 1 << 20
_MARK = b"\0\0\0\x20prft\x01"
_ZEROS = bytes(512)


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk found. `holes`: (offset, size) to be made `free`; `end`: the byte after the last whole fragment;
    `torn`: why it ends there, empty when the file does.
    """

    fragments: tuple[Fragment, ...]
    holes: tuple[tuple[int, int], ...]
    end: int
    torn: str


def walk(read: Read, size: int, init: Init, *, start: int = 0, doubtful_us: int = 0) -> Walk:
    """The whole fragments of a file of `size` bytes; `read(offset, length)` may return less at the end.

    The walk begins at `start`, where an earlier one ended. The samples of the fragments of the last `doubtful_us` are
    looked at too: they may not have reached the disk.
    """
    fragments: list[Fragment] = []
    holes: list[tuple[int, int]] = []
    torn = ""
    at = start = start or init.first_fragment
    while at < size:
        try:
            entry = _entry_at(read, at, size, init)
        except BoxError as error:
            torn = error.what
            found = _next_fragment(read, at, size, init)
            if found < 0:
                break
            if found - at >= 8:
                holes.append((at, found - at))
            at = found
            continue
        if entry:
            fragments.append(entry)
            at = entry.offset + entry.size
        else:
            at = box_at(read(at, 16), 0, size - at).end + at
    since_us = fragments[-1].utc_us - doubtful_us if fragments else 0
    for entry in reversed([one for one in fragments if doubtful_us and one.utc_us >= since_us]):
        if not _is_intact(read, entry, init, last=entry is fragments[-1]):
            torn = "samples did not reach the disk"
            fragments.remove(entry)
            holes.append((entry.offset, entry.size))
    end = fragments[-1].offset + fragments[-1].size if fragments else start
    return Walk(
        tuple(fragments), tuple(sorted(hole for hole in holes if hole[0] < end)), end, torn if end < size else ""
    )


def _entry_at(read: Read, at: int, size: int, init: Init) -> Fragment | None:
    """The fragment at `at`, by one read or, for a large `moof`, two. None for a `free` box, left by an earlier repair.

    Raises BoxError for what is neither.
    """
    data = read(at, _GLANCE)
    first = box_at(data, 0, size - at)
    if first.kind == b"free":
        return None
    moof = box_at(data, first.end, size - at)
    if moof.end > MOOF_LIMIT:
        raise BoxError("no moof after prft", at)
    if moof.end + 16 > len(data):
        data = read(at, moof.end + 16)
    return entry_of(init, at, parse_fragment(data, 0, size - at))


def _next_fragment(read: Read, start: int, size: int, init: Init) -> int:
    """Where, after damage at `start`, the next whole fragment begins; -1 when there is none."""
    for place in _marks(read, start + 1, size):
        try:
            if _entry_at(read, place, size, init):
                return place
        except BoxError:
            continue
    return -1


def _marks(read: Read, start: int, size: int) -> Iterator[int]:
    """Every place that looks like the first bytes of a fragment."""
    while start < size:
        window = bytes(read(start, _STRIDE + len(_MARK) - 1))
        at = window.find(_MARK)
        while at >= 0:
            yield start + at
            at = window.find(_MARK, at + 1)
        start += _STRIDE


def _is_intact(read: Read, fragment: Fragment, init: Init, *, last: bool) -> bool:
    """Whether a fragment's samples can be what was written.

    NAL unit lengths must fill every sample, and no encoder makes a sector of zeros: H.264 forbids more than two zero
    bytes in a row, and a zero byte at the end (ITU-T H.264 §7.4.1), which tells of a last page that is missing.
    """
    data = memoryview(bytes(read(fragment.offset, fragment.size)))
    if len(data) < fragment.size or bytes(data).find(_ZEROS) >= 0 or (last and data[-1] == 0):
        return False
    videos = {track.track_id for track in init.tracks if track.handler == "vide"}
    try:
        for sample in samples(parse_fragment(data, 0, len(data))):
            if sample.track_id in videos:
                split_nals(data[sample.start : sample.end])
    except BoxError:
        return False
    return True
