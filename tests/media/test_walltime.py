"""The server's clock as recordings see it: steady, whatever the system's clock does."""

from hypothesis import given
from hypothesis import strategies as st

from soip.media.walltime import SLEW_PPM, STEP_US, WallClock


class System:
    """The system's clock, which anyone may step."""

    def __init__(self) -> None:
        self.us = 1_763_600_000_000_000

    def __call__(self) -> int:
        return self.us


def test_it_runs_with_the_monotonic_clock() -> None:
    system = System()
    wall = WallClock(100.0, system)
    assert wall.utc_us(100.0) == system.us
    assert wall.utc_us(101.5) == system.us + 1_500_000


def test_a_small_difference_is_slewed_away() -> None:
    system = System()
    wall = WallClock(0.0, system)
    system.us += 100_000  # The system's clock was set 100 ms ahead by NTP.
    for second in range(1, 1000):
        system.us += 1_000_000
        before = wall.utc_us(float(second))
        assert wall.follow(float(second)) is False
        moved = wall.utc_us(float(second)) - before
        assert 0 <= moved <= SLEW_PPM + 1
    assert abs(wall.error_us(999.0)) < 1000


def test_a_step_ahead_is_taken_at_once() -> None:
    system = System()
    wall = WallClock(0.0, system)
    system.us += 3_601_000_000
    assert wall.follow(1.0) is True
    assert wall.error_us(1.0) == 0
    assert wall.follow(2.0) is False


def test_a_step_back_never_shows_a_time_twice() -> None:
    system = System()
    wall = WallClock(0.0, system)
    system.us -= 3_600_000_000
    last = wall.utc_us(0.0)
    for second in range(1, 100):
        system.us += 1_000_000
        assert wall.follow(float(second)) is False
        assert wall.utc_us(float(second)) > last
        last = wall.utc_us(float(second))


@given(st.lists(st.tuples(st.floats(0.1, 5.0), st.integers(-5_000_000_000, 5_000_000_000)), max_size=60))
def test_time_never_runs_backwards(steps: list[tuple[float, int]]) -> None:
    system = System()
    now = 0.0
    wall = WallClock(now, system)
    last = wall.utc_us(now)
    for seconds, step_us in steps:
        now += seconds
        system.us += int(seconds * 1e6) + step_us
        stepped = wall.follow(now)
        assert wall.utc_us(now) > last
        if stepped:
            assert abs(wall.error_us(now)) <= 1
        last = wall.utc_us(now)
    assert STEP_US > 0
