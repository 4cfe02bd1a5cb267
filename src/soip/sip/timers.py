"""The timers of SIP: their lengths (RFC 3261 table 4), and a heap of many of them."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Timer(Enum):
    """Timers by their letters in RFC 3261 §17 and RFC 6026, and two that the RFCs describe without one."""

    A = "INVITE request again"
    B = "INVITE without any response"
    C = "INVITE without a final response (§16.6 step 11)"
    D = "absorb repeated finals of an INVITE"
    E = "non-INVITE request again"
    F = "non-INVITE without a final response"
    G = "INVITE response again"
    H = "no ACK for it"
    I = "absorb repeated ACKs"  # noqa: E741  # the standard's letter
    J = "absorb repeated non-INVITE requests"
    K = "absorb repeated non-INVITE responses"
    L = "absorb INVITEs after our 2xx (RFC 6026)"
    M = "pass on 2xx of other branches (RFC 6026)"
    TRYING = "say 100 if the user is slower than 200 ms (§17.2.1)"
    CANCELLED = "no final response after our CANCEL (§9.1)"

    __hash__ = object.__hash__  # members are single: identity is faster than hashing the name


@dataclass(frozen=True, slots=True)
class Timers:
    """Lengths in seconds. `t1` is the round trip, `t2` the longest pause between repeats, `t4` how long a
    message may live in the network, `c` how long a call may ring."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    c: float = 185.0  # "larger than 3 minutes"

    def length(self, timer: Timer, reliable: bool) -> float | None:
        """How long a timer runs first; None: not started on this transport, because nothing is lost there."""
        if timer in _REPEATING:
            return None if reliable else self.t1
        if timer in _GIVING_UP:
            return 64 * self.t1
        if timer in _ABSORBING_BRIEFLY:
            return 0.0 if reliable else self.t4
        if timer in _ABSORBING:
            return 0.0 if reliable else 64 * self.t1
        return self.c if timer is Timer.C else 0.2


_REPEATING = frozenset({Timer.A, Timer.E, Timer.G})
_GIVING_UP = frozenset({Timer.B, Timer.F, Timer.H, Timer.L, Timer.M, Timer.CANCELLED})
_ABSORBING_BRIEFLY = frozenset({Timer.I, Timer.K})
_ABSORBING = frozenset({Timer.D, Timer.J})  # D is "at least 32 s", which is 64*T1 by default


class TimerHeap(Generic[T]):
    """Deadlines of many owners. O(log n); a deadline that was replaced or dropped stays in the heap until it
    comes up or such entries are more than half, so memory stays within twice what is wanted.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._current: dict[T, int] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._current)

    def set(self, owner: T, deadline: float) -> None:
        """Start or move the owner's deadline."""
        number = next(self._numbers)
        self._current[owner] = number
        heapq.heappush(self._heap, (deadline, number, owner))
        if len(self._heap) > 2 * len(self._current) + 64:
            current = self._current
            self._heap = [entry for entry in self._heap if current.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def drop(self, owner: T) -> None:
        """Forget the owner's deadline; none is fine."""
        self._current.pop(owner, None)

    def next(self) -> float | None:
        """The earliest deadline."""
        heap = self._heap
        while heap and self._current.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> T | None:
        """Take the owner of the earliest deadline that has come, if any."""
        deadline = self.next()
        if deadline is None or deadline > now:
            return None
        owner = heapq.heappop(self._heap)[2]
        del self._current[owner]
        return owner
