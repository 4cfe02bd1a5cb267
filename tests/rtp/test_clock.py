"""The media clock against drifting, jumping and jittering clocks, in virtual time."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.rtp.clock import BREAK_US, MAX_SLEW_PPM, WINDOW_US, MediaClock

START_US = 1_800_000_000_000_000
FRAME_US = 40_000


def run(
    clock: MediaClock,
    seconds: int,
    *,
    drift_ppm: float = 0.0,
    jitter_us: int = 0,
    seed: int = 1,
    first: int = 0,
    step_us: int = 0,
) -> list[tuple[int, int]]:
    """Let a camera send 25 frames a second whose clock runs `drift_ppm` fast; `step_us` is added to arrivals.

    Returns (true time of the frame, its mapped time).
    """
    random = Random(seed)
    out = []
    for number in range(first, first + seconds * 25):
        true_us = START_US + number * FRAME_US
        ticks = (1 << 32) + round(number * FRAME_US * (1 + drift_ppm / 1e6) * 0.09)
        delay = random.expovariate(1 / jitter_us) if jitter_us else 0
        if random.random() < 0.02:
            delay = 0
        clock.observe(ticks, round(true_us + step_us + delay))
        out.append((true_us, clock.utc_us(ticks)))
    return out


def holds(clock: MediaClock) -> bool:
    return not clock.broken


def test_a_perfect_clock_maps_exactly() -> None:
    clock = MediaClock()
    assert all(true == mapped for true, mapped in run(clock, 60))
    assert clock.residual_us == 0
    assert holds(clock)


@settings(max_examples=15, deadline=None)
@given(st.floats(-400, 400), st.integers(0, 60_000), st.integers(0, 1 << 32))
def test_times_rise_and_stay_near_for_any_camera_clock(drift: float, jitter: int, seed: int) -> None:
    clock = MediaClock()
    mapped = run(clock, 180, drift_ppm=drift, jitter_us=jitter, seed=seed)
    assert holds(clock)
    for (_, before), (_, after) in pairwise(mapped):
        assert abs(after - before - FRAME_US) <= FRAME_US * (2 * MAX_SLEW_PPM + 2) / 1e6 + 25  # µs: two ticks
    # After a while the map is right to within what drift makes of a window, and the least delay seen. A first frame
    # that was very late is made up for no faster than the map may bend.
    first = mapped[0][1] - mapped[0][0]
    for true, got in mapped[-25 * 30 :]:
        bent = (true - mapped[0][0] - 3 * WINDOW_US) * MAX_SLEW_PPM / 1e6
        assert abs(got - true) <= max(25_000 + jitter, first - bent)


def test_drift_is_followed_by_a_slew_against_it() -> None:
    clock = MediaClock()
    mapped = run(clock, 600, drift_ppm=100)
    assert clock.slew_ppm == pytest.approx(-100, abs=15)
    assert abs(mapped[-1][1] - mapped[-1][0]) < 5000


def test_a_camera_beyond_500_ppm_breaks_in_the_end_and_not_before() -> None:
    clock = MediaClock()
    run(clock, 100, drift_ppm=2000)
    assert holds(clock)
    run(clock, 600, drift_ppm=2000, first=2500)
    assert not holds(clock)


def test_one_late_burst_changes_nothing() -> None:
    clock = MediaClock()
    run(clock, 60)
    before = clock.utc_us(1 << 33)
    for number in range(1500, 1500 + 75):  # a network stall of 3 s, then all at once
        clock.observe((1 << 32) + number * 3600, START_US + 1575 * FRAME_US)
    run(clock, 20, first=1575)
    assert holds(clock)
    assert clock.utc_us(1 << 33) == before


@pytest.mark.parametrize("step", [600_000, 3_600_000_000])
def test_our_clock_stepped_ahead_breaks_within_three_windows(step: int) -> None:
    clock = MediaClock()
    run(clock, 60)
    run(clock, 2, first=1500, step_us=step)
    assert holds(clock)
    run(clock, 15, first=1550, step_us=step)
    assert not holds(clock)


@pytest.mark.parametrize("step", [-600_000, -3_600_000_000])
def test_our_clock_stepped_back_breaks_at_once(step: int) -> None:
    clock = MediaClock()
    run(clock, 60)
    run(clock, 1, first=1500, step_us=step)
    assert not holds(clock)


def test_a_small_step_is_slewed() -> None:
    clock = MediaClock()
    run(clock, 60)
    mapped = run(clock, 1800, first=1500, step_us=BREAK_US * 4 // 5)
    assert holds(clock)
    assert abs(mapped[-1][1] - mapped[-1][0] - 400_000) < 20_000


@pytest.mark.parametrize("ticks", [0, (1 << 32) + 90_000 * 3600])
def test_a_camera_that_begins_anew_breaks_at_once(ticks: int) -> None:
    clock = MediaClock()
    run(clock, 60)
    clock.observe(ticks, START_US + 1500 * FRAME_US)
    assert not holds(clock)
    clock.reset(ticks, START_US + 1500 * FRAME_US)
    assert holds(clock)
    assert clock.utc_us(ticks) == START_US + 1500 * FRAME_US


def test_pictures_out_of_order_are_no_restart() -> None:
    clock = MediaClock()
    for number, shown in enumerate((0, 3, 1, 2, 6, 4, 5)):
        clock.observe(3600 * shown, START_US + number * FRAME_US + 120_000)
    assert holds(clock)
    assert clock.utc_us(7200) - clock.utc_us(3600) == FRAME_US


def test_the_senders_idea_of_utc_is_only_noted() -> None:
    clock = MediaClock()
    clock.sender_report(0, START_US)
    assert (clock.sender_offset_us, clock.running) == (None, False)
    run(clock, 10)
    ticks = (1 << 32) + 3600
    before = clock.utc_us(ticks)
    clock.sender_report(ticks, START_US + FRAME_US - 7_000_000)
    assert clock.sender_offset_us == -7_000_000
    assert clock.utc_us(ticks) == before
