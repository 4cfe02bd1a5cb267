"""Write fragmented MP4: the init segment once, then fragments, each as one `bytes` or as pieces for one write.

A file is `init_segment(tracks, head=…, reserve=…)` and then `fragment(…)` again and again, with decode times from the
file's own start. A live stream for browsers is `init_segment(tracks)` and one `fragment` per frame, with decode times
that need not start at zero.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from .boxes import Buffer, box, full_box
from .times import VIDEO_TIMESCALE, mac_seconds_of, ntp_of
from .tracks import Track

HEAD_UUID = bytes.fromhex("8a1c2f0e5b7d4c3f9e64d0b5a7f1c2e3")
HEAD_LIMIT = 8192

# Sample flags (ISO/IEC 14496-12 §8.8.3.1): a sync sample depends on no other; the rest do and are no sync samples.
SYNC_FLAGS = 0x0200_0000
DELTA_FLAGS = 0x0101_0000
NON_SYNC = 0x0001_0000
DAMAGED = 0x0000_0001
"""The degradation priority of a sample that cannot be shown as it was taken; 0 for all others. Players pass over it."""

# What is missing of a run: an extension of `traf` (ISO/IEC 14496-12 §11.1), which readers that do not know it skip.
DAMAGE_UUID = bytes.fromhex("c5b0a1d76e0f4b1c8a52f3e96d7b2084")
DAMAGE_SIZE = 28

# prft flags (§8.16.5): UTC and media time are matched by a consistent offset; ours is the filtered time of arrival.
_PRFT_FLAGS = 8
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)

_PRFT = struct.Struct(">I4sIIQQ")
_MOOF = struct.Struct(">I4sI4sII")
_TRAF = struct.Struct(">I4sI4sIII4sIQI4sIIi")
_TRAF_FLAGS = struct.Struct(">I4sI4sIIII4sIQI4sIIi")
_MDAT = struct.Struct(">I4s")


_DURATION = attrgetter("duration")


class Sample(NamedTuple):
    """One frame: its size in bytes (video: of the NAL units, each after its length in four bytes).

    `duration` and `composition_offset` (presentation minus decode time, may be negative) are in the timescale.
    """

    size: int
    duration: int
    composition_offset: int = 0
    sync: bool = True
    damaged: bool = False


class Run(NamedTuple):
    """Consecutive samples of one track; `decode_time` is the first one's, in the track's timescale.

    `content` is the samples' bytes one after the other, in any number of pieces. `lost` packets are missing in it.
    """

    track_id: int
    decode_time: int
    samples: Sequence[Sample]
    content: Sequence[Buffer]
    lost: int = 0

    @property
    def duration(self) -> int:
        """Ticks of all samples."""
        return sum(map(_DURATION, self.samples))


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says about itself in its `uuid` box.

    A file's decode times count from its own start, since players take them for positions. `media_time` is the
    continuous media time (first track's timescale) at which the movie begins, edit lists counted; `start_us` the UTC
    of that instant. `camera_offset_us`: how far the camera's own clock was ahead of ours, None where it told no time.
    """

    camera: str
    start_us: int
    media_time: int
    organisation: str = "default"
    stream: str = "main"
    trigger: str = "plan"
    clock: str = "server"
    server: str = ""
    camera_offset_us: int | None = None


class Edit(NamedTuple):
    """Where a track begins to be presented: `media_time` in its own timescale, `duration` in ticks of 90 kHz (0: all
    that follows). With reordered frames the first is shown some frames after the decode time 0.
    """

    media_time: int
    duration: int = 0


def init_segment(
    tracks: Sequence[Track],
    *,
    head: Head | None = None,
    reserve: int = 0,
    edits: Mapping[int, Edit] | None = None,
) -> bytes:
    """`ftyp moov`; for a file also the head box and `reserve` bytes as `free`, which sealing turns into `sidx`.

    `edits`: by track id, the edit list of tracks that are not presented from their decode time 0 on. `mehd` is there
    with `head` only: a live stream has no duration.
    """
    created = mac_seconds_of(head.start_us) if head else 0
    movie = struct.pack(">QQIQIH10x", created, created, VIDEO_TIMESCALE, 0, 0x10000, 0x100)
    next_track = struct.pack(">24xI", max(track.track_id for track in tracks) + 1)
    moov = [full_box(b"mvhd", 1, 0, movie, _MATRIX, next_track)]
    moov += [_track_box(track, created, (edits or {}).get(track.track_id)) for track in tracks]
    extends = [full_box(b"trex", 0, 0, struct.pack(">5I", track.track_id, 1, 0, 0, 0)) for track in tracks]
    if head:
        extends.insert(0, full_box(b"mehd", 1, 0, bytes(8)))
    moov.append(box(b"mvex", *extends))
    front = box(b"ftyp", b"iso6", bytes(4), b"iso6mp41") + box(b"moov", *moov)
    if head:
        front += _head_box(head, len(front))
    if reserve:
        front += box(b"free", bytes(max(0, reserve - 8)))
    return front


def fragment(sequence: int, runs: Sequence[Run], utc_us: int | None = None) -> bytes:
    """`fragment_parts` in one piece."""
    return b"".join(fragment_parts(sequence, runs, utc_us))


def fragment_parts(sequence: int, runs: Sequence[Run], utc_us: int | None = None) -> list[Buffer]:
    """`prft moof mdat` of one run per track (no run empty), ready for one write; the samples' bytes are not copied.

    `utc_us` is the UTC of the first run's first frame, at its presentation; None leaves `prft` out. Sequence numbers
    count from 1.
    The data offsets are relative to `moof` (default-base-is-moof), decode times have 64 bits, offsets are signed.
    """
    tables: list[bytes] = []
    sizes: list[tuple[int, bool, bool]] = []
    for run in runs:
        table, size, plain, shifted = _sample_table(run.samples)
        tables.append(table)
        sizes.append((size, plain, shifted))
    damages = [_damage_box(run) for run in runs]
    moof_size = 24 + sum(
        (68 if plain else 64) + len(table) + len(damage)
        for table, damage, (_, plain, _) in zip(tables, damages, sizes, strict=True)
    )
    parts: list[bytes] = []
    if utc_us is not None:
        first = runs[0]
        shown = first.decode_time + first.samples[0].composition_offset
        parts.append(_PRFT.pack(32, b"prft", 1 << 24 | _PRFT_FLAGS, first.track_id, ntp_of(utc_us), shown))
    parts.append(_MOOF.pack(moof_size, b"moof", 16, b"mfhd", 0, sequence))
    data_offset = moof_size + 8
    for run, table, damage, (size, plain, shifted) in zip(runs, tables, damages, sizes, strict=True):
        parts.append(_track_fragment(run, len(table), len(damage), data_offset, plain, shifted))
        parts += (table, damage)
        data_offset += size
    parts.append(_MDAT.pack(data_offset - moof_size, b"mdat"))
    return [b"".join(parts), *chain.from_iterable([run.content for run in runs])]


def _sample_table(samples: Sequence[Sample]) -> tuple[bytes, int, bool, bool]:
    """The rows of a `trun`. Also: bytes in all, whether all samples are sync and whole (then flags are not written per
    sample), whether composition offsets are written.
    """
    sizes, durations, offsets, syncs, damaged = zip(*samples, strict=True)
    columns: list[Sequence[int]] = [durations, sizes]
    hurt = any(damaged)
    plain, shifted = all(syncs) and not hurt, any(offsets)
    if not plain:
        flags = [SYNC_FLAGS if sync else DELTA_FLAGS for sync in syncs]
        columns.append([flag | bad for flag, bad in zip(flags, damaged, strict=True)] if hurt else flags)
    if shifted:
        columns.append(offsets)
    # Signed for all: only offsets may be negative, and no duration, size or flag reaches the highest bit.
    rows = struct.pack(f">{len(columns) * len(sizes)}i", *chain.from_iterable(zip(*columns, strict=True)))
    return rows, sum(sizes), plain, shifted


def _damage_box(run: Run) -> bytes:
    return box(b"uuid", DAMAGE_UUID, struct.pack(">I", min(run.lost, 0xFFFF_FFFF))) if run.lost else b""


def _track_fragment(run: Run, table: int, damage: int, data_offset: int, plain: bool, shifted: bool) -> bytes:
    """`traf` up to the rows of its `trun`: `tfhd` (default-base-is-moof), `tfdt` and `trun`, both version 1."""
    run_flags = 0x301 | (0 if plain else 0x400) | (0x800 if shifted else 0)
    timing = (20, b"tfdt", 1 << 24, run.decode_time)
    rows = (20 + table, b"trun", 1 << 24 | run_flags, len(run.samples), data_offset)
    if plain:
        head = (68 + table + damage, b"traf", 20, b"tfhd", 0x020020, run.track_id, SYNC_FLAGS)
        return _TRAF_FLAGS.pack(*head, *timing, *rows)
    return _TRAF.pack(64 + table + damage, b"traf", 16, b"tfhd", 0x020000, run.track_id, *timing, *rows)


def _track_box(track: Track, created: int, edit: Edit | None) -> bytes:
    video = track.handler == "vide"
    tkhd = struct.pack(">QQI4xQ8xhhHxx", created, created, track.track_id, 0, 0, 0, 0 if video else 0x100)
    tkhd += _MATRIX + struct.pack(">II", track.width << 16, track.height << 16)
    parts = [full_box(b"tkhd", 1, 3, tkhd)]
    if edit:
        # A duration of 0 reaches over all fragments, also those to come (ISO/IEC 14496-12 §8.6.6.1).
        parts.append(
            box(b"edts", full_box(b"elst", 1, 0, struct.pack(">IQqhh", 1, edit.duration, edit.media_time, 1, 0)))
        )
    media_header = full_box(b"vmhd", 0, 1, bytes(8)) if video else full_box(b"smhd", 0, 0, bytes(4))
    table = box(
        b"stbl",
        full_box(b"stsd", 0, 0, struct.pack(">I", 1), track.entry),
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    where = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    name = b"video\0" if video else b"audio\0"
    media = box(
        b"mdia",
        # Language "und" (ISO 639-2/T, three letters of five bits).
        full_box(b"mdhd", 1, 0, struct.pack(">QQIQHxx", created, created, track.timescale, 0, 0x55C4)),
        full_box(b"hdlr", 0, 0, bytes(4), track.handler.encode(), bytes(12), name),
        box(b"minf", media_header, where, table),
    )
    return box(b"trak", *parts, media)


def _head_box(head: Head, offset: int) -> bytes:
    """The `uuid` box, padded so that what follows it begins at a multiple of eight: the eight bytes that sealing
    flips then never lie across two sectors.
    """
    text = json.dumps(asdict(head), separators=(",", ":")).encode()
    if len(text) > HEAD_LIMIT:
        raise ValueError("the head box would be too large")
    return box(b"uuid", HEAD_UUID, text, b" " * (-(offset + 24 + len(text)) % 8))
