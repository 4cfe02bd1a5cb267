"""What a receiver reports about one stream: the bookkeeping behind report blocks (RFC 3550 §6.4.1, §A.3)."""

from __future__ import annotations

from soip.rtp.receiver import StreamReceiver
from soip.rtp.rtcp import ReportBlock, SenderReport


class Reception:
    """Makes the report blocks about one receiver; ``now`` is monotonic seconds."""

    def __init__(self, receiver: StreamReceiver) -> None:
        self._receiver = receiver
        self._ssrc: int | None = None
        self._expected = 0
        self._received = 0
        self._last_sr = 0
        self._sr_at = 0.0

    def sender_report(self, report: SenderReport, now: float) -> None:
        """Remember a sender report of the stream: the peer measures the round trip by it."""
        if report.ssrc == self._receiver.ssrc:
            self._follow_source()
            self._last_sr = report.ntp >> 16 & 0xFFFFFFFF
            self._sr_at = now

    def block(self, now: float) -> ReportBlock | None:
        """Return the block for the next report; None before the first packet."""
        receiver = self._receiver
        if receiver.ssrc is None:
            return None
        self._follow_source()
        # RFC 3550 §A.3: what is missing so far counts as lost, what came twice makes good for it.
        expected = receiver.expected_packets - self._expected
        lost = expected - (receiver.received_packets - self._received)
        self._expected, self._received = receiver.expected_packets, receiver.received_packets
        return ReportBlock(
            receiver.ssrc,
            min(255, 256 * lost // expected) if expected > 0 and lost > 0 else 0,
            max(-0x800000, min(self._expected - self._received, 0x7FFFFF)),
            receiver.highest & 0xFFFFFFFF,
            int(receiver.jitter) & 0xFFFFFFFF,
            self._last_sr,
            min(0xFFFFFFFF, int((now - self._sr_at) * 65_536)) if self._last_sr else 0,
        )

    def _follow_source(self) -> None:
        """Count from the beginning when the stream comes from another source."""
        if self._receiver.ssrc != self._ssrc:
            self._ssrc = self._receiver.ssrc
            self._expected = self._received = self._last_sr = 0
