"""`python -m benches [ingest] [fanout] [srtp] [sip] [restart] [memory] [ladder]`: measure and print; see --help."""

from __future__ import annotations

import argparse
import subprocess
import sys

from benches import fanout, ingest, ladder, memory, registrar

NAMES = ("ingest", "fanout", "srtp", "sip", "restart", "memory", "ladder")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], help="which to run; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side, in turn (default 5)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a round (default 8)")
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--viewers", type=int, default=100)
    options = parser.parse_args()
    failed = False
    for name in options.names or NAMES:
        try:
            lines = measure(name, options)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: did not run: {error}", file=sys.stderr)
            failed = True
            continue
        print(*lines, sep="\n", flush=True)
    return int(failed)


def measure(name: str, options: argparse.Namespace) -> list[str]:
    """Run one of them; the report for people."""
    if name == "ingest":
        return ingest.run(options.rounds, options.seconds, options.cameras).lines()
    if name == "fanout":
        return fanout.run(options.rounds, options.seconds, options.viewers).lines()
    if name == "srtp":
        comparisons = fanout.srtp(options.rounds, options.seconds, options.viewers)
        return [line for comparison in comparisons for line in comparison.lines()]
    if name == "restart":
        return registrar.restart()
    if name == "memory":
        return ["memory: resident bytes of the SIP server", *(taken.line() for taken in memory.run())]
    run = ladder.run if name == "ladder" else registrar.run
    return [line for comparison in run(options.rounds, options.seconds) for line in comparison.lines()]


if __name__ == "__main__":
    sys.exit(main())
