"""Video for the software camera: H.264 (constrained baseline) by libx264, H.265 (Main) by libx265; one access unit out
per picture in.
"""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from soip.agents.source import VIDEO_CLOCK
from soip.rtp.h264 import H264
from soip.rtp.nal import Coding, split_annex_b


class Encoder:
    """Encodes 4:2:0 pictures of one size without delay; the parameter sets stand before every IDR.

    `bitrate` in bit/s caps the stream hard; None lets quality decide (a test pattern then takes about
    60 kbit/s). `gop_seconds` is the longest way between two IDRs.
    """

    def __init__(
        self,
        width: int,
        height: int,
        rate: Fraction,
        *,
        coding: Coding = H264,
        gop_seconds: float = 2,
        bitrate: int | None = None,
    ) -> None:
        self.width, self.height = width, height
        self.coding = coding
        context = av.CodecContext.create("libx264" if coding is H264 else "libx265", "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = Fraction(1, VIDEO_CLOCK)
        context.framerate = rate
        context.thread_count = 1
        context.gop_size = max(1, round(rate * Fraction(gop_seconds)))
        if coding is H264:
            # libx264's "baseline" is constrained baseline: it sets constraint_set1_flag and uses no FMO or ASO.
            options = {"preset": "superfast", "profile": "baseline", "x264-params": "scenecut=0"}
        else:
            # One thread, as for libx264; its words go to standard error otherwise.
            alone = "pools=none:frame-threads=1:log-level=none"
            params = f"scenecut=0:bframes=0:open-gop=0:repeat-headers=1:info=0:{alone}"
            options = {"preset": "ultrafast", "profile": "main", "x265-params": params}
        options |= {"tune": "zerolatency", "forced-idr": "1"}
        if bitrate is None:
            options |= {"crf": "23", "maxrate": "4M", "bufsize": "4M"}
        else:
            context.bit_rate = bitrate
            options |= {"maxrate": str(bitrate), "bufsize": str(bitrate)}
        context.options = options
        self._context = context

    def encode(self, frame: VideoFrame, ticks: int, keyframe: bool) -> tuple[bytes, ...]:
        """The access unit of `frame` at `ticks` (90 kHz): NAL units without start codes."""
        frame.pts, frame.time_base = ticks, Fraction(1, VIDEO_CLOCK)
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        return tuple(nal for packet in self._context.encode(frame) for nal in split_annex_b(bytes(packet)))
