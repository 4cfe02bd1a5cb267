"""Films for phones to send, and what FFmpeg's programs say of a recorded one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.peers import need


def make_film(path: Path, seconds: int, *, size: str = "640x480", rate: int = 25, sound: bool = False) -> Path:
    """A film of FFmpeg's test picture; with `sound` a tone of 440 Hz that is heard half of each second."""
    picture = f"testsrc2=size={size}:rate={rate}:duration={seconds}"
    command = [need("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", picture]
    if sound:
        tone = f"aevalsrc=0.5*sin(2*PI*440*t)*lt(mod(t\\,1)\\,0.5):s=8000:d={seconds}"
        command += ["-f", "lavfi", "-i", tone, "-c:a", "aac"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(2 * rate), "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True, timeout=300)
    return path


def probe(path: Path, *options: str) -> dict[str, Any]:
    """What ffprobe says; fails the test when it has anything to complain of."""
    command = [need("ffprobe"), "-v", "warning", "-of", "json", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), f"{path}: {done.stderr}"
    return dict(json.loads(done.stdout))


def packet_times(path: Path, stream: str = "v") -> list[int]:
    """Presentation times of a file's packets, in ticks of their track, in decoding order."""
    found = probe(path, "-select_streams", stream, "-show_entries", "packet=pts")
    return [int(packet["pts"]) for packet in found["packets"]]


def decode(path: Path) -> int:
    """Have ffmpeg decode all of a file; fails on any complaint. The number of pictures."""
    command = [need("ffmpeg"), "-v", "warning", "-xerror", "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-progress", "pipe:1", "-nostats", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), f"{path}: {done.stderr}"
    return int(done.stdout.rpartition("frame=")[2].split()[0])
