"""Fuzz target: moving fragments in time."""

from __future__ import annotations

from soip.mp4.errors import BoxError
from soip.mp4.rewrite import Pace, cut, heads, move


def fuzz(data: bytes) -> None:
    """Whole fragments move there and back and are the same, or BoxError is raised; cutting never adds frames."""
    try:
        found = heads(data)
        moved = bytearray(data)
        first = found[0][1].sequence if found else 1
        move(moved, Pace(first, {1: 1000, 2: 77}))
        back = bytearray(moved)
        move(back, Pace(first, {1: -1000, 2: -77}))
        for start, head in found:
            rest = cut(data[start : start + head.size], {run.track_id: run.decode_time for run in head.runs})
            if rest:
                assert sum(len(run.sizes) for run in heads(rest)[0][1].runs) <= sum(len(run.sizes) for run in head.runs)
    except BoxError:
        return
    assert [head.runs for _, head in heads(bytes(back))] == [head.runs for _, head in found]
