"""How much of a camera one viewer gets, by what it reports of the way to it (docs/design/data-plane.md).

All pictures; where too much is lost on the way, keyframes only, and soon the sub-stream, of a camera that has one;
where not even that arrives, nothing: the call ends. A way that recovers gets all pictures again, after a time that
grows with each relapse, so that a way which bears the less but not the stream does not swing to and fro. Reports come
seldom (every five seconds, as RFC 3550 §6.2 has it) or often (with feedback, RFC 4585), so it is time that counts, and
more than one report.
"""

from __future__ import annotations

from enum import Enum

BAD_LOSS = 0.10
GOOD_LOSS = 0.02
"""Shares of packets lost, from which on a report is bad, and up to which it is good."""
BAD_RTT_S = 2.0
"""A round trip of so long is a queue that grows: as bad as loss."""
BAD_S = 8.0
"""Reports must be bad for so long before less is sent."""
STEP_S = 5.0
"""Keyframes alone for so long, and the sub-stream follows where there is one: its moving pictures are no larger."""
GIVE_UP_S = 60.0
"""Keyframes alone, or a sub-stream, that do not arrive for so long are the end."""
GOOD_S = 10.0
GOOD_MOST_S = 320.0
"""Reports must be good for so long before more is sent; twice as long after each relapse."""
FORGIVEN_S = 300.0
"""All pictures for so long, and earlier relapses are forgotten."""
LEAST_REPORTS = 2


class Share(Enum):
    """What a viewer gets."""

    ALL = "all pictures"
    KEYFRAMES = "keyframes only"
    SMALLER = "the sub-stream"
    NOTHING = "nothing any more"


class Throttle:
    """One viewer. `report` takes each report as it comes and gives what is to be sent from then on; `now` is monotonic
    seconds. Nothing is said by silence: who never reports gets all.
    """

    def __init__(self) -> None:
        self.share = Share.ALL
        self._smaller = False
        self._since = 0.0
        """When the share last changed."""
        self._good_s = GOOD_S
        self._trend: bool | None = None
        """Whether the last reports were all bad, or all good; None between the two."""
        self._began = 0.0
        self._reports = 0

    def report(self, loss: float, rtt: float, now: float) -> Share:
        """A report: the share of packets lost since the last one, and the round trip in seconds, 0.0 for unknown."""
        bad, good = loss >= BAD_LOSS or rtt >= BAD_RTT_S, loss <= GOOD_LOSS and rtt < BAD_RTT_S
        trend = True if bad else False if good else None
        if trend != self._trend:
            self._trend, self._began, self._reports = trend, now, 0
        self._reports += 1
        lasted = now - self._began if self._reports >= LEAST_REPORTS else 0.0
        if self.share is Share.ALL:
            if bad and lasted >= BAD_S:
                if now - self._since > FORGIVEN_S + self._good_s:
                    self._good_s = GOOD_S
                self._turn(Share.KEYFRAMES, now)
        elif self.share is not Share.NOTHING:
            if bad and lasted >= GIVE_UP_S:
                self._turn(Share.NOTHING, now)
            elif good and lasted >= self._good_s:
                self._good_s = min(GOOD_MOST_S, 2 * self._good_s)
                self._turn(Share.ALL, now)
            elif self.share is Share.KEYFRAMES and self._smaller and now - self._since >= STEP_S:
                self._turn(Share.SMALLER, now)
        return self.share

    def offer_smaller(self, there: bool, now: float) -> None:
        """Whether there is a sub-stream to give. Who was to get it gets keyframes where it is not to be had."""
        self._smaller = there
        if not there and self.share is Share.SMALLER:
            self._turn(Share.KEYFRAMES, now)

    def _turn(self, share: Share, now: float) -> None:
        """What was reported so far was of what was sent so far."""
        self.share, self._since = share, now
        self._trend, self._reports = None, 0
