from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.decodetime import MAX_DEPTH, DecodeTime

FRAME = 3000


def decoding_order(random: Random, pictures: int, most: int) -> list[int]:
    """Output numbers in decoding order: runs of up to `most` B-frames, each after the picture it precedes."""
    order = [0]
    shown = 1
    while shown < pictures:
        count = random.randint(0, most)
        order += [shown + count, *range(shown, shown + count)]
        shown += count + 1
    return order


def times(clock: DecodeTime, order: Iterable[int]) -> list[tuple[int, int]]:
    """(presentation, decoding) time of each picture."""
    return [(number * FRAME, clock.next(number * FRAME)) for number in order]


def test_without_reordering_both_times_are_one() -> None:
    assert all(pts == dts for pts, dts in times(DecodeTime(0), range(100)))


@given(st.integers(0, 1 << 32), st.integers(1, 4))
def test_with_the_depth_told_times_rise_and_precede(seed: int, most: int) -> None:
    order = decoding_order(Random(seed), 100, most)
    got = times(DecodeTime(1, FRAME), order)  # the order needs one: each run waits for one picture
    decoding = [dts for _, dts in got]
    assert decoding == sorted(set(decoding))
    assert all(dts <= pts for pts, dts in got)
    # In steady state a picture is decoded when the one before it in output order is shown.
    assert decoding == [(number - 1) * FRAME for number in range(len(order))]


@given(st.integers(0, 1 << 32), st.integers(0, 4))
def test_a_depth_that_is_too_small_is_learned(seed: int, most: int) -> None:
    order = decoding_order(Random(seed), 200, most)
    clock = DecodeTime()
    got = times(clock, order)
    decoding = [dts for _, dts in got]
    assert decoding == sorted(set(decoding))
    assert clock.depth <= 1
    learned = next((at for at, (pts, dts) in enumerate(got) if dts > pts), 0)
    assert all(dts <= pts for pts, dts in got[learned + most + 2 :])


def test_a_pyramid_is_learned_too() -> None:
    order = [0]
    for base in range(0, 400, 4):
        order += [base + 4, base + 2, base + 1, base + 3]
    clock = DecodeTime()
    got = times(clock, order)
    assert clock.depth == 2
    assert all(dts <= pts for pts, dts in got[12:])


def test_one_picture_cut_in_two_is_no_reordering() -> None:
    clock = DecodeTime()
    decoding = [clock.next(pts) for pts in (0, 0, 0, 3000, 3000, 6000)]
    assert decoding == [0, 1, 2, 3000, 3001, 6000]
    assert clock.depth == 0


def test_a_hole_is_stepped_over() -> None:
    clock = DecodeTime(1, FRAME)
    got = [clock.next(pts) for pts in (0, 6000, 3000, 900_000, 906_000, 903_000)]
    assert got == [-3000, 0, 3000, 6000, 900_000, 903_000]


def test_reset_begins_anew_and_keeps_what_was_learned() -> None:
    clock = DecodeTime()
    times(clock, [0, 2, 1, 4, 3])
    assert clock.depth == 1
    clock.reset()
    assert clock.next(100) == 100 - FRAME


@pytest.mark.parametrize("depth", [MAX_DEPTH, 100])
def test_the_depth_is_bounded(depth: int) -> None:
    clock = DecodeTime(depth)
    assert clock.depth == MAX_DEPTH
    got = [clock.next(pts) for pts in range(0, -10_000_000, -100_000)]
    assert got == sorted(set(got))
    assert clock.depth == MAX_DEPTH
