"""Who came and went, in the log: one by one, but thousands at once as a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import structlog

from soip.signalling.limits import Buckets, Budget

BUDGET = Budget(rate=20, burst=200)
"""Lines. After a cold restart everyone registers at once, and a line costs as much as the registration."""

_log = structlog.get_logger()


class News:
    """`tell` each event; `sum_up` once a second or so tells what there was no line for."""

    def __init__(self, now: Callable[[], float], budget: Budget = BUDGET) -> None:
        self._now = now
        self._lines = Buckets(budget)
        self._untold: Counter[str] = Counter()

    def tell(self, event: str, **facts: object) -> None:
        """One binding has come or gone."""
        if self._lines.take("", self._now()):
            _log.info(event, **facts)
        else:
            self._untold[event] += 1

    def sum_up(self) -> None:
        """Say how many more there were."""
        for event, count in self._untold.items():
            _log.info(event, more=count)
        self._untold.clear()
