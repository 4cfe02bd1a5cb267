"""Every minute of a camera is recorded or explained: the gap that is open now, and its cause."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from soip.directory.rows import GapRow

_NEAR_US = 1_000_000
"""Two losses nearer than this are one."""


class Cause(StrEnum):
    """Why there is no recording, in the catalog's and the journal's words."""

    OFFLINE = "camera offline"
    NOT_PLANNED = "not planned"
    MEDIA_LOST = "media lost"
    DISK = "disk"
    CLOCK = "clock"
    SERVER_DOWN = "media server down"
    EXPIRED = "expired"


class Gaps:
    """The gaps of one camera, one after the other, none overlapping what the disk has taken.

    Order of calls: `resume(since)` at a start, `missing(cause, ...)` as often as the cause is known or changes,
    `grow(now)` now and then so that a crash finds the gap nearly as long as it was, `recorded(start)` when a recording
    begins and `recorded_until(end)` with each of its fragments, `lost(...)` when the disk failed to keep one, `stop`
    at the end. `save` gets every version of a row: the row is replaced by its id. `done` gets a gap when it is over;
    again, should it go on after all. Of one that was open at a crash the next run sees to that (`archive`).
    """

    def __init__(
        self,
        camera: str,
        instance: str,
        save: Callable[[GapRow], None],
        done: Callable[[GapRow], None],
    ) -> None:
        self._camera, self._instance = camera, instance
        self._save, self._done = save, done
        self._open: GapRow | None = None
        self._newest: GapRow | None = None
        self._covered_us = 0

    @property
    def cause(self) -> str | None:
        return self._open.cause if self._open else None

    def resume(self, covered_us: int) -> None:
        """All up to `covered_us` is recorded or explained already (by an earlier run)."""
        self._covered_us = covered_us

    def recorded_until(self, end_us: int) -> None:
        """The running recording reaches to `end_us`: a gap can only begin there."""
        self._covered_us = max(self._covered_us, end_us)

    def missing(self, cause: Cause, since_us: int, now_us: int, detail: str = "") -> None:
        """Nothing has been recorded since `since_us`, for this cause; another cause so far ends its gap now.

        A gap that ended where this one begins, of the same cause, goes on.
        """
        gap = self._open
        if gap and gap.cause == cause:
            self.grow(now_us)
            return
        if gap:
            self._close(now_us)
        start = max(self._covered_us, since_us)
        newest = self._newest
        if newest and newest.cause == cause and newest.end_us >= start:
            self._open = replace(newest, end_us=max(newest.end_us, now_us))
        else:
            self._open = self._row(cause, start, max(start, now_us), detail)
        self._save(self._open)

    def lost(self, since_us: int, until_us: int, detail: str) -> None:
        """What was recorded from `since_us` to `until_us` is not on the disk after all, and is over."""
        gap = self._open
        if gap and gap.cause == Cause.DISK and gap.start_us - until_us <= _NEAR_US:
            self._open = replace(gap, start_us=min(gap.start_us, since_us), detail=gap.detail or detail)
            self._save(self._open)
        elif since_us < until_us:
            row = self._row(Cause.DISK, since_us, until_us, detail)
            self._save(row)
            self._done(row)

    def fail(self, since_us: int, now_us: int, detail: str) -> None:
        """What was recorded from `since_us` on is not on the disk after all, and nothing is being recorded."""
        self._covered_us = min(self._covered_us, since_us)
        self.missing(Cause.DISK, since_us, now_us, detail)

    def grow(self, now_us: int) -> None:
        if self._open and now_us > self._open.end_us:
            self._open = replace(self._open, end_us=now_us)
            self._save(self._open)

    def recorded(self, start_us: int) -> None:
        """A recording begins at `start_us`: the open gap ends there."""
        self._close(start_us)

    def stop(self, now_us: int) -> None:
        """Nobody looks after this camera any more: the open gap ends now."""
        self._close(max(now_us, self._open.end_us if self._open else now_us))

    def _row(self, cause: Cause, start_us: int, end_us: int, detail: str) -> GapRow:
        return GapRow(
            id=uuid.uuid4().hex,
            camera_id=self._camera,
            start_us=start_us,
            end_us=end_us,
            cause=cause,
            instance_id=self._instance,
            detail=detail,
        )

    def _close(self, end_us: int) -> None:
        gap, self._open = self._open, None
        if gap is None:
            return
        gap = replace(gap, end_us=max(gap.start_us, end_us))
        self._newest = gap
        self._covered_us = max(self._covered_us, gap.end_us)
        self._save(gap)
        self._done(gap)
