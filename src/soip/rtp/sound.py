"""What a stream of sound is made of, whichever of our encodings it is in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from soip.rtp import aac, g711, opus
from soip.rtp.errors import RtpParseError
from soip.rtp.receiver import AudioReceiver, Unpacker

G711 = {"PCMU": g711.PCMU, "PCMA": g711.PCMA}
"""The encodings that every phone knows, and their static payload types."""


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """The encoding as rtpmap names it, upper case. Two are equal when one decoder, and one file, takes both.

    `config` is there for AAC alone, and `mode` is how that is packed.
    """

    encoding: str
    clock_rate: int = g711.CLOCK_RATE
    channels: int = 1
    config: aac.AacConfig | None = None
    mode: aac.Mode = field(default=aac.HBR, compare=False)

    @classmethod
    def of(cls, encoding: str, clock_rate: int, channels: int, fmtp: Mapping[str, str]) -> SoundFormat:
        """As a session description tells it. Raises RtpParseError for what we cannot take."""
        if encoding == aac.ENCODING:
            config, mode = aac.parse_fmtp(fmtp)
            if not aac.RATES[-1] <= clock_rate <= 2 * aac.MAX_RATE:
                raise RtpParseError(f"mpeg4-generic with a clock of {clock_rate} Hz")
            return cls(encoding, clock_rate, channels, config, mode)
        if encoding == opus.ENCODING and clock_rate == opus.CLOCK_RATE:
            return cls(encoding, clock_rate, opus.CHANNELS)
        if encoding in G711 and clock_rate == g711.CLOCK_RATE and channels == 1:
            return cls(encoding)
        raise RtpParseError(f"audio in {encoding}/{clock_rate}/{channels}")

    @classmethod
    def of_aac(cls, data: bytes) -> SoundFormat:
        """AAC by its AudioSpecificConfig alone. Raises RtpParseError."""
        config = aac.parse_config(data)
        return cls(aac.ENCODING, config.sample_rate, config.channels, config)

    @property
    def is_g711(self) -> bool:
        """Whether any phone takes it as it is."""
        return self.encoding in G711

    def samples(self, payload: bytes) -> int:
        """How long a frame of it is, in ticks of `clock_rate`. Raises RtpParseError for no frame of it."""
        if self.config is not None:
            return self.config.frame_samples * self.clock_rate // self.config.sample_rate
        return opus.packet_samples(payload) if self.encoding == opus.ENCODING else len(payload)

    def receiver(self, payload_type: int, also: Collection[int] = ()) -> AudioReceiver:
        """The receive path of such a stream."""
        unpacker: Unpacker | None = None
        if self.config is not None:
            unpacker = aac.Depacketiser(self.config, self.mode, self.clock_rate)
        elif self.encoding == opus.ENCODING:
            unpacker = opus.Depacketiser()
        return AudioReceiver(payload_type, self.clock_rate, unpacker, also)

    def packetise(self, payload: bytes, limit: int) -> list[bytes]:
        """The RTP payloads of one frame; the last one's packet is where it ends. Raises RtpBuildError."""
        return aac.packetise(payload, limit) if self.config is not None else [payload]


PCMU = SoundFormat("PCMU")
PCMA = SoundFormat("PCMA")
OPUS = SoundFormat(opus.ENCODING, opus.CLOCK_RATE, opus.CHANNELS)
