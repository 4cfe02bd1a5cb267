"""Fuzz target: RTP headers."""

from __future__ import annotations

from soip.rtp.errors import RtpParseError
from soip.rtp.packet import build, parse


def fuzz(data: bytes) -> None:
    """Parses or raises the documented error; what parsed and is built again parses to the same."""
    try:
        packet = parse(data)
    except RtpParseError:
        return
    again = parse(build(packet))
    packet.payload, again.payload = bytes(packet.payload), bytes(again.payload)
    assert again == packet
