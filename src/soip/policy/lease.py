"""Who may serve a camera: leases, judged by each process with its own monotonic clock.

A heartbeat is a row in the directory, with a mark that never comes again. Its sender holds its cameras for `lease_s`
from *before* it sent it. Whoever watches calls the sender lapsed when it has seen the same mark for `failover_s`, which
is twice as long, from *after* it was written. No time of day is compared, so clocks may say what they like; only their
rates must agree, to within half.

What a holder does when it cannot send heartbeats, because the directory is away (`Lease.holds`):

    its lease runs              it holds
    it has slept                it does not: it may have been overtaken, and nobody could have told it
    only its own machine's      it holds, and so if nobody was there: the directory is a file of this machine, and away
    instances were there        for all of them
    others, SIP server there    it holds: the SIP server tells whoever loses a camera, and it would have told, within
                                `TOLD_S` from when it can reach it again; but who was out of reach first tries a
                                heartbeat, which says more: what is taken from it in these seconds is told only then
    others, SIP server away     it does not: it is cut off, and they may not be

So an outage of the directory alone ends no recording, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

TOLD_S = 5.0
"""The SIP server reads each second who has lost a camera, and tells it at once, or when it comes."""

Mark = tuple[int, int]
"""A start of an instance, and its heartbeat since."""


class Lease:
    """The lease of one instance of the media server `server`. All times are monotonic seconds of one clock, which goes
    on while the machine sleeps.

    Order of calls: `awake` several times within `lease_s`, whatever else happens; `renewed` after each heartbeat that
    was written, `failed` after each that was not. Nothing is held before the first heartbeat.
    """

    def __init__(self, server: str, lease_s: float, now: float) -> None:
        self._server = server
        self._lease_s = lease_s
        self._until: float | None = None
        self._awake = now
        self._doubt = False
        self._alone = now - TOLD_S
        self._tried = now
        """When the last heartbeat was begun that has come to an end."""
        self._others: frozenset[str] = frozenset()

    def renewed(self, began: float, others: Iterable[str]) -> None:
        """A heartbeat was written that was begun at `began`; `others` are the servers of the other instances that were
        there.
        """
        self._others = frozenset(others)
        self._until = max(self._until or began, began + self._lease_s)
        self._tried = max(self._tried, began)
        self._doubt = False

    def failed(self, began: float) -> None:
        """A heartbeat begun at `began` could not be written. Who has slept where nobody else was learns no more than
        that.
        """
        self._tried = max(self._tried, began)
        self._doubt = self._doubt and bool(self._others)

    def awake(self, now: float, *, connected: bool) -> None:
        """The process runs. `connected`: the SIP server can reach it."""
        self._doubt = self._doubt or self._slept(now)
        self._awake = now
        if not connected:
            self._alone = now

    def holds(self, now: float, *, connected: bool) -> bool:
        """Whether the instance may act for its cameras."""
        if self._until is None:
            return False
        if now <= self._until:
            return True
        if self._doubt or self._slept(now):
            return False
        if self._others <= {self._server}:
            return True
        return connected and now - self._alone >= TOLD_S and self._tried > self._alone

    def _slept(self, now: float) -> bool:
        return self._until is not None and now > self._until and now - self._awake > self._lease_s


class Watch:
    """Who of the others still sends heartbeats, as far as one process can tell by looking now and then.

    `failover_s` is the silence after which an instance has lapsed, at least twice the lease it says it has.
    """

    def __init__(self, failover_s: float) -> None:
        self._failover_s = failover_s
        self._seen: dict[str, tuple[Mark, float, float]] = {}
        self._looked: float | None = None
        self._now = 0.0

    def look(self, now: float, marks: Mapping[str, tuple[Mark, float]]) -> None:
        """The marks of all instances were read, with the leases they say they have.

        Who has not looked for a lease's time starts anew: it slept, or the directory was away, and then the others may
        not have been able to send anything either.
        """
        anew = self._looked is None or now - self._looked > self._failover_s / 2
        before = {} if anew else self._seen
        self._seen = {}
        for name, (mark, lease_s) in marks.items():
            known = before.get(name)
            since = known[1] if known is not None and known[0] == mark else now
            self._seen[name] = (mark, since, max(self._failover_s, 2 * lease_s))
        self._looked = self._now = now

    def lapsed(self) -> set[str]:
        """Those whose cameras go to others, as of the last look."""
        return {name for name, (_, since, failover_s) in self._seen.items() if self._now - since >= failover_s}

    def fresh(self) -> set[str]:
        """Those that were heard of within their lease, or have only just been looked at."""
        return {name for name, (_, since, failover_s) in self._seen.items() if self._now - since < failover_s / 2}
