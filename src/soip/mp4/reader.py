"""Read what `writer` wrote, trusting nothing: the front of a file, the front of a fragment, its samples.

Order of calls: `parse_init(front of the file)`; then `parse_fragment(bytes at a fragment)`, which needs `prft` and
`moof` only; then `samples(…)` with the whole fragment. All raise BoxError for what is no such thing, and its subclass
CutError where more bytes are needed.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Literal, NamedTuple

from . import hevc
from .boxes import Box, Buffer, box_at, boxes, children, fields, need
from .errors import BoxError
from .times import utc_of
from .tracks import Track, avc_name
from .writer import DAMAGE_SIZE, DAMAGE_UUID, DAMAGED, HEAD_LIMIT, HEAD_UUID, NON_SYNC, Head

MOOF_LIMIT = 1 << 20
# The least that holds a sidx of one entry (52 bytes) and the free box behind it.
INDEX_SPACE = 60
_TRACK_LIMIT = 8

_ONE = struct.Struct(">I")
_TKHD = struct.Struct(">I16xI64xII")
_MDHD = struct.Struct(">I16xI")
_ELST = struct.Struct(">IIQq")
_SIDX = struct.Struct(">IIIQQHH")
_PRFT = struct.Struct(">IIQQ")
_TFDT = struct.Struct(">IQ")
_TRUN = struct.Struct(">IIi")


@dataclass(frozen=True, slots=True)
class Init:
    """The front of a file. `size`: bytes of `ftyp moov`; `delays`: what each track's edit list skips.

    `mehd_at`: where the movie's duration stands (8 bytes). `index_at`, `index_size`: the space that is `free` until
    it is a `sidx` (then `sealed`). `first_fragment`: where the fragments begin.
    """

    tracks: tuple[Track, ...]
    head: Head
    delays: tuple[int, ...]
    size: int
    mehd_at: int
    index_at: int
    index_size: int
    first_fragment: int
    sealed: bool

    @property
    def delay(self) -> int:
        """The first track's."""
        return self.delays[0]


class RunRows(NamedTuple):
    """One `traf`: `data_at` counts from the fragment's first byte; the lists have one entry per sample. `lost` packets
    are missing in it.
    """

    track_id: int
    decode_time: int
    data_at: int
    sizes: list[int]
    durations: list[int]
    syncs: list[bool]
    offsets: list[int]
    damaged: list[bool]
    lost: int


class FragmentHead(NamedTuple):
    """`prft moof` and the header of `mdat`. `size`: bytes of all three; `moof`: where it begins in the fragment."""

    sequence: int
    utc_us: int
    size: int
    moof: int
    runs: tuple[RunRows, ...]


class StoredSample(NamedTuple):
    """A sample as it lies in a fragment: `start` and `end` in its bytes, times in the track's timescale."""

    track_id: int
    decode_time: int
    composition_offset: int
    duration: int
    sync: bool
    start: int
    end: int
    damaged: bool


def parse_init(data: Buffer) -> Init:
    """The front of a file; `data` must reach to where the fragments begin (CutError: read more)."""
    limit = 1 << 62
    ftyp = box_at(data, 0, limit)
    if ftyp.kind != b"ftyp":
        raise BoxError("not an MP4 file", 0)
    moov = box_at(data, ftyp.end, limit)
    if moov.kind != b"moov" or moov.end - moov.start > MOOF_LIMIT:
        raise BoxError("no moov after ftyp", ftyp.end)
    boxes_end = box_at(data, moov.end, limit)  # also proves that moov is whole
    tracks, delays, mehd = _parse_moov(data, moov)
    head = _parse_head(data, boxes_end)
    index = box_at(data, boxes_end.end, limit)
    if index.kind == b"sidx":
        first = index.end + fields(_SIDX, data, index)[4]
    elif index.kind == b"free":
        first = index.end
    else:
        raise BoxError("no space for an index", index.start)
    if not index.start + INDEX_SPACE <= first <= index.end + (1 << 24):
        raise BoxError("no space for an index", index.start)
    return Init(tracks, head, delays, moov.end, mehd, index.start, first - index.start, first, index.kind == b"sidx")


def parse_fragment(data: Buffer, start: int, limit: int) -> FragmentHead:
    """The fragment at `start`, which may reach to `limit`. `data` must hold all but the samples."""
    prft = box_at(data, start, limit)
    if prft.kind != b"prft":
        raise BoxError("no fragment begins here", start)
    _, _, ntp, _ = fields(_PRFT, data, prft)
    moof = box_at(data, prft.end, limit)
    if moof.kind != b"moof" or moof.end - moof.start > MOOF_LIMIT:
        raise BoxError("no moof after prft", prft.end)
    mdat = box_at(data, moof.end, limit)
    if mdat.kind != b"mdat":
        raise BoxError("no mdat after moof", moof.end)
    sequence = 0
    runs: list[RunRows] = []
    for child in boxes(data, moof.body, moof.end):
        if child.kind == b"mfhd":
            sequence = fields(_ONE, data, child, 4)[0]
        elif child.kind == b"traf":
            runs.append(_parse_traf(data, child, moof.start, start))
    for run in runs:
        if not mdat.body <= start + run.data_at <= start + run.data_at + sum(run.sizes) <= mdat.end:
            raise BoxError("samples lie outside their mdat", moof.start)
    if not runs or not all(run.sizes for run in runs) or len(runs) > _TRACK_LIMIT:
        raise BoxError("a fragment without samples", start)
    return FragmentHead(sequence, utc_of(ntp), mdat.end - start, moof.start - start, tuple(runs))


def samples(head: FragmentHead) -> Iterator[StoredSample]:
    """The samples of a fragment, track by track, each in decode order."""
    for run in head.runs:
        at, time = run.data_at, run.decode_time
        rows = zip(run.sizes, run.durations, run.syncs, run.offsets, run.damaged, strict=True)
        for size, duration, sync, offset, damaged in rows:
            yield StoredSample(run.track_id, time, offset, duration, sync, at, at + size, damaged)
            at, time = at + size, time + duration


def split_nals(sample: Buffer) -> list[Buffer]:
    """The NAL units of a sample of video, each a slice of what is given. Raises BoxError where lengths do not fit."""
    units: list[Buffer] = []
    at, end = 0, len(sample)
    while at < end:
        size = int.from_bytes(sample[at : at + 4], "big")
        if size == 0 or at + 4 + size > end:
            raise BoxError("a NAL unit does not fit its sample", at)
        units.append(sample[at + 4 : at + 4 + size])
        at += 4 + size
    return units


def _parse_moov(data: Buffer, moov: Box) -> tuple[tuple[Track, ...], tuple[int, ...], int]:
    tracks: list[Track] = []
    delays: list[int] = []
    mehd_at = 0
    for child in boxes(data, moov.body, moov.end):
        if child.kind == b"trak":
            track, skipped = _parse_trak(data, child)
            delays.append(skipped)
            tracks.append(track)
        elif child.kind == b"mvex":
            mehd = need(children(data, child), b"mehd", child)
            mehd_at = mehd.body + 4
    if not tracks or not mehd_at or len(tracks) > _TRACK_LIMIT:
        raise BoxError("moov lacks tracks or mvex", moov.start)
    return tuple(tracks), tuple(delays), mehd_at


def _parse_trak(data: Buffer, trak: Box) -> tuple[Track, int]:
    inner = children(data, trak)
    tkhd = need(inner, b"tkhd", trak)
    version, track_id, width, height = fields(_TKHD, data, tkhd)
    delay = 0
    if b"edts" in inner:
        elst = need(children(data, inner[b"edts"]), b"elst", trak)
        delay = fields(_ELST, data, elst)[3]
    media = children(data, need(inner, b"mdia", trak))
    mdhd = need(media, b"mdhd", trak)
    mdhd_version, timescale = fields(_MDHD, data, mdhd)
    if version >> 24 != 1 or mdhd_version >> 24 != 1 or timescale == 0 or not 0 <= delay < 1 << 40:
        raise BoxError("a track header of another writer", trak.start)
    hdlr = need(media, b"hdlr", trak)
    handler = bytes(data[hdlr.body + 8 : hdlr.body + 12])
    table = children(data, need(children(data, need(media, b"minf", trak)), b"stbl", trak))
    stsd = need(table, b"stsd", trak)
    entry = box_at(data, stsd.body + 8, stsd.end)
    codec, kind = _codec_of(data, entry, handler)
    raw = bytes(data[entry.start : entry.end])
    return Track(track_id, kind, timescale, codec, raw, width >> 16, height >> 16), delay


def _codec_of(data: Buffer, entry: Box, handler: bytes) -> tuple[str, Literal["vide", "soun"]]:
    if handler == b"vide" and entry.kind == b"avc1":
        avcc = need(children(data, entry, 78), b"avcC", entry)
        return avc_name(bytes(data[avcc.body : avcc.end])), "vide"
    if handler == b"vide" and entry.kind == b"hvc1":
        hvcc = need(children(data, entry, 78), b"hvcC", entry)
        try:
            return hevc.name(bytes(data[hvcc.body : hvcc.end])), "vide"
        except ValueError as error:
            raise BoxError(str(error), hvcc.start) from error
    if handler == b"soun" and entry.kind == b"mp4a":
        esds = need(children(data, entry, 28), b"esds", entry)
        # The descriptors are our own writer's: none before the configuration has an optional field.
        config = bytes(data[esds.body : esds.end])[24:28]
        if len(config) < 4 or config[0] != 0x05:
            raise BoxError("esds without AudioSpecificConfig", esds.start)
        return f"mp4a.40.{config[2] >> 3}", "soun"
    if handler == b"soun" and entry.kind == b"Opus":
        need(children(data, entry, 28), b"dOps", entry)
        return "opus", "soun"
    raise BoxError(f"no such track: {handler!r} {entry.kind!r}", entry.start)


def _parse_head(data: Buffer, where: Box) -> Head:
    if where.kind != b"uuid" or where.end - where.start > HEAD_LIMIT + 64:
        raise BoxError("no head box: not one of our recordings", where.start)
    box_at(data, where.end, 1 << 62)  # it is whole, and something follows
    if bytes(data[where.body : where.body + 16]) != HEAD_UUID:
        raise BoxError("no head box: not one of our recordings", where.start)
    try:
        facts = json.loads(bytes(data[where.body + 16 : where.end]))
        known = {field.name: field.type for field in dataclass_fields(Head)}
        head = Head(**{name: value for name, value in facts.items() if name in known})
        numbers = (head.start_us, head.media_time)
        texts = [value for name, value in facts.items() if known.get(name) is str]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BoxError("the head box cannot be read", where.start) from error
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise BoxError("the head box has no such time", where.start)
    offset = head.camera_offset_us
    if offset is not None and (type(offset) is not int or abs(offset) >= 1 << 62):
        raise BoxError("the head box has no such time", where.start)
    if not all(isinstance(text, str) for text in texts):
        raise BoxError("the head box cannot be read", where.start)
    return head


def _parse_traf(data: Buffer, traf: Box, moof: int, start: int) -> RunRows:
    inner = children(data, traf)
    tfhd = need(inner, b"tfhd", traf)
    flags, track_id = fields(struct.Struct(">II"), data, tfhd)
    default_flags = fields(_ONE, data, tfhd, 8)[0] if flags & 0x20 else 0
    if flags & 0x00FF_FFFF not in (0x020000, 0x020020):
        raise BoxError("a tfhd of another writer", tfhd.start)
    version, decode_time = fields(_TFDT, data, need(inner, b"tfdt", traf))
    trun = need(inner, b"trun", traf)
    run_flags, count, data_offset = fields(_TRUN, data, trun)
    if version != 1 << 24 or run_flags & ~0xC00 != 0x0100_0301:
        raise BoxError("a tfdt or trun of another writer", traf.start)
    with_flags, with_offsets = bool(run_flags & 0x400), bool(run_flags & 0x800)
    width = 2 + with_flags + with_offsets
    if trun.body + 12 + 4 * width * count != trun.end:
        raise BoxError("trun has another size than its rows", trun.start)
    values = struct.unpack_from(f">{width * count}i", data, trun.body + 12)
    durations, sizes = list(values[::width]), list(values[1::width])
    all_flags = values[2::width] if with_flags else (default_flags,) * count
    if count and min(min(durations), min(sizes) - 1) < 0:
        raise BoxError("a sample of no size or of negative duration", trun.start)
    return RunRows(
        track_id,
        decode_time,
        moof + data_offset - start,
        sizes,
        durations,
        [not flag & NON_SYNC for flag in all_flags],
        list(values[width - 1 :: width]) if with_offsets else [0] * count,
        [bool(flag & DAMAGED) for flag in all_flags],
        _parse_damage(data, inner.get(b"uuid")),
    )


def _parse_damage(data: Buffer, found: Box | None) -> int:
    """How many packets are missing; 0 where nothing is said."""
    if found is None or found.end - found.start != DAMAGE_SIZE:
        return 0
    if bytes(data[found.body : found.body + 16]) != DAMAGE_UUID:
        return 0
    return fields(_ONE, data, found, 16)[0]
