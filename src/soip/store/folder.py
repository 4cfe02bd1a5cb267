"""What lies in a root: the recordings' paths, and the row that each file makes for itself."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from soip.mp4.repair import walk

from .errors import DamagedFileError
from .files import read_at, read_init
from .layout import is_file_path
from .recording import Recording, Totals, recording_of
from .root import Root


def row_of(descriptor: int, path: str) -> Recording:
    """The row of a file as it is, sealed or not, without its digest. Frames are counted, which takes a walk.

    Raises DamagedFileError.
    """
    init = read_init(descriptor, path)
    size = os.fstat(descriptor).st_size
    found = walk(read_at(descriptor), size, init)
    if not found.fragments:
        raise DamagedFileError(f"{path}: no fragment is whole")
    totals = Totals(init.tracks[0].timescale, found.fragments)
    return recording_of(init, path, totals, size, sealed=init.sealed)


def cameras(root: Root) -> list[str]:
    """The cameras that have a folder."""
    return sorted(path.name for path in _folders(root.path))


def unsealed(root: Root, paths: Iterable[str]) -> Iterator[str]:
    """Those of the files that are not sealed, a cut front included; files that are not there are passed over."""
    for path in paths:
        try:
            descriptor = os.open(root.absolute(path), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if not read_init(descriptor, path).sealed:
                yield path
        except DamagedFileError:
            yield path
        finally:
            os.close(descriptor)


def all_files(root: Root) -> Iterator[str]:
    """The paths of all recordings of a root, camera by camera, in order of time."""
    for camera in cameras(root):
        for day in _days(root.path / camera):
            yield from sorted(_recordings(root, day))


def _days(camera: Path, *, backwards: bool = False) -> Iterator[Path]:
    for year in sorted(_folders(camera), reverse=backwards):
        for month in sorted(_folders(year), reverse=backwards):
            yield from sorted(_folders(month), reverse=backwards)


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]


def _recordings(root: Root, day: Path) -> Iterator[str]:
    with os.scandir(day) as entries:
        paths = [Path(entry.path).relative_to(root.path).as_posix() for entry in entries if entry.is_file()]
    return (path for path in paths if is_file_path(path))


def newest_files(root: Root, each: int = 3) -> Iterator[str]:
    """The last `each` files of every camera, the newest first: where a crash may have left one that nobody knows of
    yet.
    """
    for camera in cameras(root):
        days = _days(root.path / camera, backwards=True)
        backwards = (path for day in days for path in sorted(_recordings(root, day), reverse=True))
        yield from islice(backwards, each)
