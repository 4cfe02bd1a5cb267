"""Every fuzz target, or those named, for a while each: `make fuzz`.

    python -m tests.fuzz [--seconds N] [--plain] [target…]
    python -m tests.fuzz --input FILE target

A target is a module here with `fuzz(data)`, whose docstring's first line states what must hold. It runs in
a process of its own (worker.py), as many at a time as there are processors. Inputs that reach new code are kept in
`build/fuzz/<target>/corpus`, from which the next run goes on; one that breaks the invariant is kept beside it, and
`--input` runs it again. Exit code 1: something was found. 2: called wrongly.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "tests.fuzz"
ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "build" / "fuzz"
SLACK_S = 90
"""How much longer than asked for a target may take: imports, reading its corpus, its last input."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a target. `said` is the worker's own output, `inputs` what broke the invariant."""

    target: str
    executed: int
    failed: bool
    said: str
    inputs: tuple[Path, ...]

    def line(self) -> str:
        """The outcome for people."""
        return f"{self.target:24} {self.executed:>12,} executions   {'FOUND' if self.failed else 'holds'}"


def targets(package: str = PACKAGE) -> list[str]:
    """The names of all targets: those modules of the package that begin with a room's name."""
    rooms = {path.name for path in (ROOT / "src" / "soip").iterdir() if path.is_dir()}
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(name for _, name, _ in found if name.partition("_")[0] in rooms)


def run(target: str, seconds: int, guided: bool, folder: Path = FOLDER, package: str = PACKAGE) -> Outcome:
    """Run a target for a while in a process of its own."""
    place = folder / target
    before = _findings(place)
    how = "guided" if guided else "plain"
    command = [sys.executable, "-m", "tests.fuzz.worker", package, target, str(seconds), str(place), how]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            timeout=seconds + SLACK_S,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said, failed = done.stdout, done.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = "the target hangs\n", True
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", said)
    # What was found the last time was looked at the last time.
    inputs = tuple(sorted(_findings(place) - before))
    return Outcome(target, int(executed[-1]) if executed else 0, failed, said, inputs)


def _findings(place: Path) -> set[Path]:
    return {path for path in place.glob("*-*") if path.is_file()}


def _told(said: str) -> list[str]:
    """A worker's output without the fuzzer's own progress and numbers."""
    noise = re.compile(r"#\d+\t|INFO: |MS: |stat::|\s*(?:0x[0-9a-f]{1,2},)+|(?:WARNING|==\d+==|SUMMARY|Base64)\b")
    return [line for line in said.splitlines() if line.strip() and not noise.match(line)][-40:]


def run_all(names: Sequence[str], seconds: int, guided: bool, folder: Path, package: str) -> Iterator[Outcome]:
    """The outcomes in the order of the names, each as soon as it is known."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as several:
        yield from several.map(lambda name: run(name, seconds, guided, folder, package), names)


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER, package: str = PACKAGE) -> int:
    """The command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Run the fuzz targets.")
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "60")), metavar="N")
    parser.add_argument("--plain", action="store_true", help="by chance alone, without atheris")
    parser.add_argument("--input", type=Path, metavar="FILE", help="run one target on one input")
    parser.add_argument("target", nargs="*")
    given = parser.parse_args(arguments)
    known = targets(package)
    if unknown := sorted(set(given.target) - set(known)):
        parser.error(f"there is no target {', '.join(unknown)}; targets are {', '.join(known)}")
    if given.input:
        if len(given.target) != 1:
            parser.error("--input needs one target")
        importlib.import_module(f"{package}.{given.target[0]}").fuzz(given.input.read_bytes())
        return 0
    guided = not given.plain and importlib.util.find_spec("atheris") is not None
    print(f"{given.seconds} s each, {'guided by coverage' if guided else 'by chance'}")
    failed = False
    for outcome in run_all(given.target or known, given.seconds, guided, folder, package):
        print(outcome.line(), flush=True)
        if outcome.failed:
            failed = True
            print("\n".join("    " + line for line in _told(outcome.said)))
            for path in outcome.inputs:
                print(f"    again: python -m tests.fuzz --input {path} {outcome.target}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
