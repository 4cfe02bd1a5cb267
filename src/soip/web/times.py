"""Times at the API: RFC 3339 in UTC outside, integer microseconds since 1970 inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from soip.web.errors import BadRangeError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
MAX_RANGE_US = 31 * 86_400_000_000
"""The longest range one question may ask for."""


def parse(text: str, name: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time (§5.6) with any offset. Raises BadRangeError."""
    try:
        # A "+" that was not percent-encoded in a query arrives as a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if text[10:11] == "T" else text)
        if moment.tzinfo is None:
            raise ValueError("no offset")
        return (moment - _EPOCH) // _US
    except (ValueError, OverflowError) as error:
        raise BadRangeError(f"'{name}' must be an RFC 3339 time such as 2026-11-20T10:00:00Z") from error


def render(time_us: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return (_EPOCH + time_us * _US).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_range(start: str, end: str) -> tuple[int, int]:
    """Both ends of a range. Raises BadRangeError when it is empty, inside out or too long."""
    from_us, to_us = parse(start, "from"), parse(end, "to")
    if not 0 <= from_us < to_us:
        raise BadRangeError("'to' must lie after 'from', and both after 1970")
    if to_us - from_us > MAX_RANGE_US:
        raise BadRangeError("a range may be 31 days long at most: ask for less at a time")
    return from_us, to_us
