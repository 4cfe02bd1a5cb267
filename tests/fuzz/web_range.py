"""Ranges of time as the API takes them."""

from __future__ import annotations

from soip.web.errors import BadRangeError
from soip.web.times import MAX_RANGE_US, parse_range, render


def fuzz(data: bytes) -> None:
    """Two texts are an ordered, bounded range that renders and reads back to the millisecond, or BadRangeError."""
    start, _, end = data.decode("utf-8", "replace").partition("/")
    try:
        from_us, to_us = parse_range(start, end)
    except BadRangeError:
        return
    assert 0 <= from_us < to_us <= from_us + MAX_RANGE_US
    if to_us - from_us >= 1000:
        again = parse_range(render(from_us), render(to_us))
        assert again == (from_us // 1000 * 1000, to_us // 1000 * 1000)
