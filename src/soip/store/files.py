"""Read the fronts and indexes of files by descriptor: positions are passed, never kept, so threads may share one."""

import os
from functools import partial

from soip.mp4.errors import BoxError, CutError
from soip.mp4.index import FileIndex, parse_index
from soip.mp4.reader import Init, parse_init
from soip.mp4.repair import Read, walk

from .errors import DamagedFileError

FRONT = 16 << 10  # holds the front of a file: head, index space and some of the first fragment
_FRONT_LIMIT = 4 << 20


def read_at(descriptor: int) -> Read:
    """`read(offset, length)` of an open file."""
    return partial(_pread, descriptor)


def read_init(descriptor: int, path: str) -> Init:
    """The front of a file, in one read (more for one with a very large head). Raises DamagedFileError."""
    return _front(descriptor, path)[0]


def read_index(descriptor: int, path: str) -> FileIndex:
    """What the file holds: from its index in one read, or by a walk up to the last whole fragment.

    Raises DamagedFileError.
    """
    init, data = _front(descriptor, path)
    try:
        if init.sealed:
            return parse_index(data, init)
        found = walk(read_at(descriptor), os.fstat(descriptor).st_size, init)
        return FileIndex(init, found.fragments, found.end)
    except BoxError as error:
        raise DamagedFileError(f"{path}: {error}") from error


def _front(descriptor: int, path: str) -> tuple[Init, bytes]:
    length = FRONT
    while True:
        data = os.pread(descriptor, length, 0)
        try:
            init = parse_init(data)
            if init.first_fragment <= len(data):
                return init, data
            raise CutError("the index is cut", init.index_at)
        except CutError as error:
            if len(data) < length or length >= _FRONT_LIMIT:
                raise DamagedFileError(f"{path}: {error}") from error
            length *= 4
        except BoxError as error:
            raise DamagedFileError(f"{path}: {error}") from error


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    return os.pread(descriptor, length, offset)
