"""Limits per source: token buckets in a bounded table, with an injected monotonic `now` in seconds.

What is counted (the budget says how much): requests that carry no identity yet, by source address; wrong
answers to a challenge, by source and claimed id (by flow, for a device registered over it), and once more by
source alone. An authenticated request is counted by its account, because a whole site may sit behind one
address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """`burst` tokens at most, `rate` new ones a second."""

    rate: float
    burst: float


class Buckets:
    """One token bucket per key; a key that has not been seen for long is full and need not be kept.

    The table holds at most `size` keys. When it is full the key longest unused is forgotten: an attacker with
    that many addresses gains a full bucket for each of them anyway.
    """

    def __init__(self, budget: Budget, size: int = 50_000) -> None:
        self._budget = budget
        self._size = size
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def level(self, key: Hashable, now: float) -> float:
        """Tokens left for this key; negative when it has been overdrawn."""
        held = self._levels.get(key)
        if held is None:
            return self._budget.burst
        level, at = held
        return min(self._budget.burst, level + max(0.0, now - at) * self._budget.rate)

    def take(self, key: Hashable, now: float, cost: float = 1.0) -> bool:
        """Spend `cost` tokens; False when they are not there. A refusal costs too, but never below one burst
        of debt.
        """
        level = self.level(key, now)
        self._levels[key] = (max(level - cost, -self._budget.burst), now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._size:
            self._levels.popitem(last=False)
        return level >= cost

    def allows(self, key: Hashable, now: float, cost: float = 1.0) -> bool:
        """Whether `cost` tokens are there, without spending them."""
        return self.level(key, now) >= cost

    def wait(self, key: Hashable, now: float, cost: float = 1.0) -> int:
        """Whole seconds until `cost` tokens are there again: the value for Retry-After, at least 1."""
        missing = cost - self.level(key, now)
        return max(1, int(missing / self._budget.rate + 0.999))


class Gate:
    """Which source may still ask. Each `admit`/`failed` is one request; the answer is what to do with it."""

    OK, REFUSE, DROP = "ok", "refuse", "drop"

    def __init__(self, strangers: Budget, failures: Budget, failures_of_source: Budget, accounts: Budget) -> None:
        self._strangers = Buckets(strangers)
        self._failures = Buckets(failures)
        self._source_failures = Buckets(failures_of_source)
        self._accounts = Buckets(accounts)
        self._silence = strangers.burst / 2

    def stranger(self, source: Hashable, now: float) -> str:
        """Count one request without identity. Refused ones cost as well, so a flood ends in silence.

        A refusal is an answer, and an answer to a forged source address hits a bystander: past half a burst
        of refusals nothing is sent at all.
        """
        if self._strangers.take(source, now):
            return self.OK
        return self.REFUSE if self._strangers.level(source, now) > -self._silence else self.DROP

    def may_try(self, source: str, who: Hashable, known: bool, now: float) -> bool:
        """Whether a password is looked at at all. `who` is counted alone, `source` for all it tries together.

        `known`: this is a device on its registered flow or at the address it registered from last, so what others do
        behind that address does not count.
        """
        return self._failures.allows(who, now) and (known or self._source_failures.allows(source, now))

    def failed(self, source: str, who: Hashable, now: float) -> None:
        """Count one wrong password."""
        self._failures.take(who, now)
        self._source_failures.take(source, now)

    def retry_after(self, source: str, who: Hashable, known: bool, now: float) -> int:
        """Seconds until another password is looked at."""
        alone = self._failures.wait(who, now)
        return alone if known else max(alone, self._source_failures.wait(source, now))

    def account(self, account: str, now: float) -> bool:
        """Count one request of an authenticated account."""
        return self._accounts.take(account, now)


def default_gate() -> Gate:
    """The budgets in force.

    Strangers: after a cold restart a site of 10,000 cameras behind one address asks once each without an
    identity. Failures: 10 wrong passwords at once, then one every 5 s for one id (17,000 a day against a
    random secret), and 10 times that for all ids behind one address. Accounts: a media server calls all its
    cameras at its start.
    """
    return Gate(
        strangers=Budget(rate=500, burst=10_000),
        failures=Budget(rate=0.2, burst=10),
        failures_of_source=Budget(rate=2, burst=100),
        accounts=Budget(rate=500, burst=5_000),
    )
