"""That what is recorded is what was sent: every access unit of every camera, byte by byte, with the cameras on one core
and the media worker on the other.

Every camera sends for the same time; what it has sent since its first keyframe must be in its files in order, whole,
and once, with times that rise by one frame. A camera's frames are made anew here to be compared with: what was sent is
not taken from who received it. The pictures of four cameras bear a block code (`stamped`): these files are decoded too,
and each picture must say that it is the one it should be, of this camera.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benches import stamped
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
        faults = [fault for camera in range(cameras) if (fault := _checked(files, camera, cameras, frames, pictures))]
    found.rounds.append(sum(fault.missing for fault in faults))
    found.notes += [f"cam-{fault.camera}: {fault.missing} missing, {fault.what}" for fault in faults[:10]]
    found.notes.append(f"{cameras - len(faults)} of {cameras} cameras are as they were sent, frame by frame")
    decoded = sorted(set(stamped.chosen(cameras)) - {fault.camera for fault in faults})
    found.notes.append(f"{len(decoded)} of them decode to the pictures that their block codes say")
    return found


def _record(files: Path, port: int, cameras: int, seconds: float) -> list[str]:
    """Have the cameras recorded; what went wrong on the way."""
    ours = [sys.executable, "-m", "benches.equal_ours", str(port), str(cameras), str(files)]
    replay_command = [sys.executable, "-m", "benches.replay", str(port), str(cameras), str(seconds)]
    replay_command += map(str, stamped.chosen(cameras))
    with subprocess.Popen([*pinned(MEASURED_CPU), *ours], stdout=subprocess.PIPE, text=True) as measured:
        assert measured.stdout
        if measured.stdout.readline() != "ready\n":
            raise RuntimeError("the media worker did not start")
        replayed = subprocess.run(
            replay_command, stdout=subprocess.PIPE, text=True, timeout=8 * seconds + 60, check=True
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


def _checked(files: Path, camera: int, cameras: int, frames: int, pictures: list[bytes]) -> Fault | None:
    """What is wrong with a camera's files, which are decoded too where the pictures bear a block code."""
    if camera not in stamped.chosen(cameras):
        return check(files, camera, frames, [pictures[(number + camera) % GOP] for number in range(frames)])
    sent = [bytes(length_prefixed(nals)) for nals in stamped.pictures(camera, frames)]
    return check(files, camera, frames, sent) or decoded(files, camera, frames)


def check(files: Path, camera: int, frames: int, sent: list[bytes]) -> Fault | None:
    """Hold the files of a camera that sent so many frames against them."""
    first = -camera % GOP  # a recording begins with a keyframe, and camera k is k steps into its GOP
    return compare(camera, frames - first, sent[first:], _recorded(_files(files, camera)))


def decoded(files: Path, camera: int, frames: int) -> Fault | None:
    """Hold the pictures that a decoder makes of a camera's files against what their block codes should say."""
    wanted = [stamped.stamp(camera, number) for number in range(-camera % GOP, frames)]
    found = list(stamped.stamps(_files(files, camera)))
    if found == wanted:
        return None
    same = next((at for at, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other), len(found))
    return Fault(camera, len(wanted) - same, f"picture {same} of {len(found)} says that it is another one")


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


def _files(files: Path, camera: int) -> list[Path]:
    return sorted((files / f"cam-{camera}").rglob("*.mp4"))


def _recorded(files: list[Path]) -> Iterable[tuple[bytes, int]]:
    for frame in play(files, 0, 1 << 62):
        if frame.track.handler == "vide":
            yield bytes(frame.data), frame.time
