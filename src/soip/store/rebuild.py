"""The catalog out of the folder: the rows of all files, the gaps of all journals (`soip store rebuild`)."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from . import journal
from .errors import StoreError
from .files import read_index
from .folder import all_files, cameras, row_of
from .recording import Recording
from .root import Root

_CHUNK = 1 << 20


def recordings(root: Root, failed: Callable[[str, str], None], *, digests: bool = False) -> Iterator[Recording]:
    """The rows of all files, camera by camera in order of time. `failed(path, why)` is told of unreadable ones.

    With `digests` all bytes are read. Unsealed files give a row of what is whole so far.
    """
    for path in all_files(root):
        try:
            yield read_row(root, path, digest=digests)
        except (OSError, StoreError) as error:
            failed(path, str(error))


def read_row(root: Root, path: str, *, digest: bool = False) -> Recording:
    """The row of one file. Raises DamagedFileError, OSError."""
    descriptor = os.open(root.absolute(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        row = row_of(descriptor, path)
        return replace(row, sha256=digest_of(descriptor, path)) if digest else row
    finally:
        os.close(descriptor)


def digest_of(descriptor: int, path: str) -> str:
    """SHA-256 (hex) of the fragments of a file, in order. Raises DamagedFileError, OSError."""
    digest = hashlib.sha256()
    for fragment in read_index(descriptor, path).fragments:
        end = fragment.offset + fragment.size
        for at in range(fragment.offset, end, _CHUNK):
            digest.update(os.pread(descriptor, min(_CHUNK, end - at), at))
    return digest.hexdigest()


def entries(root: Root) -> Iterator[tuple[str, journal.Entry]]:
    """All lines of all journals, with their cameras."""
    for camera in cameras(root):
        for entry in journal.read_all(root, camera):
            yield camera, entry


def gaps(root: Root) -> Iterator[tuple[str, journal.Entry]]:
    """All gaps of all journals, with their cameras."""
    return (line for line in entries(root) if line[1].kind == "gap")


def condemned(lines: Iterable[tuple[str, journal.Entry]]) -> set[str]:
    """The files that were to be removed when the journal was last written to: one that is still there is not to come
    back.
    """
    going: set[str] = set()
    for _, entry in lines:
        files = entry.facts.get("files")
        if entry.kind == "gap" and entry.cause == "expired" and isinstance(files, list):
            going.update(str(file) for file in files)
    return going
