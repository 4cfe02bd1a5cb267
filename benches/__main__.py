"""`python -m benches [ingest] [fanout]`: measure and print ratios; options for shorter or longer runs."""

from __future__ import annotations

import argparse
import subprocess
import sys

from benches import fanout, ingest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], "ingest", "fanout"], help="which to run; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side, in turn (default 5)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a round (default 8)")
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--viewers", type=int, default=100)
    options = parser.parse_args()
    names = options.names or ["ingest", "fanout"]
    failed = False
    for name in names:
        try:
            if name == "ingest":
                comparison = ingest.run(options.rounds, options.seconds, options.cameras)
            else:
                comparison = fanout.run(options.rounds, options.seconds, options.viewers)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: did not run: {error}", file=sys.stderr)
            failed = True
            continue
        print(*comparison.lines(), sep="\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
