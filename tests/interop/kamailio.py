"""Kamailio, run with a configuration of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.signalling.peer import eventually


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@asynccontextmanager
async def kamailio(config: str, folder: Path, port: int) -> AsyncIterator[None]:
    """Kamailio while the block runs, from when it listens on this port by UDP; it must not complain."""
    file, log = folder / "kamailio.cfg", folder / "kamailio.log"
    file.write_text(config)
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *("kamailio", "-f", str(file), "-DD", "-E", "-m", "64", "-Y", str(folder)),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    async def listens() -> bool:
        """It opens its socket before its processes: what comes early waits there."""
        return f":{port:04X} " in await asyncio.to_thread(Path("/proc/net/udp").read_text)

    try:
        await eventually(listens)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()
        assert "ERROR" not in log.read_text(), log.read_text()
