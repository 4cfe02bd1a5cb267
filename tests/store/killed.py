"""A writer to be killed: records without end into argv[1], a line on stdout per fragment that is in the file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from soip.store.disk import DiskWriter
from soip.store.events import Event, Written
from tests.mp4.material import EPOCH_US, video
from tests.store.recordings import SECOND_US, Camera, open_root


def main() -> None:
    disk = DiskWriter(open_root(Path(sys.argv[1])))
    disk.start()
    camera = Camera(disk, material=video(bframes=2))

    def tell(event: Event) -> None:
        if isinstance(event, Written):
            print(event.fragment.offset + event.fragment.size, flush=True)

    writer = camera.begin(tell)
    for second in range(100_000):
        writer.append(camera.runs(second), EPOCH_US + second * SECOND_US)
        time.sleep(0.001)  # So that the kill falls between writes as well as into them.


if __name__ == "__main__":
    main()
