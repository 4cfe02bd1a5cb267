"""The RTP header (RFC 3550 §5.1, §5.3.1): the readable parse and build, and serial number arithmetic.

The receive path of video (``rtp.receiver``) unpacks the common header by itself; what it meets rarely (CSRC
lists, extensions, padding) comes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from soip.rtp.errors import RtpBuildError, RtpParseError

HEADER = Struct(">BBHII")
"""First octet (V, P, X, CC), second octet (M, PT), sequence number, timestamp, SSRC."""

HEADER_SIZE = HEADER.size
VERSION_BITS = 0x80
MAX_PACKET = 65_507
"""The largest UDP payload over IPv4; a longer packet cannot arrive and is not built."""

_EXTENSION = Struct(">HH")


@dataclass(slots=True)
class RtpPacket:
    """One parsed packet. ``payload`` is a view of the datagram given: copy what must outlive the buffer."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: memoryview | bytes
    csrcs: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None
    """Profile word and data of the header extension (RFC 3550 §5.3.1)."""


def payload_bounds(data: bytes | bytearray | memoryview, size: int) -> tuple[int, int]:
    """Return where the payload of the packet in ``data[:size]`` begins and ends.

    Raises RtpParseError for a wrong version or lengths that do not fit.
    """
    if size < HEADER_SIZE:
        raise RtpParseError(f"RTP packet of {size} bytes is shorter than its header", 0)
    first = data[0]
    if first & 0xC0 != VERSION_BITS:  # RFC 3550 §5.1: version 2
        raise RtpParseError(f"RTP version {first >> 6}, not 2", 0)
    start = HEADER_SIZE + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > size:
            raise RtpParseError("RTP header extension is cut off", start)
        start += 4 + 4 * _EXTENSION.unpack_from(data, start)[1]
    end = size
    if first & 0x20:
        padding = data[size - 1]
        if not padding:  # RFC 3550 §5.1: the count includes itself
            raise RtpParseError("RTP padding count is zero", size - 1)
        end -= padding
    if start > end:
        raise RtpParseError("RTP header, extension and padding exceed the packet", start)
    return start, end


def parse(data: bytes | bytearray | memoryview) -> RtpPacket:
    """Parse one RTP packet. Raises RtpParseError; never anything else for any bytes."""
    view = memoryview(data)
    start, end = payload_bounds(view, len(view))
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(view)
    fixed_end = HEADER_SIZE + 4 * (first & 0x0F)
    csrcs = tuple(int.from_bytes(view[at : at + 4], "big") for at in range(HEADER_SIZE, fixed_end, 4))
    extension = None
    if first & 0x10:
        extension = (_EXTENSION.unpack_from(view, fixed_end)[0], bytes(view[fixed_end + 4 : start]))
    return RtpPacket(second & 0x7F, bool(second & 0x80), sequence, timestamp, ssrc, view[start:end], csrcs, extension)


def build(packet: RtpPacket) -> bytes:
    """Build the packet's bytes, without padding. Raises RtpBuildError if a field does not fit."""
    if not 0 <= packet.payload_type < 128 or len(packet.csrcs) > 15:
        raise RtpBuildError(f"payload type {packet.payload_type} with {len(packet.csrcs)} CSRCs")
    if HEADER_SIZE + len(packet.payload) > MAX_PACKET:
        raise RtpBuildError(f"payload of {len(packet.payload)} bytes exceeds a datagram")
    first = VERSION_BITS | len(packet.csrcs) | (0x10 if packet.extension else 0)
    second = packet.payload_type | (0x80 if packet.marker else 0)
    parts = [
        HEADER.pack(first, second, packet.sequence & 0xFFFF, packet.timestamp & 0xFFFFFFFF, packet.ssrc),
        *(csrc.to_bytes(4, "big") for csrc in packet.csrcs),
    ]
    if packet.extension:
        profile, content = packet.extension
        if len(content) % 4:
            raise RtpBuildError("header extension is not a multiple of 4 bytes")
        parts += [_EXTENSION.pack(profile, len(content) // 4), content]
    parts.append(bytes(packet.payload))
    return b"".join(parts)


def sequence_distance(later: int, earlier: int) -> int:
    """Signed distance between two 16-bit sequence numbers, −32768…32767."""
    return ((later - earlier + 0x8000) & 0xFFFF) - 0x8000


def extend_timestamp(last: int, timestamp: int) -> int:
    """Extend a 32-bit timestamp to the 64-bit count nearest to ``last``; it may lie before it (B-frames)."""
    return last + ((timestamp - last + 0x80000000) & 0xFFFFFFFF) - 0x80000000
