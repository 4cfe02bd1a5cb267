"""Read recordings: find the fragment of an instant, give its frames back with their times.

Order of calls: `RecordingFile(path)`, `index` as often as wanted (for an open file it grows), `frames(entry)`,
`close()`. `play(paths, from_us, to_us)` goes across files. Safe to use from several threads at once.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from soip.mp4.boxes import Buffer
from soip.mp4.errors import BoxError
from soip.mp4.index import FileIndex, Fragment
from soip.mp4.reader import FragmentHead, RunRows, split_nals
from soip.mp4.repair import walk
from soip.mp4.rewrite import heads
from soip.mp4.times import us_of
from soip.mp4.tracks import Track

from .errors import DamagedFileError
from .files import read_at, read_index

# From one frame's end to the next one's beginning, what is longer is a gap and not jitter.
GAP_US = 1_000_000
_CACHED = 256


class Frame(NamedTuple):
    """A recorded frame. `time` is its continuous decode time in the track's timescale, `utc_us` when it is shown.

    `discontinuity`: the first frame of its track after a gap, or of another file. `damaged`: it cannot be shown as it
    was taken, for packets were lost.
    """

    track: Track
    data: memoryview
    time: int
    composition_offset: int
    duration: int
    sync: bool
    utc_us: int
    discontinuity: bool = False
    damaged: bool = False

    def nals(self) -> list[Buffer]:
        """The NAL units of a frame of video. Raises BoxError for a damaged one."""
        return split_nals(self.data)


class RecordingFile:
    """A recording opened for reading; it may still be written."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._index: FileIndex | None = None

    def __enter__(self) -> "RecordingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def index(self) -> FileIndex:
        """What the file holds now. Entries keep their numbers, also when it is sealed meanwhile.

        Raises DamagedFileError.
        """
        known = self._index
        if known is None:
            known = _indexes.get(self.path, self._descriptor)
        elif not known.sealed:
            size = os.fstat(self._descriptor).st_size
            more = walk(read_at(self._descriptor), size, known.init, start=known.end)
            known = FileIndex(known.init, known.fragments + more.fragments, more.end)
        self._index = known
        return known

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def heads(self, entry: Fragment) -> tuple[bytes, list[tuple[int, FragmentHead]]]:
        """The bytes of an index entry and the fragments in it, with where they begin. Raises DamagedFileError."""
        data = self.read(entry.offset, entry.size)
        try:
            return data, heads(data)
        except BoxError as error:
            raise DamagedFileError(f"{self.path}: {error}") from error

    def frames(self, entry: Fragment) -> list[Frame]:
        """The frames of an index entry, all tracks, by decode time. Raises DamagedFileError."""
        init = self.index.init
        scale = init.tracks[0].timescale
        data, found = self.heads(entry)
        view = memoryview(data)
        frames: list[tuple[int, Frame]] = []
        for start, head in found:
            video = next((run for run in head.runs if run.track_id == init.tracks[0].track_id), None)
            if video is None:
                raise DamagedFileError(f"{self.path}: a fragment without pictures at {entry.offset + start}")
            # UTC of the file's zero as this fragment has it: the media clock and UTC drift apart a little.
            shown = video.decode_time + video.offsets[0] - init.delay
            zero_us = head.utc_us - us_of(shown, scale)
            for run in head.runs:
                tracks = zip(init.tracks, init.delays, strict=True)
                for track, delay in (pair for pair in tracks if pair[0].track_id == run.track_id):
                    base = init.head.media_time * track.timescale // scale - delay
                    frames += _frames(view, start, run, track, base, zero_us + us_of(-delay, track.timescale))
        frames.sort(key=lambda one: one[0])
        return [frame for _, frame in frames]


def play(paths: Sequence[Path], from_us: int, to_us: int) -> Iterator[Frame]:
    """Frames of consecutive files from the keyframe at or before `from_us` up to `to_us`, in decode order.

    Frames before `from_us` are there to be decoded, not shown. Missing files are passed over (expired meanwhile).
    Raises DamagedFileError.
    """
    ends: dict[int, int] = {}
    for path in paths:
        fresh = True
        for frame in _play_file(path, from_us, to_us):
            number = frame.track.track_id
            jump = fresh or abs(frame.utc_us - ends.get(number, frame.utc_us)) > GAP_US
            fresh = False
            ends[number] = frame.utc_us + us_of(frame.duration, frame.track.timescale)
            yield frame._replace(discontinuity=jump)


def _play_file(path: Path, from_us: int, to_us: int) -> Iterator[Frame]:
    try:
        file = RecordingFile(path)
    except FileNotFoundError:
        return
    with file:
        index = file.index
        if not index.fragments or index.end_us <= from_us:
            return
        number = index.keyframe(from_us)
        while number < len(index.fragments):
            entry = index.fragments[number]
            if entry.utc_us >= to_us:
                return
            frames = file.frames(entry)
            # Frames that are shown later may be needed by earlier ones: only what follows the last wanted one goes.
            while frames and frames[-1].utc_us >= to_us:
                frames.pop()
            yield from frames
            number += 1
            if number == len(index.fragments):
                index = file.index  # it may have grown


def _frames(
    view: memoryview, start: int, run: RunRows, track: Track, base: int, zero_us: int
) -> Iterator[tuple[int, Frame]]:
    at, time = start + run.data_at, run.decode_time
    rows = zip(run.sizes, run.durations, run.syncs, run.offsets, run.damaged, strict=True)
    for size, duration, sync, offset, damaged in rows:
        utc_us = zero_us + us_of(time + offset, track.timescale)
        order = zero_us + us_of(time, track.timescale)
        data = view[at : at + size]
        yield order, Frame(track, data, base + time, offset, duration, sync, utc_us, damaged=damaged)
        at, time = at + size, time + duration


class _SealedIndexes:
    """A small cache of the indexes of sealed files."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[tuple[int, int, int, int], FileIndex] = OrderedDict()

    def get(self, path: Path, descriptor: int) -> FileIndex:
        state = os.fstat(descriptor)
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        with self._lock:
            known = self._known.get(key)
            if known:
                self._known.move_to_end(key)
                return known
        index = read_index(descriptor, str(path))
        if index.sealed:
            with self._lock:
                self._known[key] = index
                if len(self._known) > _CACHED:
                    self._known.popitem(last=False)
        return index


_indexes = _SealedIndexes()
