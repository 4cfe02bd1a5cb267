"""One recording as a row: what the catalog keeps of a file, whoever made the row (writer, repair or rebuild)."""

from collections.abc import Sequence
from dataclasses import dataclass

from soip.mp4.index import Fragment
from soip.mp4.reader import Init
from soip.mp4.times import us_of

from .damage import Damage, damages


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


def recording_of(
    init: Init, path: str, fragments: Sequence[Fragment], size: int, *, sealed: bool, sha256: str = ""
) -> Recording:
    """The row of a file with these fragments (at least one)."""
    last = fragments[-1]
    return Recording(
        camera=init.head.camera,
        path=path,
        start_us=fragments[0].utc_us,
        end_us=last.utc_us + us_of(last.duration, init.tracks[0].timescale),
        bytes=size,
        frames=sum(one.frames for one in fragments),
        codecs=tuple(track.codec for track in init.tracks),
        trigger=init.head.trigger,
        stream=init.head.stream,
        server=init.head.server,
        sealed=sealed,
        sha256=sha256,
        damage=damages(fragments, init.tracks[0].timescale),
    )
