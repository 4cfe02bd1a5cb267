"""Every minute is recorded or explained, none twice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from soip.directory.rows import GapRow
from soip.media.gaps import Cause, Gaps

SECOND = 1_000_000


class Book:
    """What was saved (the last version of each row) and what was done."""

    def __init__(self) -> None:
        self.rows: dict[str, GapRow] = {}
        self.done: list[GapRow] = []
        self.gaps = Gaps("cam1", "media-0", self.save, self.done.append)

    def save(self, row: GapRow) -> None:
        self.rows[row.id] = row

    @property
    def spans(self) -> list[tuple[int, int, str]]:
        return [(row.start_us // SECOND, row.end_us // SECOND, row.cause) for row in self.rows.values()]


def test_a_gap_begins_where_the_recording_ended_and_ends_where_the_next_begins() -> None:
    book = Book()
    book.gaps.recorded_until(10 * SECOND)
    book.gaps.missing(Cause.MEDIA_LOST, 9 * SECOND, 15 * SECOND)
    book.gaps.grow(20 * SECOND)
    assert book.spans == [(10, 20, "media lost")]
    assert not book.done
    book.gaps.recorded(21 * SECOND)
    assert book.spans == [(10, 21, "media lost")]
    assert [row.end_us for row in book.done] == [21 * SECOND]
    assert book.gaps.cause is None


def test_another_cause_is_another_gap_that_follows_at_once() -> None:
    book = Book()
    book.gaps.missing(Cause.MEDIA_LOST, 10 * SECOND, 15 * SECOND)
    book.gaps.missing(Cause.MEDIA_LOST, 10 * SECOND, 17 * SECOND)
    book.gaps.missing(Cause.OFFLINE, 10 * SECOND, 20 * SECOND)
    book.gaps.recorded(30 * SECOND)
    assert book.spans == [(10, 20, "media lost"), (20, 30, "camera offline")]
    assert len(book.done) == 2


def test_the_outage_of_the_server_reaches_from_the_last_recording_to_the_first_picture() -> None:
    book = Book()
    book.gaps.resume(100 * SECOND)
    book.gaps.missing(Cause.SERVER_DOWN, 100 * SECOND, 160 * SECOND)
    book.gaps.recorded(162 * SECOND)
    assert book.spans == [(100, 162, "media server down")]


def test_a_recording_without_a_gap_before_it_makes_no_row() -> None:
    book = Book()
    book.gaps.recorded(SECOND)
    book.gaps.grow(2 * SECOND)
    assert not book.rows


events = st.lists(
    st.tuples(st.sampled_from(["missing", "grow", "recorded"]), st.sampled_from(list(Cause)), st.integers(1, 30)),
    max_size=80,
)


@given(events)
def test_gaps_never_overlap_whatever_happens(story: list[tuple[str, Cause, int]]) -> None:
    book = Book()
    now = 1000
    for what, cause, seconds in story:
        now += seconds
        if what == "missing":
            book.gaps.missing(cause, (now - 3) * SECOND, now * SECOND)
        elif what == "grow":
            book.gaps.grow(now * SECOND)
        else:
            book.gaps.recorded(now * SECOND)
            book.gaps.recorded_until(now * SECOND)
    spans = sorted(book.spans)
    assert all(start <= end for start, end, _ in spans)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert {row.id for row in book.done} <= set(book.rows)


def test_a_gap_that_goes_on_after_all_is_one_gap() -> None:
    book = Book()
    book.gaps.missing(Cause.DISK, 10 * SECOND, 15 * SECOND)
    book.gaps.recorded(20 * SECOND)
    book.gaps.recorded_until(22 * SECOND)
    book.gaps.fail(20 * SECOND, 23 * SECOND, "I/O error")  # What began at 20 never reached the disk.
    book.gaps.grow(30 * SECOND)
    assert book.spans == [(10, 30, "disk")]


def test_what_the_disk_lost_of_a_file_that_is_over_is_a_gap_of_its_own() -> None:
    book = Book()
    book.gaps.recorded_until(20 * SECOND)
    book.gaps.missing(Cause.OFFLINE, 20 * SECOND, 25 * SECOND)
    book.gaps.lost(18 * SECOND, 20 * SECOND, "no space")
    book.gaps.lost(20 * SECOND, 20 * SECOND, "nothing at all")
    book.gaps.recorded(30 * SECOND)
    assert sorted(book.spans) == [(18, 20, "disk"), (20, 30, "camera offline")]
    assert {row.cause: row.detail for row in book.done} == {"disk": "no space", "camera offline": ""}


def test_what_the_disk_lost_before_it_refused_is_the_same_gap() -> None:
    book = Book()
    book.gaps.recorded_until(20 * SECOND)
    book.gaps.fail(20 * SECOND, 21 * SECOND, "")
    book.gaps.lost(16 * SECOND, 20 * SECOND, "the disk is full")
    assert book.spans == [(16, 21, "disk")]
    assert next(iter(book.rows.values())).detail == "the disk is full"


def test_at_the_end_the_open_gap_is_over() -> None:
    book = Book()
    book.gaps.stop(5 * SECOND)
    assert not book.rows
    book.gaps.missing(Cause.OFFLINE, 10 * SECOND, 15 * SECOND)
    book.gaps.stop(20 * SECOND)
    assert book.spans == [(10, 20, "camera offline")]
    assert len(book.done) == 1
