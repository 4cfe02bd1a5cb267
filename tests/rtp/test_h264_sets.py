from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.bits import unescape
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import build_sprop, parse_sprop, parse_sps
from soip.rtp.nal import split_annex_b


def encoded(width: int, height: int, profile: str, bframes: int, rate: int = 25) -> list[bytes]:
    """NAL units of a few pictures from a real encoder."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, rate)
    encoder.framerate = Fraction(rate)
    encoder.options = {"preset": "ultrafast", "profile": profile, "bf": str(bframes), "b-pyramid": "none"}
    out = BytesIO()
    frame = av.VideoFrame(width, height, "yuv420p")
    for number in range(6):
        frame.pts = number
        out.write(b"".join(bytes(packet) for packet in encoder.encode(frame)))
    out.write(b"".join(bytes(packet) for packet in encoder.encode(None)))
    return split_annex_b(out.getvalue())


class BitWriter:
    """Bits of a hand-made SPS."""

    def __init__(self) -> None:
        self.text = ""

    def bits(self, value: int, count: int) -> BitWriter:
        self.text += f"{value:0{count}b}" if count else ""
        return self

    def ue(self, *values: int) -> BitWriter:
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def nal(self, head: bytes) -> bytes:
        text = self.text + "1"
        text += "0" * (-len(text) % 8)
        rbsp = bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))
        return escape(head + rbsp)


def escape(rbsp: bytes) -> bytes:
    out = bytearray()
    for byte in rbsp:
        if out[-2:] == b"\0\0" and byte <= 3:
            out.append(3)
        out.append(byte)
    return bytes(out)


@pytest.mark.parametrize(
    ("width", "height", "profile", "bframes", "depth"),
    [(320, 180, "baseline", 0, 0), (1920, 1080, "main", 2, 1), (642, 358, "high", 1, 1), (1280, 720, "high", 0, 0)],
)
def test_what_a_real_encoder_writes(width: int, height: int, profile: str, bframes: int, depth: int) -> None:
    sps, pps = H264.find_sets(encoded(width, height, profile, bframes))
    info = parse_sps(sps[0])
    assert (info.width, info.height) == (width, height)
    assert info.reorder_depth == depth
    assert info.ticks_per_frame == 3600
    assert info.profile_level_id == sps[0][1:4].hex()
    assert pps


def plain_sps(*, profile: int = 77, order: Iterable[int] = (0, 4)) -> BitWriter:
    """An SPS up to its size, of 320×240."""
    return BitWriter().ue(0).ue(0).ue(*order).ue(1).bits(0, 1).ue(19, 14).bits(1, 1).bits(1, 1)


def test_without_vui_the_depth_is_unknown() -> None:
    info = parse_sps(plain_sps().bits(0, 1).bits(0, 1).nal(b"\x67\x4d\x00\x1e"))
    assert (info.width, info.height, info.reorder_depth, info.ticks_per_frame) == (320, 240, None, None)


def test_baseline_and_order_type_2_have_no_reordering() -> None:
    assert parse_sps(plain_sps().bits(0, 2).nal(b"\x67\x42\xc0\x1e")).reorder_depth == 0
    assert parse_sps(plain_sps(order=(2,)).bits(0, 2).nal(b"\x67\x4d\x00\x1e")).reorder_depth == 0


def test_every_part_of_the_vui_is_stepped_over() -> None:
    vui = plain_sps().bits(0, 1).bits(1, 1)
    vui.bits(1, 1).bits(255, 8).bits(1, 16).bits(1, 16)  # extended sample aspect ratio
    vui.bits(0b11, 2)  # overscan
    vui.bits(1, 1).bits(0, 4).bits(1, 1).bits(0x010101, 24)  # video signal
    vui.bits(1, 1).ue(0, 0)  # chroma location
    vui.bits(1, 1).bits(1001, 32).bits(60_000, 32).bits(1, 1)
    for _ in range(2):  # two HRDs
        vui.bits(1, 1).ue(1).bits(0, 8).ue(9, 9).bits(0, 1).ue(9, 9).bits(0, 1).bits(0, 20)
    vui.bits(0, 1).bits(0, 1)
    vui.bits(1, 1).bits(1, 1).ue(0, 0, 10, 10, 2, 4)
    info = parse_sps(vui.nal(b"\x67\x4d\x00\x1e"))
    assert info.reorder_depth == 2
    assert info.ticks_per_frame == 3003


@pytest.mark.parametrize(
    ("units", "scale", "ticks"),
    [(1, 1, 180_000), (1, 50, 3600), (2, 1, None), (0, 50, None), (1, 0, None), (1, 1 << 31, None), (1 << 31, 1, None)],
)
def test_a_frame_rate_that_makes_no_sense_is_none(units: int, scale: int, ticks: int | None) -> None:
    vui = plain_sps().bits(0, 1).bits(1, 1).bits(0, 4).bits(1, 1).bits(units, 32).bits(scale, 32).bits(0, 4)
    vui.bits(1, 1).bits(1, 1).ue(0, 0, 10, 10, 2, 4)
    info = parse_sps(vui.nal(b"\x67\x4d\x00\x1e"))
    assert (info.reorder_depth, info.ticks_per_frame) == (2, ticks)


def test_scaling_lists_order_cycles_interlace_and_cropping() -> None:
    sps = BitWriter().ue(0, 3).bits(0, 1).ue(0, 0).bits(0, 1).bits(1, 1)
    sps.bits(1, 1).ue(0).text += "1" * 15  # a list of sixteen deltas of 0 …
    sps.bits(1, 1).ue(16)  # … and one that ends at once: delta −8
    sps.bits(0, 10)
    sps.ue(0).ue(1).bits(0, 1).ue(1, 2, 2, 3, 4)  # order type 1 with a cycle of two
    sps.ue(1).bits(0, 1).ue(19, 7).bits(0, 1).bits(0, 1).bits(1, 1)
    sps.bits(1, 1).ue(1, 1, 0, 3)  # 4:4:4, fields: units of 1 × 2
    info = parse_sps(sps.bits(0, 1).nal(b"\x67\xf4\x00\x1e"))
    assert (info.width, info.height) == (318, 250)


@pytest.mark.parametrize(
    "nal",
    [
        b"",
        b"\x67\x42",
        b"\x68\x42\x00\x1e\xff",
        b"\x67\x42\x00\x1e",
        b"\x67\x42\x00\x1e" + bytes(40),
        b"\x67" + b"\xff" * 5000,
        plain_sps(order=(3,)).bits(0, 2).nal(b"\x67\x4d\x00\x1e"),
        BitWriter().ue(0, 0, 1).bits(0, 1).ue(0, 0, 256).nal(b"\x67\x4d\x00\x1e"),
        BitWriter().ue(0, 0, 0, 0, 1).bits(0, 1).ue(5000, 14).bits(7, 3).nal(b"\x67\x4d\x00\x1e"),
        BitWriter().ue(0, 0, 0, 0, 1).bits(0, 1).ue(0, 0).bits(7, 3).ue(9, 9, 9, 9).nal(b"\x67\x4d\x00\x1e"),
    ],
)
def test_nonsense_is_the_documented_error(nal: bytes) -> None:
    with pytest.raises(RtpParseError):
        parse_sps(nal)


@given(st.binary(max_size=80))
def test_any_bytes_parse_or_raise_the_documented_error(data: bytes) -> None:
    try:
        info = parse_sps(b"\x67" + data)
    except RtpParseError:
        return
    assert 0 < info.width <= 16_384
    assert info.reorder_depth is None or 0 <= info.reorder_depth <= 16


@given(st.binary(max_size=60))
def test_escaping_is_undone(rbsp: bytes) -> None:
    assert unescape(escape(rbsp)) == rbsp


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=4))
def test_sprop_there_and_back(nals: list[bytes]) -> None:
    assert parse_sprop(build_sprop(nals)) == nals


def test_sprop_of_a_camera() -> None:
    assert parse_sprop("Z0LAHukBQHsg, aM4BJiA=,") == [bytes.fromhex("6742c01ee901407b20"), bytes.fromhex("68ce012620")]


@pytest.mark.parametrize("value", ["!", "Z0L", "Zé=="])
def test_broken_sprop_is_the_documented_error(value: str) -> None:
    with pytest.raises(RtpParseError, match="sprop"):
        parse_sprop(value)
