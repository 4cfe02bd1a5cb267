"""Between a 2xx and its ACK: what the user agent core does because no transaction does it (RFC 3261 §13, RFC
6026).

A 2xx to an INVITE goes end to end, perhaps over hops of different transports. So the *called* side repeats it
until its ACK comes (`Unacknowledged`), and the *calling* side sends its ACK again for every repeated 2xx
(`SentAcks`), whatever transactions do. Both forget after 64·T1.

Sans-IO: `now` is monotonic seconds. `K` names a dialog's INVITE: the dialog's id and the INVITE's CSeq.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from soip.sip.dialog import DialogId
from soip.sip.layer import ServerTransaction
from soip.sip.message import Request, Response
from soip.sip.timers import TimerHeap, Timers

InviteId = tuple[DialogId, int]
"""A dialog, and the CSeq number of the INVITE or re-INVITE in it."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Again:
    """Send this 2xx again through its transaction."""

    transaction: ServerTransaction
    response: Response


@dataclass(frozen=True, slots=True)
class NeverAcknowledged:
    """No ACK in 64·T1: the session must be ended with a BYE (§13.3.1.4)."""

    invite: InviteId


@dataclass(slots=True)
class _Waiting:
    transaction: ServerTransaction
    response: Response
    interval: float
    gives_up: float


class Unacknowledged:
    """The called side: 2xx responses whose ACK has not come. Bounded by the server transactions, one for
    each.
    """

    def __init__(self, timers: Timers | None = None) -> None:
        self._timers = timers or Timers()
        self._waiting: dict[InviteId, _Waiting] = {}
        self._heap: TimerHeap[InviteId] = TimerHeap()

    def __len__(self) -> int:
        return len(self._waiting)

    def sent(self, invite: InviteId, transaction: ServerTransaction, response: Response, now: float) -> None:
        """A 2xx has been sent the first time. It is repeated on any transport: later hops may lose it."""
        t1 = self._timers.t1
        self._waiting[invite] = _Waiting(transaction, response, t1, now + 64 * t1)
        self._heap.set(invite, now + t1)

    def acknowledged(self, invite: InviteId) -> bool:
        """Its ACK has come; False for one that nobody waits for any more (a repeated ACK)."""
        self._heap.drop(invite)
        return self._waiting.pop(invite, None) is not None

    def next_deadline(self) -> float | None:
        """When `advance` is next to be called."""
        return self._heap.next()

    def advance(self, now: float) -> list[Again | NeverAcknowledged]:
        """What is due: repeats at T1, 2·T1, 4·T1 … T2, and the end after 64·T1."""
        due: list[Again | NeverAcknowledged] = []
        while (invite := self._heap.pop_due(now)) is not None:
            waiting = self._waiting[invite]
            if now >= waiting.gives_up:
                del self._waiting[invite]
                due.append(NeverAcknowledged(invite))
                continue
            waiting.interval = min(2 * waiting.interval, self._timers.t2)
            self._heap.set(invite, min(now + waiting.interval, waiting.gives_up))
            due.append(Again(waiting.transaction, waiting.response))
        return due


class SentAcks(Generic[V]):
    """The calling side: ACKs to send again for repeated 2xx (§13.2.2.4). `V` is the way an ACK went.

    At most `limit` are kept; beyond it the oldest is forgotten, and the peer then ends by its own timer.
    """

    def __init__(self, timers: Timers | None = None, limit: int = 10_000) -> None:
        self._lifetime = 64 * (timers or Timers()).t1
        self._limit = limit
        self._sent: dict[InviteId, tuple[float, Request, V]] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, invite: InviteId, ack: Request, way: V, now: float) -> None:
        """An ACK has been sent the first time."""
        self._expire(now)
        if len(self._sent) >= self._limit:
            del self._sent[next(iter(self._sent))]
        self._sent[invite] = (now, ack, way)

    def again(self, invite: InviteId, now: float) -> tuple[Request, V] | None:
        """The ACK for this 2xx and its way, if it was sent before; None: the 2xx is new."""
        self._expire(now)
        found = self._sent.get(invite)
        return None if found is None else found[1:]

    def _expire(self, now: float) -> None:
        # In order of sending, since a dict keeps that order: only the oldest are looked at.
        while self._sent:
            oldest = next(iter(self._sent))
            if self._sent[oldest][0] + self._lifetime > now:
                return
            del self._sent[oldest]
