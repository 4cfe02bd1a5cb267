"""HLS of recordings (RFC 8216, with fragmented MP4 by byte ranges): the playlist's text is all it takes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from soip.mp4.index import FileIndex, Fragment
from soip.mp4.times import us_of

from .errors import NothingRecordedError
from .layout import timestamp
from .reader import GAP_US, RecordingFile

# Segments begin with a keyframe and last at least this long: one request each, and a day's playlist stays small.
SEGMENT_US = 4_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """A recording and the URI under which players get its bytes."""

    path: Path
    uri: str


@dataclass(frozen=True, slots=True)
class _Segment:
    offset: int
    size: int
    start_us: int
    duration_us: int


def playlist(sources: Sequence[Source], from_us: int, to_us: int) -> str:
    """The VOD playlist of files in order of time, from the keyframe at or before `from_us` on.

    Files that are gone are passed over. Raises NothingRecordedError, DamagedFileError.
    """
    body: list[str] = []
    longest, end_us = 1.0, None
    for source in sources:
        if any(sign in source.uri for sign in '"\r\n'):
            raise ValueError("not a URI")
        try:
            file = RecordingFile(source.path)
        except FileNotFoundError:
            continue
        with file:
            index = file.index
        fresh = True
        for segment in _segments(index, from_us, to_us):
            if fresh or end_us is None or abs(segment.start_us - end_us) > GAP_US:
                if end_us is not None:
                    body.append("#EXT-X-DISCONTINUITY")
                if fresh:
                    body.append(f'#EXT-X-MAP:URI="{source.uri}",BYTERANGE="{index.init.size}@0"')
            fresh = False
            body.append(f"#EXT-X-PROGRAM-DATE-TIME:{timestamp(segment.start_us)}")
            body.append(f"#EXTINF:{segment.duration_us / 1e6:.6f},")
            body.append(f"#EXT-X-BYTERANGE:{segment.size}@{segment.offset}")
            body.append(source.uri)
            longest = max(longest, segment.duration_us / 1e6)
            end_us = segment.start_us + segment.duration_us
    if end_us is None:
        raise NothingRecordedError(f"nothing is recorded from {timestamp(from_us)} to {timestamp(to_us)}")
    head = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{math.ceil(longest)}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    return "\n".join([*head, *body, "#EXT-X-ENDLIST", ""])


def _segments(index: FileIndex, from_us: int, to_us: int) -> Iterator[_Segment]:
    entries = index.fragments
    if not entries or index.end_us <= from_us or index.start_us >= to_us:
        return
    first = begin = index.keyframe(from_us)
    for number in range(first + 1, len(entries) + 1):
        last = number == len(entries) or (entries[number].utc_us >= to_us and entries[number].sync)
        hole = not last and _hole_us(entries[number - 1], entries[number], index) > GAP_US
        long = not last and entries[number].utc_us - entries[begin].utc_us >= SEGMENT_US and entries[number].sync
        if last or hole or long:
            yield _segment(index, entries[begin:number])
            begin = number
        if last:
            return


def _segment(index: FileIndex, entries: Sequence[Fragment]) -> _Segment:
    start, last = entries[0], entries[-1]
    duration = us_of(last.time + last.duration - start.time, index.init.tracks[0].timescale)
    return _Segment(start.offset, last.offset + last.size - start.offset, start.utc_us, duration)


def _hole_us(one: Fragment, other: Fragment, index: FileIndex) -> int:
    return us_of(other.time - one.time - one.duration, index.init.tracks[0].timescale)
