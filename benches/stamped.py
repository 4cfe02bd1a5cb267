"""Cameras of `equal` whose pictures can be told from each other: a test pattern with its block code, made before
anything is measured.

They are as large as the other cameras' (`frames`), by filler data (ITU-T H.264 §7.3.2.7), so that they cost the
measured process the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame

from benches.frames import FRAME_RATE, FRAME_TICKS, GOP, gop
from soip.agents.blockcode import Stamp, camera_hash, read
from soip.agents.encoder import Encoder
from soip.agents.pattern import Pattern, Planes

WIDTH, HEIGHT = 640, 360
STAMPED = 4
_FILLER = 12
"""The type of a NAL unit that decoders pass over; it stands behind the slices of a picture (§7.4.1.2.3)."""


def chosen(cameras: int) -> tuple[int, ...]:
    """Which cameras bear a block code: four, spread over all."""
    return tuple(sorted({number * cameras // STAMPED for number in range(STAMPED)}))


def stamp(camera: int, number: int) -> Stamp:
    """What frame `number` of a camera says of itself."""
    return Stamp(number, number * 1000 // FRAME_RATE, camera_hash(f"cam-{camera}"))


def pictures(camera: int, count: int) -> Iterator[list[bytes]]:
    """The NAL units of the first `count` frames of a camera; the same ones each time. Camera k is k steps into its GOP,
    as all cameras are.
    """
    sizes = [sum(map(len, nals)) for nals in gop()]
    frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
    planes = [memoryview(plane) for plane in frame.planes]
    strides = [plane.line_size for plane in frame.planes]
    pattern = Pattern(f"cam-{camera}", Planes(WIDTH, HEIGHT, planes, strides), FRAME_RATE)
    encoder = Encoder(WIDTH, HEIGHT, Fraction(FRAME_RATE), gop_seconds=GOP / FRAME_RATE)
    for number in range(-(camera % GOP), count):
        step = (number + camera) % GOP
        said = stamp(camera, max(0, number))
        pattern.update(said.counter, said.utc_ms)
        nals = list(encoder.encode(frame, FRAME_TICKS * (number + GOP), step == 0))
        if number >= 0:
            yield [*nals, _filler(sizes[step] - sum(map(len, nals)))]


def _filler(size: int) -> bytes:
    return bytes([_FILLER]) + b"\xff" * max(1, size - 2) + b"\x80"


def stamps(files: list[Path]) -> Iterator[Stamp | None]:
    """What the decoded pictures of recorded files say of themselves, in order."""
    for file in files:
        with av.open(str(file)) as container:
            for frame in container.decode(video=0):
                luma = frame.planes[0]
                yield read(bytes(luma), luma.line_size, frame.width, frame.height)
