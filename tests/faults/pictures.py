"""What recorded pictures say of themselves: the software camera's frame counter and its time of sending."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av

from soip.agents.blockcode import read
from tests.site import File


@dataclass(frozen=True)
class Shown:
    """One picture: its counter, when it was sent and when the recording says it was (µs UTC)."""

    counter: int
    sent: int
    recorded: int


def stamps(path: Path, start: int = 0) -> list[Shown]:
    """Decode all of a file that begins at `start`; every picture must bear a stamp."""
    found: list[Shown] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma = frame.planes[0]
            stamp = read(bytes(luma), luma.line_size, frame.width, frame.height)
            assert stamp is not None, f"{path}: a picture without a stamp at {frame.time}"
            assert frame.time is not None
            found.append(Shown(stamp.counter, stamp.utc_ms * 1000, start + round(frame.time * 1e6)))
    return found


def shown(files: Iterable[File]) -> list[Shown]:
    """All pictures of files, in order."""
    return [each for file in files for each in stamps(file.path, file.start)]


def in_order(pictures: list[Shown]) -> bool:
    """Whether every counter between the first and the last is there once, in order."""
    first = pictures[0].counter
    return [each.counter for each in pictures] == list(range(first, first + len(pictures)))
