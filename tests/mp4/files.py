"""Whole files in memory, built with this room only."""

from __future__ import annotations

from functools import cache

from soip.mp4.index import Fragment, entry_of, index_space
from soip.mp4.reader import parse_fragment, parse_init
from soip.mp4.repair import Read
from soip.mp4.times import ticks_of
from soip.mp4.writer import Edit, Head, fragment, init_segment
from tests.mp4.material import EPOCH_US, Frame, audio, run_of, video

GOP = 25
SECOND_US = 1_000_000


def reader(data: bytes) -> Read:
    return lambda offset, length: data[offset : offset + length]


@cache
def pieces(count: int = 5, bframes: int = 0, sound: bool = False, reserve: int = 8192) -> tuple[bytes, list[bytes]]:
    """The front of an unsealed file, and its fragments of one second each."""
    material = video(bframes=bframes)
    track, frames = audio()
    tracks = [material.track, track] if sound else [material.track]
    delay = material.offsets[0]
    head = Head("cam1", EPOCH_US, ticks_of(EPOCH_US))
    front = init_segment(tracks, head=head, reserve=reserve, edits={1: Edit(delay)} if delay else None)
    fragments = []
    for number in range(count):
        runs = [material.run(number * GOP, GOP, 0)]
        if sound:
            first, last = (at * 16_000 // 1024 for at in (number, number + 1))
            runs.append(run_of(2, first * 1024, [Frame([frames[at % len(frames)]], 1024) for at in range(first, last)]))
        fragments.append(fragment(number + 1, runs, EPOCH_US + number * SECOND_US))
    return front, fragments


def entries(front: bytes, fragments: list[bytes]) -> list[Fragment]:
    init, offset, found = parse_init(front), len(front), []
    for data in fragments:
        found.append(entry_of(init, offset, parse_fragment(data, 0, len(data))))
        offset += len(data)
    return found


def sealed(front: bytes, fragments: list[bytes]) -> bytes:
    """The file as sealing leaves it."""
    init, known = parse_init(front), entries(front, fragments)
    data = bytearray(front + b"".join(fragments))
    data[init.index_at : init.first_fragment] = index_space(init, known)
    data[init.mehd_at : init.mehd_at + 8] = (known[-1].time + known[-1].duration).to_bytes(8, "big")
    return bytes(data)
