"""What every measured process does: keep to one processor, count its own CPU time, tell its parent."""

from __future__ import annotations

import os
import resource
from pathlib import Path

MEASURED_CPU, OTHER_CPU = 0, 1
"""Processors of the measured process and of the other end of the wire."""


def pin(cpu: int) -> None:
    """Keep to one processor where the machine has more than one."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[cpu % len(allowed)]})


def cpu_us() -> float:
    """CPU time of this process and its threads so far, in µs."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def resident() -> int:
    """Bytes of this process that are in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def tell(line: str) -> None:
    """Print a line to the parent at once."""
    print(line, flush=True)


def pinned(cpu: int) -> list[str]:
    """The command prefix that keeps a program to one processor."""
    allowed = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(allowed[cpu % len(allowed)])]
