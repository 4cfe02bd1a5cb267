"""Sound: a camera added with `--audio` has an AAC track, and what is heard goes with what is seen."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import av
import pytest

from tests.interop.film import decode, probe
from tests.peers import need
from tests.site import Site

pytestmark = pytest.mark.interop

LOUD, BRIGHT = 3000, 128
IN_STEP_S = 0.25
"""Each of the two goes by when its own first packets arrived: a busy machine takes some of them late."""


def clapperboard(path: Path, seconds: int) -> Path:
    """A film that turns white and sounds for the first half of each second, black and silent for the other."""
    white = "drawbox=color=white:t=fill:enable='lt(mod(t,1),0.5)'"
    picture = f"color=black:size=320x240:rate=25:duration={seconds},{white}"
    tone = f"aevalsrc='0.5*sin(2*PI*440*t)*lt(mod(t,1),0.5)':s=8000:d={seconds}"
    command = [need("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True, timeout=300)
    return path


def flashes(path: Path) -> list[float]:
    """When the picture turns white, in seconds of the file."""
    found: list[float] = []
    was = True
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma = frame.planes[0]
            bright = bytes(luma)[luma.line_size * (frame.height // 2) + frame.width // 2] > BRIGHT
            if bright and not was and frame.time is not None:
                found.append(frame.time)
            was = bright
    return found


def beeps(path: Path) -> list[float]:
    """When the sound begins after silence, in seconds of the file, to 10 ms."""
    found: list[float] = []
    quiet = 0.0
    resampler = av.AudioResampler("s16", "mono", 8000)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                assert part.time is not None
                samples = memoryview(bytes(part.planes[0])[: 2 * part.samples]).cast("h")
                for at in range(0, part.samples, 80):
                    moment = part.time + at / 8000
                    if max(map(abs, samples[at : at + 80])) < LOUD:
                        quiet += 0.01
                        continue
                    if quiet > 0.2:
                        found.append(moment)
                    quiet = 0.0
    return found


def test_sound_is_recorded_in_step_with_the_picture(tmp_path: Path) -> None:
    film = clapperboard(tmp_path / "film.mp4", 30)
    with Site(tmp_path, file_seconds=9) as site:
        site.add_camera("cam1", "--audio")
        site.add_camera("mute")
        site.start()
        site.simulate("cam1", "--source", str(film))
        site.simulate("mute", "--source", str(film))
        site.until_camera("cam1")
        site.until_camera("mute")
        time.sleep(15)  # Long enough for a change of files.
        site.stop()
        files = site.recordings("cam1")
        assert len(files) >= 2
        for file in files:
            streams = probe(file.path, "-show_streams")["streams"]
            assert [stream["codec_name"] for stream in streams] == ["h264", "aac"]
            assert decode(file.path) == file.frames
            starts = [float(stream["start_time"]) for stream in streams]
            assert abs(starts[0] - starts[1]) < IN_STEP_S, starts
        longest = max(files, key=lambda file: file.frames).path
        seen, heard = flashes(longest), beeps(longest)
        assert len(seen) >= 5
        for moment in seen[1:-1]:
            offset = min((beep - moment for beep in heard), key=abs)
            assert abs(offset) < IN_STEP_S, (seen, heard)
        # Sound is off where it was not asked for, though the camera has it.
        for file in site.recordings("mute"):
            assert [stream["codec_type"] for stream in probe(file.path, "-show_streams")["streams"]] == ["video"]
