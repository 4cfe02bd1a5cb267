"""Export a range of time as MP4 without touching a frame.

A part begins at the keyframe at or before the asked time; its edit list begins at the exact one, so that players
decode from the one and show from the other. Gaps are closed up: a part lasts as long as what was recorded; `prft`
still tells the true UTC of each fragment. Where the codec's parameters change, a second part begins.

Order of calls: `plan(…)` reads indexes and little else; `part.size` is then exact (`Content-Length`), `part.chunks()`
gives the bytes. `export(…)` does it all into files.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from soip.mp4.errors import BoxError
from soip.mp4.index import FileIndex, Fragment, index_space
from soip.mp4.reader import FragmentHead, Init, parse_init
from soip.mp4.rewrite import Pace, cut, heads, move
from soip.mp4.times import VIDEO_TIMESCALE, ticks_of, us_of
from soip.mp4.tracks import Track
from soip.mp4.writer import Edit, Head, init_segment

from .errors import DamagedFileError, NothingRecordedError
from .layout import timestamp
from .reader import GAP_US, RecordingFile

_INDEX_RESERVE = 8192


@dataclass(frozen=True, slots=True)
class Piece:
    """Index entries of one file, which all move by the same `shifts` (by track id, in its timescale).

    `tail`: what is left of one more entry after its end was cut off.
    """

    path: Path
    entries: tuple[Fragment, ...]
    tail: bytes
    shifts: dict[int, int]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries) + len(self.tail)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an export. `start_us`, `end_us`: what is shown of UTC; `front`: its bytes before the fragments."""

    camera: str
    start_us: int
    end_us: int
    front: bytes
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        return len(self.front) + sum(piece.size for piece in self.pieces)

    def chunks(self) -> Iterator[bytes]:
        """All bytes, `size` in all, some megabytes at a time. Raises DamagedFileError, OSError."""
        yield self.front
        sequence = 1
        for piece in self.pieces:
            with RecordingFile(piece.path) as file:
                for data in _contents(file, piece):
                    try:
                        sequence = move(data, Pace(sequence, piece.shifts))
                    except (BoxError, KeyError) as error:
                        raise DamagedFileError(f"{piece.path}: {error}") from error
                    yield bytes(data)


def export(paths: Sequence[Path], from_us: int, to_us: int, output: Path) -> list[Path]:
    """Write the export of files (in order of time) to `output`, further parts beside it as `…-2.mp4` and so on.

    A file appears under its name when it is whole. Raises NothingRecordedError, DamagedFileError, OSError.
    """
    written: list[Path] = []
    for number, part in enumerate(plan(paths, from_us, to_us), 1):
        place = output if number == 1 else output.with_stem(f"{output.stem}-{number}")
        draft = place.with_name(f".{place.name}.part")
        try:
            with open(draft, "wb") as file:
                for chunk in part.chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, place)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        written.append(place)
    return written


def plan(paths: Sequence[Path], from_us: int, to_us: int) -> list[Part]:
    """The parts of an export. Files that are gone or hold nothing of the range are passed over.

    Raises NothingRecordedError, DamagedFileError, OSError.
    """
    parts: list[_Builder] = []
    for path in paths:
        try:
            file = RecordingFile(path)
        except FileNotFoundError:
            continue
        with file:
            index = file.index
            if not index.fragments or index.end_us <= from_us or index.start_us >= to_us or from_us >= to_us:
                continue
            if not parts or parts[-1].tracks != index.init.tracks:
                parts.append(_Builder(index.init.tracks, index.init.head, from_us, to_us))
            parts[-1].add(file, index)
    ready = [part for builder in parts if (part := builder.finish())]
    if not ready:
        raise NothingRecordedError(f"nothing is recorded from {timestamp(from_us)} to {timestamp(to_us)}")
    return ready


@dataclass(slots=True)
class _Builder:
    """Collects the pieces of one part. Times of the part count from its own zero, in each track's timescale."""

    tracks: tuple[Track, ...]
    head: Head
    from_us: int
    to_us: int
    pieces: list[Piece] = field(default_factory=list)
    entries: list[Fragment] = field(default_factory=list)  # with the times of the part, the edit not yet counted
    zero: int = 0  # continuous media time of the part's zero, in the first track's timescale
    ends: dict[int, int] = field(default_factory=dict)  # by track id: where the next sample may be decoded
    begin: int = 0  # presentation time of the first instant asked for
    end: int = 0  # and of the end of the last
    start_us: int = 0
    end_us: int = 0

    @property
    def scale(self) -> int:
        return self.tracks[0].timescale

    def add(self, file: RecordingFile, index: FileIndex) -> None:
        """Add what the file holds of the range."""
        init, entries = index.init, index.fragments
        first, opening = _opening(file, index, self.from_us)
        last = first
        while last + 1 < len(entries) and entries[last + 1].utc_us < self.to_us:
            last += 1
        closing = entries[last]
        data, found = file.heads(closing)
        pictures = found[-1][1].runs[0]
        closing_us = found[-1][1].utc_us + us_of(sum(pictures.durations), self.scale)
        whole, tail = entries[first : last + 1], b""
        if closing_us > self.to_us:
            whole, tail = whole[:-1], b"".join(_before(data, found, init, self.to_us))
            closing_us = self.to_us
        if not whole and not tail:
            return
        base = {
            track.track_id: init.head.media_time * track.timescale // self.scale - delay
            for track, delay in zip(self.tracks, init.delays, strict=True)
        }
        self._place({run.track_id: run.decode_time + base[run.track_id] for run in opening.runs})
        shifts = {one.track_id: base[one.track_id] - self.zero * one.timescale // self.scale for one in self.tracks}
        moved = shifts[self.tracks[0].track_id] + init.delay
        if not self.pieces:
            self.start_us = max(self.from_us, opening.utc_us)
            shown = opening.runs[0].decode_time + opening.runs[0].offsets[0] - init.delay
            self.begin = shown + moved + ticks_of(self.start_us - opening.utc_us, self.scale)
        self.pieces.append(Piece(file.path, whole, tail, shifts))
        self.entries += [entry._replace(time=entry.time + moved) for entry in whole]
        if tail:
            self.entries.append(closing._replace(size=len(tail), time=closing.time + moved))
        shown = found[0][1].runs[0].decode_time + found[0][1].runs[0].offsets[0] - init.delay
        self.end = shown + moved + ticks_of(closing_us - found[0][1].utc_us, self.scale)
        self.end_us = closing_us
        for _, head in heads(tail) if closing_us == self.to_us else found:
            for run in head.runs:
                self.ends[run.track_id] = run.decode_time + sum(run.durations) + shifts[run.track_id]

    def finish(self) -> Part | None:
        """The part, with its index; None when nothing was added."""
        if not self.pieces:
            return None
        edits = {
            track.track_id: Edit(
                self.begin * track.timescale // self.scale,
                max(1, self.end - self.begin) * VIDEO_TIMESCALE // self.scale,
            )
            for track in self.tracks
        }
        head = replace(self.head, start_us=self.start_us, media_time=self.zero + self.begin, trigger="export")
        front = bytearray(init_segment(self.tracks, head=head, reserve=_INDEX_RESERVE, edits=edits))
        init = parse_init(front)
        placed, offset = [], init.first_fragment
        for number, entry in enumerate(self.entries):
            following = self.entries[number + 1].time if number + 1 < len(self.entries) else self.end
            time = max(0, entry.time - self.begin)
            length = max(0, following - self.begin - time)
            placed.append(entry._replace(offset=offset, time=time, duration=length))
            offset += entry.size
        front[init.index_at : init.first_fragment] = index_space(init, placed)
        duration = edits[self.tracks[0].track_id].duration
        front[init.mehd_at : init.mehd_at + 8] = duration.to_bytes(8, "big")
        return Part(self.head.camera, self.start_us, self.end_us, bytes(front), tuple(self.pieces))

    def _place(self, starts: dict[int, int]) -> None:
        """Choose the zero by which a file's tracks, whose continuous times are `starts`, move into the part.

        What follows without a gap stays where it is; else the tracks come together as close as none overlaps.
        """
        scales = {track.track_id: track.timescale for track in self.tracks}
        closest = min(
            (start - self.ends.get(track, 0)) * self.scale // scales[track] for track, start in starts.items()
        )
        # A slower clock's times stand for ours only to one of its own ticks.
        rounding = 1 + max(self.scale // scale for scale in scales.values())
        if not self.pieces or not -rounding <= closest - self.zero <= GAP_US * self.scale // 1_000_000:
            self.zero = closest


def _opening(file: RecordingFile, index: FileIndex, from_us: int) -> tuple[int, FragmentHead]:
    """The entry to begin with, by its own UTC: that of the index is as exact as the media clock's pace."""
    number = index.keyframe(from_us)
    while True:
        _, found = file.heads(index.fragments[number])
        if found[0][1].utc_us <= from_us or number == 0:
            return number, found[0][1]
        number = index.keyframe(index.fragments[number].utc_us - 1) if index.fragments[number].utc_us else 0


def _before(data: bytes, found: list[tuple[int, FragmentHead]], init: Init, to_us: int) -> Iterator[bytes]:
    """The fragments of an entry, without what is shown at or after `to_us`."""
    scale = init.tracks[0].timescale
    for start, head in found:
        if head.utc_us >= to_us:
            return
        shown = head.runs[0].decode_time + head.runs[0].offsets[0]
        until = shown + ticks_of(to_us - head.utc_us, scale)
        limits = {
            track.track_id: (until - init.delay) * track.timescale // scale + delay
            for track, delay in zip(init.tracks, init.delays, strict=True)
        }
        yield cut(data[start : start + head.size], limits)


def _contents(file: RecordingFile, piece: Piece) -> Iterator[bytearray]:
    for entry in piece.entries:
        data = bytearray(file.read(entry.offset, entry.size))
        if len(data) < entry.size:
            raise DamagedFileError(f"{piece.path} was cut while it was read")
        yield data
    if piece.tail:
        yield bytearray(piece.tail)
