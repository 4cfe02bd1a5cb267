"""Pictures and numbers the media tests share."""

from __future__ import annotations

import base64

from soip.media.intake import Picture
from soip.rtp.codec import Codec
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import parse_sps
from soip.rtp.nal import AccessUnit

# A Constrained Baseline SPS of 640×360 and its PPS, as x264 writes them.
SPS = base64.b64decode("Z0LAHtkAoC/5YQAAAwABAAADADIPFi5I")
PPS = base64.b64decode("aMuBPLI=")
CODEC = Codec(H264, ((SPS,), (PPS,)), parse_sps(SPS))
FRAME = 3600
START = 161_000_000_000_000
START_US = START * 100 // 9


def picture(number: int, *, gop: int = 25, size: int = 3000, arrival: float | None = None) -> Picture:
    """Picture `number` of a stream of 25/s: a keyframe every `gop`, NAL units of recognisable bytes."""
    keyframe = number % gop == 0
    head = b"\x65" if keyframe else b"\x41"
    body = head + number.to_bytes(4, "big") + bytes([number % 251 + 1]) * (size - 5)
    nals: list[bytes | bytearray] = [*([SPS, PPS] if keyframe else []), body]
    pts = START + number * FRAME
    unit = AccessUnit.of(nals, 1 << 32 | number * FRAME, keyframe, number / 25 if arrival is None else arrival)
    return Picture(unit, CODEC, pts, pts, START_US + number * 40_000, number == 0)
