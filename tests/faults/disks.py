"""Disks for tests to break: an ext4 in a file, mounted through a loop device. Needs root and loop devices."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.peers import need

SIZE = 640 << 20
"""Sparse, and larger than the room the store wants before it records again (`soip.store.root.ROOM_BYTES`)."""


def run(*command: str | Path) -> None:
    done = subprocess.run([need(str(command[0])), *map(str, command[1:])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr} (this needs root and loop devices)"


class LoopDisk:
    """Mounted at `path` from the start; `close` in any state."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self.path = path
        self._image = path.with_name(path.name + ".img")
        self._frozen = False
        self._mounted = False
        path.mkdir(parents=True)
        with self._image.open("xb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-m", "0", self._image)
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop", self._image, self.path)
        self._mounted = True

    def vanish(self) -> None:
        """As when the cable is pulled: nothing is there under this path any more. Files that are open go on."""
        run("umount", "--lazy", self.path)
        self._mounted = False

    def freeze(self) -> None:
        """Every write hangs from now on."""
        run("fsfreeze", "--freeze", self.path)
        self._frozen = True

    def thaw(self) -> None:
        self._frozen = False
        run("fsfreeze", "--unfreeze", self.path)

    def fill(self, leave: int = 0) -> Path:
        """Take all that is free but `leave` bytes."""
        filler = self.path / ".filler"
        state = os.statvfs(self.path)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - leave))
        return filler

    def close(self) -> None:
        if self._frozen:
            self.thaw()
        if self._mounted:
            run("umount", "--lazy", self.path)
            self._mounted = False
        with suppress(FileNotFoundError):
            self._image.unlink()
