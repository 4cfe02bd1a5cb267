"""The software camera's sound: 16-bit mono samples to frames of whichever encoding it was told to speak."""

from __future__ import annotations

from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from soip.rtp import g711
from soip.rtp.aac import build_config
from soip.rtp.sound import G711, OPUS, PCMA, PCMU, SoundFormat

SPOKEN = {"pcmu": PCMU, "pcma": PCMA, "aac": SoundFormat.of_aac(build_config(16_000, 1)), "opus": OPUS}
"""What a camera can be told to speak."""
G711_SAMPLES = 160  # 20 ms, RFC 3551 §4.2
_BIT_RATES = {"MPEG4-GENERIC": 32_000, "OPUS": 32_000}


class SoundEncoder:
    """Order of calls: `feed` with what follows, or with what lies behind a gap, which the ticks then jump over."""

    def __init__(self, form: SoundFormat) -> None:
        self.form = form
        self._coder = None if form.is_g711 else _Coder(form)
        self._size = 2 * (self._coder.samples if self._coder else G711_SAMPLES)
        self._buffer = bytearray()
        self._next: int | None = None
        self._ticks = 0

    def feed(self, samples: bytes, first: int) -> list[tuple[int, bytes]]:
        """Frames that are complete now, and the tick at which each begins. `first` is the tick of the first sample; a
        tick is a sample at the format's clock rate.
        """
        self._ticks += first - (self._next or 0)
        self._next = first + len(samples) // 2
        self._buffer += samples
        frames: list[tuple[int, bytes]] = []
        while len(self._buffer) >= self._size:
            piece = bytes(self._buffer[: self._size])
            del self._buffer[: self._size]
            coded = self._coder.encode(piece) if self._coder else [g711.encode(piece, G711[self.form.encoding])]
            for frame in coded:
                frames.append((self._ticks, frame))
                self._ticks += self.form.samples(frame)
        return frames


class _Coder:
    """AAC or Opus by FFmpeg, as many `samples` at a time as a frame has."""

    def __init__(self, form: SoundFormat) -> None:
        context = av.CodecContext.create("aac" if form.config else "libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate, context.layout = form.clock_rate, "mono"
        context.format = "fltp" if form.config else "s16"
        context.bit_rate = _BIT_RATES[form.encoding]
        context.time_base = Fraction(1, form.clock_rate)
        context.open()
        self.samples = context.frame_size
        self._context = context
        self._planar = AudioResampler(format=context.format.name, layout="mono", rate=form.clock_rate)
        self._extra = 1 if form.config else 0
        """Frames that come before the sound: AAC's first is the encoder's own."""

    def encode(self, samples: bytes) -> list[bytes]:
        frame = AudioFrame("s16", "mono", self.samples)
        frame.planes[0].update(samples.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = self._context.sample_rate
        frames: list[bytes] = []
        for piece in self._planar.resample(frame):
            piece.pts = None
            frames += [bytes(packet) for packet in self._context.encode(piece)]
        dropped = min(self._extra, len(frames))
        self._extra -= dropped
        return frames[dropped:]
