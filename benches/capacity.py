"""Cameras per core: how many at 4 Mbit/s one media worker on one core receives and records without losing anything.

Looked for by halving: a number passes when no packet is missing, the kernel dropped none, the disk's queue refused
none, and the process, with the thread that writes, took no more CPU time than one core has while it was counted; it is
tried once more when it does not, since a machine may have other things to do for a moment. What the cameras themselves
could not send (the process that plays them, on the other core) bounds what can be shown, and is told.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benches import ingest
from benches.report import Figure, Value, free_ports

MARK = 400
MOST = 1600
STEP = 0.05
"""The search ends when it is known to so much."""
LEAST_S = 10.0
"""A trial is counted for so long at least: buffers hide for some seconds that a core is too slow."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One number of cameras, and what was lost with it: nothing if `notes` is empty."""

    cameras: int
    notes: str
    load: float
    """CPU time as a share of the core, in the seconds that were counted."""

    @property
    def passed(self) -> bool:
        return not self.notes and self.load <= 1

    def line(self) -> str:
        """The trial for people."""
        said = self.notes or ("nothing lost" if self.passed else "nothing lost, but by more than one core")
        return f"{self.cameras}: {said}; {self.load:.0%} of the core"


def run(rounds: int, seconds: float, begin: int) -> Value:
    """Search `rounds` times, by trials of `seconds`, `LEAST_S` at least. Raises RuntimeError if a part does not run."""
    seconds = max(seconds, LEAST_S)
    found = Value("cameras per core", f"at 4 Mbit/s without loss, {seconds:g} s each", "cameras", MARK, least=True)
    for _ in range(rounds):
        trials: list[Trial] = []

        def tried(cameras: int, trials: list[Trial] = trials) -> bool:
            trials.append(_trial(cameras, seconds))
            return trials[-1].passed

        most = search(tried, begin)
        found.rounds.append(most)
        found.notes += [trial.line() for trial in trials]
    return found


def search(passes: Callable[[int], bool], begin: int, most: int = MOST) -> int:
    """The largest number that passes, to a twentieth; one that does not pass is tried twice. 0 when none does."""

    def passed(number: int) -> bool:
        return passes(number) or passes(number)

    good, bad = 0, 0
    number = min(begin, most)
    while not bad and number <= most:
        if passed(number):
            good, number = number, number * 2
        else:
            bad = number
    bad = bad or most + 1
    while bad - good > max(1, round(STEP * bad)):
        number = (good + bad) // 2
        if passed(number):
            good = number
        else:
            bad = number
    return good


def _trial(cameras: int, seconds: float) -> Trial:
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as name:
        figure: Figure = ingest.ours(Path(name) / "files", free_ports(cameras), cameras, seconds)
    return Trial(cameras, figure.note, figure.cpu_us / 1e6 / seconds)
