"""Move fragments to another place in time without touching a sample, and cut the last one of an export."""

from collections.abc import Mapping
from typing import NamedTuple

from .boxes import Buffer, box_at, boxes
from .errors import BoxError
from .reader import FragmentHead, RunRows, parse_fragment
from .writer import Run, Sample, fragment

_MFHD_SEQUENCE = 12  # bytes of header, version and flags before the field
_TFHD_TRACK = 12
_TFDT_TIME = 12
_PRFT_TRACK = 12
_PRFT_TIME = 24


class Pace(NamedTuple):
    """How far the tracks move, by track id, each in its timescale; `sequence` is the first fragment's number."""

    sequence: int
    shifts: Mapping[int, int]


def move(data: bytearray, pace: Pace) -> int:
    """Rewrite `mfhd`, `tfdt` and the media time of `prft` of whole fragments in place; gives the next sequence number.

    Composition offsets and UTC stay. Raises BoxError where `data` is not whole fragments, or would begin below zero.
    """
    sequence = pace.sequence
    for found in boxes(data):
        if found.kind == b"prft":
            _add(data, found.start + _PRFT_TIME, pace, _number(data, found.start + _PRFT_TRACK))
        elif found.kind == b"moof":
            for child in boxes(data, found.body, found.end):
                if child.kind == b"mfhd":
                    data[child.start + _MFHD_SEQUENCE : child.end] = sequence.to_bytes(4, "big")
                elif child.kind == b"traf":
                    inner = {one.kind: one.start for one in boxes(data, child.body, child.end)}
                    track = _number(data, inner[b"tfhd"] + _TFHD_TRACK)
                    _add(data, inner[b"tfdt"] + _TFDT_TIME, pace, track)
            sequence += 1
    return sequence


def cut(data: Buffer, until: Mapping[int, int]) -> bytes:
    """A fragment without what is presented at or after `until` (by track id, in its timescale).

    A frame that others before the end are decoded from stays. Empty where nothing of the first track is left.
    Raises BoxError where `data` is no whole fragment, or one of times that nobody writes.
    """
    head = parse_fragment(data, 0, len(data))
    view = memoryview(data)
    runs = [_kept(view, run, until[run.track_id]) for run in head.runs]
    if not runs[0].samples:
        return b""
    if not 0 <= runs[0].decode_time + runs[0].samples[0].composition_offset < 1 << 63:
        raise BoxError("a presentation time is out of range", 0)
    return fragment(head.sequence, [run for run in runs if run.samples], head.utc_us)


def heads(data: Buffer) -> list[tuple[int, FragmentHead]]:
    """Where the fragments of a stretch of bytes begin, and their heads."""
    found: list[tuple[int, FragmentHead]] = []
    at = 0
    while at < len(data):
        if box_at(data, at, len(data)).kind == b"free":
            at = box_at(data, at, len(data)).end
            continue
        head = parse_fragment(data, at, len(data))
        found.append((at, head))
        at += head.size
    return found


def _kept(view: memoryview, run: RunRows, until: int) -> Run:
    rows: list[Sample] = []
    keep, at, time = 0, run.data_at, run.decode_time
    end = at
    columns = zip(run.sizes, run.durations, run.syncs, run.offsets, run.damaged, strict=True)
    for size, duration, sync, offset, damaged in columns:
        rows.append(Sample(size, duration, offset, sync, damaged))
        at, time = at + size, time + duration
        if time - duration + offset < until:
            keep, end = len(rows), at
    return Run(run.track_id, run.decode_time, rows[:keep], [view[run.data_at : end]], run.lost)


def _number(data: Buffer, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _add(data: bytearray, at: int, pace: Pace, track: int) -> None:
    time = int.from_bytes(data[at : at + 8], "big") + pace.shifts.get(track, 0)
    if not 0 <= time < 1 << 63:
        raise BoxError("a decode time would be negative", at)
    data[at : at + 8] = time.to_bytes(8, "big")
