"""The fast writer and its plain twin give equal bytes, and the parser reads what the walker reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soip.mp4.reader import parse_fragment, samples
from soip.mp4.writer import fragment, init_segment
from tests.mp4 import plain, walker
from tests.mp4.material import Frame, run_of
from tests.mp4.test_writer import SOUND, TRACK, run_strategy

EVEN_US = st.integers(0, 3_000_000_000).map(lambda seconds: seconds * 1_000_000)


LOST = st.one_of(st.just(0), st.integers(1, (1 << 32) - 1))


@given(run_strategy, st.lists(run_strategy, max_size=1), st.integers(1 << 24, 1 << 62), EVEN_US, LOST)
def test_equal_bytes(first: list[Frame], others: list[list[Frame]], start: int, utc_us: int, lost: int) -> None:
    runs = [run_of(1, start, first, lost), *(run_of(2, start // 3, other) for other in others)]
    assert fragment(77, runs, utc_us) == plain.fragment(77, runs, utc_us)


@given(run_strategy, st.binary(max_size=40))
def test_views_and_slices_are_bytes_too(rows: list[Frame], junk: bytes) -> None:
    """The network's buffers are handed over as they are."""
    base = bytearray(junk + b"".join(b"".join(sample.chunks) for sample in rows))
    view, at, views = memoryview(base), len(junk), []
    for sample in rows:
        size = sum(map(len, sample.chunks))
        half = size // 2
        views.append(sample._replace(chunks=[view[at : at + half], base[at + half : at + size]]))
        at += size
    assert fragment(1, [run_of(1, 1 << 30, views)], 0) == fragment(1, [run_of(1, 1 << 30, rows)], 0)


@given(run_strategy, run_strategy, st.integers(1 << 24, 1 << 60), LOST)
def test_parser_and_walker_read_the_same(first: list[Frame], second: list[Frame], start: int, lost: int) -> None:
    data = fragment(5, [run_of(1, start, first), run_of(2, start, second, lost)], 0)
    front = init_segment([TRACK, SOUND])
    seen = walker.read(front + data).samples
    head = parse_fragment(data, 0, len(data))
    assert [run.lost for run in head.runs] == [0, lost]
    got = list(samples(head))
    assert [
        (one.track, one.dts, one.cts, one.duration, one.sync, one.damaged, one.data)
        for one in sorted(seen, key=lambda one: one.track)
    ] == [
        (
            one.track_id,
            one.decode_time,
            one.composition_offset,
            one.duration,
            one.sync,
            one.damaged,
            data[one.start : one.end],
        )
        for one in got
    ]
