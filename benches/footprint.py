"""Memory: what a recorded camera at 4 Mbit/s takes in a media worker, beyond the pictures kept for who comes to watch.

Resident bytes with few cameras and with many, each in a process of its own, after some files' worth of fragments: what
is made once is not counted, and neither are the cached GOPs, which are as large as the camera makes them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from benches.measured import MEASURED_CPU, pinned
from benches.report import Value, free_ports

MARK = 2.0
FEW = 10
SETTLED = 10
"""Seconds from the first picture on: five GOPs, and as many fragments of each camera."""


def run(rounds: int, cameras: int) -> Value:
    """Measure few and many in turn. Raises RuntimeError if a part does not run."""
    taken = Value("memory of a recorded camera", f"{cameras} cameras beside {FEW}, beyond their GOPs", "MB", MARK)
    for _ in range(rounds):
        (few, few_cached), (many, many_cached) = _resident(FEW), _resident(cameras)
        taken.rounds.append(((many - many_cached) - (few - few_cached)) / (cameras - FEW) / 1e6)
        taken.notes.append(f"{many / 1e6:.0f} MB in all, {many_cached / 1e6:.0f} MB of them cached GOPs")
    return taken


def _resident(cameras: int) -> tuple[int, int]:
    """Bytes of the process, and of its cached pictures."""
    port = free_ports(cameras)
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as name:
        ours = [sys.executable, "-m", "benches.footprint_ours", str(port), str(cameras), str(SETTLED), name]
        replay = [sys.executable, "-m", "benches.replay", str(port), str(cameras), str(SETTLED + 2)]
        with subprocess.Popen([*pinned(MEASURED_CPU), *ours], stdout=subprocess.PIPE, text=True) as measured:
            assert measured.stdout
            if measured.stdout.readline() != "ready\n":
                raise RuntimeError("the media worker did not start")
            with subprocess.Popen(replay, stdout=subprocess.DEVNULL):
                result, _ = measured.communicate(timeout=SETTLED + 90)
    if measured.returncode:
        raise RuntimeError(f"the media worker ended with {measured.returncode}")
    resident, cached = map(int, result.split())
    return resident, cached
