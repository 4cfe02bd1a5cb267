"""Recordings of this machine that expire: the oldest first, of those that nobody holds, disk by disk.

The order is that of `directory/expiry.py`: the catalog knows, the journal says, the file goes. Of several workers one
at a time looks after a root (`store/expire.py`), whichever comes; what one could not end another one ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.expiry import Expired, Expiry
from soip.directory.rows import GapRow
from soip.media.context import Context
from soip.media.disks import Disk, Disks, gap_entry, health_of, target
from soip.policy.retention import outlived
from soip.store.errors import StoreError
from soip.store.expire import alone, expire
from soip.store.journal import Entry

PASS_S = 5.0
"""How often the disks are looked after: a gigabyte of room lasts longer at any rate that disks take."""
AGE_S = 60.0
"""How often it is looked whether something is too old."""

_log = structlog.get_logger()


class Expirer:
    """`run` until cancelled. `retention_us` 0: recordings are kept until the disk is full."""

    def __init__(self, context: Context, disks: Disks, server: str, *, retention_us: int, min_free: int) -> None:
        self._context = context
        self._disks = disks
        self._server = server
        self._retention_us = retention_us
        self._min_free = min_free
        self._problems: dict[str, str] = {}
        self._aged: dict[str, float] = {}
        """When it was last looked on each disk for what is too old, in monotonic seconds."""

    async def run(self) -> None:
        while True:
            for disk in list(self._disks.all):
                try:
                    await self.look_after(disk)
                except UnavailableError:
                    pass  # Nothing can be condemned without the directory: a full disk stops recording meanwhile.
                except (OSError, StoreError) as error:
                    self._tell(disk, str(error))
                except Exception:  # A bug here must not end the expiry of everything for ever.
                    _log.exception("expiry failed", disk=disk.path)
                else:
                    self._tell(disk, "")
            await asyncio.sleep(PASS_S)

    def _tell(self, disk: Disk, problem: str) -> None:
        """Once, however often it is tried."""
        if problem and self._problems.get(disk.path) != problem:
            _log.error("nothing can expire here", disk=disk.path, reason=problem)
        self._problems[disk.path] = problem

    async def look_after(self, disk: Disk) -> None:
        """Let expire on one disk what must. Raises UnavailableError, OSError, StoreError."""
        if disk.state(self._context.now()) in ("away", "slow"):
            return
        lock = alone(disk.root)
        if not await asyncio.to_thread(lock.__enter__):
            await asyncio.to_thread(lock.__exit__, None, None, None)
            return
        try:
            await self._expire(disk, self._context.directory.expiry)
        finally:
            await asyncio.to_thread(lock.__exit__, None, None, None)

    async def _expire(self, disk: Disk, expiry: Expiry) -> None:
        while begun := await expiry.pending(self._server, disk.path):
            await self._carry_out(disk, expiry, begun)
        count = size = 0
        while True:
            missing = await self._missing(disk)
            before_us = self._too_old(disk)
            if missing <= 0 and not before_us:
                break
            choose = partial(outlived, before_us=before_us, missing=missing)
            gone = await expiry.condemn(self._server, disk.path, choose)
            if not gone:
                self._aged[disk.path] = self._context.now()
                break
            await self._carry_out(disk, expiry, gone)
            count, size = count + len(gone), size + sum(each.row.bytes for each in gone)
        if count:
            _log.info("recordings expired", disk=disk.path, files=count, bytes=size)
        self._judge(disk, exhausted=missing > 0)

    def _too_old(self, disk: Disk) -> int:
        """What ended before this (µs UTC) is too old; 0: nothing is, or it was looked at a moment ago."""
        looked = self._aged.get(disk.path)
        if not self._retention_us or (looked is not None and self._context.now() - looked < AGE_S):
            return 0
        return self._context.now_us() - self._retention_us

    async def _missing(self, disk: Disk) -> int:
        """How many bytes less are free than should be."""
        health = await asyncio.to_thread(health_of, disk.root)
        return target(health, self._min_free) - health.free

    def _judge(self, disk: Disk, *, exhausted: bool) -> None:
        if exhausted and not disk.exhausted:
            _log.error(
                "nothing more may expire",
                disk=disk.path,
                reason="all that is left is held, or being recorded, or no recording",
                effect="cameras of the lowest priority stop first",
            )
        disk.exhausted = exhausted

    async def _carry_out(self, disk: Disk, expiry: Expiry, gone: Sequence[Expired]) -> None:
        """The journal says so, the files go, then the rows."""
        await _perform(disk, partial(expire, disk.root, _lines(gone), [each.row.path for each in gone]))
        await expiry.forget([each.row.id for each in gone])


async def _perform(disk: Disk, work: partial[None]) -> None:
    """On the disk's thread, which alone writes there. Raises what `work` does."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def job() -> None:
        failure: Exception | None = None
        try:
            work()
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # A loop that is closed has nobody left to tell.
            loop.call_soon_threadsafe(settle, failure)

    disk.place.disk.submit(job, 0)
    await done


def _lines(gone: Sequence[Expired]) -> list[tuple[str, Entry]]:
    """One line for each gap, as it is after the last file that it has grown by, with the files that go now."""
    gaps: dict[str, GapRow] = {}
    files: dict[str, list[str]] = {}
    for each in gone:
        gaps[each.gap.id] = each.gap
        files.setdefault(each.gap.id, []).append(each.row.path)
    return [(gap.camera_id, gap_entry(gap, files=files[gap.id])) for gap in gaps.values()]
