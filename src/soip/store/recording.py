"""One recording as a row: what the catalog keeps of a file, whoever made the row (writer, repair or rebuild)."""

from collections.abc import Iterable
from dataclasses import dataclass

from soip.mp4.index import Fragment
from soip.mp4.reader import Init
from soip.mp4.times import us_of

from .damage import Damage, Damages


@dataclass(frozen=True, slots=True)
class Recording:
    """`path` is relative to the root; `frames` counts pictures; `codecs` has one name per track (RFC 6381).

    `damage`: where packets were lost on the way from the camera.

    `sha256` (hex) covers the bytes of the fragments as they were handed to the writer, in order; empty where they were
    not all seen by one writer (an unsealed or repaired file).
    """

    camera: str
    path: str
    start_us: int
    end_us: int
    bytes: int
    frames: int
    codecs: tuple[str, ...]
    trigger: str
    stream: str
    server: str
    sealed: bool
    sha256: str = ""
    damage: tuple[Damage, ...] = ()

    @property
    def damaged(self) -> int:
        """Pictures that cannot be shown as they were taken."""
        return sum(one.pictures for one in self.damage)

    @property
    def lost(self) -> int:
        """Packets that were lost."""
        return sum(one.packets for one in self.damage)


class Totals:
    """What is told of a file's fragments altogether, added up as they come: a row is made with each of them."""

    def __init__(self, timescale: int, fragments: Iterable[Fragment] = ()) -> None:
        self.start_us: int | None = None
        self.end_us = 0
        self.frames = 0
        self.damages = Damages(timescale)
        self._timescale = timescale
        for one in fragments:
            self.add(one)

    def add(self, one: Fragment) -> None:
        """The next fragment."""
        if self.start_us is None:
            self.start_us = one.utc_us
        self.end_us = one.utc_us + us_of(one.duration, self._timescale)
        self.frames += one.frames
        self.damages.add(one)


def recording_of(init: Init, path: str, totals: Totals, size: int, *, sealed: bool, sha256: str = "") -> Recording:
    """The row of a file with at least one fragment."""
    assert totals.start_us is not None
    return Recording(
        camera=init.head.camera,
        path=path,
        start_us=totals.start_us,
        end_us=totals.end_us,
        bytes=size,
        frames=totals.frames,
        codecs=tuple(track.codec for track in init.tracks),
        trigger=init.head.trigger,
        stream=init.head.stream,
        server=init.head.server,
        sealed=sealed,
        sha256=sha256,
        damage=tuple(totals.damages.stretches),
    )
