"""A process of its own that makes still pictures of keyframes: `python -m soip.media.darkroom`.

Decoding is work for milliseconds and its input is whatever a camera sends. Here it delays no packet, and a decoder that
fails takes no recording with it. The process has the lowest priority, a bounded memory and no file of ours open.

It reads orders from standard input and answers each on standard output, in their order, until the input ends:

    order   `ORDER`: number of the keyframe, its coding, width, height, format, size in bytes; then the keyframe, its
            NAL units each after its length in four bytes, parameter sets among them
    answer  `ANSWER`: whether it worked, size in bytes; then the picture, or in words why there is none

Width and height are the most that the picture may have, 0 for as much as there is; it keeps its shape and is never made
larger. A keyframe that was decoded for one order is there for the next ones.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from collections import OrderedDict
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from soip.lifeline import tie_to_parent
from soip.rtp.nal import split_length_prefixed

ORDER = struct.Struct(">QBHHBI")
ANSWER = struct.Struct(">?I")
FORMATS = ("jpg", "bmp")
ENCODINGS = ("H264", "H265")
MEMORY = 2 << 30
"""Bytes of address space: a decoder that wants more fails."""
_KEPT = 4
"""Decoded keyframes that are kept."""
_QUALITY = 3
"""Quantiser of JPEG, 2 to 31: hardly worse than the video."""


def main() -> None:
    """Work until standard input ends."""
    tie_to_parent()
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    av.logging.set_level(av.logging.PANIC)
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(orders: BinaryIO, answers: BinaryIO) -> None:
    """Answer orders until there are no more."""
    decoded: OrderedDict[int, Decoded] = OrderedDict()
    while len(head := orders.read(ORDER.size)) == ORDER.size:
        number, coding, width, height, form, size = ORDER.unpack(head)
        keyframe = orders.read(size)
        if len(keyframe) < size:
            break
        try:
            if number not in decoded:
                decoded[number] = decode(keyframe, ENCODINGS[coding])
            decoded.move_to_end(number)
            worked, answer = True, encode(decoded[number], width, height, FORMATS[form])
        except (av.FFmpegError, ValueError, MemoryError, IndexError) as error:
            worked, answer = False, str(error).encode()
        while len(decoded) > _KEPT:
            decoded.popitem(last=False)
        answers.write(ANSWER.pack(worked, len(answer)) + answer)
        answers.flush()


class Decoded(NamedTuple):
    """A picture, and the shape of its pixels (width by height)."""

    frame: VideoFrame
    pixel: Fraction | None


def decode(keyframe: bytes, encoding: str = "H264") -> Decoded:
    """The picture in a keyframe. Raises FFmpegError, ValueError."""
    decoder = av.CodecContext.create("h264" if encoding == "H264" else "hevc", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    stream = b"".join(b"\0\0\0\1" + bytes(nal) for nal in split_length_prefixed(keyframe))
    for frame in [*decoder.decode(av.Packet(stream)), *decoder.decode(None)]:
        return Decoded(frame, decoder.sample_aspect_ratio)
    raise ValueError("the keyframe holds no picture")


def encode(picture: Decoded, width: int, height: int, form: str) -> bytes:
    """The picture in a form and within a size. Raises FFmpegError."""
    frame = picture.frame
    width, height = fit(frame.width, frame.height, picture.pixel, width, height)
    codec, pixels = ("mjpeg", "yuvj420p") if form == "jpg" else ("bmp", "bgr24")
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = pixels
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": str(_QUALITY), "qmax": str(_QUALITY)} if form == "jpg" else {}
    scaled = frame.reformat(width, height, pixels)
    scaled.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(scaled), *encoder.encode(None)])


def fit(width: int, height: int, pixel: Fraction | None, most_width: int, most_height: int) -> tuple[int, int]:
    """The size to show a picture at whose pixels have that shape: not above either bound (0: none), of even numbers."""
    shown = Fraction(width) * (pixel or 1)
    scale = min(Fraction(most_width) / shown if most_width else 1, Fraction(most_height) / height if most_height else 1)
    scale = min(scale, Fraction(1))
    return max(2, round(shown * scale) & ~1), max(2, round(height * scale) & ~1)


if __name__ == "__main__":
    main()
