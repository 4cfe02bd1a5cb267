"""RFC 3339 at the API's border."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.web.errors import BadRangeError
from soip.web.times import MAX_RANGE_US, parse, parse_range, render
from tests.fuzz import web_range

T = 1_795_172_645_678_000


def test_renders_utc_with_milliseconds() -> None:
    assert render(T) == "2026-11-20T11:04:05.678Z"
    assert render(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T11:04:05.678Z",
        "2026-11-20T20:04:05.678+09:00",
        "2026-11-20T20:04:05.678 09:00",  # "+" not percent-encoded in a query
        "2026-11-20T06:04:05.678-05:00",
    ],
)
def test_reads_any_offset(text: str) -> None:
    assert parse(text, "from") == T


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-20", "2026-11-20T11:04:05", "11:04:05Z", "2026-13-01T00:00:00Z", "1795172645", "\0"]
)
def test_refuses_what_is_no_moment(text: str) -> None:
    with pytest.raises(BadRangeError, match="'from' must be an RFC 3339 time"):
        parse(text, "from")


@given(st.integers(0, 4_000_000_000_000))
def test_what_is_rendered_is_read_back(time_ms: int) -> None:
    assert parse(render(time_ms * 1000), "from") == time_ms * 1000


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_the_documented_error(text: str) -> None:
    with suppress(BadRangeError):
        parse(text, "to")


def test_ranges_have_an_order_and_a_longest() -> None:
    assert parse_range(render(T), render(T + 1000)) == (T, T + 1000)
    for start, end in [(T, T), (T + 1000, T), (T, T + MAX_RANGE_US + 1000)]:
        with pytest.raises(BadRangeError):
            parse_range(render(start), render(end))
    with pytest.raises(BadRangeError):
        parse_range("1969-12-31T00:00:00Z", "1970-01-02T00:00:00Z")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"/",
        b"2026-11-20T10:00:00Z/2026-11-20T10:10:00Z",
        b"2026-11-20T10:00:00.123456+09:00/2026-11-20T10:10:00.5Z",
        b"9999-12-31T23:59:59-23:59/9999-12-31T23:59:59Z",
        b"0001-01-01T00:00:00+23:59/2026-11-20T10:00:00Z",
        b"2026-W47-5T10:00:00Z/20261120T100000Z",
        b"\xff\x00/\xff",
    ],
)
def test_fuzz_seeds(data: bytes) -> None:
    web_range.fuzz(data)
