"""The block code: what is drawn is read, what is damaged is refused, and H.264 at 100 kbit/s spares it."""

import zlib
from fractions import Fraction

import av
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.agents import blockcode
from soip.agents.blockcode import Stamp, draw, from_bits, layout, read, to_bits
from soip.agents.encoder import Encoder
from soip.agents.errors import PatternError
from soip.agents.pattern import Pattern, Planes
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import Coding

SIZES = [(640, 360), (320, 240), (352, 288), (1280, 720), (1920, 1080), (720, 576), (640, 480)]
stamps = st.builds(
    Stamp,
    counter=st.integers(0, 2**32 - 1),
    utc_ms=st.integers(0, 2**48 - 1),
    camera_hash=st.integers(0, 2**24 - 1),
)


def plain_bits(stamp: Stamp) -> str:
    """The readable twin of `to_bits`: the fields as text of ones and zeros."""

    def gray(value: int, width: int) -> str:
        digits = f"{value:0{width}b}"
        pairs = zip("0" + digits, digits, strict=False)
        return "".join("1" if before != digit else "0" for before, digit in pairs)

    body = gray(stamp.counter, 32) + gray(stamp.utc_ms, 48) + f"{stamp.camera_hash:024b}"
    crc = zlib.crc32(bytes(int(body[at : at + 8], 2) for at in range(0, 104, 8)))
    return body + f"{crc:032b}"[8:]


@given(stamps)
def test_bits_round_trip_and_equal_their_plain_twin(stamp: Stamp) -> None:
    assert from_bits(to_bits(stamp)) == stamp
    assert f"{to_bits(stamp):0128b}" == plain_bits(stamp)


@given(stamps, st.sets(st.integers(0, 127), min_size=1, max_size=3))
def test_a_few_flipped_bits_are_refused(stamp: Stamp, flipped: set[int]) -> None:
    bits = to_bits(stamp)
    for bit in flipped:
        bits ^= 1 << bit
    assert from_bits(bits) is None


@given(stamps, st.sampled_from(SIZES), st.integers(0, 64))
@settings(max_examples=40, deadline=None)
def test_a_drawn_stamp_is_read_back_at_any_size_and_stride(stamp: Stamp, size: tuple[int, int], padding: int) -> None:
    width, height = size
    stride = width + padding
    plane = bytearray(b"\x22" * (stride * height))
    draw(plane, stride, layout(width, height), stamp)
    assert len(plane) == stride * height
    assert read(plane, stride, width, height) == stamp


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_cells_are_whole_macroblocks_inside_the_picture(width: int, height: int) -> None:
    place = layout(width, height)
    assert all(value % 16 == 0 for value in (place.cell, place.left, place.top))
    assert place.left + place.columns * place.cell <= width
    assert place.top + place.rows * place.cell <= height
    assert place.rows * place.columns >= 128


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 48), (100, 1000)])
def test_a_picture_without_room_is_refused(width: int, height: int) -> None:
    with pytest.raises(PatternError, match="room"):
        layout(width, height)


@pytest.mark.parametrize("level", [0, 16, 127, 128, 235, 255])
def test_a_flat_picture_bears_no_stamp(level: int) -> None:
    assert read(bytes([level]) * (640 * 360), 640, 640, 360) is None


def test_neighbouring_frames_differ_in_few_cells() -> None:
    changes = [
        (to_bits(Stamp(n, 1_795_000_000_000 + 40 * n, 7)) ^ to_bits(Stamp(n + 1, 1_795_000_000_040 + 40 * n, 7))) >> 24
        for n in range(500)
    ]
    assert sum(change.bit_count() for change in changes) / 500 < 5


@pytest.mark.parametrize(("bitrate", "coding"), [(100_000, H264), (60_000, H264), (100_000, H265)])
def test_every_frame_survives_a_low_bitrate(bitrate: int, coding: Coding) -> None:
    frame = VideoFrame(640, 360, "yuv420p")
    planes = Planes(640, 360, [memoryview(p) for p in frame.planes], [p.line_size for p in frame.planes])
    pattern = Pattern("cam1", planes, 25)
    encoder = Encoder(640, 360, Fraction(25), coding=coding, bitrate=bitrate)
    decoder = av.CodecContext.create("h264" if coding is H264 else "hevc", "r")
    assert isinstance(decoder, VideoCodecContext)
    size, expected, seen = 0, [], []
    for number in range(250):
        utc_ms = 1_795_175_634_123 + 40 * number
        pattern.update(number, utc_ms)
        expected.append(Stamp(number, utc_ms, blockcode.camera_hash("cam1")))
        data = b"".join(b"\0\0\0\1" + nal for nal in encoder.encode(frame, number * 3600, False))
        size += len(data)
        for picture in decoder.decode(av.Packet(data)):
            plane = picture.planes[0]
            seen.append(read(bytes(plane), plane.line_size, picture.width, picture.height))
    assert seen == expected
    assert size * 8 / 10 < bitrate * 1.1
