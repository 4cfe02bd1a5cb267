"""Fuzz target: H.265 parameter sets."""

from __future__ import annotations

from soip.mp4.tracks import video_track
from soip.rtp.codec import learn
from soip.rtp.errors import RtpParseError
from soip.rtp.h265 import H265

VPS, PPS = b"\x40\x01\x0c", b"\x44\x01\xc1"


def fuzz(data: bytes) -> None:
    """An SPS parses to bounded values or raises the documented error; of one that parses MP4 makes a track, or says
    that it cannot.
    """
    try:
        codec = learn(H265, [VPS, b"\x42\x01" + data, PPS])
    except RtpParseError:
        return
    if codec is None:  # no data
        return
    info = codec.info
    assert 0 < info.width <= 16_384
    assert 0 < info.height <= 16_384
    assert info.reorder_depth is None or info.reorder_depth <= 16
    assert info.ticks_per_frame is None or 0 < info.ticks_per_frame <= 180_000
    try:
        track = video_track(codec.encoding, codec.groups, info.width, info.height)
    except ValueError:
        return
    assert track.codec.startswith("hvc1.")
    assert track.encoding == "H265"
