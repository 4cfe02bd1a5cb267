"""What a viewer tells of the way to it: its round trip, what it may be sent, whether it is there at all. Sans-IO.

Order of calls: `block` with each report about our stream, `sending` once a second with what was sent so far; then
`share` and `gone` say what follows. A viewer that never reports is believed to see everything: some phones send no
RTCP, and their calls end by the session timer.
"""

from __future__ import annotations

from soip.policy.throttle import Share, Throttle
from soip.rtp.retransmission import Answers
from soip.rtp.rtcp import ReportBlock

DISTANT_S = 0.01
"""A round trip from which on there are routers on the way that a burst would overrun."""
SILENT_S = 60.0
"""Seconds without a report from who has reported before, and for so many of its usual intervals."""
SILENT_REPORTS = 5
LEAST_REPORTS = 3
UNREACHABLE_S = 30.0
"""Seconds in which its host answers that nobody listens on the port."""
_LONGEST_RTT_S = 30.0


class ViewLink:
    """The way to one viewer; `now` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.rtt = 0.0
        """Seconds; 0.0 while unknown."""
        self.answers = Answers()
        self._throttle = Throttle()
        self._reports = 0
        self._heard = now
        self._interval = 0.0
        self._packets = self._refused = 0
        self._refused_since: float | None = None
        self._looked = now

    @property
    def share(self) -> Share:
        """What it is to be sent."""
        return self._throttle.share

    def offer_smaller(self, there: bool, now: float) -> None:
        """Whether there is a sub-stream to give it."""
        self._throttle.offer_smaller(there, now)

    @property
    def distant(self) -> bool:
        """Whether bursts to it are to be small."""
        return self.rtt >= DISTANT_S

    def block(self, block: ReportBlock, ntp: int, now: float) -> Share:
        """A report about our stream; `ntp` is the time now, as our sender reports tell it. Gives the share."""
        if self._reports:
            self._interval = max(self._interval, now - self._heard)
        self._reports += 1
        self._heard = now
        if block.last_sr:  # RFC 3550 §6.4.1: A - LSR - DLSR
            trip = ((ntp >> 16) - block.last_sr - block.delay & 0xFFFFFFFF) / 65_536
            if trip < _LONGEST_RTT_S:
                self.rtt = trip
        return self._throttle.report(block.fraction_lost / 256, self.rtt, now)

    def sending(self, packets: int, refused: int, now: float) -> None:
        """So many packets have been sent so far, and so often its host has said that the port is closed."""
        if packets == self._packets:
            # Nothing is sent, so nothing is reported or refused.
            self._heard += now - self._looked
            self._refused_since = None
        elif refused == self._refused:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = now
        self._packets, self._refused, self._looked = packets, refused, now

    def gone(self, now: float) -> str:
        """Why nobody is there any more, for the Reason of a BYE; empty while somebody may be."""
        if self._refused_since is not None and now - self._refused_since >= UNREACHABLE_S:
            return f"your media port has been closed for {UNREACHABLE_S:.0f} s"
        patience = max(SILENT_S, SILENT_REPORTS * self._interval)
        if self._reports >= LEAST_REPORTS and now - self._heard >= patience:
            return f"no RTCP report for {now - self._heard:.0f} s"
        if self.share is Share.NOTHING:
            return "too much is lost on the way to you"
        return ""
