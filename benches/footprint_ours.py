"""The measured process of the memory of a recorded camera.

    python -m benches.footprint_ours FIRST_PORT CAMERAS SECONDS DIRECTORY

As `benches.ingest_ours`, and with a relay for each camera, which keeps its newest GOP. Prints "ready"; SECONDS after
the first picture: resident bytes, and the bytes of the GOPs.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benches.ingest_ours import Recorded, quietly
from benches.measured import resident, tell


async def measure(first_port: int, cameras: int, seconds: float, directory: Path) -> None:
    house = Recorded(first_port, cameras, directory, relayed=True)
    tell("ready")
    await house.started.wait()
    await asyncio.sleep(seconds)
    cached = sum(picture.unit.size for relay in house.relays for picture in relay.gop)
    tell(f"{resident()} {cached}")
    await house.close()


if __name__ == "__main__":
    quietly(measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
