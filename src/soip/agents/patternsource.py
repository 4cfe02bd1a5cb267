"""The test pattern as a source: paint, stamp, encode, 25 times a second; and a tone for those who listen."""

from __future__ import annotations

import math
import sys
import threading
import time
from array import array
from fractions import Fraction
from functools import cache
from itertools import chain

from av.video.frame import VideoFrame

from soip.agents.encoder import Encoder
from soip.agents.pattern import Pattern, Planes
from soip.agents.source import AUDIO_CLOCK, AUDIO_SAMPLES, VIDEO_CLOCK, AudioUnit, Source, VideoUnit
from soip.rtp import g711
from soip.rtp.h264 import H264
from soip.rtp.nal import Coding

_LATEST = 0.5  # seconds behind its schedule after which the pattern skips pictures instead of rushing them


class PatternSource(Source):
    """One camera's pattern. Frame counters count pictures sent and go on from listener to listener."""

    def __init__(
        self,
        camera: str,
        *,
        width: int = 640,
        height: int = 360,
        rate: int = 25,
        gop_seconds: float = 2,
        bitrate: int | None = None,
        coding: Coding = H264,
    ) -> None:
        super().__init__(f"pattern {camera}")
        self._rate = rate
        self._frame = VideoFrame(width, height, "yuv420p")
        planes = [memoryview(plane) for plane in self._frame.planes]
        strides = [plane.line_size for plane in self._frame.planes]
        self._pattern = Pattern(camera, Planes(width, height, planes, strides), rate)
        self._encoder = Encoder(width, height, Fraction(rate), coding=coding, gop_seconds=gop_seconds, bitrate=bitrate)
        self._counter = 0
        self._origin = time.monotonic()
        self._slot = 0
        first = self._encoder.encode(self._frame, -VIDEO_CLOCK // rate, True)  # tells the parameter sets, unsent
        self._parameter_sets = tuple(chain(*coding.find_sets(first)))

    @property
    def coding(self) -> Coding:
        return self._encoder.coding

    @property
    def parameter_sets(self) -> tuple[bytes, ...]:
        return self._parameter_sets

    @property
    def has_audio(self) -> bool:
        return True

    def _run(self, stop: threading.Event) -> None:
        self.request_keyframe()
        self._slot = max(self._slot, int((time.monotonic() - self._origin) * self._rate))
        while not stop.is_set():
            late = time.monotonic() - self._origin - self._slot / self._rate
            if late < 0:
                stop.wait(-late)
            elif late > _LATEST:
                self._slot += int(late * self._rate)
            else:
                self._picture()
                self._slot += 1

    def _picture(self) -> None:
        utc = time.time()
        self._pattern.update(self._counter, int(utc * 1000))
        self._counter += 1
        ticks = self._slot * VIDEO_CLOCK // self._rate
        nals = self._encoder.encode(self._frame, ticks, self._take_keyframe_request())
        self._emit(VideoUnit(nals, ticks, utc, self.coding.is_keyframe(nals)))
        first = -(-self._slot * AUDIO_CLOCK // self._rate // AUDIO_SAMPLES) * AUDIO_SAMPLES
        for sample in range(first, (self._slot + 1) * AUDIO_CLOCK // self._rate, AUDIO_SAMPLES):
            offset = sample % AUDIO_CLOCK
            lead = sample / AUDIO_CLOCK - self._slot / self._rate
            self._emit(AudioUnit(tone()[offset : offset + AUDIO_SAMPLES], sample, utc + lead))


@cache
def tone() -> bytes:
    """One second of PCMU: a quiet 400 Hz hum with a pip of 1 kHz in its first tenth."""
    samples = array("h")
    for index in range(AUDIO_CLOCK):
        amplitude, pitch = (8000, 1000) if index < AUDIO_CLOCK // 10 else (1000, 400)
        samples.append(round(amplitude * math.sin(2 * math.pi * pitch * index / AUDIO_CLOCK)))
    if sys.byteorder == "big":
        samples.byteswap()
    return g711.encode(samples.tobytes(), g711.PCMU)
