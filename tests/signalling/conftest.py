"""A whole SIP server on loopback, with a real directory, and peers around it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from soip.config import HostPort, Settings
from soip.directory.directory import Directory
from soip.directory.media import MediaServer
from soip.net.sip import SipEndpoint
from soip.signalling.role import Role
from soip.sip.flow import Address
from soip.sip.timers import Timers
from tests.homes import place_all
from tests.signalling.peer import DOMAIN, Peer, open_peer

PATIENT = Timers(t1=10.0)
"""The server repeats nothing while a machine stalls: a peer sees each message once."""


class ServerHouse:
    """One installation. `start` and `stop` may be called again: the directory stays, and so does the port."""

    timers = PATIENT

    def __init__(self, data: Path, **settings: Any) -> None:
        settings.setdefault("sip", HostPort("127.0.0.1", 0))
        self.settings = Settings(data=data, domain=DOMAIN, media_workers=1, **settings)
        self.directory: Directory
        self.media: MediaServer
        self.role: Role
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self.peers: list[Peer] = []
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the directory, which `furnish` made."""
        self.directory = await Directory.open(self.settings.database_url)
        self.media = await self.directory.media.create_or_load(self.settings.media_server_file, DOMAIN)

    async def furnish(self) -> None:
        """Three cameras, two people, and the media server of this machine."""
        self.directory = await Directory.open(self.settings.database_url)
        realm = await self.directory.settings.realm(DOMAIN)
        await self.directory.cameras.add("cam1", realm=realm, password="secret1")
        await self.directory.cameras.add("cam2", realm=realm, password="secret2", digest="SHA-256")
        await self.directory.cameras.add("cam3", realm=realm, password="secret3", digest="SHA-512-256")
        for name, role in (("ann", "viewer"), ("bob", "operator")):
            await self.directory.users.add(name, password="x", role=role, realm=realm, sip_password=f"{name}-sip")
        server = await self.directory.media.create_or_load(self.settings.media_server_file, realm)
        await place_all(self.directory, await self.directory.media.publish(server.id, 0, sip="", http="127.0.0.1:1"))
        await self.directory.close()

    async def start(self) -> None:
        """Start the SIP server and wait until its port is open."""
        started: asyncio.Future[asyncio.Future[Address]] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            directory = await Directory.open(self.settings.database_url)
            async with directory, directory.write_behind(interval_s=0.5) as later:
                with pytest.MonkeyPatch.context() as patch:
                    timed = functools.partial(SipEndpoint, timers=self.timers)
                    patch.setattr("soip.signalling.role.SipEndpoint", timed)
                    self.role = Role(self.settings, directory, later)
                started.set_result(self.role.ready)
                await self.role.serve()

        self._task = asyncio.ensure_future(serve())
        self.address = await (await started)
        self.settings = self.settings.model_copy(update={"sip": HostPort(*self.address)})

    async def stop(self) -> None:
        """Stop it as SIGTERM does."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def peer(
        self,
        identity: str,
        password: str = "",
        transport: str = "udp",
        host: str = "127.0.0.1",
        trust: ssl.SSLContext | None = None,
    ) -> Peer:
        """A peer of this server, closed at the end of the test. Known ids know their password."""
        passwords = {"cam1": "secret1", "cam2": "secret2", "cam3": "secret3", "ann": "ann-sip", "bob": "bob-sip"}
        known = password or passwords.get(identity, "")
        # Only what is not UDP or TCP has an address of its own; and the server may be another process's.
        plain = transport in ("udp", "tcp")
        address = self.address if plain else self.role.endpoint.address_towards("127.0.0.1", transport)
        peer = await open_peer(identity, known, address, transport=transport, host=host, trust=trust)
        self.peers.append(peer)
        return peer

    async def worker(self) -> Peer:
        """The media worker: registered over TCP, as the instance of its server."""
        peer = await self.peer(self.media.instance(0), self.media.secret, "tcp")
        peer.username = self.media.id
        response = await peer.register(contact=f"<sip:{peer.id}@{DOMAIN};gr>")
        assert response.status == 200, response
        return peer

    async def close(self) -> None:
        """The end."""
        for peer in self.peers:
            peer.close()
        await self.stop()
        await self.directory.close()


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory made once: hashing passwords takes its time on purpose."""
    data = tmp_path_factory.mktemp("furnished")
    asyncio.run(ServerHouse(data).furnish())
    return data


@contextlib.asynccontextmanager
async def running(furnished: Path, data: Path, **settings: Any) -> AsyncIterator[ServerHouse]:
    """A furnished house whose SIP server runs."""
    shutil.copytree(furnished, data, dirs_exist_ok=True)
    house = ServerHouse(data, **settings)
    await house.open()
    await house.start()
    try:
        yield house
    finally:
        await house.close()


@pytest.fixture
async def house(furnished: Path, tmp_path: Path) -> AsyncIterator[ServerHouse]:
    """A furnished house with the settings as they come."""
    async with running(furnished, tmp_path) as house:
        yield house


@pytest.fixture
async def hasty(house: ServerHouse) -> ServerHouse:
    """The house with timers that are many times shorter."""
    await house.stop()
    house.timers = Timers(t1=0.02, t2=0.16, t4=0.2, c=1.5)
    await house.start()
    return house
