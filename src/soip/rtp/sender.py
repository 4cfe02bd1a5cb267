"""The send path of one class of viewers: payload runs in, runs of datagrams out.

All viewers of a class share payload type, packet size, SSRC, sequence numbers and timestamps: only the
address differs, so the bytes are made once per class and sent to each. A viewer that needs other numbers (one
that was given a shortened stream, say) is a class of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from soip.rtp.errors import RtpBuildError
from soip.rtp.nal import PayloadRun
from soip.rtp.packet import HEADER_SIZE, VERSION_BITS

MAX_SEGMENTS = 64
"""Datagrams in one send: the limit of Linux for UDP_SEGMENT (UDP_MAX_SEGMENTS)."""
MAX_RUN = 65_000
"""Bytes in one send, below the 64 kB that one UDP send may have."""

_HEADER = Struct(">HHII")


class SendStream:
    """SSRC, sequence and timestamp space of a class of viewers.

    ``ssrc``, ``sequence`` and ``offset`` (added to timestamps) are random numbers given by the caller
    (RFC 3550 §5.1). ``packets``, ``octets`` and ``timestamp`` are what sender reports tell.
    """

    def __init__(self, payload_type: int, ssrc: int, sequence: int = 0, offset: int = 0) -> None:
        if not 0 <= payload_type < 128:
            raise RtpBuildError(f"payload type {payload_type}")
        self.payload_type = payload_type
        self.ssrc = ssrc & 0xFFFFFFFF
        self.sequence = sequence & 0xFFFF
        """The number of the next packet."""
        self.offset = offset
        self.packets = 0
        self.octets = 0
        self.timestamp: int | None = None
        """The RTP timestamp last sent, 32 bits."""

    def stamp(self, runs: Sequence[PayloadRun], timestamp: int, max_segments: int = MAX_SEGMENTS) -> list[bytes]:
        """Return an access unit's datagrams, joined run by run; the last packet carries the marker.

        Each run holds packets of ``packet_size`` as given to ``packetise``, of which the last may be shorter,
        at most ``max_segments`` and ``MAX_RUN`` bytes: what one send with UDP_SEGMENT takes. ``timestamp`` in
        90 kHz ticks.
        """
        word = VERSION_BITS << 8 | self.payload_type
        stamp = (timestamp + self.offset) & 0xFFFFFFFF
        ssrc = self.ssrc
        sequence = self.sequence
        pack = _HEADER.pack
        out: list[bytes] = []
        for run in runs:
            count = run.count
            parts = run.parts.copy()
            numbers = range(sequence, sequence + count)
            parts[0::3] = [pack(word, number & 0xFFFF, stamp, ssrc) for number in numbers]
            sequence += count
            if run is runs[-1]:
                parts[-3] = pack(word | 0x80, (sequence - 1) & 0xFFFF, stamp, ssrc)
            self.octets += run.octets
            if count == 1:
                out.append(b"".join(parts))
                continue
            largest = HEADER_SIZE + len(parts[1]) + len(parts[2])
            step = 3 * max(1, min(max_segments, MAX_RUN // largest))
            out += [b"".join(parts[at : at + step]) for at in range(0, len(parts), step)]
        self.packets += sequence - self.sequence
        self.sequence = sequence & 0xFFFF
        self.timestamp = stamp
        return out
