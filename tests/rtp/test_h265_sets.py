"""H.265 parameter sets: those of a real encoder, hand-made ones, and nonsense."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.rtp import h264_sets
from soip.rtp.codec import CODINGS, Codec, learn
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.h265_sets import Sps, parse_sps
from soip.rtp.nal import split_annex_b
from tests.rtp.test_h264_sets import BitWriter

HEAD = b"\x42\x01"


def encoded(width: int, height: int, bframes: int, rate: int = 25, *, ten_bits: bool = False) -> list[bytes]:
    """NAL units of a few pictures from a real encoder."""
    encoder = av.CodecContext.create("libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p10le" if ten_bits else "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, rate), Fraction(rate)
    params = f"bframes={bframes}:b-pyramid=0:b-adapt=0:log-level=none:pools=none:frame-threads=1"
    encoder.options = {"preset": "ultrafast", "x265-params": params}
    frame = av.VideoFrame(width, height, encoder.pix_fmt)
    out = []
    for number in range(6):
        frame.pts = number
        out += [bytes(packet) for packet in encoder.encode(frame)]
    return split_annex_b(b"".join([*out, *[bytes(packet) for packet in encoder.encode(None)]]))


@pytest.mark.parametrize(
    ("width", "height", "bframes", "ten_bits"),
    [(320, 180, 0, False), (1920, 1080, 2, False), (642, 358, 1, False), (1280, 720, 0, True)],
)
def test_what_a_real_encoder_writes(width: int, height: int, bframes: int, ten_bits: bool) -> None:
    codec = learn(H265, encoded(width, height, bframes, ten_bits=ten_bits))
    assert codec is not None
    info = codec.info
    assert isinstance(info, Sps)
    assert (info.width, info.height) == (width, height)
    assert info.reorder_depth == min(bframes, 1)
    assert info.ticks_per_frame == 3600
    assert (info.profile_space, info.profile_idc, info.tier) == (0, 2 if ten_bits else 1, 0)
    assert codec.encoding == "H265"
    assert [one[0] >> 1 for one in codec.sets] == [32, 33, 34]
    assert codec.parameters["profile-id"] == str(info.profile_idc)
    assert codec.parameters["level-id"] == str(info.level_idc)
    assert all(h264_sets.parse_sprop(codec.parameters[f"sprop-{name}"]) for name in ("vps", "sps", "pps"))


def general(writer: BitWriter, layers: int, profile: int = 1, tier: int = 0, level: int = 93) -> BitWriter:
    """The front of an SPS: ids, sub-layers, profile, tier and level."""
    writer.bits(0, 4).bits(layers - 1, 3).bits(1, 1)
    return writer.bits(0, 2).bits(tier, 1).bits(profile, 5).bits(0x6000_0000, 32).bits(0, 48).bits(level, 8)


def sized(layers: int = 1, depth: int = 2, *, chroma: int = 1) -> BitWriter:
    """An SPS of 1920×1080, cropped from 1088, up to the sizes of blocks."""
    writer = general(BitWriter(), layers)
    for layer in range(layers - 1):
        writer.bits(1, 1).bits(layer % 2, 1)
    if layers > 1:
        writer.bits(0, 2 * (9 - layers))
        for layer in range(layers - 1):
            writer.bits(1, 88)
            if layer % 2:
                writer.bits(90, 8)
    writer.ue(0).ue(chroma)
    if chroma == 3:
        writer.bits(0, 1)
    unit = 2 if chroma == 1 else 1
    writer.ue(1920).ue(1080 + 4 * unit).bits(1, 1).ue(0, 0, 0, 4).ue(0, 0, 4).bits(1, 1)
    for layer in range(layers):
        writer.ue(4, depth if layer == layers - 1 else 0, 0)
    return writer


def finished(writer: BitWriter) -> BitWriter:
    """Block sizes, no scaling lists, no PCM; no reference sets, no long-term pictures."""
    return writer.ue(0, 3, 0, 3, 0, 0).bits(0, 1).bits(3, 2).bits(0, 1)


def timed(writer: BitWriter, units: int = 1, scale: int = 25) -> bytes:
    """A VUI of everything that comes before the timing."""
    writer.bits(0, 1).bits(0, 2).bits(1, 1)
    writer.bits(1, 1).bits(255, 8).bits(1, 16).bits(1, 16).bits(3, 2)
    writer.bits(1, 1).bits(5, 3).bits(0, 1).bits(1, 1).bits(1, 24).bits(1, 1).ue(1, 1).bits(0, 3)
    return writer.bits(1, 1).ue(1, 2, 3, 4).bits(1, 1).bits(units, 32).bits(scale, 32).bits(0, 8).nal(HEAD)


@pytest.mark.parametrize("layers", [1, 2, 4, 7])
@pytest.mark.parametrize("chroma", [0, 1, 3])
def test_sub_layers_and_chroma_are_stepped_over(layers: int, chroma: int) -> None:
    info = parse_sps(timed(finished(sized(layers, chroma=chroma)).ue(0)))
    assert (info.width, info.height, info.reorder_depth) == (1920, 1080, 2)
    assert info.ticks_per_frame == 3600
    assert (info.profile_idc, info.level_idc) == (1, 93)


def test_scaling_lists_and_pcm_are_stepped_over() -> None:
    writer = sized().ue(0, 3, 0, 3, 0, 0).bits(3, 2)
    for size in range(4):
        for matrix in range(2 if size == 3 else 6):
            if matrix == 1:
                writer.bits(0, 1).ue(1)
            else:
                writer.bits(1, 1).ue(*[1] * (min(64, 16 << 2 * size) + (size > 1)))
    writer.bits(3, 2).bits(1, 1).bits(0x77, 8).ue(0, 1).bits(1, 1).ue(0)
    assert parse_sps(timed(writer)).ticks_per_frame == 3600


def test_reference_sets_that_are_told_by_the_one_before() -> None:
    writer = finished(sized()).ue(4)
    writer.ue(2, 1).ue(0).bits(1, 1).ue(1).bits(1, 1).ue(0).bits(1, 1)  # −1, −3, +1
    # One earlier: −2, −4, 0 and −1. What becomes the picture itself counts no more, so three are left …
    writer.bits(1, 1).bits(1, 1).ue(0).bits(1, 1).bits(1, 1).bits(1, 1).bits(1, 1)
    # … of which the next one leaves one out, and so on.
    writer.bits(1, 1).bits(0, 1).ue(0).bits(1, 1).bits(0, 1).bits(0, 1).bits(1, 1).bits(1, 1)
    writer.bits(0, 1).ue(0, 0)
    assert parse_sps(timed(writer)).ticks_per_frame == 3600


def test_long_term_pictures_are_stepped_over() -> None:
    writer = finished(sized()).ue(0).bits(1, 1).ue(2).bits(0, 9).bits(0, 9)
    info = parse_sps(
        writer.bits(0, 2).bits(1, 1).bits(0, 4).bits(0, 3).bits(0, 1).bits(1, 1).bits(1, 32).bits(50, 32).nal(HEAD)
    )
    assert info.ticks_per_frame == 1800


def test_what_comes_after_the_size_may_be_nonsense() -> None:
    for writer in (sized(), finished(sized()).ue(65)):
        info = parse_sps(writer.nal(HEAD))
        assert (info.width, info.ticks_per_frame) == (1920, None)
    assert parse_sps(timed(finished(sized()).ue(0), units=100, scale=1)).ticks_per_frame is None
    assert parse_sps(timed(finished(sized(depth=40)).ue(0))).reorder_depth is None


@pytest.mark.parametrize(
    "nal",
    [
        b"",
        b"\x40\x01" + bytes(40),
        HEAD + bytes(20),
        HEAD + b"\xff" * 20,
        HEAD + bytes(5000),
        general(BitWriter(), 1).ue(0, 4).bits(0, 60).nal(HEAD),
        general(BitWriter(), 1).ue(0, 1, 0, 1080).bits(0, 60).nal(HEAD),
        general(BitWriter(), 1).ue(0, 1, 20_000, 1080).bits(0, 60).nal(HEAD),
        general(BitWriter(), 1).ue(0, 1, 64, 64).bits(1, 1).ue(90, 0, 0, 0).bits(0, 60).nal(HEAD),
        BitWriter().bits(0, 4).bits(7, 3).bits(0, 200).nal(HEAD),
    ],
)
def test_nonsense_is_refused(nal: bytes) -> None:
    with pytest.raises(RtpParseError):
        parse_sps(nal)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.booleans())
def test_whatever_comes_is_bounded_or_refused(data: bytes, behind: bool) -> None:
    front = sized().nal(HEAD)[:-1] if behind else HEAD
    try:
        info = parse_sps(front + data)
    except RtpParseError:
        return
    assert 0 < info.width <= 16_384
    assert 0 < info.height <= 16_384
    assert info.reorder_depth is None or 0 <= info.reorder_depth <= 16
    assert info.ticks_per_frame is None or 0 < info.ticks_per_frame <= 180_000


# -- what is learned of both codings


def test_sets_of_one_kind_alone_leave_the_others_as_they_were() -> None:
    nals = encoded(320, 180, 0)
    known = learn(H265, nals)
    assert known is not None
    vps, sps, pps = known.sets
    assert learn(H265, [vps, sps]) is None
    assert learn(H265, [b"", b"\x44", pps], known) is known
    other = learn(H265, [pps + b"\x80"], known)
    assert other is not None
    assert other != known
    assert other.sets == [vps, sps, pps + b"\x80"]
    assert learn(H264, [b"\x68pps"], known) is None, "sets of another coding are none of it"
    with pytest.raises(RtpParseError):
        learn(H265, [b"\x42\x01nonsense"], known)


def test_a_keyframe_is_completed_behind_its_delimiter() -> None:
    known = learn(H265, encoded(320, 180, 0))
    assert isinstance(known, Codec)
    vps, sps, pps = known.sets
    idr, aud = b"\x26\x01idr", b"\x46\x01\x50"
    assert known.complete([idr]) == [vps, sps, pps, idr]
    assert known.complete([aud, sps, idr]) == [aud, vps, pps, sps, idr]
    assert known.complete([vps, sps, pps, idr]) is None


def test_the_codings_are_told_by_their_names() -> None:
    assert dict(CODINGS) == {"H264": H264, "H265": H265}
