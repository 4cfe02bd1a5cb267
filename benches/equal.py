"""That what is recorded is what was sent: every access unit of every camera, byte by byte, with the cameras on one core
and the media worker on the other.

Every camera sends for the same time; what it has sent since its first keyframe must be in its files in order, whole,
and once, with times that rise by one frame. A camera's frames are made anew here to be compared with: what was sent is
not taken from who received it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benches.frames import FRAME_RATE, FRAME_TICKS, GOP, gop
from benches.measured import MEASURED_CPU, pinned
from benches.report import Value, free_ports
from soip.rtp.nal import length_prefixed
from soip.store.reader import play


@dataclass(frozen=True, slots=True)
class Fault:
    """Frames of a camera that are not as they were sent."""

    camera: int
    missing: int
    what: str


def run(seconds: float, cameras: int) -> Value:
    """One round. Raises RuntimeError if a part does not run."""
    found = Value("recorded equals sent", f"{cameras} cameras × 4 Mbit/s for {seconds:g} s", "frames missing", 0.0)
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as name:
        files = Path(name) / "files"
        files.mkdir()
        found.notes += _record(files, free_ports(cameras), cameras, seconds)
        pictures = [bytes(length_prefixed(nals)) for nals in gop()]
        frames = int(seconds * FRAME_RATE)
        faults = [fault for camera in range(cameras) if (fault := check(files, camera, frames, pictures))]
    found.rounds.append(sum(fault.missing for fault in faults))
    found.notes += [f"cam-{fault.camera}: {fault.missing} missing, {fault.what}" for fault in faults[:10]]
    found.notes.append(f"{cameras - len(faults)} of {cameras} cameras are as they were sent, frame by frame")
    return found


def _record(files: Path, port: int, cameras: int, seconds: float) -> list[str]:
    """Have the cameras recorded; what went wrong on the way."""
    ours = [sys.executable, "-m", "benches.equal_ours", str(port), str(cameras), str(files)]
    replay_command = [sys.executable, "-m", "benches.replay", str(port), str(cameras), str(seconds)]
    with subprocess.Popen([*pinned(MEASURED_CPU), *ours], stdout=subprocess.PIPE, text=True) as measured:
        assert measured.stdout
        if measured.stdout.readline() != "ready\n":
            raise RuntimeError("the media worker did not start")
        replayed = subprocess.run(
            replay_command, stdout=subprocess.PIPE, text=True, timeout=4 * seconds + 60, check=True
        )
        result, _ = measured.communicate(timeout=300)
    if measured.returncode:
        raise RuntimeError(f"the media worker ended with {measured.returncode}")
    lost, dropped, refused = map(int, result.split())
    _, unsent, late = map(int, replayed.stdout.split())
    notes = [f"the cameras could not send {unsent} runs"] if unsent else []
    if late > 250:
        notes.append(f"the cameras were {late} ms late at worst")
    if lost or refused:
        notes.append(f"{lost} packets lost, {dropped} of them by the kernel; {refused} fragments refused by the disk")
    return notes


def check(files: Path, camera: int, frames: int, pictures: list[bytes]) -> Fault | None:
    """Hold the files of a camera that sent so many frames against them."""
    first = -camera % GOP  # a recording begins with a keyframe, and camera k is k steps into its GOP
    wanted = (pictures[(number + camera) % GOP] for number in range(first, frames))
    found = sorted((files / f"cam-{camera}").rglob("*.mp4"))
    return compare(camera, frames - first, wanted, _recorded(found))


def compare(camera: int, count: int, wanted: Iterable[bytes], recorded: Iterable[tuple[bytes, int]]) -> Fault | None:
    """Frame by frame: bytes, and times in ticks, which must rise by a frame's."""
    same, what, last = 0, "", None
    theirs = iter(recorded)
    for one in wanted:
        found = next(theirs, None)
        if found is None:
            what = f"the recording ends after {same} frames"
            break
        data, at = found
        if data != one or (last is not None and at - last != FRAME_TICKS):
            what = f"frame {same} is another one"
            break
        last = at
        same += 1
    else:
        extra = sum(1 for _ in theirs)
        if extra:
            return Fault(camera, 0, f"{extra} frames more than were sent")
    return None if same == count else Fault(camera, count - same, what)


def _recorded(files: list[Path]) -> Iterable[tuple[bytes, int]]:
    for frame in play(files, 0, 1 << 62):
        if frame.track.handler == "vide":
            yield bytes(frame.data), frame.time
