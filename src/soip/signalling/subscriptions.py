"""Subscriptions: who is told of what, when, and until when (RFC 6665, the notifier's side).

Sans-IO: `now` is monotonic seconds and comes in, NOTIFYs come out as requests. What they say is none of this file's
business.

Order of calls: `open` for a SUBSCRIBE that makes a dialog and `refresh` for one in it; `news` when something has
happened, `end` when a subscription is over; after each, and when `next_deadline` has come, `due`. Each subscription
that `due` gives is answered by exactly one of `notify` (there is something to say), `silent` (there is not) or
`postpone` (it cannot be said now); a NOTIFY by `answered`.

Invariants: of one subscription one NOTIFY is under way at most, so they arrive in order; news that come meanwhile are
told together afterwards, and not within `pace` seconds of the last ones; each subscription ends, by its own time at the
latest, with a NOTIFY that says why, unless nobody is there to take it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from soip.signalling.errors import TooManySubscriptionsError
from soip.signalling.flows import Way
from soip.sip.dialog import Dialog, DialogId
from soip.sip.headers import EventType
from soip.sip.message import Request
from soip.sip.timers import TimerHeap

K = TypeVar("K")

MAX_SUBSCRIPTIONS = 20_000
MAX_PER_ACCOUNT = 1_000
PACE_SECONDS = 1.0

# Why a subscription has ended (RFC 6665 §4.1.3).
TIMEOUT = "timeout"
DEACTIVATED = "deactivated"
REJECTED = "rejected"
NO_RESOURCE = "noresource"
PROBATION = "probation"


@dataclass(frozen=True, slots=True)
class Notice:
    """The body of a NOTIFY. `more`: there is something else to say, in a NOTIFY of its own."""

    body: bytes = b""
    content_type: str = ""
    more: bool = False


@dataclass(eq=False, slots=True)
class Subscription:
    """One subscription. `resource` is the id it is about, "" for the whole domain; `way` leads to the subscriber.

    `pace`: the shortest time between two NOTIFYs, in seconds.
    """

    dialog: Dialog
    way: Way
    account: str
    event: EventType
    resource: str
    pace: float = PACE_SECONDS
    expires_at: float = 0.0
    ends: str = ""  # why it ends; "" while it goes on
    _wanted: bool = True  # there may be news
    _full: bool = True  # everything is to be told, new or not: the answer to a SUBSCRIBE
    _busy: bool = False
    _not_before: float = -math.inf

    @property
    def topic(self) -> tuple[str, str]:
        """What it is about: the package and the resource."""
        return (self.event.package, self.resource)


@dataclass(slots=True)
class Due:
    """A subscription that has its turn. `full`: tell everything, also what has been told already."""

    subscription: Subscription
    full: bool


@dataclass(slots=True)
class _Index:
    """The subscriptions by what they are looked up by."""

    dialogs: dict[DialogId, Subscription] = field(default_factory=dict)
    topics: dict[tuple[str, str], set[Subscription]] = field(default_factory=dict)
    ways: dict[Way, set[Subscription]] = field(default_factory=dict)
    accounts: Counter[str] = field(default_factory=Counter)

    def add(self, subscription: Subscription) -> None:
        self.dialogs[subscription.dialog.id] = subscription
        self.topics.setdefault(subscription.topic, set()).add(subscription)
        self.ways.setdefault(subscription.way, set()).add(subscription)
        self.accounts[subscription.account] += 1

    def discard(self, subscription: Subscription) -> None:
        del self.dialogs[subscription.dialog.id]
        _discard(self.topics, subscription.topic, subscription)
        _discard(self.ways, subscription.way, subscription)
        self.accounts[subscription.account] -= 1
        if not self.accounts[subscription.account]:
            del self.accounts[subscription.account]

    def move(self, subscription: Subscription, way: Way) -> None:
        _discard(self.ways, subscription.way, subscription)
        subscription.way = way
        self.ways.setdefault(way, set()).add(subscription)


class Subscriptions:
    """The subscriptions in force. Bounded: `per_account` each, `limit` in all."""

    def __init__(self, *, per_account: int = MAX_PER_ACCOUNT, limit: int = MAX_SUBSCRIPTIONS) -> None:
        self._per_account = per_account
        self._limit = limit
        self._index = _Index()
        self._heap: TimerHeap[Subscription] = TimerHeap()

    def __len__(self) -> int:
        return len(self._index.dialogs)

    def find(self, dialog: DialogId) -> Subscription | None:
        """The subscription of a dialog."""
        return self._index.dialogs.get(dialog)

    def all(self) -> Iterable[Subscription]:
        """Every subscription, as they are now."""
        return tuple(self._index.dialogs.values())

    def check_room(self, account: str) -> None:
        """Raises TooManySubscriptionsError unless another subscription of the account is allowed."""
        if len(self) >= self._limit or self._index.accounts[account] >= self._per_account:
            raise TooManySubscriptionsError(f"{account} has {self._index.accounts[account]}, the server {len(self)}")

    def open(self, subscription: Subscription, expires: float, now: float) -> None:
        """Take a new one, for so many seconds; 0 to be told once. Raises TooManySubscriptionsError."""
        self.check_room(subscription.account)
        self._index.add(subscription)
        self._extend(subscription, expires, now)

    def refresh(self, subscription: Subscription, way: Way, expires: float, now: float) -> None:
        """It is wanted for so many seconds more, 0 for no longer, over this way. All is told again (§4.2.1.3)."""
        self._index.move(subscription, way)
        self._extend(subscription, expires, now)

    def _extend(self, subscription: Subscription, expires: float, now: float) -> None:
        subscription.expires_at = now + expires
        subscription._wanted = subscription._full = True
        # The pace holds here too: many SUBSCRIBEs are not answered by as many NOTIFYs.
        if not expires and not subscription.ends:
            subscription.ends = TIMEOUT
        self._schedule(subscription)

    def news(self, package: str, resource: str) -> None:
        """Something has happened to a resource."""
        for subscription in self._index.topics.get((package, resource), ()):
            subscription._wanted = True
            self._schedule(subscription)

    def end(self, subscription: Subscription, reason: str) -> None:
        """End it with a last NOTIFY, as soon as the one under way has been answered."""
        subscription.ends = subscription.ends or reason
        self._schedule(subscription)

    def lost(self, way: Way) -> list[Subscription]:
        """A way has closed: what is told over it ends without a word. Returns what has ended."""
        gone = list(self._index.ways.get(way, ()))
        for subscription in gone:
            self._remove(subscription)
        return gone

    def next_deadline(self) -> float | None:
        """When `due` is next worth calling."""
        return self._heap.next()

    def due(self, now: float) -> list[Due]:
        """Those that have their turn now."""
        found = []
        while (subscription := self._heap.pop_due(now)) is not None:
            if subscription.expires_at <= now and not subscription.ends:
                subscription.ends = TIMEOUT
            full, subscription._full = subscription._full, False
            subscription._wanted, subscription._busy = False, True
            found.append(Due(subscription, full))
        return found

    def notify(self, subscription: Subscription, news: Notice, now: float) -> Request | None:
        """The NOTIFY that says it; None when the subscription is no more.

        The last one of a subscription ends it, whatever is answered (§4.4.1). Who has no right any more is not told
        what there was to say.
        """
        if self.find(subscription.dialog.id) is not subscription:
            return None
        if subscription.ends not in ("", TIMEOUT):
            news = Notice()
        request = subscription.dialog.request("NOTIFY")
        request.headers.add("Event", str(subscription.event))
        request.headers.add("Subscription-State", _state(subscription, now))
        if news.content_type:
            request.headers.add("Content-Type", news.content_type)
            request.body = news.body
        subscription._not_before = now + subscription.pace
        subscription._wanted = subscription._wanted or news.more
        if subscription.ends:
            self._remove(subscription)
        return request

    def silent(self, subscription: Subscription) -> None:
        """There is nothing to say."""
        self._free(subscription)

    def postpone(self, due: Due, until: float) -> None:
        """What there is to say cannot be found out now."""
        due.subscription._wanted = True
        due.subscription._full = due.subscription._full or due.full
        due.subscription._not_before = until
        self._free(due.subscription)

    def answered(self, subscription: Subscription, *, taken: bool) -> bool:
        """A NOTIFY was answered: 2xx, or (not `taken`) anything else, or nothing. Whether the subscription goes on.

        Nobody is there who wants it, or nobody who can be reached (§4.2.2).
        """
        if self.find(subscription.dialog.id) is not subscription:
            return False
        if not taken:
            self._remove(subscription)
            return False
        self._free(subscription)
        return True

    def _free(self, subscription: Subscription) -> None:
        subscription._busy = False
        if self.find(subscription.dialog.id) is subscription:
            self._schedule(subscription)

    def _schedule(self, subscription: Subscription) -> None:
        if subscription._busy:
            return
        at = subscription.expires_at
        if subscription.ends:
            at = -math.inf
        elif subscription._wanted:
            at = min(at, subscription._not_before)
        self._heap.set(subscription, at)

    def _remove(self, subscription: Subscription) -> None:
        self._index.discard(subscription)
        self._heap.drop(subscription)


def _state(subscription: Subscription, now: float) -> str:
    """The Subscription-State (§8.2.3)."""
    if not subscription.ends:
        return f"active;expires={max(0, round(subscription.expires_at - now))}"
    # The server stops and will be back: ask again, but not at once.
    retry = ";retry-after=5" if subscription.ends == PROBATION else ""
    return f"terminated;reason={subscription.ends}{retry}"


def _discard(places: dict[K, set[Subscription]], key: K, subscription: Subscription) -> None:
    places[key].discard(subscription)
    if not places[key]:
        del places[key]
