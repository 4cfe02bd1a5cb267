"""Fuzz target: the front of a recording."""

from __future__ import annotations

from soip.mp4.errors import BoxError
from soip.mp4.index import parse_index
from soip.mp4.reader import parse_init


def fuzz(data: bytes) -> None:
    """Parses or raises BoxError; what parses points inside sane bounds, and its index covers bytes in order."""
    try:
        init = parse_init(data)
        assert 0 < init.size <= init.index_at <= init.first_fragment
        assert init.tracks
        index = parse_index(data, init)
    except BoxError:
        return
    at = init.first_fragment
    for fragment in index.fragments:
        assert fragment.offset == at
        at += fragment.size
