"""Decoding times for presentation times that come in decoding order (B-frames), without looking ahead.

RTP carries presentation times only. With a reorder depth of d, the decoding time of a picture is the
presentation time shown d pictures before it in output order: the smallest of the last d + 1 not used yet.
That sequence rises as long as d is right, and no picture is decoded after it is shown. d is told by the SPS
(``Sps.reorder_depth``) or learned from pictures that come out of order.
"""

from __future__ import annotations

from collections import deque
from heapq import heappush, heappushpop

MAX_DEPTH = 16
"""ITU-T H.264 §E.2.1: max_num_reorder_frames is at most max_dec_frame_buffering, that is 16."""
DEFAULT_FRAME = 3000
"""90 kHz ticks of a frame at 30/s, where nothing is known yet."""
SAME_PICTURE = 90
"""Ticks, 1 ms: times this near are no reordering but one picture cut in two by stray markers, or our rounding."""


class DecodeTime:
    """Decoding times of one stream, strictly rising. All times are ticks of one clock."""

    def __init__(self, depth: int | None = None, frame_ticks: int | None = None) -> None:
        """``depth`` from the SPS, None to learn it; ``frame_ticks`` spaces the first ``depth`` pictures."""
        self.depth = min(depth or 0, MAX_DEPTH)
        self._frame = frame_ticks or DEFAULT_FRAME
        self._waiting: list[int] = []
        self._recent: deque[int] = deque(maxlen=MAX_DEPTH)
        self._highest = 0
        self._last: int | None = None

    def next(self, pts: int) -> int:
        """Return the decoding time of the next picture in decoding order.

        It is above the last one. It exceeds ``pts`` only while the depth is being learned.
        """
        last = self._last
        if pts > self._highest and last is not None:
            self._highest = pts
        elif last is None:
            # None came before: count back from the first, which is shown before all others.
            self._waiting = [pts - self._frame * back for back in range(self.depth, 0, -1)]
            self._highest = pts
            last = pts - self._frame * (self.depth + 1)
        else:
            self._learn(pts)
        self._recent.append(pts)
        if not self.depth:
            dts = pts if pts > last else last + 1
        elif len(self._waiting) < self.depth:
            heappush(self._waiting, pts)
            dts = last + 1
        else:
            dts = max(heappushpop(self._waiting, pts), last + 1)
        self._last = dts
        return dts

    def reset(self) -> None:
        """Begin anew after a break of the timeline; the depth learned stays."""
        self._last = None
        self._recent.clear()

    def _learn(self, pts: int) -> None:
        """A picture out of order: the depth is the number of pictures decoded before it and shown after it."""
        ahead = sum(earlier - pts > SAME_PICTURE for earlier in self._recent)
        self.depth = max(self.depth, ahead)
