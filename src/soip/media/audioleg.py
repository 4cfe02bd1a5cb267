"""Sound to one viewer by RTP, live or recorded, frame by frame in one of the formats that were agreed on."""

from __future__ import annotations

import secrets

from soip.media.context import Context
from soip.media.intake import Sound
from soip.media.outleg import OutLeg
from soip.net.rtpway import RtpWay
from soip.rtp.errors import RtpError
from soip.rtp.nal import PACKET_SIZE
from soip.rtp.packet import HEADER_SIZE, RtpPacket, build
from soip.sip.formats import AAC
from soip.sip.offer import Stream


class AudioLeg:
    """Raises OfferError, OSError when made, as `OutLeg` does. What comes in another encoding than agreed on is not
    sent: the camera was called anew and has changed it.
    """

    def __init__(self, context: Context, pair: RtpWay, stream: Stream) -> None:
        self.leg = OutLeg(context, pair, stream, lambda: None)
        self.stream = stream
        # RFC 3550 §5.1: SSRC and first sequence number are random.
        self._ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(16)
        self._packets = self._octets = 0
        self._timestamp: int | None = None
        self._utc_us: int | None = None

    def direct(self, stream: Stream) -> None:
        """Send as this says from now on; the numbering goes on."""
        self.leg.direct(stream)
        self.stream = stream

    def send(self, sound: Sound) -> None:
        """Send one frame; what the kernel refuses is gone, as on any wire."""
        if (sound.format.encoding, sound.format.clock_rate) != (self.stream.encoding, self.stream.clock_rate):
            return
        self._timestamp, self._utc_us = sound.frame.timestamp & 0xFFFFFFFF, sound.utc_us
        try:
            payloads = sound.format.packetise(sound.frame.payload, PACKET_SIZE - HEADER_SIZE)
            for number, payload in enumerate(payloads, 1):
                self._send(payload, last=number == len(payloads))
        except RtpError:
            self.leg.pair.refused += 1

    def _send(self, payload: bytes, *, last: bool) -> None:
        # RFC 3640 §3.1: the marker is where an access unit ends. Else it begins a talkspurt (RFC 3551 §4.1, RFC 7587
        # §4.1): here the very first packet.
        marker = last if self.stream.encoding == AAC else not self._packets
        packet = RtpPacket(
            self.stream.payload_type, marker, self._sequence & 0xFFFF, self._timestamp or 0, self._ssrc, payload
        )
        self._sequence += 1
        self._packets += 1
        self._octets += len(payload)
        self.leg.pair.send_packet(build(packet))

    def report(self) -> None:
        """A sender report, if one is due."""
        self.leg.report(self._ssrc, self._timestamp, self._packets, self._octets, self._utc_us)
