"""The server's UTC as recordings see it: it never runs backwards and never jumps by a little.

The system's clock may be stepped by an operator or by NTP. Recordings must not overlap or shrink because of it, so
this clock is anchored once to the monotonic clock and then follows the system's clock: small differences are slewed at
no more than 500 ppm, a large step ahead is taken at once (the recorder starts a new file with cause *clock*), a step
back is only ever slewed. The next run of the worker begins with the system's clock whatever it says: see
`archive.Archive.recorder`.
"""

import time
from collections.abc import Callable

SLEW_PPM = 500
STEP_US = 500_000


class WallClock:
    """UTC in microseconds for a monotonic instant in seconds.

    `utc_us(now)` may be called with any recent monotonic time; `follow(now)` is called about once a second and returns
    True when it stepped, after which earlier mappings no longer hold.
    """

    def __init__(
        self,
        now: float,
        system_utc_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._system_utc_us = system_utc_us
        self._offset_us = float(system_utc_us() - now * 1e6)
        self._followed = now

    def utc_us(self, now: float) -> int:
        return round(now * 1e6 + self._offset_us)

    def error_us(self, now: float) -> int:
        """How far the system's clock is ahead of ours (negative: behind)."""
        return self._system_utc_us() - self.utc_us(now)

    def follow(self, now: float) -> bool:
        elapsed_us = max(0.0, (now - self._followed) * 1e6)
        self._followed = now
        error = self.error_us(now)
        if error > STEP_US:
            self._offset_us += error
            return True
        limit = elapsed_us * SLEW_PPM / 1e6
        self._offset_us += max(-limit, min(limit, error))
        return False
