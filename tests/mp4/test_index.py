"""Indexes: sealed and walked ones agree, merging loses nothing, players believe them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.mp4.errors import BoxError, CutError
from soip.mp4.index import FileIndex, Fragment, index_space, merged, parse_index
from soip.mp4.reader import parse_init
from soip.mp4.repair import walk
from tests.mp4 import walker
from tests.mp4.files import SECOND_US, entries, pieces, reader, sealed
from tests.mp4.material import EPOCH_US


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("sound", [False, True])
def test_a_sealed_file_follows_the_standard(bframes: int, sound: bool) -> None:
    data = sealed(*pieces(5, bframes, sound))
    movie = walker.read(data)
    assert movie.duration == 5 * 90_000
    assert movie.indexed is not None
    assert [entry[2:] for entry in movie.indexed] == [(90_000, True)] * 5
    assert min(sample.dts + sample.cts for sample in movie.of(1)) == movie.skips[1]
    assert len(movie.of(1)) == 125


@pytest.mark.parametrize("bframes", [0, 2])
def test_index_and_walk_agree(bframes: int) -> None:
    front, fragments = pieces(5, bframes)
    data = sealed(front, fragments)
    init = parse_init(data)
    index = parse_index(data[: init.first_fragment], init)
    walked = walk(reader(data), len(data), init)
    assert (walked.end, walked.torn, walked.holes) == (len(data), "", ())
    assert [one._replace(frames=0) for one in walked.fragments] == list(index.fragments)
    assert (index.end, index.sealed) == (len(data), True)
    assert (index.start_us, index.end_us) == (EPOCH_US, EPOCH_US + 5 * SECOND_US)


def test_an_instant_finds_its_fragment() -> None:
    front, fragments = pieces(5)
    index = FileIndex(parse_init(front), tuple(entries(front, fragments)), 0)
    for after, number in ((-1, 0), (0, 0), (999_999, 0), (1_000_000, 1), (4_500_000, 4), (99_000_000, 4)):
        assert index.position(EPOCH_US + after) == number
    third = index.fragments[2]._replace(sync=False)
    index = FileIndex(index.init, (*index.fragments[:2], third, *index.fragments[3:]), 0)
    assert index.keyframe(EPOCH_US + 2_500_000) == 1


@given(
    st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(1, 180_000)), min_size=1, max_size=60), st.integers(1, 70)
)
def test_merging_covers_the_same_bytes_and_time(sizes: list[tuple[int, int]], limit: int) -> None:
    fragments, offset, time = [], 100, 0
    for size, duration in sizes:
        fragments.append(Fragment(offset, size, time, duration, True, time * 100 // 9, 25))
        offset, time = offset + size, time + duration
    found = merged(fragments, limit)
    assert len(found) <= limit
    assert (found[0].offset, found[-1].offset + found[-1].size) == (100, offset)
    assert sum(one.size for one in found) == offset - 100
    assert sum(one.duration for one in found) == time
    assert all(one.offset + one.size == other.offset for one, other in pairwise(found))
    assert {(one.offset, one.time) for one in found} <= {(one.offset, one.time) for one in fragments}


def test_a_small_reserve_merges_and_still_follows_the_standard() -> None:
    data = sealed(*pieces(20, reserve=8 + 40 + 7 * 12))
    movie = walker.read(data)
    assert movie.indexed is not None
    assert len(movie.indexed) == 7
    init = parse_init(data)
    assert parse_index(data, init).end_us == EPOCH_US + 20 * SECOND_US


def test_nothing_is_indexed_without_room_or_fragments() -> None:
    front = pieces(2)[0]
    with pytest.raises(ValueError, match="nothing to index"):
        index_space(parse_init(front), [])
    with pytest.raises(ValueError, match="larger"):
        merged([Fragment(0, 1 << 31, 0, 1, True, 0)], 1)


def test_a_front_without_room_is_refused() -> None:
    with pytest.raises(BoxError, match="no space for an index"):
        parse_init(pieces(1, reserve=48)[0])


def test_an_index_that_lies_is_refused() -> None:
    data = bytearray(sealed(*pieces(3)))
    init = parse_init(data)
    for at, value in (
        (init.index_at + 16, b"\0\0\0\1"),
        (init.index_at + 38, b"\xff\xff"),
        (init.index_at + 40, b"\xff"),
    ):
        changed = bytearray(data)
        changed[at : at + len(value)] = value
        with pytest.raises(BoxError):
            parse_index(changed, parse_init(changed))
    with pytest.raises(BoxError, match="not sealed"):
        parse_index(pieces(3)[0], parse_init(pieces(3)[0]))


def test_every_cut_of_a_front_asks_for_more() -> None:
    front = pieces(1)[0]
    known = parse_init(front)
    for length in range(known.index_at + 8):
        with pytest.raises(CutError):
            parse_init(front[:length])
    assert parse_init(front[: known.index_at + 8]) == known
