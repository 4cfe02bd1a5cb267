"""What was measured once, for later runs to be held against: `benches/baseline.json`.

A ratio or a median by the name of what was measured, nothing else: absolute times of one machine say nothing of
another, and even these hold only where the baseline was made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benches.report import Result

FILE = Path(__file__).parent / "baseline.json"


def load(file: Path = FILE) -> dict[str, float]:
    """What was saved; nothing when nothing was. Raises ValueError for another file."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
        raise ValueError(f"{file} is no baseline: remove it, or make one with --save")
    return {name: float(value) for name, value in found.items()}


def save(results: Iterable[Result], file: Path = FILE) -> None:
    """Take over what was measured; what was not stays."""
    known = load(file) | {result.name: round(result.value, 4) for result in results if result.value is not None}
    file.write_text(json.dumps(dict(sorted(known.items())), indent=2, ensure_ascii=False) + "\n", "utf-8")


def compare(result: Result, known: dict[str, float]) -> list[str]:
    """How far a result is from what was saved, in a line; none where nothing was, or it was nothing."""
    before, now = known.get(result.name), result.value
    if not before or now is None:
        return []
    return [f"  baseline {before:.2f}, now {(now - before) / before:+.0%}"]
