"""The recorder of one camera: pictures and sound into fragments, fragments into files, what is missing into gaps.

A fragment ends where a keyframe begins, after `fragment_seconds`, or at `FRAGMENT_BYTES`. A file turns at a keyframe:
when its time is over, when the codec changes, when the timeline breaks. A stream that breaks again and again is not
followed at any price: each file costs the disk that all cameras share a few syncs.

The disk is behind a thread: what it reports comes back to the event loop and becomes rows of the catalog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from operator import sub

import structlog

from soip.media.context import Context
from soip.media.disks import Disks, Place
from soip.media.gaps import Cause, Gaps
from soip.media.intake import Picture, Sound
from soip.media.soundtrack import SoundTrack
from soip.media.tally import Tally
from soip.mp4.times import us_of
from soip.mp4.tracks import video_track
from soip.mp4.writer import Run, Sample
from soip.rtp.codec import Codec
from soip.rtp.nal import CLOCK_RATE
from soip.rtp.sound import SoundFormat
from soip.store.events import DiskFull, Event, Opened, Sealed, WriteFailed, Written
from soip.store.layout import turn_us
from soip.store.recording import Recording
from soip.store.writer import RecordingWriter

FRAGMENT_BYTES = 4 << 20
BREAK_S = 5.0
"""One file is begun in this time because the stream broke, by its timeline or its parameters."""
_GROW_US = 5_000_000

_log = structlog.get_logger()


class _File:
    """One file as the recorder sees it: what it holds, and how far the disk has accepted it."""

    writer: RecordingWriter

    def __init__(
        self, place: Place, codec: Codec, form: SoundFormat | None, turn_us: int, sound: SoundTrack | None
    ) -> None:
        self.place = place
        self.codec = codec
        self.format = form
        self.turn_us = turn_us
        self.sound = sound
        self.begun = False
        self.end_us = 0


class _Fragment:
    """Pictures on their way into one fragment. Those that lie one behind the other are one piece: nothing is copied."""

    def __init__(self, first: Picture, ticks: int) -> None:
        self.first = first
        self.until = first.dts + ticks
        """The time at which it is long enough."""
        self.bytes = 0
        self.lost = 0
        self._facts: list[int] = []
        """Of each picture: size, decoding time, how much later it is shown, whether it is a keyframe, and damaged."""
        self._pieces: list[memoryview] = []
        self._data = first.unit.data
        self._start = self._end = first.unit.start

    def add(self, picture: Picture) -> None:
        """The next picture."""
        unit, dts = picture.unit, picture.dts
        start, end = unit.start, unit.end
        size = end - start
        self._facts += (size, dts, picture.pts - dts, unit.keyframe, unit.damaged)
        self.bytes += size
        if unit.lost:
            self.lost += unit.lost
        if start != self._end or unit.data is not self._data:
            self._pieces = self._all()
            self._data, self._start = unit.data, start
        self._end = end

    def run(self, end: int | None, usual: int) -> Run:
        """What is to be written. The next picture is decoded at `end`; where there is none, the last one is as long as
        the one before it, or else `usual`.
        """
        sizes, times, later, syncs, damaged = [self._facts[at::5] for at in range(5)]
        durations = list(map(sub, times[1:], times))
        durations.append(end - times[-1] if end is not None else durations[-1] if durations else usual)
        forward = map(max, durations, repeat(1))
        samples = list(map(Sample, sizes, forward, later, map(bool, syncs), map(bool, damaged)))
        return Run(1, times[0], samples, self._all(), self.lost)

    def _all(self) -> list[memoryview]:
        return [*self._pieces, self._data[self._start : self._end]]


class Recorder:
    """Order of calls: `enable` by the plan; `begin` with each call to the camera, then pictures and sound, then
    `interrupt`; `missing` when there is nothing to record, and `tick` each second throughout; `stop` at the end.
    """

    def __init__(self, context: Context, camera: str, disks: Disks, gaps: Gaps) -> None:
        self._context = context
        self._camera = camera
        self._disks = disks
        self._gaps = gaps
        self._log = _log.bind(camera=camera)
        self._enabled: bool | None = None
        self._format: SoundFormat | None = None
        self.camera_offset_us: int | None = None
        """How far the camera's own clock is ahead of ours, where it tells: each file notes it."""
        self._file: _File | None = None
        self._latest: Picture | None = None
        self._fragment: _Fragment | None = None
        self._fragment_ticks = 0
        self._duration = 3600
        self._barred = False
        """No disk took it when that was last asked."""
        self._last_us = 0
        self._opening = False
        """Nothing was recorded before the newest keyframe: pictures that refer to it cannot be decoded."""
        self.tally = Tally()
        """Fragments that were written and refused."""
        self._anew = False
        """The timeline has begun anew since the last file."""
        self._not_before = self._calm_at = 0.0
        """When a file may begin at the earliest, and from when on a break is followed at once (monotonic seconds)."""

    @property
    def running(self) -> bool:
        """Whether pictures are being recorded."""
        return self._file is not None

    @property
    def wants_keyframe(self) -> bool:
        """Whether a keyframe is all that is missing to begin a file, the first or the next."""
        if not self._enabled or self._is_barred():
            return False
        return self._file is None or self._context.now_us() >= self._file.turn_us

    def enable(self, on: bool) -> None:
        """The plan says whether to record."""
        if on == self._enabled:
            return
        self._enabled = on
        if not on:
            self.missing(Cause.NOT_PLANNED)

    def begin(self, form: SoundFormat | None) -> None:
        """A call to the camera is up; what its sound is coded with, if it sends any."""
        self._format = form

    def interrupt(self) -> None:
        """The call is over: what was received is written."""
        self._close()

    def stop(self, *, moved: bool = False) -> None:
        """The worker ends, or the camera is removed. With `moved` somebody else has recorded or explained since."""
        self._close()
        self._gaps.stop(0 if moved else self._context.now_us())

    def missing(self, cause: Cause, detail: str = "") -> None:
        """There is nothing to record, and why. Only the plan and the disk explain more than that."""
        if not self._enabled:
            cause, detail = Cause.NOT_PLANNED, ""
        elif self._barred:
            cause, detail = Cause.DISK, ""
        self._close()
        now_us = self._context.now_us()
        self._gaps.missing(cause, self._last_us or now_us, now_us, detail)

    def tick(self) -> None:
        """Once a second."""
        now_us = self._context.now_us()
        file = self._file
        if file is not None and not self._disks.keeps(self._camera, file.place):
            self._give_way()
        self._is_barred()
        # Beyond what waits to be written it would overlap that, if nobody lives to see it written.
        under_way = self._fragment.first if self._fragment else None
        self._gaps.grow(min(now_us - now_us % _GROW_US, under_way.utc_us if under_way else now_us))

    def sound(self, sound: Sound) -> None:
        """One frame of sound. In another format than the file's it waits for a file of its own, at a keyframe."""
        self._format = sound.format
        file, picture = self._file, self._latest
        if file is None or file.sound is None or picture is None or file.format != sound.format:
            return
        # The tracks of a file count media time, which leaves UTC as the camera's clock does: by seconds in a long call.
        ahead_us = us_of(picture.pts) - picture.utc_us
        file.sound.feed(sound.frame.payload, sound.utc_us + ahead_us)

    def picture(self, picture: Picture) -> None:
        """The next access unit in decoding order."""
        unit = picture.unit
        if picture.fresh:
            self._anew = True
        if not self._enabled or (self._barred and self._is_barred()) or (self._opening and unit.leading):
            return
        file = self._file
        if file is not None:
            fragment = self._fragment
            if picture.fresh:
                self._break(picture)
            elif fragment is not None and (
                unit.keyframe or picture.dts >= fragment.until or fragment.bytes >= FRAGMENT_BYTES
            ):
                # A file's last fragment has all its sound: what the track holds back too.
                if unit.keyframe and (picture.codec != file.codec or self._format != file.format):
                    self._break(picture)
                elif unit.keyframe and picture.utc_us >= file.turn_us:
                    self._close(picture.dts)
                else:
                    self._flush(picture.dts)
        if self._file is None and not (self._may_begin(picture) and self._open(picture)):
            return
        if unit.keyframe:
            self._opening = file is None or picture.fresh
        if self._fragment is None:
            self._fragment = _Fragment(picture, self._fragment_ticks)
        self._fragment.add(picture)
        self._latest = picture

    # -- fragments

    def _flush(self, end: int | None) -> None:
        """Hand the fragment over to the disk. The picture behind it is decoded at `end`, None where there is none."""
        fragment, file = self._fragment, self._file
        self._fragment = None
        if fragment is None or file is None:
            return
        run = fragment.run(end, self._duration)
        self._duration = run.samples[-1].duration
        first, runs = fragment.first, [run]
        if file.sound is not None and (heard := file.sound.take()):
            runs.append(heard)
        if not file.writer.append(runs, first.utc_us):
            self.tally.refused += 1
            if not file.writer.failed:
                self._disks.refused(file.place, self._camera)
                self._refused(file, first.utc_us, "the disk does not keep up")
            else:
                self._failed(file, first.utc_us, "")
            return
        if not file.begun:
            file.begun = True
            self._gaps.recorded(first.utc_us)
        file.end_us = first.utc_us + us_of(run.duration, CLOCK_RATE)
        self._last_us = max(self._last_us, file.end_us)
        self._gaps.recorded_until(file.end_us)

    # -- files

    def _break(self, picture: Picture) -> None:
        """The stream goes on in a way that the file cannot hold."""
        self._close(None if picture.fresh else picture.dts)
        arrival = picture.unit.arrival
        self._not_before, self._calm_at = self._calm_at, max(self._calm_at, arrival) + BREAK_S
        if not self._barred and (picture.fresh or arrival < self._not_before):
            detail = "" if picture.fresh else "the camera changes its parameters again and again"
            self._gaps.missing(Cause.CLOCK, self._last_us, max(self._last_us, picture.utc_us), detail)

    def _may_begin(self, picture: Picture) -> bool:
        """Whether a file may begin with this picture."""
        if not picture.unit.keyframe or self._barred or picture.unit.arrival < self._not_before:
            return False
        # The last timeline may have run ahead of ours by what the clock allows: two files must not tell of one instant.
        return not self._anew or picture.utc_us >= self._last_us

    def _open(self, picture: Picture) -> bool:
        codec = picture.codec
        place = self._disks.choose(self._camera)
        if place is None:
            self._bar(self._disks.why(self._camera))
            return False
        try:
            tracks = [video_track(codec.encoding, codec.groups, codec.info.width, codec.info.height)]
        except ValueError as error:
            if self._gaps.cause != Cause.MEDIA_LOST:
                self._log.error("pictures cannot be recorded", reason=str(error))
            self.missing(Cause.MEDIA_LOST, f"pictures cannot be recorded: {error}")
            return False
        sound = SoundTrack(self._format) if self._format else None
        if sound is not None:
            tracks.append(sound.track)
        turn = turn_us(self._camera, picture.utc_us, place.file_seconds)
        file = _File(place, codec, self._format, turn, sound)
        file.writer = RecordingWriter(
            place.disk,
            self._camera,
            tracks,
            self._listener(file),
            server=place.server,
            camera_offset_us=self.camera_offset_us,
            share=self._disks.share(self._camera),
        )
        self._file = file
        self._fragment_ticks = round(place.fragment_seconds * CLOCK_RATE)
        self._anew = False
        return True

    def _close(self, end: int | None = None) -> None:
        """Write what is left and have the file sealed."""
        file = self._file
        if file is None:
            return
        if file.sound is not None:
            file.sound.finish()
        self._flush(end)
        if self._file is not None:
            file.writer.seal()
            self._file = self._latest = None

    # -- the disk

    def _refused(self, file: _File, since_us: int, why: str) -> None:
        """Nothing of this file since then is on the disk. Recording goes on with the next keyframe where another disk
        is good, else when this one is again.
        """
        if file is not self._file:
            self._gaps.lost(since_us, file.end_us, why)
            return
        file.writer.seal()
        self._file = self._latest = self._fragment = None
        self._last_us = since_us
        self._gaps.fail(since_us, max(since_us, self._context.now_us()), why)
        if self._disks.choose(self._camera) is None:
            self._bar(why or "the disk gave up")
        else:
            effect = "another one is recorded to from the next keyframe on"
            self._log.error("recording leaves a disk", disk=str(file.place.disk.root.path), reason=why, effect=effect)

    def _failed(self, file: _File, since_us: int, why: str) -> None:
        """The disk has failed to write."""
        self._disks.refused(file.place)
        self._refused(file, since_us, why)

    def _give_way(self) -> None:
        """What is free on the disk is for more important cameras."""
        why = self._disks.why(self._camera)
        self._close()
        now_us = self._context.now_us()
        self._gaps.missing(Cause.DISK, self._last_us or now_us, now_us, why)
        if self._disks.choose(self._camera) is None:
            self._bar(why)

    def _bar(self, why: str) -> None:
        self._barred = True
        self._log.error("recording stops", reason=why, effect="live goes on; the gap says disk")
        now_us = self._context.now_us()
        self._gaps.missing(Cause.DISK, self._last_us or now_us, now_us, why)

    def _is_barred(self) -> bool:
        """Whether there is still no disk for this camera."""
        if self._barred and self._disks.choose(self._camera) is not None:
            self._barred = False
            self._log.info("the disk can be used again", effect="recording goes on")
        return self._barred

    def _listener(self, file: _File) -> Callable[[Event], None]:
        """Takes events on the disk's thread and brings them to the event loop, with the file they are of."""
        loop = self._context.loop
        return lambda event: _tell(loop, self._happened, event, file)

    def _happened(self, event: Event, file: _File) -> None:
        if isinstance(event, Opened):
            self._log.info("recording", file=event.recording.path)
            self._save(file, event.recording)
        elif isinstance(event, Written):
            self.tally.fragments += 1
            self.tally.write_seconds += event.seconds
            self.tally.wait_seconds += event.waited
            self._save(file, event.recording)
        elif isinstance(event, Sealed):
            self._save(file, event.recording)
            self._log.info("recording sealed", file=event.recording.path, frames=event.recording.frames)
        elif isinstance(event, DiskFull):
            self._failed(file, event.since_us, "the disk is full: free some space, or give another one with --media")
        elif isinstance(event, WriteFailed):
            self._failed(file, event.since_us, event.reason)

    def _save(self, file: _File, recording: Recording) -> None:
        self._context.later.save(file.place.row(recording))


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *facts: object) -> None:
    """From the disk's thread. A loop that is closed has nobody left to tell."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what, *facts)
