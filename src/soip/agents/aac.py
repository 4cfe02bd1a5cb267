"""G.711 to AAC by PyAV, for the sound of a recorded call."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from soip.rtp import g711

RATE = g711.CLOCK_RATE
FRAME = 1024
"""Samples of one AAC frame (ISO/IEC 14496-3 §4.5.1.1)."""
_BIT_RATE = 24_000


class AacEncoder:
    """Mono AAC-LC at 8 kHz. `config` is the AudioSpecificConfig; a frame of `FRAME` samples comes out per 1024 in."""

    def __init__(self) -> None:
        context = av.CodecContext.create("aac", "w")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate, context.layout, context.format = RATE, "mono", "fltp"
        context.bit_rate = _BIT_RATE
        context.time_base = Fraction(1, RATE)
        context.open()
        self.config = bytes(context.extradata or b"")
        self._context = context
        self._planar = AudioResampler(format="fltp", layout="mono", rate=RATE)
        self._fifo = AudioFifo()

    def encode(self, payload: bytes, payload_type: int) -> list[bytes]:
        """AAC frames completed by a G.711 payload."""
        pcm = g711.decode(payload, payload_type)
        frame = AudioFrame("s16", "mono", len(payload))
        frame.planes[0].update(pcm.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = RATE
        for piece in self._planar.resample(frame):
            piece.pts = None
            self._fifo.write(piece)
        return self._encoded(self._fifo.read_many(FRAME))

    def finish(self) -> list[bytes]:
        """The frames still inside, the last one filled up with silence. Nothing can be encoded after this."""
        rest = self._fifo.read()
        return self._encoded([rest, None] if rest is not None else [None])

    def _encoded(self, frames: Sequence[AudioFrame | None]) -> list[bytes]:
        return [bytes(packet) for frame in frames for packet in self._context.encode(frame)]
