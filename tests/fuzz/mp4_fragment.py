"""Fuzz target: one fragment."""

from __future__ import annotations

from soip.mp4.errors import BoxError
from soip.mp4.reader import parse_fragment, samples, split_nals


def fuzz(data: bytes) -> None:
    """Parses or raises BoxError; what parses has its samples inside the fragment, and no more of them than bytes."""
    try:
        head = parse_fragment(data, 0, len(data))
    except BoxError:
        return
    found = list(samples(head))
    assert len(found) <= len(data)
    for sample in found:
        assert 0 <= sample.start < sample.end <= head.size <= len(data)
        try:
            assert sum(4 + len(nal) for nal in split_nals(data[sample.start : sample.end])) == sample.end - sample.start
        except BoxError:
            continue
