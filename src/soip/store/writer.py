"""Write recordings, one `RecordingWriter` per file.

Order of calls: `append` again and again, then `seal`. `append` returns False for a fragment that is refused: the
disk's queue is full, or the file has failed. The caller then records a gap with the cause *disk*. A file is named and
made when its first fragment reaches the disk's thread.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter

from soip.mp4.index import Fragment, with_damage
from soip.mp4.tracks import Track
from soip.mp4.writer import Edit, Head, Run, fragment_parts, init_segment

from .disk import DiskWriter
from .events import Event
from .openfile import OpenFile

_DAMAGED = attrgetter("damaged")
INDEX_RESERVE = 8192  # an index of 678 fragments; longer ones are merged


class RecordingWriter:
    """Writes one recording. Used from one thread; `listener` is called on the disk's.

    Tracks are as in the init segment, the reference (video) first. Runs carry continuous media times; the file's own
    times start at what is shown or heard first. `share` is the part of the disk's queue that may be full before a
    fragment is refused.
    """

    def __init__(
        self,
        disk: DiskWriter,
        camera: str,
        tracks: Sequence[Track],
        listener: Callable[[Event], None],
        *,
        organisation: str = "default",
        stream: str = "main",
        trigger: str = "plan",
        clock: str = "server",
        server: str = "",
        camera_offset_us: int | None = None,
        share: float = 1.0,
    ) -> None:
        self.camera = camera
        self.tracks = tuple(tracks)
        self.bytes = 0
        self._disk = disk
        self._share = share
        self._facts = {
            "organisation": organisation,
            "stream": stream,
            "trigger": trigger,
            "clock": clock,
            "server": server,
        }
        self._camera_offset_us = camera_offset_us
        self._file = OpenFile(disk, camera, self.tracks[0].timescale, listener)
        self._sequence = 0
        self._origins: dict[int, int] = {}
        self._delay = 0
        self._sealed = False

    @property
    def failed(self) -> bool:
        """Whether the disk has given this file up: nothing more is taken."""
        return self._file.failed

    def append(self, runs: Sequence[Run], utc_us: int) -> bool:
        """Hand over a fragment: one run per track, the first track's first; no run empty.

        `utc_us` is the UTC at which the first run's first frame is shown. False: refused, and lost.
        """
        if self._file.failed or self._sealed:
            return False
        if not runs or runs[0].track_id != self.tracks[0].track_id or not all(run.samples for run in runs):
            raise ValueError("a fragment begins with a run of the first track, and no run is empty")
        front, origins, delay = (b"", self._origins, self._delay) if self._origins else self._begin(runs, utc_us)
        if runs[0].decode_time < origins[runs[0].track_id]:
            raise ValueError("a fragment from before the start of its file")
        moved = [
            run._replace(decode_time=run.decode_time - origins[run.track_id])
            for run in runs
            if run.decode_time >= origins[run.track_id]
        ]
        first = runs[0]
        parts = fragment_parts(self._sequence + 1, moved, utc_us)
        size = sum(map(len, parts))
        entry = Fragment(
            0,
            size,
            moved[0].decode_time + first.samples[0].composition_offset - delay,
            first.duration,
            first.samples[0].sync,
            utc_us,
            len(first.samples),
        )
        if first.lost or any(map(_DAMAGED, first.samples)):
            durations, damaged = [sample.duration for sample in first.samples], [*map(_DAMAGED, first.samples)]
            entry = with_damage(entry, durations, damaged, first.lost)
        queued = time.monotonic()
        write = partial(self._file.write, front, parts, entry, queued)
        if not self._disk.submit(write, len(front) + size, self._share):
            return False
        self._origins, self._delay = origins, delay
        self._sequence += 1
        self.bytes += size
        return True

    def seal(self) -> None:
        """Complete the file. `Sealed` tells when that is done; nothing is told of a file without a fragment."""
        if not self._sealed:
            self._sealed = True
            self._disk.submit(self._file.complete, 0)

    def _begin(self, runs: Sequence[Run], utc_us: int) -> tuple[bytes, dict[int, int], int]:
        """Choose the file's zero and make its front; also where each track counts from, and the first one's delay.

        Zero is where the first frame is shown. What is decoded or heard before it (reordered frames, a sound that
        reaches over the cut) lies before the movie's start: each track counts from its own first sample, and its edit
        list skips what is before.
        """
        first, scale = runs[0], self.tracks[0].timescale
        zero = first.decode_time + first.samples[0].composition_offset
        begins = {run.track_id: run.decode_time for run in runs}
        origins: dict[int, int] = {}
        edits: dict[int, Edit] = {}
        for track in self.tracks:
            there = zero * track.timescale // scale
            origins[track.track_id] = min(there, begins.get(track.track_id, there))
            if origins[track.track_id] < there:
                edits[track.track_id] = Edit(there - origins[track.track_id])
        head = Head(self.camera, utc_us, zero, **self._facts, camera_offset_us=self._camera_offset_us)
        front = init_segment(self.tracks, head=head, reserve=INDEX_RESERVE, edits=edits)
        return front, origins, zero - origins[first.track_id]
