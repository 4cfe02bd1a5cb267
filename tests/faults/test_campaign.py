"""A sample of the fault harness with each `make test`: another seed each time, printed with what did not hold."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.faults import campaign
from tests.faults.campaign import Ages, Campaign, Outcome, Progress
from tests.faults.ground import Ground
from tests.faults.scenarios import ALL

SAMPLE = ("kill-worker", "stalled-disk", "vanished-disk")
"""Those that break most, in less than three minutes together."""


@pytest.mark.faults
def test_a_sample_of_faults(tmp_path: Path) -> None:
    seed = campaign.new_seed()
    print(f"python -m tests.faults --short --rounds 1 --seed {seed} --only {' '.join(SAMPLE)}")
    outcomes = campaign.run([ALL[name] for name in SAMPLE], tmp_path, seed=seed, long=False, rounds=1)
    assert not [each.line() for each in outcomes if not each.holds], campaign.table(outcomes)


def test_the_same_seed_is_the_same_order() -> None:
    chosen = list(ALL.values())
    one, same, other = (
        [(number, each.name) for number, each in campaign.schedule(chosen, seed, long=False, rounds=3)]
        for seed in (1, 1, 2)
    )
    assert one == same != other
    assert sorted(one) == sorted(other)
    assert len(one) == 3 * len(ALL)


def test_in_earnest_there_are_two_hundred_kills() -> None:
    order = [each.name for _, each in campaign.schedule(list(ALL.values()), 1, long=True, rounds=None)]
    assert order.count("kill-worker") + order.count("kill-server") + order.count("kill-sip") == 200
    assert order.count("stalled-disk") == 1


def test_every_scenario_has_a_place() -> None:
    assert {each.place for each in ALL.values()} == set(campaign.PLACES)


def outcome(*ages: tuple[float, float, float], told: bool = False, failure: str = "") -> Outcome:
    """With a floor of 20 ms, whatever it is in earnest."""
    return Outcome("x", 1, 1.0, ages=tuple(Ages(*each) for each in ages), told=told, failure=failure, floor=0.02)


def test_what_a_viewer_may_notice() -> None:
    assert not outcome().noticed
    assert not outcome((0.2, 0.3, 0.2)).noticed
    assert outcome((0.2, 0.31, 0.2)).noticed
    assert not outcome((0.2, 0.31, 0.25)).noticed, "who watched what nobody broke noticed the same"
    assert not outcome((0.001, 0.029, 0.001)).noticed, "so little is not told apart"
    assert outcome((0.001, 0.031, 0.001)).noticed


def test_one_bad_moment_of_the_machine_is_not_a_fault() -> None:
    assert not outcome((0.1, 0.4, 0.1), (0.1, 0.12, 0.1), (0.1, 0.11, 0.1)).noticed
    assert outcome((0.1, 0.4, 0.1), (0.1, 0.12, 0.1), (0.1, 0.16, 0.1)).noticed


def test_what_has_to_be_noticed_must_be() -> None:
    assert outcome((0.1, 0.2, 0.1), told=True).holds
    missed = outcome((0.1, 0.1, 0.1), told=True)
    assert not missed.holds
    assert "MISSED" in missed.line()
    assert not outcome((0.1, 0.1, 0.1), failure="lost").holds
    assert "NOTICED" in outcome((0.1, 0.2, 0.1)).line()


def test_the_table_tells_the_worst() -> None:
    text = campaign.table([outcome((0.2, 0.3, 0.1)), outcome((0.2, 0.4, 0.1)), Outcome("y", 1, 1.0, failure="no")])
    assert "2.00: 200 → 400 ms, control 100 ms" in text
    assert "y                     1      1" in text


class Fake:
    """A scenario whose viewers saw these ages, try by try."""

    def __init__(self, *ratios: float, told: bool = False) -> None:
        self.scenario = replace(ALL["stalled-disk"], told=told)
        self.left = [Ages(0.1, 0.1 * ratio, 0.1) for ratio in ratios]

    def tried(self, monkeypatch: pytest.MonkeyPatch) -> Outcome:
        made = Campaign(cast(Ground, None), None, 1, True, print, Progress([], long=True))
        monkeypatch.setattr(Campaign, "_once", lambda *_: ("seen", (self.left.pop(0),)))
        return made._tried(self.scenario, 1, random.Random(1))


def test_what_was_noticed_is_tried_twice_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(Fake(1.0, 9.0, 9.0).tried(monkeypatch).ages) == 1, "what holds is not tried again"
    noise, fault = Fake(3.0, 1.0, 1.0).tried(monkeypatch), Fake(3.0, 1.0, 2.0).tried(monkeypatch)
    assert (len(noise.ages), noise.noticed) == (3, False)
    assert (len(fault.ages), fault.noticed) == (3, True), "two of three"
    assert Fake(2.0, told=True).tried(monkeypatch).holds


def test_how_long_it_will_take_is_learnt() -> None:
    kills = [ALL["kill-worker"]] * 10
    progress = Progress([*kills, ALL["directory-away"]], long=True)
    assert str(progress) == f"0/11, {(10 * 12 + ALL['directory-away'].seconds) / 60:.0f} min left"
    for _ in range(5):
        progress.done("kill-worker", 60)
    progress.done("directory-away", 700)
    assert str(progress) == "6/11, 5 min left"


def test_the_harness_lists_what_it_does() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.faults", "--list"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(ALL)
    assert all(scenario.says for scenario in ALL.values())
