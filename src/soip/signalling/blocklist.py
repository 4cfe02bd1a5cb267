"""Sources that guess passwords again and again: who they are, and for how long what they send is not even read.

Pure: `now` is monotonic seconds and comes in. Order of calls: `wrong` for each wrong password, `insists` for each
attempt that was refused unlooked at, and `sweep` now and then, for the log.

What must hold decides the form:

1. **Nobody is put on the list by somebody else.** What counts is a wrong password under a nonce of ours that was given
   to that address a short while ago (`digest.judge`): a forged datagram has none.
2. **No device that has the right password is locked out for its address**, since a whole site may sit behind one. So
   what is refused unread is a flow (an address with its port, or a connection), never an address, and never a flow over
   which anything is registered. That an address is listed means that each flow of it has `PATIENCE` only: three wrong
   passwords.
3. **Memory is bounded**: sources and flows are kept in tables that forget what was longest unused.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

import structlog

from soip.signalling.flows import FlowKey
from soip.signalling.limits import Buckets, Budget

FAILURES = Budget(rate=1 / 30, burst=15)
"""Wrong passwords of one source before it is listed. A device that was given a wrong one asks each minute or so."""
PATIENCE = Budget(rate=1, burst=30)
"""What a flow of a listed source may cost before it is shut: WRONG for a password, INSISTS for an attempt that came too
early. Who waits for Retry-After never comes to its end.
"""
WRONG, INSISTS = 10.0, 1.0
FIRST_SECONDS, MOST_SECONDS = 60.0, 900.0
"""How long a source is listed; twice as long each time it comes back within FORGOTTEN_SECONDS."""
FORGOTTEN_SECONDS = 3600.0
MAX_SOURCES = 2000
MAX_FLOWS = 10_000
NAMED = 8
"""Accounts that are named in the log; of the others the number of attempts is told."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Source:
    """One address: `failures` since it was last forgotten, `listed` how often, `until` when it is listed now."""

    began: float
    seen: float
    failures: int = 0
    listed: int = 0
    until: float = 0.0
    accounts: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0


class Blocklist:
    """The sources that guess, and the patience that is left with their flows."""

    def __init__(self) -> None:
        self._failures = Buckets(FAILURES, MAX_SOURCES)
        self._patience = Buckets(PATIENCE, MAX_FLOWS)
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._listed: set[str] = set()

    def __len__(self) -> int:
        """How many sources are listed."""
        return len(self._listed)

    def wrong(self, source: str, flow: FlowKey, account: str, now: float) -> float:
        """Count a wrong password; for how many seconds the flow is to be shut, 0 when it is not."""
        found = self._note(source, account, now)
        if source in self._listed:
            return self._spend(found, flow, WRONG, now)
        if self._failures.take(source, now):
            return 0.0
        seconds = min(FIRST_SECONDS * 2.0**found.listed, MOST_SECONDS)
        found.listed += 1
        found.until = now + seconds
        self._listed.add(source)
        self._tell("source listed for guessing passwords", source, found, now, seconds=round(seconds))
        return seconds

    def insists(self, source: str, flow: FlowKey, now: float) -> float:
        """Count an attempt that was refused because too many were wrong; as `wrong`."""
        return self._spend(self._sources[source], flow, INSISTS, now) if source in self._listed else 0.0

    def sweep(self, now: float) -> None:
        """Take those off whose time is over."""
        for source in [source for source in self._listed if self._sources[source].until <= now]:
            self._unlist(source, now)

    def _note(self, source: str, account: str, now: float) -> _Source:
        found = self._sources.get(source)
        if found is None or (now - found.seen > FORGOTTEN_SECONDS and source not in self._listed):
            found = self._sources[source] = _Source(now, now)
        self._sources.move_to_end(source)
        if len(self._sources) > MAX_SOURCES:
            oldest = next(iter(self._sources))
            if oldest in self._listed:
                self._unlist(oldest, now)
            del self._sources[oldest]
        found.seen = now
        found.failures += 1
        if account in found.accounts or len(found.accounts) < NAMED:
            found.accounts[account] += 1
        else:
            found.unnamed += 1
        return found

    def _spend(self, found: _Source, flow: FlowKey, cost: float, now: float) -> float:
        return 0.0 if self._patience.take(flow, now, cost) and self._patience.allows(flow, now) else found.until - now

    def _unlist(self, source: str, now: float) -> None:
        self._listed.discard(source)
        found = self._sources[source]
        self._tell("source no longer listed", source, found, now, after=round(now - found.began))

    def _tell(self, event: str, source: str, found: _Source, now: float, **facts: object) -> None:
        accounts = ", ".join(f"{name} {count}" for name, count in found.accounts.most_common())
        others = f", others {found.unnamed}" if found.unnamed else ""
        _log.warning(event, source=source, failures=found.failures, accounts=accounts + others, **facts)
