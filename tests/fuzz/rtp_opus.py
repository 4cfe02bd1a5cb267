"""Fuzz target: Opus packets."""

from __future__ import annotations

from soip.rtp.errors import RtpParseError
from soip.rtp.opus import MAX_SAMPLES, Depacketiser, packet_samples

SAMPLES = [
    b"\x78abc",
    b"\x79abcd",
    b"\x7a\x01abc",
    b"\x7b\x03" + bytes(9),
    b"\x7b\x83\1\2\1\2\2\3\3",
    b"\x7b\x43\x04" + bytes(13),
]


def fuzz(data: bytes) -> None:
    """A packet lasts some samples, 120 ms at most, and passes whole; or it is the documented error, and is counted."""
    stream = Depacketiser()
    frames = stream.unpack(data, 0, 1, 0)
    try:
        assert 0 < packet_samples(data) <= MAX_SAMPLES
        assert frames == [data]
        assert not stream.malformed
    except RtpParseError:
        assert frames == []
        assert stream.malformed == 1
