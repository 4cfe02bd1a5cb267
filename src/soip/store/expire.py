"""Remove files whose time is over, after saying so beside them."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from . import journal
from .openfile import sync_folder
from .root import IDENTITY, Root


@contextmanager
def alone(root: Root) -> Iterator[bool]:
    """Within, no other worker of this server expires recordings of the root; False: another one is at it.

    Raises OSError, RootError.
    """
    root.verify()
    # A file that is there already: on a full disk none can be made.
    descriptor = os.open(root.path / IDENTITY, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def expire(root: Root, entries: Iterable[tuple[str, journal.Entry]], paths: Iterable[str]) -> None:
    """Write the journal lines (by camera), then remove the files, and see that they stay removed. On the disk's thread.

    May be done again, however far it had come: a line replaces itself, a file that is gone is gone. Raises OSError,
    StoreError; then nothing may be forgotten.
    """
    root.verify()
    for camera, entry in entries:
        journal.append(root, camera, entry)
    folders = set()
    for path in paths:
        place = root.absolute(path)
        place.unlink(missing_ok=True)
        folders.add(place.parent)
    for folder in sorted(folders):
        if folder.exists():
            sync_folder(folder)
