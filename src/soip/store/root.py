"""A root: the folder that recordings are kept under, its identity, and the reserve that lets a full disk be left well.

The identity file says which root this is and whose. A disk that is not mounted shows an empty folder, another disk
shows another identity: both are noticed before a file is made, and never written to. For a disk that is not there when
the server starts this takes a note of the identity that lies elsewhere.
"""

import errno
import hashlib
import json
import os
import uuid
from pathlib import Path

from .errors import ForeignRootError, MissingRootError

IDENTITY = "soip-root.json"
NOTE = "media-root-id"
"""The name of the note of the root that is `media` in the data directory."""
RESERVE = ".reserve"

RESERVE_BYTES = 8 << 20
ROOM_BYTES = 256 << 20

FULL = (errno.ENOSPC, errno.EDQUOT)


def note_for(data: Path, path: Path) -> Path:
    """The note, in the data directory, of the root at `path`."""
    default = path == data / "media"
    return data / (NOTE if default else f"{NOTE}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}")


class Root:
    """An opened root. `id` is the root's, `path` absolute.

    `reserve_bytes` are kept allocated in a file of their own and given back to the disk when it is full, so that
    indexes and journals can still be written. `room_bytes` must be free before recording starts again.
    """

    def __init__(self, path: Path, identity: str, reserve_bytes: int, room_bytes: int) -> None:
        self.path = path
        self.id = identity
        self._reserve_bytes = reserve_bytes
        self._room_bytes = room_bytes
        self._reserved = False
        self._seen = self._look()

    @classmethod
    def open(
        cls,
        path: Path | str,
        server: str,
        *,
        note: Path | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        room_bytes: int = ROOM_BYTES,
    ) -> "Root":
        """Open the root of this server, and make it where there is none yet and none was noted.

        `server` is the media server's id, `note` a file outside the root that keeps the root's id: the first time it is
        written, from then on only that root will do. Raises MissingRootError when it cannot be made or is not there,
        ForeignRootError when it is not this server's or not the noted one.
        """
        path = Path(path).absolute()
        noted = _read_note(note)
        otherwise = f", or remove {note} to record here from now on" if noted else ""
        if not noted:
            _create(path, server)
        found = _identity(path, otherwise)
        if found["server"] != server:
            raise ForeignRootError(
                f"{path} holds recordings of the server {found['server']!r}, not of {server!r}: "
                f"mount the right disk or set another folder"
            )
        if noted and found["id"] != noted:
            raise ForeignRootError(f"{path} is the root {found['id']}, not {noted}: mount the right disk{otherwise}")
        if note and not noted:
            _write_note(note, found["id"])
        root = cls(path, found["id"], reserve_bytes, room_bytes)
        root.restore_reserve()
        return root

    def verify(self) -> None:
        """See that the root is still the one that was opened. Raises MissingRootError or ForeignRootError."""
        seen = self._look()
        if seen != self._seen:
            if _identity(self.path)["id"] != self.id:
                raise ForeignRootError(f"another disk was mounted at {self.path}: mount the right one")
            self._seen = seen

    def absolute(self, path: str) -> Path:
        return self.path / path

    def free_bytes(self) -> int:
        """What may still be written here, the reserve not counted."""
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def total_bytes(self) -> int:
        """The size of the disk."""
        state = os.statvfs(self.path)
        return state.f_blocks * state.f_frsize

    def room_bytes(self) -> int:
        """What must be free before recording may start again: room besides the reserve."""
        return self._room_bytes + (0 if self._reserve.exists() else self._reserve_bytes)

    def has_room(self) -> bool:
        """Whether recording may start again. A root that is not there has no room."""
        try:
            return self.free_bytes() >= self.room_bytes()
        except OSError:
            return False

    def is_spent(self) -> bool:
        """Whether there was a reserve and somebody has given it to the disk: what is free is for indexes now."""
        return self._reserved and not self._reserve.exists()

    def release_reserve(self) -> None:
        """Give the reserve to the disk: for indexes and journals of a full one."""
        self._reserve.unlink(missing_ok=True)

    def restore_reserve(self) -> None:
        """Take the reserve back as soon as there is room; a disk that is full stays without."""
        if self._reserve.exists():
            self._reserved = True
            return
        if not self.has_room():
            return
        try:
            descriptor = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return  # another worker of this server was faster
        try:
            os.posix_fallocate(descriptor, 0, self._reserve_bytes)
            self._reserved = True
        except OSError:
            self.release_reserve()
        finally:
            os.close(descriptor)

    @property
    def _reserve(self) -> Path:
        return self.path / RESERVE

    def _look(self) -> tuple[int, int]:
        try:
            seen = os.stat(self.path / IDENTITY)
        except OSError as error:
            raise MissingRootError(
                f"no root for recordings at {self.path} ({error.strerror}): mount its disk"
            ) from error
        return seen.st_dev, seen.st_ino


def _read_note(note: Path | None) -> str:
    """The id that was noted; empty when none was. Raises MissingRootError."""
    try:
        return note.read_text("ascii").strip() if note else ""
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise MissingRootError(f"{note} cannot be read ({error}): mend or remove it") from error


def _write_note(note: Path, identity: str) -> None:
    """Whole or not at all; several workers that start at once write the same. Raises MissingRootError."""
    draft = note.with_name(f".{note.name}-{uuid.uuid4().hex}")
    try:
        with open(draft, "x") as file:
            file.write(identity + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, note)
    except OSError as error:
        raise MissingRootError(f"{note} cannot be written: {error.strerror}") from error


def _identity(path: Path, otherwise: str = "") -> dict[str, str]:
    """What the identity file says; `otherwise` is what else to do where there is none."""
    try:
        found = json.loads((path / IDENTITY).read_bytes())
    except FileNotFoundError as error:
        raise MissingRootError(f"{path} has no {IDENTITY}: mount the disk with the recordings{otherwise}") from error
    except OSError as error:
        raise MissingRootError(f"{path / IDENTITY} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ForeignRootError(f"{path / IDENTITY} cannot be understood: restore or remove it") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("id", "server")):
        raise ForeignRootError(f"{path / IDENTITY} is not one of ours: set another folder")
    return found


def _create(path: Path, server: str) -> None:
    """Make the folder and its identity where there are none; of several workers one succeeds."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if (path / IDENTITY).exists():
            return
        if any(not name.startswith(".") and name != "lost+found" for name in os.listdir(path)):
            if (path / IDENTITY).exists():
                return
            raise ForeignRootError(f"{path} holds other files and no {IDENTITY}: set an empty folder")
        identity = uuid.uuid4().hex
        draft = path / f".identity-{identity}"
        with open(draft, "x") as file:
            file.write(json.dumps({"id": identity, "server": server}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path / IDENTITY)
        except FileExistsError:
            pass  # another worker of this server was faster
        finally:
            draft.unlink()
    except OSError as error:
        raise MissingRootError(f"no folder for recordings can be made at {path}: {error.strerror}") from error
