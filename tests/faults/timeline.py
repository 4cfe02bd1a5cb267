"""What the console is told of a camera's past, and that all of it is explained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tests.site import Site, now_us, parse_us, rfc3339

SLACK_US = 200_000
"""Between the end of one entry and the start of the next: a few pictures."""


@dataclass(frozen=True)
class Entry:
    """A stretch of the timeline in µs UTC; `cause` is empty where there is a recording."""

    start: int
    end: int
    cause: str = ""

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / 1e6


def timeline(site: Site, camera: str) -> list[Entry]:
    """Recordings and gaps of the last hour, in order, as the API gives them."""
    window = {"from": rfc3339(now_us() - 3600 * 10**6), "to": rfc3339(now_us())}
    answer = site.page.get(f"/api/cameras/{camera}/timeline", params=window)
    assert answer.status_code == 200, answer.text
    facts = answer.json()
    found = [Entry(parse_us(each["start"]), parse_us(each["end"])) for each in facts["recordings"]]
    found += [Entry(parse_us(each["start"]), parse_us(each["end"]), each["cause"]) for each in facts["gaps"]]
    return sorted(found, key=lambda entry: (entry.start, entry.end))


def holes(entries: list[Entry]) -> list[tuple[Entry, Entry]]:
    """Neighbours between which something is unexplained, or that overlap."""
    return [(one, two) for one, two in pairwise(entries) if abs(two.start - one.end) > SLACK_US]
