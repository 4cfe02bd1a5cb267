"""Fragments moved in time keep every byte but their times; the last one of an export is cut between frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.mp4.errors import BoxError
from soip.mp4.rewrite import Pace, cut, heads, move
from tests.mp4 import walker
from tests.mp4.files import entries, pieces


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(1, 1 << 31))
def test_only_times_and_numbers_change(video_shift: int, audio_shift: int, sequence: int) -> None:
    front, fragments = pieces(2, 2, True)
    data = bytearray(b"".join(fragments))
    assert move(data, Pace(sequence, {1: video_shift, 2: audio_shift})) == sequence + 2
    before, after = walker.read(front + b"".join(fragments)), walker.read(front + bytes(data))
    for one, other in zip(before.samples, after.samples, strict=True):
        shift = video_shift if one.track == 1 else audio_shift
        assert (one.dts + shift, one.cts, one.duration, one.sync, one.data) == (
            other.dts,
            other.cts,
            other.duration,
            other.sync,
            other.data,
        )
    assert [(ntp, time + video_shift) for ntp, time in before.utc] == after.utc
    changed = sum(one != other for one, other in zip(b"".join(fragments), data, strict=True))
    assert changed <= 2 * (4 + 8 + 8 + 8)


def test_times_do_not_go_below_zero() -> None:
    with pytest.raises(BoxError, match="negative"):
        move(bytearray(pieces(1)[1][0]), Pace(1, {1: -1}))


@given(st.integers(-10_000, 100_000))
def test_a_cut_keeps_what_is_shown_before(until: int) -> None:
    front, fragments = pieces(1, 2, True)
    whole = walker.read(front + fragments[0])
    data = cut(fragments[0], {1: until, 2: until * 16_000 // 90_000})
    wanted = [n for n, sample in enumerate(whole.of(1)) if sample.dts + sample.cts < until]
    if not wanted:
        assert data == b""
        return
    kept = walker.read(front + data)
    assert kept.of(1) == whole.of(1)[: max(wanted) + 1], "all that are shown before, and what they are decoded from"
    assert all(sample.dts < until * 16_000 / 90_000 for sample in kept.of(2))
    assert kept.utc == whole.utc


def test_a_fragment_of_impossible_times_is_not_cut() -> None:
    data = bytearray(pieces(1, 2)[1][0])
    at = data.index(b"tfdt") + 8
    data[at : at + 8] = (2**64 - 1).to_bytes(8, "big")
    with pytest.raises(BoxError, match="out of range"):
        cut(data, {1: 2**65})


def test_heads_pass_over_what_repair_left_free() -> None:
    front, fragments = pieces(3)
    hole = b"\0\0\0\x10free" + bytes(8)
    found = heads(fragments[0] + hole + fragments[1])
    assert [start for start, _ in found] == [0, len(fragments[0]) + 16]
    assert [head.size for _, head in found] == [one.size for one in entries(front, fragments)[:2]]
