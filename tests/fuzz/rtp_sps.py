"""Fuzz target: H.264 parameter sets."""

from __future__ import annotations

from soip.rtp.errors import RtpParseError
from soip.rtp.h264_sets import build_sprop, parse_sprop, parse_sps


def fuzz(data: bytes) -> None:
    """An SPS parses to bounded values or raises the documented error; so does SDP's form of parameter sets."""
    try:
        info = parse_sps(b"\x67" + data)
        assert 0 < info.width <= 16_384
        assert 0 < info.height <= 16_384
        assert info.reorder_depth is None or info.reorder_depth <= 16
    except RtpParseError:
        pass
    try:
        nals = parse_sprop(data.decode("latin-1"))
    except RtpParseError:
        return
    assert parse_sprop(build_sprop(nals)) == nals
