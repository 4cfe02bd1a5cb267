"""The media worker of `benches.age`: receives, records and relays; the last camera has somebody who watches it.

    python -m benches.age_ours FIRST_PORT CAMERAS WATCHING_PORT DIRECTORY

Prints "ready"; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from benches.frames import PAYLOAD_TYPE
from benches.ingest_ours import Recorded, quietly
from benches.measured import tell
from soip.media.relay import BURST_S, Viewer
from soip.net.gso import GsoSender
from soip.rtp.nal import PACKET_SIZE


async def relay(first_port: int, cameras: int, watching: int, directory: Path) -> None:
    loop = asyncio.get_running_loop()
    house = Recorded(first_port, cameras, directory, relayed=True)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.connect(("127.0.0.1", watching))
    viewer = Viewer(GsoSender(sock, PACKET_SIZE), PAYLOAD_TYPE)
    house.relays[-1].join(viewer, loop.time())
    house.watched.add(cameras - 1)
    ended = asyncio.Event()
    loop.add_reader(0, ended.set)
    tell("ready")
    while not ended.is_set():
        viewer.burst()
        await asyncio.sleep(BURST_S if viewer.waiting else 0.2)
    await house.close()


if __name__ == "__main__":
    quietly(relay(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
