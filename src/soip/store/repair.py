"""Mend files that were not sealed: cut what is torn, seal what is whole, tell the row."""

import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from soip.mp4.errors import BoxError, CutError
from soip.mp4.reader import Init, parse_init
from soip.mp4.repair import Walk, walk

from .errors import StoreError
from .files import FRONT, read_at, read_init
from .folder import row_of
from .layout import camera_of
from .recording import Recording, Totals, recording_of
from .root import Root
from .sealing import seal, write_all

SYNC_S = 5.0
_MARGIN_S = 5.0
_AT_ONCE = 8

_log = logging.getLogger(__name__)


def repair(root: Root, path: str, *, sync_seconds: float = SYNC_S) -> Recording | None:
    """Mend one file and give its row; None for a file in which no fragment was whole: it is removed.

    A power cut costs what was not synced. Files are synced every `sync_seconds`, one after the other, so that may be
    the last of twice that time: it is read, and must make sense. A file that is sealed already is left as it is. Nobody
    else may be writing the file. Raises DamagedFileError for what is no recording of ours (it is left alone), OSError
    for what the disk refuses.
    """
    camera_of(path)
    doubtful_us = round((2 * sync_seconds + _MARGIN_S) * 1e6)
    place = root.absolute(path)
    descriptor = os.open(place, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        init = _front_of(descriptor, size, path)
        if init and init.sealed:
            return row_of(descriptor, path)
        found = walk(read_at(descriptor), size, init, doubtful_us=doubtful_us) if init else None
        if init is None or found is None or not found.fragments:
            place.unlink()
            return None
        _mend(descriptor, init, found)
        totals = Totals(init.tracks[0].timescale, found.fragments)
        return recording_of(init, path, totals, found.end, sealed=True)
    finally:
        os.close(descriptor)


def repair_all(
    root: Root,
    paths: Iterable[str],
    mended: Callable[[str, Recording | None], None],
    *,
    sync_seconds: float = SYNC_S,
) -> None:
    """Mend files, some at a time: the disk's latency is most of the work.

    `mended(path, row)` is told of each, on the calling thread; the row is None where the file held nothing and was
    removed. A file that cannot be mended is logged and left, the others go on; so is one that is not there, for its
    folder may only be away.
    """
    todo = list(paths)
    attempt = partial(_attempt, root, sync_seconds)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for path, result in zip(todo, pool.map(attempt, todo), strict=True):
            if isinstance(result, Exception):
                _log.error("%s is left unsealed: %s", root.absolute(path), result)
            else:
                mended(path, result)


def _attempt(root: Root, sync_seconds: float, path: str) -> Recording | Exception | None:
    try:
        return repair(root, path, sync_seconds=sync_seconds)
    except (OSError, StoreError) as error:
        return error


def _front_of(descriptor: int, size: int, path: str) -> Init | None:
    """The front; None for what a crash leaves of a file that was just made: nothing, zeros, or half a front.

    The front and the first fragment are written within a moment, so without a fragment nothing was recorded.
    """
    if not os.pread(descriptor, FRONT, 0).strip(b"\0"):
        return None
    if size <= FRONT:
        try:
            if parse_init(os.pread(descriptor, FRONT, 0)).first_fragment >= size:
                return None
        except CutError:
            return None
        except BoxError:
            pass  # read_init says what is wrong with it
    return read_init(descriptor, path)


def _mend(descriptor: int, init: Init, found: Walk) -> None:
    os.ftruncate(descriptor, found.end)
    for offset, size in found.holes:
        write_all(descriptor, [size.to_bytes(4, "big") + b"free"], offset)
    seal(descriptor, init, found.fragments)
