"""The SIP server in a process of its own, as operators run it, with so many descriptors as a test gives it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from soip.config import HostPort, Settings
from soip.net.tls import client_context
from tests.signalling.peer import DOMAIN, Peer, open_peer
from tests.signalling.test_tls import certify
from tests.site import Program, free_port

START_SECONDS = 60.0
PASSWORDS = {"cam1": "secret1", "cam2": "secret2", "cam3": "secret3", "ann": "ann-sip", "bob": "bob-sip"}


class Fortress:
    """One server. `files` is how many files its process may have open, with no way to more."""

    def __init__(self, data: Path, files: int) -> None:
        self.files = files
        ports = [HostPort("127.0.0.1", free_port("127.0.0.1")) for _ in range(3)]
        places: dict[str, Any] = {"sip": ports[0], "sip_tls": ports[1], "sip_ws": ports[2]}
        self.settings = Settings(data=data, domain=DOMAIN, media_workers=1, log_format="json", **places)
        self.trust = client_context(self.settings.ca_file)
        self.peers: list[Peer] = []
        self._program: Program

    def start(self) -> None:
        command = ["sh", "-c", f'ulimit -n {self.files} && exec "$0" -m soip sip', sys.executable]
        self._program = Program(self.settings.data / "log", command, self.settings.environment())

    async def ready(self) -> None:
        async with asyncio.timeout(START_SECONDS):
            while not self.said("SIP server ready"):
                assert self._program.process.poll() is None, self._program.text
                await asyncio.sleep(0.05)  # another process wakes nobody here

    def address(self, transport: str) -> tuple[str, int]:
        at = {"tls": self.settings.sip_tls, "ws": self.settings.sip_ws}.get(transport, self.settings.sip)
        assert at is not None
        return at.host, at.port

    async def peer(self, identity: str, transport: str = "udp", host: str = "127.0.0.1", password: str = "") -> Peer:
        """A peer that knows its password, closed at the end."""
        trust: ssl.SSLContext | None = self.trust if transport == "tls" else None
        password = password or PASSWORDS.get(identity, "")
        peer = await open_peer(identity, password, self.address(transport), transport=transport, host=host, trust=trust)
        self.peers.append(peer)
        return peer

    async def let_in(self, identity: str, transport: str = "udp", within: float = 60.0) -> Peer:
        """A peer that comes again as devices do, until it is registered. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while True:
                with contextlib.suppress(OSError, EOFError, TimeoutError):
                    peer = await self.peer(identity, transport)
                    async with asyncio.timeout(5):
                        if (await peer.register()).status == 200:
                            return peer
                    peer.close()
                await asyncio.sleep(0.2)  # a device's pause between two attempts

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log that begin like this."""
        return [entry for entry in self._program.entries if str(entry["event"]).startswith(event)]

    @property
    def text(self) -> str:
        """All of the log."""
        return self._program.text

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self._program.pid}/fd").iterdir()))

    @property
    def resident(self) -> int:
        """Bytes of the process in memory."""
        return int(Path(f"/proc/{self._program.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def stop(self) -> None:
        for peer in self.peers:
            peer.close()
        code = self._program.stop()
        assert code == 0, self._program.text[-2000:]
        assert "Traceback" not in self._program.text


@contextlib.asynccontextmanager
async def holding(furnished: Path, data: Path, files: int = 4096) -> AsyncIterator[Fortress]:
    """A furnished server that runs, and must end in good order."""
    shutil.copytree(furnished, data, dirs_exist_ok=True)
    certify(data / "tls")
    fortress = Fortress(data, files)
    fortress.start()
    try:
        await fortress.ready()
        yield fortress
    finally:
        await asyncio.to_thread(fortress.stop)
