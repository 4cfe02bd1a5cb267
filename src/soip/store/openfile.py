"""One file being written. All of it but `failed` and `sync` belongs to the disk's thread."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from soip.mp4.boxes import Buffer
from soip.mp4.index import Fragment
from soip.mp4.reader import Init, parse_init

from .ahead import LEAST, set_aside
from .disk import DiskWriter
from .errors import RootError
from .events import DiskFull, Event, Opened, Sealed, WriteFailed, Written
from .layout import file_path
from .recording import Recording, Totals, recording_of
from .root import FULL
from .sealing import seal, write_all

_log = logging.getLogger(__name__)


class OpenFile:
    """Order of calls: `write`, the first with a front, then `complete`. `failed`: given up, and nothing is written."""

    def __init__(self, disk: DiskWriter, camera: str, timescale: int, listener: Callable[[Event], None]) -> None:
        self.failed = False
        self._disk = disk
        self._camera = camera
        self._listener = listener
        self._descriptor = -1
        self._path = ""
        self._end = 0
        self._aside = 0
        """Up to where it need not be asked for room."""
        self._synced = self._cold = 0
        """Up to where it was synced, and up to where the system need not keep it in memory."""
        self._init: Init | None = None
        self._fragments: list[Fragment] = []
        self._totals = Totals(timescale)
        self._digest = hashlib.sha256()
        self._named = False

    def write(self, front: bytes, parts: Sequence[Buffer], entry: Fragment, queued: float) -> None:
        """Write a fragment, in parts, at the end of the file, after its `front` when it is the first."""
        if self.failed:
            return
        waited = time.monotonic() - queued
        # Hashed first: what has just been read is still near the processor when the system copies it.
        digest = self._digest.copy()
        for part in parts:
            digest.update(part)
        began = time.monotonic()
        try:
            if front:
                self._open(front, entry.utc_us)
            if self._end + entry.size > self._aside:
                self._set_aside()
            write_all(self._descriptor, parts, self._end)
        except (OSError, RootError) as error:
            self._give_up(entry.utc_us, error)
            return
        seconds = time.monotonic() - began
        self._digest = digest
        fragment = entry._replace(offset=self._end)
        self._fragments.append(fragment)
        self._totals.add(fragment)
        self._end += entry.size
        self._disk.touched(self)
        self._disk.measured(entry.size, seconds)
        if front:
            self._listener(Opened(self._recording(sealed=False)))
        self._listener(Written(self._recording(sealed=False), fragment, seconds, waited))

    def sync(self) -> None:
        """Have what was written survive a power cut; the first time also the file's name. Raises OSError, also where
        the file has been closed meanwhile.

        The system need not keep in memory what was synced the last time: mostly nobody reads it so soon. In the end it
        would be all memory, and to have other memory again and again costs more than to have the same.
        """
        end = self._end
        os.fdatasync(self._descriptor)
        if self._synced > self._cold:
            with suppress(OSError):  # a file system that takes no advice
                os.posix_fadvise(self._descriptor, self._cold, self._synced - self._cold, os.POSIX_FADV_DONTNEED)
        self._cold, self._synced = self._synced, end
        if not self._named:
            sync_folder(self._disk.root.absolute(self._path).parent)
            self._named = True

    def unsynced(self, error: Exception) -> None:
        """It cannot be synced."""
        if self._descriptor >= 0:
            self._give_up(self._totals.end_us, error)

    def complete(self) -> None:
        """Seal and close the file."""
        if self.failed or not self._fragments:
            return
        try:
            self._seal()
        except OSError as error:
            self.failed = True
            self._report(self._fragments[-1].utc_us, error)
        finally:
            self._close()

    def _open(self, front: bytes, start_us: int) -> None:
        root = self._disk.root
        root.verify()
        root.restore_reserve()
        number = 1
        while self._descriptor < 0:
            self._path = file_path(self._camera, start_us, number)
            place = root.absolute(self._path)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            except FileExistsError:
                number += 1
        self._disk.files += 1
        write_all(self._descriptor, [front], 0)
        self._init = parse_init(front)
        # Sealing writes into the front, which is to stay where it can be reached.
        self._end = self._synced = self._cold = len(front)

    def _set_aside(self) -> None:
        """Have room for what comes next and more, where there is any to be had: all files together take half of it."""
        aside = self._end
        with suppress(OSError):  # the write tells what is wrong
            aside = set_aside(self._descriptor, self._end, self._disk.root.free_bytes() // 2 // self._disk.files)
        self._aside = max(aside, self._end + LEAST)

    def _seal(self) -> None:
        assert self._init
        # What was half written, and what is still set aside.
        os.ftruncate(self._descriptor, self._end)
        seal(self._descriptor, self._init, self._fragments)
        self._listener(Sealed(self._recording(sealed=True)))

    def _give_up(self, since_us: int, error: Exception) -> None:
        """Cut what was half written, seal what is whole, and say that nothing more is taken."""
        self.failed = True
        if isinstance(error, OSError) and error.errno in FULL:
            self._disk.root.release_reserve()
        self._report(since_us, error)
        if self._descriptor < 0:
            return
        try:
            if self._fragments:
                self._seal()
            else:
                self._disk.root.absolute(self._path).unlink()
        except OSError:
            _log.exception("%s is left as it is, the next start repairs it", self._path)
        finally:
            self._close()

    def _report(self, since_us: int, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in FULL:
            self._listener(DiskFull(self._camera, since_us))
        else:
            self._listener(WriteFailed(self._camera, since_us, str(error)))

    def _recording(self, *, sealed: bool) -> Recording:
        assert self._init
        digest = self._digest.hexdigest() if sealed else ""
        return recording_of(self._init, self._path, self._totals, self._end, sealed=sealed, sha256=digest)

    def _close(self) -> None:
        self._disk.finished(self)
        self._disk.files -= 1
        os.close(self._descriptor)
        self._descriptor = -1


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
