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
from soip.agents.soundencoder import SoundEncoder
from soip.agents.source import VIDEO_CLOCK, AudioUnit, Source, VideoUnit
from soip.rtp.h264 import H264
from soip.rtp.nal import Coding
from soip.rtp.sound import PCMU, SoundFormat

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
        sound: SoundFormat = PCMU,
    ) -> None:
        super().__init__(f"pattern {camera}", sound)
        self._sound_encoder = SoundEncoder(sound)
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
        rate = self.sound.clock_rate
        first, end = (slot * rate // self._rate for slot in (self._slot, self._slot + 1))
        for sample, frame in self._sound_encoder.feed(_spoken(rate, first, end), first):
            self._emit(AudioUnit(frame, sample, utc + sample / rate - self._slot / self._rate))


def _spoken(rate: int, first: int, end: int) -> bytes:
    """Samples `first` up to `end` of the tone without end."""
    begin = 2 * (first % rate)
    return (tone(rate) * 2)[begin : begin + 2 * (end - first)]


@cache
def tone(rate: int) -> bytes:
    """One second of 16-bit samples: a quiet 400 Hz hum with a pip of 1 kHz in its first tenth."""
    samples = array("h")
    for index in range(rate):
        amplitude, pitch = (8000, 1000) if index < rate // 10 else (1000, 400)
        samples.append(round(amplitude * math.sin(2 * math.pi * pitch * index / rate)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
