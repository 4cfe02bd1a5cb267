"""Scenarios, one after the other, round by round, on one running site; what each has shown."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from tests.faults.ground import Ground
from tests.faults.scenarios import ALL, Scenario
from tests.faults.watcher import Watcher, p99
from tests.peers import need

QUIET_S = 8.0
"""How long it is looked how old pictures are while nothing is broken."""
WORSE = 1.5
TRIES = 3
"""A scenario that was noticed is run again: whatever else the machine had to do is no fault of ours."""
FLOOR_S = 0.1
"""Ages below this are not told apart: two frames, and what a busy machine adds."""
SHORT_FLOOR_S = 1.0
"""The same in a sample, beside which other tests run: a live picture that waits for a disk waits longer."""


@dataclass(frozen=True)
class Outcome:
    """One scenario in one round. `quiet` and `disturbed`: p99 of the age of a live picture, in seconds."""

    scenario: str
    round: int
    seconds: float
    saw: str = ""
    quiet: float | None = None
    disturbed: float | None = None
    failure: str = ""
    floor: float = FLOOR_S

    @property
    def noticed(self) -> bool:
        """Whether who watched another camera live could tell."""
        if self.quiet is None or self.disturbed is None:
            return False
        return self.disturbed > max(self.floor, self.quiet) * WORSE

    def line(self) -> str:
        """The outcome for people."""
        ages = "" if self.quiet is None else f"{self.quiet:.3f} → {self.disturbed or 0:.3f} s"
        word = "FAILED" if self.failure else "NOTICED" if self.noticed else "holds"
        return (
            f"{self.scenario:16} {self.round:>4} {self.seconds:7.1f} s  {word:8} {ages:20} {self.failure or self.saw}"
        )


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
    tell: Callable[[str], None] = print,
) -> list[Outcome]:
    """Run the scenarios, and look at every file at the end. What follows from `seed` is the order, and the moments."""
    outcomes: list[Outcome] = []
    for clock in (False, True):
        chosen = [each for each in scenarios if each.clock is clock]
        if chosen:
            place = folder / ("clock" if clock else "site")
            place.mkdir(parents=True)
            outcomes += _run_on(Ground(place, 20 if long else 8), chosen, seed, long, rounds, tell, clock)
    return outcomes


def _run_on(
    ground: Ground,
    scenarios: Sequence[Scenario],
    seed: int,
    long: bool,
    rounds: int | None,
    tell: Callable[[str], None],
    clock: bool,
) -> list[Outcome]:
    outcomes = []
    if clock:
        ground.site.server_environment = clock_settings(ground.site.folder)
    began = time.monotonic()
    with ground:
        for number, scenario in schedule(scenarios, seed, long=long, rounds=rounds):
            chance = random.Random(f"{seed} {number} {scenario.name}")
            for _ in range(TRIES):
                outcome = _run_one(ground, scenario, number, chance, long)
                tell(outcome.line())
                if outcome.failure or not outcome.noticed:
                    break
            outcomes.append(outcome)
            if outcome.failure:
                tell(ground.site.explain())
                return outcomes  # the site is not what the next scenario expects
        try:
            saw, failure = f"{ground.finish()} files are whole, catalog and journals agree", ""
        except AssertionError as error:
            saw, failure = "", f"at the end: {error}"
    outcomes.append(Outcome("all files", 0, time.monotonic() - began, saw, failure=failure))
    tell(outcomes[-1].line())
    return outcomes


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


def _run_one(ground: Ground, scenario: Scenario, number: int, chance: random.Random, long: bool) -> Outcome:
    quiet = disturbed = None
    began = time.monotonic()
    try:
        if scenario.viewer:
            with Watcher(ground.site, ground.well) as before:
                ground.pause(QUIET_S if long else QUIET_S / 2)
            quiet = p99(before.ages())
            with Watcher(ground.site, ground.well) as during:
                saw = scenario.run(ground, chance, long)
            disturbed = p99(during.ages())
        else:
            saw = scenario.run(ground, chance, long)
    except AssertionError as error:
        return Outcome(scenario.name, number, time.monotonic() - began, failure=str(error) or repr(error))
    floor = FLOOR_S if long else SHORT_FLOOR_S
    return Outcome(scenario.name, number, time.monotonic() - began, saw, quiet, disturbed, floor=floor)


def table(outcomes: Iterable[Outcome]) -> str:
    """What came of each scenario, over all rounds."""
    lines = [f"{'scenario':16} {'rounds':>6} {'failed':>6} {'noticed':>7}  worst p99 of a live picture's age"]
    names = dict.fromkeys(each.scenario for each in outcomes)
    for name in names:
        mine = [each for each in outcomes if each.scenario == name]
        ages = [each for each in mine if each.quiet is not None]
        worst = max(ages, key=lambda each: (each.disturbed or 0) / max(each.quiet or 0, 1e-9), default=None)
        age = f"{worst.quiet:.3f} s quiet, {worst.disturbed:.3f} s disturbed" if worst is not None else ""
        failed, noticed = sum(bool(each.failure) for each in mine), sum(each.noticed for each in mine)
        lines.append(f"{name:16} {len(mine):>6} {failed:>6} {noticed:>7}  {age}")
    return "\n".join(lines)


def new_seed() -> int:
    return int.from_bytes(os.urandom(4))
