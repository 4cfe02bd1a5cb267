"""Session timers: a session that nobody refreshes ends (RFC 4028).

An INVITE, a re-INVITE or an UPDATE proposes how long a session lasts; its 2xx says for how long and who refreshes it.
The refresher asks again after half of that time; the other side hangs up shortly before the end if nobody did. So the
dead are found although no BYE comes, without a word in between.

A peer that does not do this is asked by OPTIONS as often: whatever it answers, it is there.

Order of calls: as the calling side `ask`, then `accepted` or `too_brief`; as the called side `refusal`, then `answer`;
from then on `next_deadline` and `advance`, and after each `Due` `accepted`, `answered` or `failed`. Sans-IO: `now` is
monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from soip.sip import headers as h
from soip.sip.errors import SipParseError
from soip.sip.headers import SessionExpires
from soip.sip.message import Request, Response

LEAST = 90
"""No session is shorter, and no Min-SE lower (RFC 4028 §4, §5)."""
LONGEST = 86_400
"""A Min-SE above this is not followed: nobody would notice any more that a peer has gone."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What we ask for, and the least we take; seconds. RFC 4028 §4 recommends 1800."""

    interval: int = 1800
    minimum: int = LEAST


class Due(Enum):
    """What is to be done now."""

    REFRESH = "send a re-INVITE or an UPDATE"
    ASK = "ask a peer without timers whether it is there"
    EXPIRED = "hang up: the session was not refreshed"


class Session:
    """The timer of one dialog. `interval` is what was agreed on, None while the peer does no timers; `refreshing`
    whether the refreshes are ours. `min_se` is the largest Min-SE that was told in this dialog (§7.4).
    """

    def __init__(self, policy: Policy, min_se: int = 0) -> None:
        self.interval: int | None = None
        self.refreshing = True
        self.min_se = max(min_se, policy.minimum)
        self._policy = policy
        self._asks: float | None = None
        self._ends: float | None = None

    # -- the calling side

    def ask(self) -> list[tuple[str, str]]:
        """What an INVITE, re-INVITE or UPDATE of ours says (§7.1, §7.4); who refreshes stays as it is."""
        refresher = "" if self.interval is None else "uac" if self.refreshing else "uas"
        lines = [("Session-Expires", str(SessionExpires(self._wanted, refresher)))]
        return [*lines, ("Min-SE", str(self.min_se))] if self.min_se > LEAST else lines

    def too_brief(self, response: Response) -> bool:
        """Whether a refusal is a 422 after which to ask again with what `ask` says now (§7.3): it told a higher Min-SE,
        up to `LONGEST`. How often that is done is for the caller to count.
        """
        if response.status != 422:
            return False
        try:
            told = h.min_se(response.headers)
        except SipParseError:
            return False
        if told is None or not self._wanted < told <= LONGEST:
            return False
        self.min_se = told
        return True

    def accepted(self, response: Response, now: float) -> None:
        """A 2xx to an INVITE or UPDATE of ours (§7.2). Without a Session-Expires that can be read there is no timer."""
        try:
            told = h.session_expires(response.headers)
        except SipParseError:
            told = None
        if told is None:
            self._agree(None, True, now)
        else:
            # The called side must name the refresher; where it does not, refreshing ourselves harms nobody.
            self._agree(told.seconds, told.refresher != "uas", now)

    # -- the called side

    def refusal(self, request: Request) -> int | None:
        """The Min-SE of the 422 for a request whose interval is too small (§9); None for one that is not, or whose
        sender would not understand. Raises SipParseError.
        """
        asked, knows = h.session_expires(request.headers), _does_timers(request)
        h.min_se(request.headers)  # what cannot be read is to be refused here, not when the call is answered
        brief = asked is not None and asked.seconds < self._policy.minimum
        return self._policy.minimum if brief and knows else None

    def answer(self, request: Request, now: float) -> list[tuple[str, str]]:
        """What our 2xx says (§9, table 2). Raises SipParseError."""
        asked, knows = h.session_expires(request.headers), _does_timers(request)
        if asked is None and not knows:
            self._agree(None, True, now)
            return []
        least = max(h.min_se(request.headers) or 0, self._policy.minimum)
        interval = max(self._policy.interval, least)
        if asked is not None:
            interval = max(min(asked.seconds, interval), self._policy.minimum)  # never more than was asked for
        refresher = "uas"
        if knows:
            ours = self.interval is not None and self.refreshing
            refresher = (asked.refresher if asked is not None else "") or ("uas" if ours else "uac")
        self._agree(interval, refresher == "uas", now)
        lines = [("Session-Expires", str(SessionExpires(interval, refresher)))]
        return [("Require", "timer"), *lines] if knows else lines

    # -- time

    def answered(self, now: float) -> None:
        """A peer without timers has answered what it was asked."""
        self._agree(None, True, now)

    def failed(self, now: float, retry_after: float = 0.0) -> None:
        """A refresh, or a question, has been refused: again later, but not again and again (§10)."""
        self._asks = now + max(retry_after, self._span / 8)

    def next_deadline(self) -> float | None:
        """When `advance` is next to be called; None before anything was agreed."""
        return min((at for at in (self._asks, self._ends) if at is not None), default=None)

    def advance(self, now: float) -> Due | None:
        """What is due; each thing once."""
        if self._ends is not None and now >= self._ends:
            self._asks = self._ends = None
            return Due.EXPIRED
        if self._asks is None or now < self._asks:
            return None
        self._asks = None
        return Due.ASK if self.interval is None else Due.REFRESH

    @property
    def _wanted(self) -> int:
        return max(self.interval or self._policy.interval, self.min_se)

    @property
    def _span(self) -> float:
        return self.interval or self._policy.interval

    def _agree(self, interval: int | None, refreshing: bool, now: float) -> None:
        # Less than the least is against the standard; who does it all the same must not make us ask without a pause.
        self.interval = None if interval is None else max(interval, self._policy.minimum)
        self.refreshing = refreshing
        self._asks = now + self._span / 2 if refreshing else None  # §10: halfway
        # §10: the smaller of 32 s and a third of the interval before its end
        self._ends = None if self.interval is None else now + self.interval - min(32.0, self.interval / 3)


def _does_timers(request: Request) -> bool:
    return any("timer" in h.option_tags(request.headers, name) for name in ("Supported", "Require"))
