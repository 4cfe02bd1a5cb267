"""Fuzz target: the walk over a damaged file."""

from __future__ import annotations

from soip.mp4.reader import parse_init
from soip.mp4.repair import walk
from tests.mp4.files import pieces


def fuzz(data: bytes) -> None:
    """Behind a good front, any bytes give fragments and holes that lie in order, apart, and before the end."""
    front = pieces(1, 2, True)[0]
    whole = front + data
    init = parse_init(front)
    found = walk(lambda offset, length: whole[offset : offset + length], len(whole), init, doubtful_us=2_000_000)
    assert len(front) <= found.end <= len(whole)
    spans = sorted([(one.offset, one.size) for one in found.fragments] + list(found.holes))
    at = len(front)
    for offset, size in spans:
        assert offset >= at
        assert size >= 8
        at = offset + size
    assert at == found.end
    assert [one.offset for one in found.fragments] == sorted(one.offset for one in found.fragments)
