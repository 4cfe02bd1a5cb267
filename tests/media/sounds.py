"""Sound for the tests: a tone in any of our formats, and what is heard in frames of one."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from itertools import pairwise

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from soip.rtp.aac import build_config
from soip.rtp.sound import OPUS, SoundFormat

AAC = SoundFormat.of_aac(build_config(16_000, 1))
PITCH = 1000
_NAMES = {"PCMU": "pcm_mulaw", "PCMA": "pcm_alaw", "OPUS": "libopus", "MPEG4-GENERIC": "aac"}


def wave(rate: int, start: float, seconds: float, loud: float = 10_000) -> bytes:
    """16-bit samples of the tone, from `start` seconds on."""
    first, count = round(start * rate), round(seconds * rate)
    samples = (round(loud * math.sin(2 * math.pi * PITCH * at / rate)) for at in range(first, first + count))
    return array("h", samples).tobytes()


def encode(form: SoundFormat, samples: bytes) -> list[bytes]:
    """Frames of mono 16-bit samples at the format's rate; for AAC the first is the encoder's own, before the sound."""
    encoder = av.CodecContext.create(_NAMES[form.encoding], "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout = form.clock_rate, "stereo" if form.config and form.channels == 2 else "mono"
    encoder.format = "fltp" if form.config else "s16"
    encoder.time_base = Fraction(1, form.clock_rate)
    encoder.open()
    frame = AudioFrame("s16", "mono", len(samples) // 2)
    frame.planes[0].update(samples.ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = form.clock_rate
    fifo, out = AudioFifo(), []
    for piece in AudioResampler(format=encoder.format.name, layout=encoder.layout.name, rate=form.clock_rate).resample(
        frame
    ):
        piece.pts = None
        fifo.write(piece)
    for piece in fifo.read_many(encoder.frame_size or form.clock_rate // 50):
        out += [bytes(packet) for packet in encoder.encode(piece)]
    return out


@cache
def tone(form: SoundFormat) -> list[bytes]:
    """About four seconds of it; AAC without the frame before it."""
    return encode(form, wave(form.clock_rate, 0.0, 4.0))[1:]


def decode(form: SoundFormat, frames: Iterable[bytes]) -> array[int]:
    """What is heard: 16-bit mono at 8 kHz."""
    decoder = av.CodecContext.create(_NAMES[form.encoding], "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.sample_rate, decoder.layout = form.clock_rate, "stereo" if form == OPUS else "mono"
    if form.config is not None:
        decoder.extradata = form.config.config
    resampler = AudioResampler(format="s16", layout="mono", rate=8000)
    heard = array("h")
    for frame in frames:
        for decoded in decoder.decode(av.Packet(frame)):
            for piece in resampler.resample(decoded):
                heard.frombytes(bytes(piece.planes[0])[: 2 * piece.samples])
    return heard


def pitch(heard: array[int]) -> float:
    """The frequency of 8 kHz sound, by how often it crosses zero."""
    crossings = sum(before < 0 <= after for before, after in pairwise(heard))
    return crossings * 8000 / max(1, len(heard))
