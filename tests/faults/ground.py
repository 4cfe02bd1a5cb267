"""What the fault harness breaks: a site that records cameras to two disks, and what must hold after.

The two disks are `sick`, which scenarios break, and `well`; one camera of each is named likewise, by where it records.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from soip.policy.placement import disk_for
from tests.faults.disks import LoopDisk
from tests.faults.pictures import in_order, stamps
from tests.faults.timeline import Entry, holes, timeline
from tests.interop.film import decode
from tests.site import Program, Site, now_us, until

ALWAYS = {"", "camera offline", "not planned"}
"""Causes that a start may have."""

BYTECODE = Path(__file__).parent.parent.parent / "build" / "bytecode"
"""Kept for the next run."""


class Ground:
    """Use as `with Ground(folder) as ground:`. The site is up and records inside; `finish` looks at all there is.

    `pairs`: how many cameras each disk has. `settings` are those of `Site`.
    """

    def __init__(self, folder: Path, file_seconds: float, pairs: int = 1, **settings: Any) -> None:
        self.sick_disk = LoopDisk(folder / "sick")
        self.well_disk = LoopDisk(folder / "well")
        disks = [self.sick_disk.path, self.well_disk.path]
        places = ":".join(map(str, disks))
        self.site = Site(folder, media_dirs=places, min_free="32M", file_seconds=file_seconds, **settings)
        # Processes start as those of an installed server do, of which nothing has to be compiled.
        self.site.settings |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(BYTECODE)}
        sizes = dict.fromkeys(map(str, disks), SIZE_OF_BOTH)
        names = [f"cam{number}" for number in range(100)]
        sick = [name for name in names if disk_for(name, sizes) == str(self.sick_disk.path)]
        well = [name for name in names if disk_for(name, sizes) == str(self.well_disk.path)]
        self.sick, self.well = sick[0], well[0]
        self.all = (*sick[:pairs], *well[:pairs])
        self.cameras: dict[str, Program] = {}
        self._seen: set[Path] = set()

    def __enter__(self) -> Self:
        try:
            self.site.add_user()
            for camera in self.all:
                self.site.add_camera(camera)
            self.site.start()
            for camera in self.all:
                self.cameras[camera] = self.site.simulate(camera)
            for camera in self.all:
                self.site.until_camera(camera)
                self.until_recorded(camera, 0)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.sick_disk._frozen:
            self.sick_disk.thaw()
        try:
            self.site.__exit__(kind, error, at)
        finally:
            self.sick_disk.close()
            self.well_disk.close()

    # -- waiting

    def until_recorded(self, camera: str, since_us: int) -> None:
        """Wait until something that was recorded after `since_us` is in the catalog."""
        query = "SELECT count(*) FROM recording WHERE camera_id = ? AND end_us > ? AND frames > 10"
        until(lambda: self.site.query(query, camera, since_us + 2_000_000) != [(0,)], explain=self.site.explain)

    def until_begun(self, since_us: int, cameras: Iterable[str]) -> None:
        """Wait until each has a file that began after `since_us`, and something in it."""
        for camera in cameras:
            until(lambda name=camera: self.site.frames(name, since_us) > 10, explain=self.site.explain)  # type: ignore[misc]

    def until_disk(self, state: str) -> None:
        """Wait until the worker says this of the sick disk."""

        def said() -> bool:
            rows = self.site.query("SELECT disks FROM media_instance")
            return any(f'"{self.sick_disk.path}", "{state}"' in str(disks) for (disks,) in rows)

        until(said, explain=self.site.explain)

    def all_recorded(self) -> None:
        """Wait until all cameras are recorded again."""
        now = now_us()
        for camera in self.all:
            self.until_recorded(camera, now)

    def served_by(self, worker: str) -> tuple[str, ...]:
        """The cameras of `media-K`."""
        homes = dict(self.site.query("SELECT camera_id, instance_id FROM home"))
        return tuple(camera for camera in self.all if homes[camera].endswith(worker.removeprefix("media")))

    def roots_since(self, camera: str, since_us: int) -> set[str]:
        """Where files of a camera lie that began after `since_us`."""
        query = "SELECT DISTINCT root FROM recording WHERE camera_id = ? AND start_us > ?"
        return {Path(root).name for (root,) in self.site.query(query, camera, since_us)}

    # -- what must hold

    def explained(self, camera: str, since_us: int, *causes: str) -> list[Entry]:
        """Every instant since then is recorded or explained, by one of these causes; the gaps."""
        entries = [entry for entry in timeline(self.site, camera) if entry.end > since_us]
        assert not holes(entries), (camera, holes(entries))
        gaps = [entry for entry in entries if entry.cause]
        assert {gap.cause for gap in gaps} <= {*ALWAYS, *causes}, (camera, gaps)
        return [gap for gap in gaps if gap.cause in causes]

    def untouched(self, since_us: int, *cameras: str) -> None:
        """The other camera, or these, have lost nothing."""
        for camera in cameras or (self.well,):
            gaps = [gap for gap in timeline(self.site, camera) if gap.cause and gap.end > since_us]
            assert not gaps, (camera, gaps)

    def mended(self, before_us: int, cameras: Iterable[str]) -> None:
        """What these have begun before then is sealed; the last file of each is whole and in order (`finish` looks at
        the others), and all files are as the catalog, the journals and the disks say.
        """
        unsealed = "SELECT count(*) FROM recording WHERE camera_id = ? AND start_us < ? AND NOT sealed"
        last = "SELECT root, path, frames FROM recording WHERE camera_id = ? AND start_us < ? ORDER BY start_us DESC"
        for camera in cameras:
            until(lambda name=camera: self.site.query(unsealed, name, before_us) == [(0,)], explain=self.site.explain)  # type: ignore[misc]
            self._look(self.site.query(f"{last} LIMIT 1", camera, before_us))
        self.agreed()

    def agreed(self) -> None:
        """Catalog, journals and disks say the same; while the server runs, soon, since rows come after files."""
        said = ""

        def agree() -> bool:
            nonlocal said
            done = self.site.soip("store", "check", check=False)
            said = f"soip store check: {done.stdout}{done.stderr}"
            return done.stdout.rstrip().endswith("agree")

        until(agree, explain=lambda: said)

    def _look(self, rows: Iterable[tuple[str, str, int]]) -> None:
        """Each of these files is whole, and has so many pictures, in order."""
        for root, name, frames in rows:
            path = Path(root) / name
            if path in self._seen:
                continue
            self._seen.add(path)
            if self.changed:
                assert decode(path) == frames, path
            else:
                pictures = stamps(path)
                assert len(pictures) == frames, (path, len(pictures), frames)
                assert in_order(pictures), path

    def finish(self) -> int:
        """End the server, then look at every file: sealed, whole, in order. Catalog, journals and disks agree, and the
        disks alone make the same catalog again. How many files there are.
        """
        self.site.stop()
        assert self.site.query("SELECT path FROM recording WHERE NOT sealed") == []
        self._look(self.site.query("SELECT root, path, frames FROM recording WHERE NOT expiring"))
        self.agreed()
        known = self._catalog(self.site.data)
        other = self.site.folder / "rebuilt"
        self.site.soip("store", "rebuild", "--data", str(other))
        assert self._catalog(other) == known, "the folders alone make the same catalog"
        return len(known[0])

    def _catalog(self, data: Path) -> list[list[tuple[object, ...]]]:
        """Recordings and gaps as a data directory knows them."""
        recordings = (
            "SELECT camera_id, root, path, start_us, end_us, frames, bytes, sealed FROM recording ORDER BY 1, 3"
        )
        gaps = "SELECT id, camera_id, start_us, end_us, cause FROM gap ORDER BY 1"
        with closing(sqlite3.connect(data / "soip.db")) as database:
            return [database.execute(query).fetchall() for query in (recordings, gaps)]

    changed = False
    """Some camera has shown something else than the pattern."""

    def pause(self, seconds: float) -> None:
        """The time that a fault lasts."""
        time.sleep(seconds)  # The fault lasts so long.


SIZE_OF_BOTH = 1


CONTROL = "control"


@contextmanager
def control_site(folder: Path) -> Iterator[Site]:
    """A site of one camera that nobody breaks: what its viewer notices is what this machine has to do besides."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as place, Site(Path(place)) as site:
        site.add_user()
        site.add_camera(CONTROL)
        site.start()
        site.simulate(CONTROL)
        until(lambda: site.frames(CONTROL) > 10, explain=site.explain)
        yield site
