"""Scenarios, one after the other, round by round, on a running site; what each has shown, and how long it will take."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from glob import glob
from itertools import takewhile
from pathlib import Path
from statistics import median

from tests.faults.ground import CONTROL, Ground, control_site
from tests.faults.scenarios import ALL, FILE_S, Scenario
from tests.faults.watcher import Watcher, p99
from tests.peers import need
from tests.site import Site

QUIET_S = 10.0
"""How long it is looked how old pictures are while nothing is broken, before a fault and again after it."""
WORSE = 1.5
TRIES = 3
"""A fault that was noticed is made twice more, each time between stretches without one: the median counts."""
FLOOR_S = 0.02
"""Ages below this are not told apart: half the time that a picture is shown; a process that waits for its turn on a
processor is later than that."""
SHORT_FLOOR_S = 1.0
"""The same in a sample, which has too few pictures for a 99th percentile: the worst of a hundred counts."""


@dataclass(frozen=True)
class Ages:
    """How old live pictures were, p99 in seconds: of the other camera, in quiet (before and after) and with the fault;
    of the control, which nobody breaks, at the time of the fault (0 in a sample, which has none).
    """

    quiet: float
    disturbed: float
    control: float

    def ratio(self, floor: float) -> float:
        """By how much the fault made pictures older: what the machine did to the control is not the fault's."""
        return self.disturbed / max(floor, self.quiet, self.control)

    def __str__(self) -> str:
        return f"{self.quiet * 1e3:.0f} → {self.disturbed * 1e3:.0f} ms, control {self.control * 1e3:.0f} ms"


@dataclass(frozen=True)
class Outcome:
    """One scenario in one round; `ages` of each time that it was tried, `told` whether it had to be noticed. `load`:
    how many processes of this machine wanted a processor.
    """

    scenario: str
    round: int
    seconds: float
    saw: str = ""
    ages: tuple[Ages, ...] = ()
    failure: str = ""
    told: bool = False
    floor: float = FLOOR_S
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def ratio(self) -> float:
        """The median of all tries."""
        return median(each.ratio(self.floor) for each in self.ages) if self.ages else 0.0

    @property
    def noticed(self) -> bool:
        """Whether who watched another camera live could tell."""
        return self.ratio > WORSE

    @property
    def holds(self) -> bool:
        return not self.failure and self.noticed is self.told

    def line(self) -> str:
        """The outcome for people."""
        word = "FAILED" if self.failure else "holds" if self.holds else "MISSED" if self.told else "NOTICED"
        ages = f"  [{self.ratio:.2f}: {'; '.join(map(str, self.ages))}; load {self.load:.1f}]" if self.ages else ""
        return f"{self.scenario:16} {self.round:>4} {self.seconds:7.1f} s  {word:8} {self.failure or self.saw}{ages}"


class Progress:
    """How far it is, and how long it will take: what a scenario took so far, and before that what it says."""

    def __init__(self, scenarios: Iterable[Scenario], *, long: bool) -> None:
        self._left = [scenario.name for scenario in scenarios]
        self._all = len(self._left)
        self._took = {name: [ALL[name].seconds if long else min(ALL[name].seconds, 40)] for name in self._left}
        self._measured: set[str] = set()

    def done(self, name: str, seconds: float) -> None:
        self._left.remove(name)
        if name not in self._measured:
            self._took[name].clear()
            self._measured.add(name)
        self._took[name].append(seconds)

    def __str__(self) -> str:
        seconds = sum(sum(self._took[name]) / len(self._took[name]) for name in self._left)
        return f"{self._all - len(self._left)}/{self._all}, {seconds / 60:.0f} min left"


def _site(folder: Path, long: bool) -> Ground:
    return Ground(folder, 20 if long else 8)


def _kills(folder: Path, long: bool) -> Ground:
    # Patience enough that no camera moves to the other worker while its own comes back: that is tested by `test_group`.
    return Ground(folder, FILE_S, pairs=2 if long else 1, media_workers=2, failover_seconds=90)


def _clock(folder: Path, long: bool) -> Ground:
    ground = _site(folder, long)
    ground.site.server_environment = clock_settings(folder)
    return ground


PLACES = {"site": _site, "kills": _kills, "clock": _clock}
"""The sites that scenarios break: two cameras; four cameras on two workers; a server whose clock can be set."""


def clock_settings(folder: Path) -> dict[str, str]:
    """The environment in which a server takes the time from a file."""
    need("faketime")
    (folder / "clock").write_text("+0\n")
    (library, *_) = glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def run(
    scenarios: Sequence[Scenario],
    folder: Path,
    *,
    seed: int,
    long: bool,
    rounds: int | None = None,
    within: float = math.inf,
    tell: Callable[[str], None] = print,
) -> list[Outcome]:
    """Run the scenarios, and look at every file at the end. What follows from `seed` is the order, and the moments.
    After `within` seconds nothing new is begun.
    """
    end = time.monotonic() + within
    outcomes: list[Outcome] = []
    progress = Progress((each for _, each in schedule(scenarios, seed, long=long, rounds=rounds)), long=long)
    for place, build in PLACES.items():
        chosen = [each for each in scenarios if each.place == place]
        if chosen:
            (folder / place).mkdir(parents=True)
            turns = takewhile(lambda _: time.monotonic() < end, schedule(chosen, seed, long=long, rounds=rounds))
            with ExitStack() as stack:
                watched = long and any(each.viewer for each in chosen)
                control = stack.enter_context(control_site(folder / "control")) if watched else None
                campaign = Campaign(build(folder / place, long), control, seed, long, tell, progress)
                outcomes += campaign.run(turns)
    return outcomes


@dataclass(frozen=True)
class Campaign:
    """What one site has to bear. `control`: a site that is watched as well, and broken by nobody; a sample has none."""

    ground: Ground
    control: Site | None
    seed: int
    long: bool
    tell: Callable[[str], None]
    progress: Progress

    def run(self, turns: Iterable[tuple[int, Scenario]]) -> list[Outcome]:
        outcomes = []
        began = time.monotonic()
        with self.ground as ground:
            for number, scenario in turns:
                chance = random.Random(f"{self.seed} {number} {scenario.name}")
                outcomes.append(self._tried(scenario, number, chance))
                self.progress.done(scenario.name, outcomes[-1].seconds)
                self.tell(f"{outcomes[-1].line()}  ({self.progress})")
                if outcomes[-1].failure:
                    self.tell(ground.site.explain())
                    return outcomes  # the site is not what the next scenario expects
            try:
                saw, failure = f"{ground.finish()} files are whole; the disks, journals and catalog agree", ""
            except AssertionError as error:
                saw, failure = "", f"at the end: {error}"
        outcomes.append(Outcome("all files", 0, time.monotonic() - began, saw, failure=failure))
        self.tell(outcomes[-1].line())
        return outcomes

    def _tried(self, scenario: Scenario, number: int, chance: random.Random) -> Outcome:
        began = time.monotonic()
        floor = FLOOR_S if self.long else SHORT_FLOOR_S
        ages: tuple[Ages, ...] = ()
        outcome: Outcome
        while True:
            saw, failure = "", ""
            try:
                saw, found = self._once(scenario, chance)
                ages += found
            except AssertionError as error:
                failure = str(error) or repr(error)
            took = time.monotonic() - began
            outcome = Outcome(scenario.name, number, took, saw, ages, failure, scenario.told, floor)
            if outcome.failure or len(ages) == TRIES or (outcome.holds and len(ages) < 2):
                return outcome
            self.tell(f"{outcome.line()}  (once more)")

    def _once(self, scenario: Scenario, chance: random.Random) -> tuple[str, tuple[Ages, ...]]:
        if not scenario.viewer:
            return scenario.run(self.ground, chance, self.long), ()
        quiet = self._quiet()
        with ExitStack() as stack:
            beside = stack.enter_context(Watcher(self.control, CONTROL)) if self.control else None
            other = stack.enter_context(Watcher(self.ground.site, self.ground.well))
            saw = scenario.run(self.ground, chance, self.long)
        quiet += self._quiet()
        return saw, (Ages(p99(quiet), p99(other.ages()), p99(beside.ages()) if beside else 0.0),)

    def _quiet(self) -> list[float]:
        with Watcher(self.ground.site, self.ground.well) as watcher:
            self.ground.pause(QUIET_S if self.long else QUIET_S / 4)
        return watcher.ages()


def schedule(
    scenarios: Sequence[Scenario], seed: int, *, long: bool, rounds: int | None
) -> Iterator[tuple[int, Scenario]]:
    """Which scenario in which round, in an order of chance."""
    chance = random.Random(seed)
    wanted = {each.name: rounds or (each.rounds if long else 1) for each in scenarios}
    for number in range(1, max(wanted.values()) + 1):
        names = sorted(name for name, count in wanted.items() if count >= number)
        chance.shuffle(names)
        yield from ((number, ALL[name]) for name in names)


def table(outcomes: Iterable[Outcome]) -> str:
    """What came of each scenario, over all rounds."""
    lines = [f"{'scenario':16} {'rounds':>6} {'failed':>6} {'noticed':>7}  how old live pictures were, p99"]
    names = dict.fromkeys(each.scenario for each in outcomes)
    for name in names:
        mine = [each for each in outcomes if each.scenario == name]
        worst = max((each for each in mine if each.ages), key=lambda each: each.ratio, default=None)
        ages = f"{worst.ratio:.2f}: {'; '.join(map(str, worst.ages))}" if worst else ""
        failed, noticed = sum(bool(each.failure) for each in mine), sum(each.noticed for each in mine)
        lines.append(f"{name:16} {len(mine):>6} {failed:>6} {noticed:>7}  {ages}".rstrip())
    return "\n".join(lines)


def new_seed() -> int:
    return int.from_bytes(os.urandom(4))
