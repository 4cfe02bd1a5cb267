"""Torn files: whatever a crash leaves, what is whole is found and nothing else."""

from __future__ import annotations

import pytest

from soip.mp4.reader import parse_init
from soip.mp4.repair import walk
from tests.mp4.files import SECOND_US, entries, pieces, reader

EVER = 1 << 62


@pytest.mark.parametrize(("bframes", "sound"), [(0, False), (2, True)])
def test_torn_at_every_byte_of_a_fragment(bframes: int, sound: bool) -> None:
    front, fragments = pieces(3, bframes, sound)
    known = entries(front, fragments)
    data = front + b"".join(fragments)
    init = parse_init(front)
    for end in range(known[2].offset, len(data)):
        found = walk(reader(data[:end]), end, init, doubtful_us=0 if end % 32 else EVER)
        assert found.fragments == tuple(known[:2])
        assert found.end == known[2].offset
        assert bool(found.torn) == (end > found.end)
    assert walk(reader(data), len(data), init, doubtful_us=EVER).fragments == tuple(known)


@pytest.mark.parametrize("zeros", [1, 7, 8, 4096, 3 << 20])
def test_a_zero_filled_tail_is_cut(zeros: int) -> None:
    front, fragments = pieces(3)
    data = front + b"".join(fragments) + bytes(zeros)
    found = walk(reader(data), len(data), parse_init(front))
    assert (found.end, len(found.fragments), found.holes) == (len(data) - zeros, 3, ())


def test_zeros_where_samples_should_be_are_seen() -> None:
    front, fragments = pieces(4)
    known = entries(front, fragments)
    data = bytearray(front + b"".join(fragments))
    for number, (at, length) in ((2, (1500, 1024)), (3, (len(fragments[3]) - 700, 700))):
        place = known[number].offset + at
        changed = bytearray(data)
        changed[place : place + length] = bytes(length)
        found = walk(reader(bytes(changed)), len(data), parse_init(front), doubtful_us=SECOND_US)
        kept = tuple(one for one in known if one != known[number])
        assert found.fragments == kept
        assert found.holes == (((known[2].offset, known[2].size),) if number == 2 else ())


def test_what_follows_a_hole_is_kept() -> None:
    front, fragments = pieces(5)
    known = entries(front, fragments)
    for start, end in ((0, 200), (0, 40), (30, len(fragments[1]) + 8), (0, len(fragments[1]) + len(fragments[2]))):
        data = bytearray(front + b"".join(fragments))
        first = known[1].offset
        data[first + start : first + end] = bytes(end - start)
        found = walk(reader(bytes(data)), len(data), parse_init(front))
        assert found.fragments[0] == known[0]
        assert found.fragments[-2:] == tuple(known[3:])
        assert found.holes[0][0] == first
        assert found.end == len(data)


def test_a_large_fragment_front_takes_a_second_read() -> None:
    front, fragments = pieces(1)
    reads: list[int] = []

    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return (front + fragments[0])[offset : offset + length]

    walk(read, len(front) + len(fragments[0]), parse_init(front))
    assert reads == [4096]


def test_a_walk_goes_on_where_one_ended() -> None:
    front, fragments = pieces(4)
    known = entries(front, fragments)
    data = front + b"".join(fragments)
    found = walk(reader(data), len(data), parse_init(front), start=known[2].offset)
    assert found.fragments == tuple(known[2:])
    assert walk(reader(data), len(data), parse_init(front), start=len(data)).end == len(data)


def test_torn_anywhere_and_filled_with_zeros_up_to_the_next_page() -> None:
    """What a power cut leaves where the file had grown before its data came."""
    front, fragments = pieces(3)
    known = entries(front, fragments)
    data = front + b"".join(fragments)
    init = parse_init(front)
    for end in range(known[2].offset, len(data), 3):
        torn = data[:end] + bytes(-end % 4096)
        found = walk(reader(torn), len(torn), init, doubtful_us=EVER)
        assert found.fragments == tuple(known[:2]) or (end > len(data) - 3 and not data[end:].strip(b"\0")), end
