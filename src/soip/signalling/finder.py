"""An id nobody knows is looked up once in the directory before it is refused: a camera added a moment ago."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from soip.directory.rows import Account
from soip.signalling.accounts import AccountTable
from soip.signalling.limits import Buckets, Budget

# The directory's version is polled each second, so a miss need not be remembered for longer than that.
MISS_SECONDS = 1.0
MAX_MISSES = 10_000
MAX_ASKING = 16
"""Ids that are asked for at a time, so that a flood of made-up ones does not hold up who reads all accounts."""
MAX_WAITING = 500
"""Requests that wait for the directory. More, and ids beyond those asked for, are judged by what is known."""
LOOKUPS = Budget(rate=50, burst=200)  # a scan through made-up ids must not become a load on the database
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # nothing else can be one, so the directory need not be asked

Lookup = Callable[[str], Awaitable[Account | None]]


class Finder:
    """Fills the account table one id at a time. `lookup` asks the directory, and raises what it raises.

    Who reads all accounts holds `filling` from before the question until the table has the answer. Otherwise an
    account looked up in between would seem removed, and its camera would lose the registration it just made.
    """

    def __init__(self, accounts: AccountTable, lookup: Lookup, now: Callable[[], float]) -> None:
        self._accounts = accounts
        self._lookup = lookup
        self._now = now
        self._misses: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._budget = Buckets(LOOKUPS)
        self._waiting = 0
        self.filling = asyncio.Lock()

    def forget_misses(self) -> None:
        """The directory has changed: what was missing may be there now."""
        self._misses.clear()

    async def close(self) -> None:
        """Wait for the questions under way; the directory can be closed then."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def is_settled(self, identity: str) -> bool:
        """Whether there is nothing to ask: the table has this id, or nobody has, or too many ask already."""
        return (
            self._accounts.knows(identity)
            or self._waiting >= MAX_WAITING
            or (len(self._asking) >= MAX_ASKING and identity not in self._asking)
            or not _ID.fullmatch(identity)
            or self._misses.get(identity, -1.0) > self._now()
        )

    async def find(self, identity: str) -> None:
        """Make sure the table has this id if the directory has. Raises what the lookup raises."""
        if self.is_settled(identity):
            return
        now = self._now()
        task = self._asking.get(identity)
        if task is None:
            if not self._budget.take("", now):
                return
            task = asyncio.ensure_future(self._ask(identity))
            self._asking[identity] = task
            task.add_done_callback(lambda _: self._asking.pop(identity, None))
        self._waiting += 1
        try:
            await asyncio.shield(task)
        finally:
            self._waiting -= 1

    async def _ask(self, identity: str) -> None:
        async with self.filling:
            if self._accounts.knows(identity):
                return
            account = await self._lookup(identity)
            if account is not None:
                self._accounts.add(account)
                return
            self._misses[identity] = self._now() + MISS_SECONDS
            self._misses.move_to_end(identity)
            if len(self._misses) > MAX_MISSES:
                self._misses.popitem(last=False)
