"""What a call shows, put into movie files: a new one whenever the decoder parameters change."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from soip.agents.moviefile import MovieFile
from soip.rtp.codec import CODINGS, Codec, learn
from soip.rtp.errors import RtpParseError
from soip.rtp.nal import AccessUnit, Nal
from soip.rtp.receiver import AudioFrame
from soip.rtp.sound import SoundFormat


class Recording:
    """`path`, then `path` with -2, -3 … before its suffix. `sets` are parameter sets of `encoding` known beforehand
    (SDP), `sound` what is heard beside them.
    """

    def __init__(
        self,
        path: Path,
        sets: Iterable[bytes] = (),
        *,
        encoding: str = "H264",
        sound: SoundFormat | None = None,
    ) -> None:
        self.paths: list[Path] = []
        self.first_ticks: int | None = None
        self.last_ticks = 0
        self.keyframes = 0
        self._path = path
        self._sound = sound
        self._codec: Codec | None = None
        self._written: Codec | None = None
        self._opening = True
        """The pictures that come now still belong to the keyframe it began with."""
        self._file: MovieFile | None = None
        self._frames = self._bytes = 0
        self._learn(encoding, sets)

    @property
    def frames(self) -> int:
        """Pictures in finished fragments."""
        return self._frames + (self._file.frames if self._file else 0)

    @property
    def bytes(self) -> int:
        """Bytes written."""
        return self._bytes + (self._file.bytes if self._file else 0)

    @property
    def seconds(self) -> float:
        """Media time from the first picture to the last."""
        return 0.0 if self.first_ticks is None else max(0, self.last_ticks - self.first_ticks) / 90_000

    def video(self, unit: AccessUnit) -> None:
        """Take the next access unit; those before the first keyframe are passed over. Raises OSError."""
        self._learn(unit.encoding, unit.nals)
        if unit.keyframe:
            self.keyframes += 1
            self._opening = self._file is None
            if self._file is None or self._codec != self._written:
                self._turn()
        if self._file is not None and not (self._opening and unit.leading):
            if self.first_ticks is None:
                self.first_ticks = unit.timestamp
            self.last_ticks = max(self.last_ticks, unit.timestamp)
            self._file.video(unit)

    def sound(self, frame: AudioFrame) -> None:
        """Take a frame of sound; what comes before the first picture is passed over."""
        if self._file is not None:
            self._file.sound(frame)

    def close(self) -> None:
        """Finish the file under way."""
        if self._file is not None:
            self._file.close()
            self._frames += self._file.frames
            self._bytes += self._file.bytes
            self._file = None

    def _learn(self, encoding: str, nals: Iterable[Nal]) -> None:
        """Take over parameter sets; unreadable ones are passed over."""
        with suppress(RtpParseError):
            self._codec = learn(CODINGS[encoding], nals, self._codec) or self._codec

    def _turn(self) -> None:
        """Begin a file; stay without one while the parameter sets are missing."""
        codec = self._codec
        if codec is None:
            return
        self.close()
        number = len(self.paths) + 1
        path = self._path if number == 1 else self._path.with_stem(f"{self._path.stem}-{number}")
        self._file = MovieFile(path, codec, sound=self._sound)
        self._written = codec
        self.paths.append(path)
