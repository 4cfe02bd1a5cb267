"""Recordings for the tests: made by the real writer on a real folder."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from soip.mp4.times import ticks_of
from soip.mp4.writer import Run
from soip.store.disk import DiskWriter
from soip.store.events import Event, Sealed
from soip.store.recording import Recording
from soip.store.root import Root
from soip.store.writer import RecordingWriter
from tests.mp4.material import EPOCH_US, Frame, Video, audio, run_of, video

SECOND_US = 1_000_000
GOP = 25


def open_root(path: Path, server: str = "m1") -> Root:
    return Root.open(path, server, reserve_bytes=64 << 10, room_bytes=256 << 10)


@dataclass
class Camera:
    """Records seconds of one camera through a disk. `material` may be changed between recordings."""

    disk: DiskWriter
    name: str = "cam1"
    material: Video = field(default_factory=video)
    sound: bool = False
    events: list[Event] = field(default_factory=list)

    def begin(self, listener: Callable[[Event], None] | None = None) -> RecordingWriter:
        tracks = [self.material.track, audio()[0]] if self.sound else [self.material.track]
        return RecordingWriter(self.disk, self.name, tracks, listener or self.events.append, server="m1")

    def runs(self, second: int, start_us: int = EPOCH_US) -> list[Run]:
        start = ticks_of(start_us)
        runs = [self.material.run(second * GOP, GOP, start)]
        if self.sound:
            frames = audio()[1]
            first, last = (number * 16_000 // 1024 for number in (second, second + 1))
            samples = [Frame([frames[number % len(frames)]], 1024) for number in range(first, last)]
            heard = -(-(start + self.material.offsets[0]) * 16_000 // 90_000)
            runs.append(run_of(2, heard + first * 1024, samples))
        return runs

    def record(self, seconds: int, first: int = 0, start_us: int = EPOCH_US) -> Recording:
        """A sealed recording of whole seconds, `first` after `start_us`."""
        writer = self.begin()
        for second in range(first, first + seconds):
            assert writer.append(self.runs(second, start_us), start_us + second * SECOND_US)
        writer.seal()
        settle(self.disk)
        last = self.events[-1]
        assert isinstance(last, Sealed)
        return last.recording


def settle(disk: DiskWriter) -> None:
    """Wait until the disk's thread has done all that was queued."""
    done = threading.Event()
    disk.submit(done.set, 0)
    assert done.wait(20)


@dataclass
class Probe:
    """What ffprobe and ffmpeg say of a file."""

    start: float
    duration: float
    frames: int
    errors: str


def probe(path: Path) -> Probe:
    """Decode all of a file with Debian's ffmpeg."""
    entries = "format=start_time,duration"
    out = subprocess.run(
        ["/usr/bin/ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", path],
        capture_output=True,
        check=True,
    )
    facts = json.loads(out.stdout)["format"]
    decoded = subprocess.run(
        ["/usr/bin/ffmpeg", "-v", "error", "-xerror", "-i", path, "-map", "0:v", "-f", "framecrc", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    frames = sum(not line.startswith("#") for line in decoded.stdout.splitlines())
    return Probe(float(facts["start_time"]), float(facts["duration"]), frames, out.stderr.decode() + decoded.stderr)
