"""Opus: the shape of a packet (RFC 6716 §3) and its RTP payload (RFC 7587), which is one packet as it is."""

from __future__ import annotations

from soip.rtp.errors import RtpParseError

ENCODING = "OPUS"
CLOCK_RATE = 48_000
"""Always, whatever the audio bandwidth (RFC 7587 §4.1)."""
CHANNELS = 2
"""Always in rtpmap (RFC 7587 §7)."""
MAX_SAMPLES = 5760
"""120 ms at 48 kHz: the longest packet (RFC 6716 §3.2.5, R5)."""
MAX_FRAME = 1275
"""Bytes of one frame (RFC 6716 §3.4, R2)."""

_SILK = (480, 960, 1920, 2880)
_CELT = (120, 240, 480, 960)


def frame_samples(toc: int) -> int:
    """Samples at 48 kHz of one frame, by the configuration in a TOC byte (RFC 6716 §3.1, table 2)."""
    config = toc >> 3
    if config < 12:
        return _SILK[config & 3]
    return _CELT[2 + (config & 1)] if config < 16 else _CELT[config & 3]


def packet_samples(packet: bytes) -> int:
    """Samples at 48 kHz of a packet. Raises RtpParseError for one that no decoder takes (RFC 6716 §3.4)."""
    if not packet:
        raise RtpParseError("an Opus packet without a TOC")
    code, size = packet[0] & 3, len(packet) - 1
    if code == 3:
        count = _counted(packet)
    else:
        count = 2 if code else 1
        if code == 1 and size % 2:
            raise RtpParseError("two equal Opus frames of an odd size")
        if code == 2:
            _first_of_two(packet)
        if size > count * MAX_FRAME + 2:
            raise RtpParseError(f"an Opus packet of {size} bytes")
    samples = count * frame_samples(packet[0])
    if samples > MAX_SAMPLES:
        raise RtpParseError(f"an Opus packet of {count} frames")
    return samples


def _length(packet: bytes, at: int) -> tuple[int, int]:
    """A frame's length and where what follows it begins (RFC 6716 §3.2.1)."""
    if at >= len(packet):
        raise RtpParseError("an Opus packet is cut off", at)
    if packet[at] < 252:
        return packet[at], at + 1
    if at + 1 >= len(packet):
        raise RtpParseError("an Opus packet is cut off", at)
    return packet[at] + 4 * packet[at + 1], at + 2


def _first_of_two(packet: bytes) -> None:
    length, at = _length(packet, 1)
    if length > len(packet) - at:
        raise RtpParseError("an Opus frame exceeds its packet", at)


def _counted(packet: bytes) -> int:
    """The number of frames of a packet of code 3 (RFC 6716 §3.2.5), whose sizes must fit."""
    if len(packet) < 2:
        raise RtpParseError("an Opus packet is cut off", 1)
    count, variable, padded = packet[1] & 0x3F, packet[1] & 0x80, packet[1] & 0x40
    if not count or count * frame_samples(packet[0]) > MAX_SAMPLES:
        raise RtpParseError(f"an Opus packet of {count} frames")
    at, padding = 2, 0
    while padded:
        if at >= len(packet):
            raise RtpParseError("an Opus packet is cut off", at)
        padding += min(packet[at], 254)
        padded, at = packet[at] == 255, at + 1
    rest = len(packet) - padding
    if variable:
        for _ in range(count - 1):
            length, at = _length(packet, at)
            rest -= length
    elif rest >= at and (rest - at) % count:
        raise RtpParseError("equal Opus frames do not fit their packet", at)
    if rest < at:
        raise RtpParseError("Opus frames exceed their packet", at)
    return count


class Depacketiser:
    """Packets as they came, without those that no decoder takes."""

    step = 0

    def __init__(self) -> None:
        self.malformed = 0
        """Payloads dropped."""

    def unpack(self, payload: bytes, _ticks: int, _marker: int, _lost: int) -> list[bytes]:
        """The one packet of a payload, or none."""
        try:
            packet_samples(payload)
        except RtpParseError:
            self.malformed += 1
            return []
        return [payload]

    def restart(self) -> None:
        """Another source begins."""
