"""`python -m benches [NAME …]`: measure and print; options for lengths. Names are in `NAMES`; all of them by default.

With `--save` what was measured becomes the baseline (`benches/baseline.json`) that later runs are held against.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable

from benches import (
    age,
    baseline,
    capacity,
    equal,
    fanout,
    ffmpeg,
    footprint,
    ingest,
    ladder,
    memory,
    playback,
    registrar,
)
from benches.report import Result, Told

Measure = Callable[[argparse.Namespace], list[Result]]


def _memory(_options: argparse.Namespace) -> list[Result]:
    return [Told("memory", ["memory: resident bytes of the SIP server", *(taken.line() for taken in memory.run())])]


NAMES: dict[str, Measure] = {
    "ingest": lambda o: [ingest.run(o.rounds, o.seconds, o.cameras)],
    "ffmpeg": lambda o: [ffmpeg.run(o.rounds, o.seconds, o.cameras, o.processes)],
    "fanout": lambda o: [fanout.run(o.rounds, o.seconds, o.viewers)],
    "sendto": lambda o: [*fanout.beside_sendto(o.rounds, o.seconds, o.viewers)],
    "curve": lambda o: [*fanout.curve(o.rounds, o.seconds, o.viewers)],
    "srtp": lambda o: [*fanout.srtp(o.rounds, o.seconds, o.viewers)],
    "capacity": lambda o: [capacity.run(min(o.rounds, 3), o.seconds, o.cameras)],
    "age": lambda o: [age.run(o.rounds, o.seconds, o.half)],
    "footprint": lambda o: [footprint.run(o.rounds, o.recorded)],
    "playback": lambda o: [*playback.run(o.rounds, o.files, o.calls, o.sessions)],
    "equal": lambda o: [equal.run(o.equal_seconds, o.equal_cameras)],
    "sip": lambda o: [*registrar.run(o.rounds, o.seconds)],
    "restart": lambda _: [Told("restart", registrar.restart())],
    "memory": _memory,
    "ladder": lambda o: [*ladder.run(o.rounds, o.seconds)],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], help="which to run; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side, in turn (default 5)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a round (default 8)")
    parser.add_argument("--cameras", type=int, default=200, help="of ingest; where capacity begins to search")
    parser.add_argument("--viewers", type=int, default=100, help="of fanout, sendto and curve")
    parser.add_argument("--processes", type=int, default=8, help="of ffmpeg")
    parser.add_argument("--half", type=int, default=100, help="cameras of age: half of what a core takes")
    parser.add_argument("--recorded", type=int, default=100, help="cameras of footprint")
    parser.add_argument("--files", type=int, default=100_000, help="recordings in the catalog of playback")
    parser.add_argument("--calls", type=int, default=60, help="of playback, one after the other, in a round")
    parser.add_argument("--sessions", type=int, default=20, help="of playback, at once")
    parser.add_argument("--equal-cameras", type=int, default=300, help="of equal")
    parser.add_argument("--equal-seconds", type=float, default=30.0, help="of equal")
    parser.add_argument("--save", action="store_true", help="make what is measured the baseline")
    options = parser.parse_args()
    failed = False
    results: list[Result] = []
    known = baseline.load()
    # The same work takes a quarter more with an interpreter that was built without a profile.
    print(f"Python {platform.python_version()}, {' '.join(platform.python_build())}, {platform.python_compiler()}")
    for name in options.names or NAMES:
        try:
            measured = NAMES[name](options)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: did not run: {error}", file=sys.stderr)
            failed = True
            continue
        for result in measured:
            print(*result.lines(), *baseline.compare(result, known), sep="\n", flush=True)
        results += measured
    if options.save:
        baseline.save(results)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
