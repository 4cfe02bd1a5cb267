"""A whole web role for a test: directory, media face and HTTP, each of them real, on ports the kernel chose."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import uvicorn

from soip import metrics
from soip.asgi import configure, serve
from soip.config import HostPort
from soip.directory.directory import Directory
from soip.directory.rows import BindingRow, CameraStateRow, GapRow, MediaInstance, RecordingRow
from soip.directory.settings import MEDIA_URL_KEY, SIP_TOKEN_KEY
from soip.web.app import create_app
from soip.web.files import STATIC
from soip.web.overview import Overview
from soip.web.relay import MediaRelay
from soip.web.role import listen
from soip.web.state import State
from tests.homes import place_all
from tests.web.media_face import Face, Recording

REALM = "soip.local"
PASSWORD = "correct horse"
METRICS_TOKEN = "what scrapers show"


@dataclass
class System:
    """The parts, and what tests do with them again and again."""

    directory: Directory
    face: Face
    instance: MediaInstance
    state: State
    base: str
    folder: Path

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.base, trust_env=False, timeout=60)

    async def add_user(self, name: str, role: str) -> None:
        await self.directory.users.add(name, password=PASSWORD, role=role, realm=REALM, sip_password="x")

    async def add_camera(self, name: str, *, title: str = "", media: str | None = "recording") -> None:
        await self.directory.cameras.add(name, realm=REALM, password="p", name=title)
        await place_all(self.directory, self.instance)
        now = now_us()
        if media is not None:
            await self.directory.save(CameraStateRow(name, media, now - 60_000_000, self.instance.id, now))
            await self.bind(name, now + 60_000_000)

    async def bind(self, name: str, expires_us: int) -> None:
        where = f"sip:{name}@127.0.0.1:5080"
        await self.directory.save(BindingRow(name, where, name, "udp", "call", 1, now_us(), expires_us))

    async def catalog(self, camera: str, *recordings: Recording) -> None:
        """Puts recordings into the face and into the catalog."""
        self.face.recordings += recordings
        rows = [
            RecordingRow(each.id, camera, "m", self.instance.id, "/root", f"{each.id}.mp4", each.start_us, each.end_us)
            for each in recordings
        ]
        await self.directory.save(*rows)

    async def gap(self, camera: str, start_us: int, end_us: int, cause: str) -> None:
        await self.directory.save(GapRow(f"g{start_us}", camera, start_us, end_us, cause))

    @asynccontextmanager
    async def signed_in(self, name: str) -> AsyncIterator[httpx.AsyncClient]:
        async with self.client() as client:
            answer = await client.post("/api/session", json={"name": name, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            yield client

    async def heartbeat(self, at_us: int) -> None:
        """Says when the media worker was last heard of."""
        await self.directory.save(replace(self.instance, heartbeat_us=at_us))

    async def beat(self) -> None:
        """Keeps the media worker alive, for tests that look on for longer."""
        while True:
            await self.heartbeat(now_us())
            await asyncio.sleep(5)


def now_us() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def serving(config: uvicorn.Config) -> AsyncIterator[str]:
    """Serves an application; gives HOST:PORT."""
    with listen(HostPort("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(serve(config, listener))
        host, port = listener.getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def running(folder: Path, static: Path = STATIC) -> AsyncIterator[System]:
    """A web role and a media face, ready to be asked."""
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(await Directory.open(f"sqlite+aiosqlite:///{folder / 'soip.db'}"))
        key = await directory.settings.secret(MEDIA_URL_KEY)
        face = Face(key)
        media = await stack.enter_async_context(serving(configure(face.app())))
        server = await directory.media.create_or_load(folder / "media-server.json", REALM)
        instance = await directory.media.publish(server.id, 0, sip="127.0.0.1:1", http=media)
        sip_key = await directory.settings.secret(SIP_TOKEN_KEY)
        metrics_key = await directory.settings.secret(metrics.KEY)
        state = State(directory, key, Overview(directory), sip_key, REALM, METRICS_TOKEN, metrics_key)
        relay = await stack.enter_async_context(MediaRelay())
        web = await stack.enter_async_context(serving(configure(create_app(state, relay, static))))
        yield System(directory, face, instance, state, f"http://{web}", folder)
