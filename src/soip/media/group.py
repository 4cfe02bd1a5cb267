"""This worker as one of the group: its heartbeats and its load, the cameras that are its own, and whether it may act.

`policy/lease.py` says when, `policy/placement.py` where to; `directory/homes.py` makes it true for all at once. Who
watches the others is whoever sends a heartbeat: there is no leader, and nobody to be elected.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.homes import Judge, Judgement, Look
from soip.directory.rows import HomeRow, MediaInstance
from soip.policy import liveness
from soip.policy.lease import Lease, Watch
from soip.policy.placement import Candidate, place

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker carries, in the words of `MediaInstance`."""

    accepting: bool = True
    streams: int = 0
    viewers: int = 0
    in_bps: int = 0
    out_bps: int = 0
    disk_free: int = 0
    disk_total: int = 0
    disks: str = "[]"


class Ledger(Protocol):
    """Where heartbeats are written: `directory.homes.Homes`."""

    async def beat(self, instance: MediaInstance, judge: Judge) -> Look:
        """Raises UnavailableError."""


def boot_clock() -> float:
    """Seconds that go on while the machine sleeps, unlike those of the event loop: a lease does not sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Group:
    """Order of calls: `beat` every `pause_s`, `awake` more often, in a task of its own. `siblings` are the workers that
    this machine is to have: they are counted on before they have been heard of.
    """

    def __init__(
        self,
        ledger: Ledger,
        instance: MediaInstance,
        siblings: Set[str],
        failover_s: float,
        connected: Callable[[], bool],
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self.mine: Mapping[str, HomeRow] = {}
        """The cameras placed on this worker, as of its last heartbeat."""
        self.pause_s = failover_s / 6
        self._ledger = ledger
        self._row = replace(instance, lease_s=failover_s / 2)
        self._siblings = siblings
        self._connected = connected
        self._clock = clock
        self._lease = Lease(instance.server_id, failover_s / 2, clock())
        self._watch = Watch(failover_s)
        self._floor: dict[str, int] = {}
        """Cameras that went elsewhere, and the epochs of that, as told since the last heartbeat was begun."""
        self._beating = asyncio.Lock()

    def holds(self, camera: str) -> bool:
        """Whether this worker may call and record a camera now. Asked before each picture is kept."""
        return camera in self.mine and self.leased

    @property
    def leased(self) -> bool:
        """Whether it may act for any camera."""
        return self._lease.holds(self._clock(), connected=self._connected())

    @property
    def held(self) -> Collection[str]:
        """The cameras that are this worker's now: all that are placed on it, or none."""
        return self.mine.keys() if self.leased else ()

    def awake(self) -> None:
        """The process runs."""
        self._lease.awake(self._clock(), connected=self._connected())

    async def beat(self, load: Load, now_us: int) -> None:
        """One heartbeat; `mine` is up to date after it. Raises UnavailableError."""
        async with self._beating:
            self._floor = {}
            began = self._clock()
            values = {name: getattr(load, name) for name in Load.__slots__}
            self._row = replace(self._row, beat=self._row.beat + 1, heartbeat_us=now_us, **values)
            try:
                look = await self._ledger.beat(self._row, self._judge)
            except UnavailableError:
                self._lease.failed(began)
                raise
            lapsed = self._watch.lapsed()
            there = (each.server_id for each in look.instances if each.id != self._row.id and each.id not in lapsed)
            self._lease.renewed(began, there)
            self.mine = {name: row for name, row in look.mine.items() if row.epoch >= self._floor.get(name, 0)}
        ways = Counter((row.previous_id, row.instance_id) for row in look.moved if row.previous_id)
        for (source, target), count in ways.items():
            _log.warning("cameras moved", source=source, target=target, cameras=count, reason="not heard of in time")

    def lost(self, camera: str, epoch: int) -> None:
        """Somebody says that a camera was placed elsewhere. What is no newer than what is known changes nothing."""
        row = self.mine.get(camera)
        self._floor[camera] = max(epoch, self._floor.get(camera, 0))
        if row is not None and row.epoch < epoch:
            self.mine = {name: each for name, each in self.mine.items() if name != camera}

    def _judge(self, instances: Sequence[MediaInstance], counts: Mapping[str, int]) -> Judgement:
        missing = self._siblings - {each.id for each in instances}
        marks = {each.id: ((each.epoch, each.beat), each.lease_s) for each in instances}
        self._watch.look(self._clock(), marks | dict.fromkeys(missing, ((0, 0), self._row.lease_s)))
        lapsed = (self._watch.lapsed() | (counts.keys() - marks.keys() - missing)) - {self._row.id}
        fresh = self._watch.fresh()
        known = [each for each in instances if each.id in fresh and self._is_counted_on(each)]
        candidates = [_candidate(each, counts) for each in known]
        candidates += [Candidate(name, counts.get(name, 0)) for name in missing & fresh]
        return Judgement(lapsed, lambda cameras: place(cameras, candidates))

    def _is_counted_on(self, other: MediaInstance) -> bool:
        """A row that was old when it was first seen is of an instance that is no more, or of a sibling that starts."""
        return other.id in self._siblings or liveness.alive(other.heartbeat_us, self._row.heartbeat_us)


def _candidate(instance: MediaInstance, counts: Mapping[str, int]) -> Candidate:
    traffic = instance.in_bps + instance.out_bps
    return Candidate(instance.id, counts.get(instance.id, 0), instance.streams, traffic, instance.accepting)
