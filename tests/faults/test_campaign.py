"""A sample of the fault harness with each `make test`: another seed each time, printed with what did not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import campaign
from tests.faults.campaign import Outcome
from tests.faults.scenarios import ALL

SAMPLE = ("kill-worker", "stalled-disk", "vanished-disk")
"""Those that break most, in less than three minutes together."""


@pytest.mark.faults
def test_a_sample_of_faults(tmp_path: Path) -> None:
    seed = campaign.new_seed()
    print(f"python -m tests.faults --short --rounds 1 --seed {seed} --only {' '.join(SAMPLE)}")
    outcomes = campaign.run([ALL[name] for name in SAMPLE], tmp_path, seed=seed, long=False, rounds=1)
    assert not [each.line() for each in outcomes if each.failure or each.noticed], campaign.table(outcomes)


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
    assert order.count("kill-worker") + order.count("kill-server") == 200
    assert order.count("stalled-disk") == 1


def test_what_a_viewer_may_notice() -> None:
    def outcome(quiet: float | None, disturbed: float | None) -> Outcome:
        return Outcome("x", 1, 1.0, quiet=quiet, disturbed=disturbed)

    assert not outcome(None, None).noticed
    assert not outcome(0.2, 0.3).noticed
    assert outcome(0.2, 0.31).noticed
    assert not outcome(0.01, 0.149).noticed, "two frames are not told apart"
    assert outcome(0.01, 0.151).noticed
    text = campaign.table([outcome(0.2, 0.3), outcome(0.2, 0.4), Outcome("y", 1, 1.0, failure="no")])
    assert "0.400 s disturbed" in text
    assert "y                     1      1" in text


def test_the_harness_lists_what_it_does() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.faults", "--list"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(ALL)
    assert all(scenario.says for scenario in ALL.values())
