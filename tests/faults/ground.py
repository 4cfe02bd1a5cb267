"""What the fault harness breaks: a site that records two cameras, each to a disk of its own, and what must hold after.

The two disks are `sick`, which scenarios break, and `well`; the cameras are named likewise, by where they record.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from soip.policy.placement import disk_for
from tests.faults.disks import LoopDisk
from tests.faults.pictures import in_order, stamps
from tests.faults.timeline import Entry, holes, timeline
from tests.interop.film import decode
from tests.site import Program, Site, now_us, until

ALWAYS = {"", "camera offline", "not planned"}
"""Causes that a start may have."""


class Ground:
    """Use as `with Ground(folder) as ground:`. The site is up and records inside; `finish` looks at all there is."""

    def __init__(self, folder: Path, file_seconds: float) -> None:
        self.sick_disk = LoopDisk(folder / "sick")
        self.well_disk = LoopDisk(folder / "well")
        disks = [self.sick_disk.path, self.well_disk.path]
        places = ":".join(map(str, disks))
        self.site = Site(folder, media_dirs=places, min_free="32M", file_seconds=file_seconds)
        sizes = dict.fromkeys(map(str, disks), SIZE_OF_BOTH)
        names = [f"cam{number}" for number in range(100)]
        self.sick = next(name for name in names if disk_for(name, sizes) == str(self.sick_disk.path))
        self.well = next(name for name in names if disk_for(name, sizes) == str(self.well_disk.path))
        self.cameras: dict[str, Program] = {}

    def __enter__(self) -> Self:
        try:
            self.site.add_user()
            for camera in (self.sick, self.well):
                self.site.add_camera(camera)
            self.site.start()
            for camera in (self.sick, self.well):
                self.cameras[camera] = self.site.simulate(camera)
            for camera in (self.sick, self.well):
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

    def until_disk(self, state: str) -> None:
        """Wait until the worker says this of the sick disk."""

        def said() -> bool:
            rows = self.site.query("SELECT disks FROM media_instance")
            return any(f'"{self.sick_disk.path}", "{state}"' in str(disks) for (disks,) in rows)

        until(said, explain=self.site.explain)

    def all_recorded(self) -> None:
        """Wait until both cameras are recorded again."""
        now = now_us()
        for camera in (self.sick, self.well):
            self.until_recorded(camera, now)

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

    def untouched(self, since_us: int) -> None:
        """The other camera has lost nothing."""
        assert not [gap for gap in timeline(self.site, self.well) if gap.cause and gap.end > since_us]

    def finish(self) -> int:
        """End the server, then look at every file: sealed, whole, in order. Catalog, journals and disks agree. How many
        files there are.
        """
        self.site.stop()
        files = [file for camera in (self.sick, self.well) for file in self.site.recordings(camera)]
        for file in files:
            assert file.sealed, file
            if self.changed:
                assert decode(file.path) == file.frames, file
            else:
                pictures = stamps(file.path)
                assert len(pictures) == file.frames, file
                assert in_order(pictures), file
        assert self.site.soip("store", "check").stdout.rstrip().endswith("agree")
        return len(files)

    changed = False
    """Some camera has shown something else than the pattern."""

    def pause(self, seconds: float) -> None:
        """The time that a fault lasts."""
        time.sleep(seconds)  # The fault lasts so long.


SIZE_OF_BOTH = 1
