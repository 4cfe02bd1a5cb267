"""What a call shows, put into movie files: a new one whenever the decoder parameters change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from soip.agents.moviefile import MovieFile
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import AccessUnit
from soip.rtp.h264_sets import find_sets, parse_sps
from soip.rtp.receiver import AudioFrame
from soip.rtp.sound import SoundFormat


class Recording:
    """`path`, then `path` with -2, -3 … before its suffix. `sets` are parameter sets known beforehand (SDP),
    `sound` what is heard beside them.
    """

    def __init__(self, path: Path, sets: Iterable[bytes] = (), *, sound: SoundFormat | None = None) -> None:
        self.paths: list[Path] = []
        self.first_ticks: int | None = None
        self.last_ticks = 0
        self.keyframes = 0
        self._path = path
        self._sound = sound
        self._known = find_sets(sets)
        self._written: tuple[list[bytes], list[bytes]] | None = None
        self._file: MovieFile | None = None
        self._frames = self._bytes = 0

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
        sps, pps = find_sets(unit.nals)
        if sps and pps:
            self._known = (sps, pps)
        if unit.keyframe:
            self.keyframes += 1
            if self._file is None or self._known != self._written:
                self._turn()
        if self._file is not None:
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

    def _turn(self) -> None:
        """Begin a file; stay without one while the parameter sets are missing or nonsense."""
        sps, pps = self._known
        try:
            parsed = parse_sps(sps[0]) if sps and pps else None
        except RtpParseError:
            parsed = None
        if parsed is None:
            return
        self.close()
        number = len(self.paths) + 1
        path = self._path if number == 1 else self._path.with_stem(f"{self._path.stem}-{number}")
        self._file = MovieFile(path, sps, pps, parsed, sound=self._sound)
        self._written = self._known
        self.paths.append(path)
