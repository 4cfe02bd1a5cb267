"""The floors: C programs beside this file, compiled when a compiler is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCES = Path(__file__).parent / "floors"


def build(name: str, directory: Path) -> Path | None:
    """Compile `floors/NAME.c` into `directory`; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = directory / name
    subprocess.run([compiler, "-O2", "-pthread", "-o", program, _SOURCES / f"{name}.c"], check=True)
    return program
