"""Ingest: many cameras replayed on loopback, received and written to disk; ours against the floor."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benches import floor
from benches.measured import MEASURED_CPU, pinned
from benches.report import Comparison, Figure, free_ports

MARK = 1.6
FRAGMENT = 1_000_000
"""Bytes the floor writes at once: 2 s of a camera at 4 Mbit/s, as ours."""
WARM_UP = 16
"""Seconds before either side is counted: after 2 s every camera has shown a keyframe and is recorded, and as much is
written as comes in; after 14 s as much memory is given back as is taken for what is written."""


def run(rounds: int, seconds: float, cameras: int) -> Comparison:
    """Measure in turn. Raises RuntimeError or CalledProcessError if a part does not run."""
    comparison = Comparison("ingest", f"{cameras} cameras × 4 Mbit/s, {seconds:g} s a round", MARK)
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as name:
        directory = Path(name)
        program = floor.build("ingest", directory)
        for _ in range(rounds):
            port = free_ports(cameras)
            comparison.ours.append(ours(directory / "files", port, cameras, seconds))
            if program:
                theirs = [str(program), str(port), str(cameras), str(WARM_UP), str(seconds), str(FRAGMENT)]
                comparison.floor.append(_round(theirs, directory / "files", port, cameras, seconds))
    return comparison


def ours(files: Path, port: int, cameras: int, seconds: float) -> Figure:
    """One round of the product."""
    command = [sys.executable, "-m", "benches.ingest_ours", str(port), str(cameras), str(WARM_UP), str(seconds)]
    return _round(command, files, port, cameras, seconds)


def _round(command: list[str], files: Path, port: int, cameras: int, seconds: float) -> Figure:
    files.mkdir()
    replay_command = [sys.executable, "-m", "benches.replay", str(port), str(cameras), str(WARM_UP + seconds + 1)]
    with (
        subprocess.Popen([*pinned(MEASURED_CPU), *command, str(files)], stdout=subprocess.PIPE, text=True) as measured,
    ):
        assert measured.stdout
        if measured.stdout.readline() != "ready\n":
            raise RuntimeError(f"{command[0]} did not start")
        with subprocess.Popen(replay_command, stdout=subprocess.PIPE, text=True) as replay:
            result, _ = measured.communicate(timeout=WARM_UP + seconds + 60)
            replayed, _ = replay.communicate(timeout=60)
    shutil.rmtree(files)
    if measured.returncode or replay.returncode:
        raise RuntimeError(f"{command[0]} ended with {measured.returncode}, the cameras with {replay.returncode}")
    packets, written, cpu, *more = map(float, result.splitlines()[-1].split())
    _, dropped, late = map(int, replayed.split())
    if not packets or not written:
        raise RuntimeError(f"nothing was received: {result!r}")
    notes = []
    if dropped or late > 250:
        notes.append(f"the cameras could not keep up: {dropped} runs dropped, {late} ms late")
    hashing, refused, sync, lost, kernel = more or (0.0,) * 5
    if refused:
        notes.append(f"the disk could not keep up: {refused:.0f} fragments refused, a sync of {sync:.0f} ms")
    if lost:
        notes.append(f"{lost:.0f} packets were lost, {kernel:.0f} of them by the kernel")
    return Figure(int(packets), cpu, "; ".join(notes), hashing)
