"""The thread that writes to one disk: a bounded queue in front of it, nobody who waits for it, and beside it a thread
that syncs. A disk may take a tenth of a second for one file; what others record is written meanwhile.

Order of calls: `disk = DiskWriter(root)`, `disk.start()`; recordings are written through `writer.RecordingWriter`; at
the end `disk.close()`, which writes and syncs all that is queued.
"""

import logging
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from . import journal
from .root import Root

LEAST_QUEUE, MOST_QUEUE = 64 << 20, 1 << 30
MEMORY_SHARE = 64
"""A queue is this part of the machine's memory, within those bounds. A disk that writes back what it was given stands
still for seconds at times: 300 cameras of 4 Mbit/s fill 64 MB in less than half of one.
"""
JOB_BYTES = 4096
"""What a job without bytes counts for: it takes memory too, and it may take the disk longer than a fragment."""

_log = logging.getLogger(__name__)


class Syncable(Protocol):
    """A file with bytes that may not be on the disk yet."""

    def sync(self) -> None:
        """On the thread for that, while the disk's may write to the file or close it. Raises OSError."""

    def unsynced(self, error: Exception) -> None:
        """On the disk's thread: `sync` has raised this."""


BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds by which writes and syncs are told apart."""


@dataclass(slots=True)
class WriteStats:
    """What the disk's thread did so far. Times in seconds."""

    fragments: int = 0
    bytes: int = 0
    seconds: float = 0.0
    worst_seconds: float = 0.0
    syncs: int = 0
    worst_sync_seconds: float = 0.0
    refused: int = 0
    sync_seconds: float = 0.0
    write_times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """How many writes took up to each of `BOUNDS`, and longer than all of them; the same of syncs."""
    sync_times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))


def default_queue_bytes() -> int:
    """How much may wait for one disk on this machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(memory // MEMORY_SHARE, LEAST_QUEUE), MOST_QUEUE)


class DiskWriter:
    """The thread that writes to one root. Invariant: what was accepted is written in order, or reported as lost."""

    def __init__(self, root: Root, *, queue_bytes: int | None = None, sync_seconds: float = 5.0) -> None:
        self.root = root
        self.stats = WriteStats()
        self.files = 0
        """How many are open; for the disk's thread."""
        self.limit_bytes = default_queue_bytes() if queue_bytes is None else queue_bytes
        self._sync_seconds = sync_seconds
        self._queue: SimpleQueue[tuple[Callable[[], None] | None, int]] = SimpleQueue()
        self._lock = threading.Lock()
        self._queued = 0
        self._dirty: dict[Syncable, float] = {}  # the oldest first, by when it must be synced
        self._syncing = False
        self._to_sync: SimpleQueue[Syncable | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="disk-writer", daemon=True)
        self._syncer = threading.Thread(target=self._sync, name="disk-sync", daemon=True)

    @property
    def queued_bytes(self) -> int:
        return self._queued

    def start(self) -> None:
        self._syncer.start()
        self._thread.start()

    def close(self, timeout: float | None = None) -> bool:
        """Write and sync what is queued, then end the thread. False: it was not done within `timeout` seconds."""
        self._queue.put((None, 0))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def submit(self, job: Callable[[], None], size: int, share: float = 1.0) -> bool:
        """Queue a job that holds `size` bytes; False when it does not fit into this share of the queue. A job of no
        bytes is always taken, but it leaves less room for others.
        """
        counted = size or JOB_BYTES
        with self._lock:
            if size and self._queued + size > self.limit_bytes * share:
                self.stats.refused += 1
                return False
            self._queued += counted
        self._queue.put((job, counted))
        return True

    def journal(self, camera: str, entry: journal.Entry) -> None:
        """Have a journal line written; a failure is logged, for the catalog has it too."""
        self.submit(lambda: journal.append(self.root, camera, entry), 0)

    def _run(self) -> None:
        closing = False
        while True:
            if closing and not self._syncing:
                self._sync_next()
                if not self._syncing and self._queue.empty():
                    break
            deadline = None if self._syncing else next(iter(self._dirty.values()), None)
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                job, size = self._queue.get(timeout=wait)
            except Empty:
                self._sync_next()
                continue
            if job is None:
                closing = True
                continue
            self._perform(job)
            with self._lock:
                self._queued -= size
            if deadline is not None and deadline <= time.monotonic():
                self._sync_next()
        self._to_sync.put(None)

    def _perform(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:  # whatever one job meets, the other cameras' must go on
            _log.exception("a job of the disk writer failed")

    def _sync_next(self) -> None:
        """Have the file synced that has waited longest, one at a time."""
        file = next(iter(self._dirty), None)
        if file is not None and not self._syncing:
            del self._dirty[file]
            self._syncing = True
            self._to_sync.put(file)

    def _sync(self) -> None:
        """The thread beside."""
        while (file := self._to_sync.get()) is not None:
            began, error = time.monotonic(), None
            try:
                file.sync()
            except Exception as what:  # whatever it is, the other files are synced too
                error = what
            self._queue.put((partial(self._synced, file, time.monotonic() - began, error), 0))

    def _synced(self, file: Syncable, seconds: float, error: Exception | None) -> None:
        self._syncing = False
        stats = self.stats
        stats.sync_seconds += seconds
        stats.worst_sync_seconds = max(stats.worst_sync_seconds, seconds)
        stats.sync_times[bisect_left(BOUNDS, seconds)] += 1
        stats.syncs += 1
        if error is not None:
            file.unsynced(error)

    def touched(self, file: Syncable) -> None:
        """On the disk's thread: the file has bytes that are not synced."""
        self._dirty.setdefault(file, time.monotonic() + self._sync_seconds)

    def finished(self, file: Syncable) -> None:
        """On the disk's thread: the file is closed."""
        self._dirty.pop(file, None)

    def measured(self, size: int, seconds: float) -> None:
        """On the disk's thread: a fragment was written."""
        stats = self.stats
        stats.fragments += 1
        stats.bytes += size
        stats.seconds += seconds
        stats.worst_seconds = max(stats.worst_seconds, seconds)
        stats.write_times[bisect_left(BOUNDS, seconds)] += 1
