"""A byte stream into access units: where they end, whose markers are believed, and what has no beginning."""

from __future__ import annotations

import pytest

from soip.rtp.bytestream import Assembled, ByteStream, Stamp, sniff
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import MAX_NALS, Coding
from tests.mp4.material import video
from tests.rtp.program import AUD, PPS, SEI, SPS, annex_b

IDR, SLICE, REST = b"\x65\x88idr", b"\x41\x9aslice", b"\x41\x40second slice"
KEY = [SPS, PPS, IDR]


class Desk:
    """A byte stream and what came out of it; each piece is a packet of its own."""

    def __init__(self, coding: Coding | None = None) -> None:
        self.units: list[Assembled] = []
        self.stream = ByteStream(self.units.append)
        if coding is not None:
            self.stream.suppose(coding)

    def feed(self, piece: bytes, *, marker: bool = False, pts: int | None = None) -> None:
        self.stream.feed(piece, Stamp([] if pts is None else [pts], 7, 1.0))
        if marker:
            self.stream.mark()

    def send(self, nals: list[bytes], size: int = 8, *, marker: bool = True) -> None:
        """A picture in packets of that size, the marker at its last one."""
        content = annex_b(nals)
        for at in range(0, len(content), size):
            self.feed(content[at : at + size], marker=marker and at + size >= len(content))

    @property
    def shown(self) -> list[list[bytes]]:
        return [unit.nals for unit in self.units]


@pytest.mark.parametrize("encoding", ["H264", "H265"])
def test_real_streams_are_cut_where_their_pictures_end(encoding: str) -> None:
    film = video(30, gop=10, encoding=encoding)
    desk = Desk()
    for nals in film.frames:
        desk.send(nals, 100, marker=False)
    desk.stream.flush()
    assert desk.shown == film.frames
    assert [unit.keyframe for unit in desk.units] == film.keys
    assert {unit.coding.name for unit in desk.units} == {encoding}


@pytest.mark.parametrize(
    ("head", "coding"),
    [
        (b"\x67\x42", H264),
        (b"\x27\x64", H264),
        (b"\x47\x4d", H264),
        (b"\x40\x01", H265),
        (b"\x46\x01", None),  # a delimiter of H.265
        (b"\x42\x01", None),  # its SPS: a VPS comes first
        (b"\x67\x01", None),
        (b"\x67", None),
        (b"", None),
        (b"\x65\x88", None),
    ],
)
def test_a_first_parameter_set_tells_the_codec(head: bytes, coding: Coding | None) -> None:
    assert sniff(head) is coding


def test_what_the_stream_shows_is_believed_more_than_what_was_supposed() -> None:
    desk = Desk(H265)
    desk.send(KEY)
    desk.send([SLICE])
    desk.stream.flush()
    assert desk.shown == [KEY, [SLICE]]
    assert desk.stream.coding is H264
    desk.stream.suppose(H265)
    assert desk.stream.coding is H264


def test_a_camera_that_changes_its_codec_is_followed() -> None:
    desk = Desk()
    desk.send(KEY)
    hevc = [b"\x40\x01vps", b"\x42\x01sps", b"\x44\x01pps", b"\x26\x01\xafidr"]
    desk.send(hevc)
    desk.send(KEY)
    desk.stream.flush()
    assert desk.shown == [KEY, hevc, KEY]
    assert desk.units[-1].coding is H264


def test_zeros_between_nal_units_are_of_none() -> None:
    desk = Desk(H264)
    desk.feed(b"\x00" * 9 + annex_b(KEY) + b"\x00" * 5 + annex_b([SLICE]) + b"\x00\x00\x00")
    desk.stream.flush()
    assert desk.shown == [KEY, [SLICE]]


def test_slices_without_the_beginning_of_their_picture_are_dropped_and_counted() -> None:
    desk = Desk(H264)
    desk.feed(annex_b([REST, b"\x0cfiller", SLICE, REST, AUD, SEI, SLICE, SLICE]))
    desk.stream.flush()
    assert desk.shown == [[SLICE, REST], [AUD, SEI, SLICE], [SLICE]]
    assert desk.stream.headless == 1


def test_where_bytes_are_missing_the_picture_under_way_is_dropped() -> None:
    desk = Desk(H264)
    desk.feed(annex_b(KEY))
    desk.stream.lose()
    desk.feed(b"the rest of something" + annex_b([REST, SLICE]))
    desk.stream.flush()
    assert desk.shown == [[SLICE]]


def test_pictures_of_too_many_nal_units_are_dropped() -> None:
    desk = Desk(H264)
    desk.feed(annex_b([*KEY, *[REST] * MAX_NALS, SLICE]))
    desk.stream.flush()
    assert desk.stream.oversize == 1
    assert desk.shown == [[SLICE]]


def test_markers_are_believed_after_a_keyframe_that_ended_with_one() -> None:
    desk = Desk()
    desk.send(KEY)
    assert desk.shown == []
    desk.send([SLICE])
    assert desk.shown == [KEY, [SLICE]], "the second ends with its marker"
    desk.send([SLICE, REST])
    assert desk.shown[2:] == [[SLICE, REST]]


def test_a_keyframe_in_one_packet_says_nothing_about_markers() -> None:
    desk = Desk()
    desk.send(KEY, 1000)
    desk.send([SLICE])
    assert desk.shown == [KEY]
    desk.send(KEY)
    desk.send([SLICE])
    assert desk.shown == [KEY, [SLICE], KEY, [SLICE]]


def test_a_marker_inside_a_picture_is_remembered_for_good() -> None:
    desk = Desk()
    content = annex_b(KEY)
    for at in range(0, len(content), 8):
        desk.feed(content[at : at + 8], marker=True)
    for _ in range(3):
        desk.send([SLICE])
        desk.send(KEY)
    assert desk.shown == [KEY, *[[SLICE], KEY] * 3][:-1], "each when the next begins"


def test_a_marker_after_a_slice_that_is_not_the_last_is_none() -> None:
    desk = Desk()
    desk.send(KEY)
    desk.feed(annex_b([SLICE]), marker=False)
    desk.feed(b"", marker=False)
    desk.feed(annex_b([REST]), marker=True)
    shown = len(desk.shown)
    desk.stream.restart()
    desk.send([*KEY], marker=True)
    desk.send([b"\x65\x40second slice"], marker=True)
    desk.send([SLICE], marker=True)
    desk.stream.flush()
    assert desk.shown[shown:] == [[*KEY, b"\x65\x40second slice"], [SLICE]]


@pytest.mark.parametrize("more", [b"more of the slice", b"\x00\x00\x01" + REST])
def test_who_breaks_the_habit_loses_one_picture_and_is_not_believed_again(more: bytes) -> None:
    desk = Desk()
    desk.send(KEY)
    desk.send([SLICE])
    desk.feed(annex_b([SLICE]), marker=True)
    desk.feed(more, marker=True)
    desk.send([SLICE])
    desk.send([SLICE])
    desk.stream.flush()
    assert desk.shown == [KEY, [SLICE], [SLICE], [SLICE], [SLICE]]


def test_a_stamp_is_that_of_the_packet_an_access_unit_begins_in() -> None:
    desk = Desk(H264)
    desk.feed(annex_b(KEY), pts=900)
    desk.feed(annex_b([SLICE, SLICE]), pts=4500)
    desk.stream.flush()
    assert [unit.pts for unit in desk.units] == [900, 4500, None]
    assert {(unit.timestamp, unit.arrival) for unit in desk.units} == {(7, 1.0)}
