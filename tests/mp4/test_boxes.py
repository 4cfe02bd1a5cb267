"""Boxes: what is built is walked, what does not fit is refused with its place; times and tracks at their edges."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.mp4.boxes import Box, box, box_at, boxes, children, fields, full_box, need
from soip.mp4.errors import BoxError, CutError, Mp4Error
from soip.mp4.reader import parse_fragment
from soip.mp4.times import mac_seconds_of, ntp_of, ticks_of, us_of
from soip.mp4.tracks import video_track
from soip.mp4.writer import fragment
from tests.mp4 import plain, walker
from tests.mp4.material import Frame, run_of

kinds = st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=4).map(str.encode)
bodies = st.binary(max_size=50)


@given(st.lists(st.tuples(kinds, bodies), max_size=8), st.integers(0, 20))
def test_boxes_that_fill_their_bytes_come_back(given: list[tuple[bytes, bytes]], before: int) -> None:
    data = bytes(before) + b"".join(box(kind, body) for kind, body in given)
    found = list(boxes(data, before))
    assert [(one.kind, data[one.body : one.end]) for one in found] == given
    assert [one.start for one in found] + [len(data)] == [before] + [one.end for one in found]


@given(bodies, st.integers(0, 255), st.integers(0, (1 << 24) - 1))
def test_full_boxes_are_as_the_plain_twin_writes_them(body: bytes, version: int, flags: int) -> None:
    data = full_box(b"tfdt", version, flags, body)
    assert data == plain.full("tfdt", version, flags, body)
    node = walker.tree(data)[0]
    assert (node.version, node.flags, node.body[4:]) == (version, flags, body)


def test_parts_may_be_any_bytes() -> None:
    assert box(b"free", b"ab", bytearray(b"cd"), memoryview(b"ef")) == b"\0\0\0\x0efreeabcdef"


def test_a_large_size_is_read() -> None:
    data = struct.pack(">I4sQ", 1, b"mdat", 20) + b"four"
    assert box_at(data, 0, len(data)) == Box(b"mdat", 0, 16, 20)
    with pytest.raises(CutError):
        box_at(data[:12], 0, 12)


@pytest.mark.parametrize("size", [0, 2, 7])
def test_sizes_that_no_box_has(size: int) -> None:
    with pytest.raises(BoxError, match=f"a box of {size} bytes") as failure:
        box_at(bytes(3) + struct.pack(">I4s", size, b"free") + bytes(20), 3, 31)
    assert not isinstance(failure.value, CutError)
    assert isinstance(failure.value, Mp4Error)
    assert (failure.value.offset, str(failure.value)[-11:]) == (3, "(at byte 3)")


def test_a_large_size_that_is_too_small() -> None:
    with pytest.raises(BoxError, match="a box of 15 bytes"):
        box_at(struct.pack(">I4sQ", 1, b"mdat", 15) + bytes(9), 0, 25)


@given(st.integers(0, 19))
def test_every_cut_is_a_cut(length: int) -> None:
    data = box(b"mdat", bytes(12))
    with pytest.raises(CutError):
        list(boxes(data[:length] or b"\0"))


def test_children_and_their_fields() -> None:
    inner = box(b"aaaa", b"\0\0\0\7") + box(b"bbbb") + box(b"aaaa", b"\0\0\0\x08")
    data = box(b"moov", b"skip", inner)
    parent = box_at(data, 0, len(data))
    found = children(data, parent, 4)
    assert sorted(found) == [b"aaaa", b"bbbb"]
    assert fields(struct.Struct(">I"), data, found[b"aaaa"]) == (7,)
    assert need(found, b"bbbb", parent).kind == b"bbbb"
    with pytest.raises(BoxError, match="lacks b'cccc'"):
        need(found, b"cccc", parent)
    with pytest.raises(BoxError, match="too small"):
        fields(struct.Struct(">I"), data, found[b"bbbb"])
    with pytest.raises(BoxError, match="too small"):
        fields(struct.Struct(">Q"), data, found[b"aaaa"])


@given(st.integers(0, 1 << 52), st.sampled_from([8_000, 16_000, 48_000, 90_000]))
def test_ticks_and_microseconds_stand_for_each_other(utc_us: int, timescale: int) -> None:
    assert abs(us_of(ticks_of(utc_us, timescale), timescale) - utc_us) <= 500_000 / timescale + 1
    ticks = utc_us // 1000
    assert ticks_of(us_of(ticks, timescale), timescale) == ticks


@given(st.integers(0, 3_000_000_000))
def test_whole_seconds_of_ntp_are_as_the_plain_twin_says(seconds: int) -> None:
    assert ntp_of(seconds * 1_000_000).to_bytes(8, "big") == plain.ntp(seconds * 1_000_000)


def test_mac_time_begins_in_1904() -> None:
    assert mac_seconds_of(0) == 2_082_844_800


def exp_golomb(*values: int) -> str:
    """Plain Exp-Golomb codes (ITU-T H.264 §9.1)."""
    codes = [f"{value + 1:b}" for value in values]
    return "".join("0" * (len(code) - 1) + code for code in codes)


@pytest.mark.parametrize(
    ("chroma", "luma", "colour", "identity"), [(1, 0, 0, 0), (0, 0, 0, 31), (2, 2, 2, 3), (3, 6, 1, 0), (1, 0, 2, 7)]
)
def test_chroma_and_depths_of_a_high_profile(chroma: int, luma: int, colour: int, identity: int) -> None:
    bits = exp_golomb(identity, chroma) + ("0" if chroma == 3 else "") + exp_golomb(luma, colour) + "1" * 80
    payload = int(bits[:80], 2).to_bytes(10, "big").replace(b"\0\0", b"\0\0\3")
    track = video_track("H264", [[b"\x67\x64\x00\x28" + payload], [b"\x68\xee\x3c\x80"]], 1920, 1080)
    avcc = walker.tree(track.entry[86:])[0]
    assert avcc.body[-4:] == bytes((0xFC | chroma, 0xF8 | luma, 0xF8 | colour, 0))


@pytest.mark.parametrize("values", [(0, 4, 0, 0), (0, 1, 7, 0), (0, 1, 0, 7)])
def test_no_such_chroma_or_depth(values: tuple[int, ...]) -> None:
    bits = exp_golomb(*values) + "1" * 80
    cut = b"\x67\x64\x00\x28" + int(bits[:80], 2).to_bytes(10, "big")
    with pytest.raises(ValueError, match="no such chroma"):
        video_track("H264", [[cut], [b"\x68\xee\x3c\x80"]], 1920, 1080)


def test_a_fragment_whose_samples_leave_its_mdat_is_refused() -> None:
    data = bytearray(fragment(1, [run_of(1, 0, [Frame([b"abc"], 1)])], 0))
    at = data.find(b"trun") + 12
    for offset in (0, 50, 500, -40):
        data[at : at + 4] = struct.pack(">i", offset)
        with pytest.raises(BoxError, match="outside"):
            parse_fragment(data, 0, len(data))


def test_a_sample_of_no_bytes_is_refused() -> None:
    data = fragment(1, [run_of(1, 0, [Frame([b""], 1), Frame([b"a"], 1)])], 0)
    with pytest.raises(BoxError, match="no size"):
        parse_fragment(data, 0, len(data))
