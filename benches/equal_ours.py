"""The media worker of `benches.equal`: receives and records until nothing comes any more.

    python -m benches.equal_ours FIRST_PORT CAMERAS DIRECTORY

Prints "ready"; at the end: packets that were lost, those of them that the kernel dropped, fragments that were refused.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benches.ingest_ours import Recorded, quietly
from benches.measured import tell

SILENT = 3.0
"""Seconds without a picture after which the cameras have ended."""


async def record(first_port: int, cameras: int, directory: Path) -> None:
    house = Recorded(first_port, cameras, directory)
    tell("ready")
    await house.started.wait()
    frames = -1
    while frames != house.frames:
        frames = house.frames
        await asyncio.sleep(SILENT)
    lost, dropped = house.lost, house.dropped
    await house.close()
    tell(f"{lost} {dropped} {house.disk.stats.refused}")


if __name__ == "__main__":
    quietly(record(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
