"""The fault harness: a site that records is broken in every way, and looked at.

    python -m tests.faults [--list] [--only NAME …] [--rounds N] [--minutes M] [--seed S] [--short] [--folder DIR]

The same seed makes the same faults in the same order, at the same moments after the site is ready. Needs root, loop
devices and what `scripts/peers` installs. docs/faults.md tells of it. Exit code 1: something did not hold.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults import campaign
from tests.faults.scenarios import ALL


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say which scenarios there are")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(ALL), default=sorted(ALL))
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each (default: as often as it says)")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="begin nothing new after that")
    parser.add_argument("--seed", type=int, metavar="S", help="of a run that is to be repeated")
    parser.add_argument("--short", action="store_true", help="faults of seconds, as the sample of `make test` has them")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="an empty folder to work in, which is kept")
    options = parser.parse_args(arguments)
    if options.list:
        for name, scenario in sorted(ALL.items()):
            print(f"{name:16} {scenario.rounds:>4} rounds  {scenario.says}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that disks are unmounted on the way out
    seed = campaign.new_seed() if options.seed is None else options.seed
    print(f"seed {seed}: give it with --seed to see the same again", flush=True)
    with tempfile.TemporaryDirectory(prefix="soip-faults-") as temporary:
        outcomes = campaign.run(
            [ALL[name] for name in options.only],
            options.folder or Path(temporary),
            seed=seed,
            long=not options.short,
            rounds=options.rounds,
            within=options.minutes * 60,
            tell=lambda line: print(line, flush=True),
        )
    print(f"\n{campaign.table(outcomes)}\nseed {seed}")
    return int(not all(each.holds for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
