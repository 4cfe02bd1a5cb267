"""Media ticks → server UTC: by arrival, minimum-filtered, slewed by at most 500 ppm.

A packet is never early, only late: the least late ones of the last seconds tell the true offset between the
media clock and ours. The map from ticks to UTC is a line that bends towards that offset by at most 500 ppm,
so that times stay continuous and rising while clocks drift. The sender's own idea of UTC is kept as an
offset and never trusted.

The map is *broken* when a residual over 500 ms stands: a clock was stepped (ours or the sender's), the
sender began anew, or drifts beyond what slewing may follow. Then the caller ends its file, calls ``reset``
and begins another one.
"""

from __future__ import annotations

from math import inf
from typing import Final

MAX_SLEW_PPM = 500
BREAK_US = 500_000
WINDOW_US = 5_000_000
"""Length of one of the two windows over which the least delay is kept: 5 to 10 s together."""
HORIZON_US = 20_000_000
"""The slew aims to have the residual gone after this time; it smooths what the windows leave."""
BACKWARD_US = 1_000_000
"""How far a presentation time may lie before the highest (B-frames do); more is a restart of the media
clock.
"""
_UNKNOWN = inf
"""The least delay of a window in which nothing has come yet."""


class MediaClock:
    """The map of one stream. Times in UTC microseconds, ticks extended to 64 bits."""

    def __init__(self, rate: int = 90_000) -> None:
        self.rate: Final = rate
        self.broken = False
        """The map does not hold any more; stays until ``reset``."""
        self.sender_offset_us: int | None = None
        """The sender's UTC minus ours, by its last sender report."""
        self._base_ticks: int | None = None
        self._base_us = 0.0
        self._slew_ppm = 0.0
        self._tick_us = 1_000_000 / rate
        self._backward = BACKWARD_US * rate // 1_000_000
        self._highest = 0
        self._window_end = 0
        self._least = self._least_before = _UNKNOWN

    @property
    def running(self) -> bool:
        """True once a first observation has set the map."""
        return self._base_ticks is not None

    @property
    def slew_ppm(self) -> float:
        """The rate at which the map runs against the media clock."""
        return self._slew_ppm

    @property
    def residual_us(self) -> float:
        """The least delay of the last seconds against the map; 0 before the first observation."""
        least = min(self._least, self._least_before)
        return least if least < _UNKNOWN else 0.0

    def utc_us(self, ticks: int) -> int:
        """Return the UTC of media time ``ticks``. The clock must run."""
        assert self._base_ticks is not None, "observe comes first"
        return round(self._base_us + (ticks - self._base_ticks) * self._tick_us)

    def observe(self, ticks: int, arrival_us: int) -> int:
        """Take one frame's media time and its arrival; once per frame, in order of arrival. Returns what `utc_us` does
        of it from now on, unless the map is broken.
        """
        if self._base_ticks is None:
            self.reset(ticks, arrival_us)
            return arrival_us
        mapped = self._base_us + (ticks - self._base_ticks) * self._tick_us
        delay = arrival_us - mapped
        if delay < -BREAK_US or ticks < self._highest - self._backward:
            self.broken = True  # nothing arrives before it is sent, no picture is shown seconds out of order
        else:
            if ticks > self._highest:
                self._highest = ticks
            if delay < self._least:
                self._least = delay
            if arrival_us >= self._window_end:
                self._turn_window(arrival_us)
                return self.utc_us(ticks)
        return round(mapped)

    def reset(self, ticks: int, arrival_us: int) -> None:
        """Set the map anew by one frame."""
        self.broken = False
        self._base_ticks = self._highest = ticks
        self._base_us = float(arrival_us)
        self._set_slew(0.0)
        self._window_end = arrival_us + WINDOW_US
        self._least = self._least_before = _UNKNOWN

    def sender_report(self, ticks: int, sender_utc_us: int) -> None:
        """Note what the sender says the time was at ``ticks``."""
        if self.running:
            self.sender_offset_us = sender_utc_us - self.utc_us(ticks)

    def _turn_window(self, arrival_us: int) -> None:
        residual = self.residual_us
        both = self._least_before < _UNKNOWN
        if both and residual > BREAK_US:
            self.broken = True
            return
        self._bend(max(-MAX_SLEW_PPM, min(MAX_SLEW_PPM, residual * 1e6 / HORIZON_US)))
        self._least_before, self._least = self._least, _UNKNOWN
        self._window_end = arrival_us + WINDOW_US

    def _bend(self, ppm: float) -> None:
        """Change the slope where the highest tick is now, so that the line stays whole."""
        ticks = self._highest
        assert self._base_ticks is not None
        self._base_us += (ticks - self._base_ticks) * self._tick_us
        self._base_ticks = ticks
        self._set_slew(ppm)

    def _set_slew(self, ppm: float) -> None:
        self._slew_ppm = ppm
        self._tick_us = 1_000_000 / self.rate * (1 + ppm / 1e6)
