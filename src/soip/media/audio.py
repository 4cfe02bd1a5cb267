"""G.711 to AAC, once per camera: recordings and browsers want AAC, phones get the camera's own payloads."""

from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

RATE = 8000
"""Samples a second of G.711 (RFC 3551 §4.5.14), kept for the AAC track: nothing is gained by inventing more."""
SAMPLES_PER_FRAME = 1024
BIT_RATE = 24_000

_DECODERS = {"PCMU": "pcm_mulaw", "PCMA": "pcm_alaw"}


class AacTranscoder:
    """One G.711 stream to AAC-LC mono at 8 kHz.

    `config` is the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) for the track. `feed` takes the payloads of RTP
    packets in order and gives whole AAC frames of `SAMPLES_PER_FRAME` samples each; `finish` gives the rest, once. A
    packet costs about 50 µs here, too little to be worth a thread.
    """

    def __init__(self, encoding: str) -> None:
        decoder = av.CodecContext.create(_DECODERS[encoding], "r")
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
