"""Sound coded anew, once per camera: G.711 to AAC for recordings, anything to G.711 for phones."""

from collections.abc import Collection, Sequence
from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from soip.media.intake import Sound
from soip.rtp import receiver
from soip.rtp.opus import ENCODING as OPUS
from soip.rtp.sound import SoundFormat

RATE = 8000
"""Samples a second of G.711 (RFC 3551 §4.5.14), kept for the AAC track: nothing is gained by inventing more."""
SAMPLES_PER_FRAME = 1024
BIT_RATE = 24_000
PHONE_SAMPLES = 160
"""Samples in a packet to a phone: 20 ms (RFC 3551 §4.2)."""
HOLE_US = 60_000
"""Sound that is missing for longer makes the timestamps of what follows jump."""

_G711 = {"PCMU": "pcm_mulaw", "PCMA": "pcm_alaw"}


class AacTranscoder:
    """One G.711 stream to AAC-LC mono at 8 kHz.

    `config` is the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) for the track. `feed` takes the payloads of RTP
    packets in order and gives whole AAC frames of `SAMPLES_PER_FRAME` samples each; `finish` gives the rest, once. A
    packet costs about 50 µs here, too little to be worth a thread.
    """

    def __init__(self, encoding: str) -> None:
        decoder = av.CodecContext.create(_G711[encoding], "r")
        encoder = av.CodecContext.create("aac", "w")
        assert isinstance(decoder, AudioCodecContext)
        assert isinstance(encoder, AudioCodecContext)
        decoder.sample_rate = encoder.sample_rate = RATE
        decoder.layout = encoder.layout = "mono"
        encoder.format = "fltp"
        encoder.bit_rate = BIT_RATE
        encoder.time_base = Fraction(1, RATE)
        encoder.open()
        self._decoder, self._encoder = decoder, encoder
        self._resampler = AudioResampler(format="fltp", layout="mono", rate=RATE)
        self._fifo = AudioFifo()
        self._position = 0
        self.config = bytes(encoder.extradata or b"")

    @property
    def waiting(self) -> int:
        """Samples taken that do not fill a frame yet."""
        return self._fifo.samples

    def feed(self, payload: bytes) -> list[bytes]:
        """AAC frames that are complete now; often none, since a frame is 128 ms and a packet 20 ms."""
        packet = av.Packet(payload)
        packet.time_base = Fraction(1, RATE)
        for decoded in self._decoder.decode(packet):
            for frame in self._resampler.resample(decoded):
                frame.pts = None
                self._fifo.write(frame)
        frames: list[bytes] = []
        while (samples := self._fifo.read(SAMPLES_PER_FRAME)) is not None:
            frames += self._encode(samples)
        return frames

    def finish(self) -> list[bytes]:
        """The frames that are left; nothing can be fed after that."""
        rest = self._fifo.read(SAMPLES_PER_FRAME, partial=True)
        return [*(self._encode(rest) if rest is not None else ()), *map(bytes, self._encoder.encode(None))]

    def _encode(self, samples: AudioFrame | list[AudioFrame]) -> list[bytes]:
        assert isinstance(samples, AudioFrame)
        samples.pts = self._position
        samples.time_base = Fraction(1, RATE)
        self._position += samples.samples
        return [bytes(encoded) for encoded in self._encoder.encode(samples)]


def _decoder(form: SoundFormat) -> AudioCodecContext:
    """A decoder of what comes by RTP."""
    name = "aac" if form.config else "libopus" if form.encoding == OPUS else _G711[form.encoding]
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.sample_rate = form.clock_rate
    decoder.layout = "stereo" if form.encoding == OPUS else "mono"
    if form.config is not None:
        decoder.extradata = form.config.config  # which says the rest
    return decoder


def _g711_encoder(encoding: str) -> AudioCodecContext:
    encoder = av.CodecContext.create(_G711[encoding], "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
    encoder.time_base = Fraction(1, RATE)
    encoder.open()
    return encoder


def _phone_resampler() -> AudioResampler:
    return AudioResampler(format="s16", layout="mono", rate=RATE)


class PhoneSound:
    """Sound in any of our formats to packets of PCMU or PCMA. Used by one thread at a time, none in particular.

    `feed` takes frames in order, of whichever format each is, and gives whole packets of `PHONE_SAMPLES` in each of the
    wanted formats, whose timestamps rise with what was heard. What cannot be decoded is left out.
    """

    def __init__(self) -> None:
        self._encoders = {name: _g711_encoder(name) for name in _G711}
        self._source: SoundFormat | None = None
        self._ticks = 0
        self._next_us = 0

    def feed(self, sounds: Sequence[Sound], forms: Collection[SoundFormat]) -> list[Sound]:
        """The packets that are complete now, in PCMU, PCMA or both."""
        packets: list[Sound] = []
        for sound in sounds:
            if sound.format != self._source:
                self._begin(sound.format)
            self._follow(sound)
            self._decode(sound.frame.payload)
            while (samples := self._fifo.read(PHONE_SAMPLES)) is not None:
                assert isinstance(samples, AudioFrame)
                packets += self._packets(samples, sound, forms)
        return packets

    def _begin(self, form: SoundFormat) -> None:
        self._source = form
        self._decoder = _decoder(form)
        self._resampler = _phone_resampler()
        self._fifo = AudioFifo()
        self._next_us = 0

    def _follow(self, sound: Sound) -> None:
        """Let the timestamps jump over what is missing."""
        at_us = sound.utc_us - self._fifo.samples * 1_000_000 // RATE
        if self._next_us and at_us - self._next_us > HOLE_US:
            self._ticks += (at_us - self._next_us) * RATE // 1_000_000
        if not self._next_us or abs(at_us - self._next_us) > HOLE_US:
            self._next_us = at_us

    def _decode(self, payload: bytes) -> None:
        try:
            for decoded in self._decoder.decode(av.Packet(payload)):
                for piece in self._resampler.resample(decoded):
                    piece.pts = None
                    self._fifo.write(piece)
        except (av.FFmpegError, ValueError):
            # Nothing a decoder takes, or other channels or another rate in the middle: what follows may be as told.
            self._resampler = _phone_resampler()

    def _packets(self, samples: AudioFrame, sound: Sound, forms: Collection[SoundFormat]) -> list[Sound]:
        samples.pts, samples.time_base = self._ticks, Fraction(1, RATE)
        packets: list[Sound] = []
        for form in forms:
            for encoded in self._encoders[form.encoding].encode(samples):
                frame = receiver.AudioFrame(bytes(encoded), self._ticks, sound.frame.arrival, 0)
                packets.append(Sound(frame, self._next_us, form))
        self._ticks += PHONE_SAMPLES
        self._next_us += PHONE_SAMPLES * 1_000_000 // RATE
        return packets
