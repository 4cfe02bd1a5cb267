"""A camera that sends a program stream: what it sent is what stands on the disk, and viewers see no difference."""

from __future__ import annotations

import time
from pathlib import Path

import av
import pytest

from tests.faults.pictures import in_order, shown
from tests.faults.timeline import holes, timeline
from tests.interop.film import decode
from tests.site import Site

pytestmark = pytest.mark.faults


def test_a_program_stream_is_recorded_once_across_files_with_its_sound(tmp_path: Path, thorough: bool) -> None:
    seconds, file_seconds = (120, 45) if thorough else (20, 8)
    with Site(tmp_path, file_seconds=file_seconds) as site:
        site.add_camera("cam", "--audio")
        site.add_user()
        site.start()
        site.simulate("cam", "--container", "ps")
        site.until_camera("cam")
        film = tmp_path / "live.mp4"
        site.soip(*site.play_command("cam", film, "--duration", "3"))
        time.sleep(seconds)  # The time that is recorded and then looked through.
        entries = timeline(site, "cam")
        site.stop()
        files = site.recordings("cam")
        assert len(files) >= seconds // file_seconds
        assert all(file.sealed for file in files)
        pictures = shown(files)
        assert in_order(pictures)
        # The camera itself skips pictures on a busy machine.
        assert len(pictures) == sum(file.frames for file in files) >= seconds * 25 / 2
        assert all(decode(file.path) == file.frames for file in files)
        assert not holes(entries)
        assert {entry.cause for entry in entries} <= {"", "camera offline"}
        for file in files:
            video, audio = lengths(file.path)
            # The map tells of the sound before the first picture, so every file has it. Where a machine stalls at the
            # end of a file, some is cut off.
            assert audio > video / 2, f"{file.path}: {video} s of pictures, {audio} s of sound"
        assert decode(film) > 0
        assert all(lengths(film)), "the viewer has heard it too"


def lengths(path: Path) -> tuple[float, float]:
    """Seconds of pictures and of sound in a film."""
    with av.open(str(path)) as container:
        seconds = {"video": 0.0, "audio": 0.0}
        for packet in container.demux(container.streams.video[0], container.streams.audio[0]):
            seconds[packet.stream.type] += float((packet.duration or 0) * packet.time_base)
        return seconds["video"], seconds["audio"]
