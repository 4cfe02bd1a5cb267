"""Fuzz target: RTCP datagrams."""

from __future__ import annotations

from soip.rtp import rtcp
from soip.rtp.errors import RtpBuildError, RtpParseError


def fuzz(data: bytes) -> None:
    """Parses or raises the documented error; what parsed builds and parses to the same, or does not fit."""
    try:
        packets = rtcp.parse(data)
    except RtpParseError:
        return
    # A chunk may end without a CNAME; we send none or an empty one alike.
    packets = [packet for packet in packets if not isinstance(packet, rtcp.SourceDescription) or packet.cname]
    try:
        again = rtcp.parse(rtcp.build(packets))
    except RtpBuildError:  # broken UTF-8 grows when it is replaced
        return
    assert list(map(_comparable, again)) == list(map(_comparable, packets[: rtcp.MAX_PACKETS]))


def _comparable(packet: rtcp.Packet) -> object:
    # A NACK names packets, in whatever order and however often (RFC 4585 §6.2.1).
    return (packet.ssrc, packet.media_ssrc, set(packet.sequences)) if isinstance(packet, rtcp.Nack) else packet
