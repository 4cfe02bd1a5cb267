"""What was written comes back as it was; what was not written by us is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.mp4.errors import BoxError, CutError
from soip.mp4.index import entry_of
from soip.mp4.reader import parse_fragment, parse_init, samples, split_nals
from soip.mp4.tracks import Track
from soip.mp4.writer import Head, fragment, init_segment
from tests.fuzz import mp4_fragment, mp4_init, mp4_rewrite, mp4_walk, seeds
from tests.mp4.files import pieces, sealed
from tests.mp4.material import EPOCH_US, Frame, audio, run_of, video


@pytest.mark.parametrize("bframes", [0, 2])
def test_tracks_and_head_come_back(bframes: int) -> None:
    front, fragments = pieces(2, bframes, True)
    for data in (front, sealed(front, fragments)):
        init = parse_init(data)
        assert init.tracks == (video(bframes=bframes).track, audio()[0])
        assert init.head == Head("cam1", EPOCH_US, 161_565_763_691_111)
        assert init.delay == (3600 if bframes else 0)
        assert data[init.first_fragment + 4 :][:4] in (b"prft", b"")
    assert parse_init(sealed(front, fragments)).sealed
    assert not parse_init(front).sealed


def test_frames_come_back() -> None:
    material = video(bframes=2)
    data = pieces(1, 2, True)[1][0]
    head = parse_fragment(b"junk" + data, 4, len(data) + 4)
    assert (head.sequence, head.utc_us, head.size) == (1, EPOCH_US, len(data))
    got = [sample for sample in samples(head) if sample.track_id == 1]
    for number, sample in enumerate(got):
        assert split_nals(data[sample.start : sample.end]) == material.frames[number]
        assert (sample.decode_time, sample.composition_offset) == (number * 3600, material.offsets[number])
        assert (sample.duration, sample.sync) == (3600, number == 0)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 1 << 30), st.booleans()), min_size=1))
def test_any_run_comes_back(rows: list[tuple[bytes, int, bool]]) -> None:
    run = run_of(3, 1 << 50, [Frame([data], duration, -duration, sync) for data, duration, sync in rows])
    data = fragment(9, [run], EPOCH_US)
    got = list(samples(parse_fragment(data, 0, len(data))))
    assert [(data[one.start : one.end], one.duration, one.sync) for one in got] == rows
    assert [one.composition_offset for one in got] == [-duration for _, duration, _ in rows]


def test_every_cut_of_a_fragment_asks_for_more() -> None:
    data = pieces(1)[1][0]
    for length in range(len(data)):
        with pytest.raises(CutError):
            parse_fragment(data[:length], 0, length)


def test_what_fits_no_sample_is_refused() -> None:
    for sample in (b"\0\0\0\0", b"\0\0\0\5abc", b"\0\0"):
        with pytest.raises(BoxError, match="NAL"):
            split_nals(sample)


def test_a_foreign_file_is_refused() -> None:
    front = pieces(1)[0]
    nothing = Track(1, "vide", 90_000, "vp09", b"\0\0\0\x08vp09")
    other = Head("cam1", EPOCH_US, 0)
    for data, what in (
        (b"\0\0\0\x10moov" + bytes(20), "not an MP4"),
        (front.replace(b"moov", b"moof"), "no moov"),
        (front.replace(b"uuid", b"free"), "no head box"),
        (front.replace(b"mehd", b"free"), "lacks b'mehd'"),
        (front.replace(b'"camera"', b'"camer "'), "head box cannot be read"),
        (front.replace(b'"camera":"cam1"', b'"camera":12345 '), "head box cannot be read"),
        (front.replace(b'"start_us":', b'"start_us":-'), "head box"),
        (init_segment([nothing], head=other, reserve=100), "no such track"),
    ):
        with pytest.raises(BoxError, match=what):
            parse_init(data + bytes(8))


def test_a_fragment_needs_the_reference_track() -> None:
    init = parse_init(pieces(1)[0])
    data = fragment(1, [run_of(2, 0, [Frame([b"a"], 1)])], EPOCH_US)
    with pytest.raises(BoxError, match="first track"):
        entry_of(init, 0, parse_fragment(data, 0, len(data)))


def test_a_fragment_of_another_writer_is_refused() -> None:
    data = pieces(1, 0, True)[1][0]
    for old, new in (
        (b"tfhd\0\2\0\0", b"tfhd\0\2\0\1"),
        (b"tfdt\1", b"tfdt\0"),
        (b"trun\1", b"trun\2"),
        (b"moof", b"moov"),
        (b"mdat", b"free"),
        (b"prft", b"styp"),
    ):
        assert old in data
        changed = data.replace(old, new, 1)
        with pytest.raises(BoxError):
            parse_fragment(changed, 0, len(changed))


def test_fuzz_targets_hold_on_a_seeded_handful() -> None:
    front, fragments = pieces(3, 2, True)
    whole = sealed(front, fragments)
    seeds.run(mp4_init.fuzz, [front, whole[: len(front) + 900]], rounds=400)
    seeds.run(mp4_fragment.fuzz, [fragments[0], pieces(1)[1][0]], rounds=400)
    seeds.run(mp4_rewrite.fuzz, [fragments[0], fragments[0] + fragments[1]], rounds=200)
    seeds.run(mp4_walk.fuzz, [b"".join(fragments)], rounds=200)
