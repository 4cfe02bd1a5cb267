"""One fuzz target in a process of its own, so that a crash, a hang or a leak ends nothing else.

    python -m tests.fuzz.worker PACKAGE TARGET SECONDS FOLDER guided|plain

Guided by coverage with atheris (libFuzzer), else by chance alone. Inputs worth keeping go to `FOLDER/corpus`, one
that breaks the invariant to `FOLDER/crash-…`. The last line is `stat::number_of_executed_units: N` either way.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path

ONE_INPUT_S = 25
"""An input that takes longer is a finding."""
MEMORY_MB = 2048
"""So is more memory than this."""


def main(package: str, target: str, seconds: int, folder: Path, guided: bool) -> None:
    """Run a target. Ends the process: 0 nothing found, else something that `folder` tells."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    if guided:
        _guided(package, target, seconds, folder, corpus)
    else:
        _plain(_load(package, target), seconds, folder, _starts(package, target, corpus))


def _load(package: str, target: str) -> Callable[[bytes], None]:
    fuzz: Callable[[bytes], None] = importlib.import_module(f"{package}.{target}").fuzz
    return fuzz


def _starts(package: str, target: str, corpus: Path) -> list[bytes]:
    for data in importlib.import_module(f"{package}.corpus").STARTS[target]():
        _save(corpus, "", data)
    return [file.read_bytes() for file in sorted(corpus.iterdir())]


def _save(folder: Path, prefix: str, data: bytes) -> Path:
    file = folder / (prefix + sha1(data, usedforsecurity=False).hexdigest())
    file.write_bytes(data)
    return file


def _guided(package: str, target: str, seconds: int, folder: Path, corpus: Path) -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["soip"]):
        fuzz = _load(package, target)
    _starts(package, target, corpus)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={ONE_INPUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], fuzz)
    atheris.Fuzz()


def _plain(fuzz: Callable[[bytes], None], seconds: int, folder: Path, starts: list[bytes]) -> None:
    from tests.fuzz.seeds import mutations

    deadline, executed, seed, failed = time.monotonic() + seconds, 0, 0, False
    # Each round has a seed of its own, so that a finding can be had again.
    while not failed and time.monotonic() < deadline:
        seed += 1
        for data in mutations(starts, 50, seed):
            executed += 1
            try:
                fuzz(data)
            except Exception:
                traceback.print_exc()
                _save(folder, "crash-", data)
                failed = True
                break
    print(f"stat::number_of_executed_units: {executed}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(int(failed))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5] == "guided")
