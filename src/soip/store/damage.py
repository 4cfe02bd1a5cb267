"""What of a recording is damaged: stretches of time in which packets were lost on the way from the camera.

Made from the fragments alone, by whoever has them: writer, repair and rebuild tell the same. Damage reaches to the next
keyframe, with which a fragment begins, so in a fragment it is the end that is damaged.
"""

from typing import NamedTuple

from soip.mp4.index import Fragment
from soip.mp4.times import us_of

NEAR_US = 5_000_000
"""Two stretches nearer than this are one."""
MOST = 16
"""Stretches of one file: of more, those that lie nearest to each other become one."""


class Damage(NamedTuple):
    """A stretch (µs UTC) with damaged pictures, for which so many packets were lost.

    Of pictures that were lost whole only the packets are told: a stretch without a picture, where they would stand.
    """

    start_us: int
    end_us: int
    pictures: int
    packets: int


class Damages:
    """The damaged stretches of a file, as its fragments are added in order; `timescale` is the first track's."""

    def __init__(self, timescale: int) -> None:
        self.stretches: list[Damage] = []
        self._timescale = timescale

    def add(self, one: Fragment) -> None:
        """The next fragment."""
        if not one.damaged and not one.lost:
            return
        found = self.stretches
        start_us = one.utc_us + us_of(one.whole, self._timescale)
        end_us = one.utc_us + us_of(one.duration, self._timescale) if one.damaged else start_us
        new = Damage(start_us, end_us, one.damaged, one.lost)
        if found and start_us - found[-1].end_us < NEAR_US:
            new = _joined(found.pop(), new)
        found.append(new)
        if len(found) > MOST:
            at = min(range(1, len(found)), key=lambda at: found[at].start_us - found[at - 1].end_us)
            found[at - 1 : at + 1] = [_joined(found[at - 1], found[at])]


def _joined(one: Damage, other: Damage) -> Damage:
    return Damage(
        min(one.start_us, other.start_us),
        max(one.end_us, other.end_us),
        one.pictures + other.pictures,
        one.packets + other.packets,
    )
