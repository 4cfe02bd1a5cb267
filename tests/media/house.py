"""A media worker as it runs in a real house: SIP server, directory, recordings, cameras and viewers on loopback.

Everything is real but two things: all roles run in the test's own process, and the worker looks around more often.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx

from soip.config import HostPort, PortRange, Settings
from soip.directory.directory import Directory
from soip.directory.rows import CameraStateRow, GapRow, RecordingRow
from soip.directory.settings import MEDIA_URL_KEY
from soip.media import role
from soip.media.patience import Patience
from soip.net.backoff import Backoff
from soip.net.poll import ROUND_S
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.tls import client_context
from soip.net.ua import UserAgent
from soip.policy import mediaurl
from soip.signalling.role import Role
from soip.sip.digest import Credentials
from soip.sip.flow import Address
from soip.sip.uri import Uri
from soip.store import layout

DOMAIN = "soip.test"
SECOND = 1_000_000
PATIENT_S = 60.0
"""How long a test waits for what should take a moment: machines are busy."""

QUICK = Patience(
    tick_s=0.1,
    follow_s=0.1,
    write_s=0.1,
    linger_s=0.5,
    silence_s=15.0,
    dead_s=30.0,
    setup_s=30.0,
    ready_s=30.0,
    keepalive_s=0.6,
    report_s=0.5,
    farewell_s=0.3,
    backoff=Backoff(0.1, 0.8),
    refused=Backoff(0.5, 1.0),
)
"""Quick to see, slow to give up: a machine that stalls for seconds is no silent camera."""

RESTLESS = replace(QUICK, silence_s=2 * ROUND_S, dead_s=4 * ROUND_S)
"""For tests of silence: a machine that stalls makes more of it, so they ask what follows what and never how often."""

_PEOPLE = (("ann", "viewer"), ("bob", "operator"))


class House:
    """Order of calls: `open`, then `start_sip` and `start_media` in any order; `close`."""

    def __init__(self, data: Path) -> None:
        low = random.randrange(30_000, 31_600, 400)
        self.settings = Settings(
            data=data,
            sip=HostPort("127.0.0.1", 0),
            domain=DOMAIN,
            media_workers=1,
            rtp_ports=PortRange(low, low + 399),
            file_seconds=600,
            fragment_seconds=0.5,
            sync_seconds=1,
        )
        self.directory: Directory
        self.key = b""
        self.patience = QUICK
        self._sip: asyncio.Task[None] | None = None
        self._media: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    # -- the parts

    async def furnish(self) -> None:
        """Make a directory with people; hashing passwords takes its time on purpose, so once."""
        async with await Directory.open(self.settings.database_url) as directory:
            realm = await directory.settings.realm(DOMAIN)
            await directory.media.create_or_load(self.settings.media_server_file, realm)
            for name, wanted in _PEOPLE:
                await directory.users.add(name, password="x", role=wanted, realm=realm, sip_password=f"{name}-sip")

    async def open(self) -> None:
        self.directory = await self._stack.enter_async_context(await Directory.open(self.settings.database_url))
        self.key = await self.directory.settings.secret(MEDIA_URL_KEY)

    async def start_sip(self) -> None:
        """The SIP server; at its second start on the port it had."""
        started: asyncio.Future[asyncio.Future[Address]] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            directory = await Directory.open(self.settings.database_url)
            async with directory, directory.write_behind(interval_s=0.2) as later:
                server = Role(self.settings, directory, later)
                started.set_result(server.ready)
                await server.serve()

        self._sip = asyncio.create_task(serve())
        address = await (await started)
        self.settings = self.settings.model_copy(update={"sip": HostPort(*address)})

    async def stop_sip(self) -> None:
        await _end(self._sip)
        self._sip = None

    def start_media(self, worker: int = 0) -> None:
        self._media = asyncio.create_task(role.run(self.settings, worker, self.patience))

    async def stop_media(self) -> None:
        """As SIGTERM does."""
        await _end(self._media)
        self._media = None

    @property
    def media_failed(self) -> BaseException | None:
        """What the worker ended with, if it ended."""
        return self._media.exception() if self._media is not None and self._media.done() else None

    async def close(self) -> None:
        await self._stack.aclose()
        await self.stop_media()
        await self.stop_sip()

    # -- who lives here

    async def add_camera(self, name: str = "cam1", *, plan: str = "always", audio: bool = False) -> None:
        await self.directory.cameras.add(
            name, realm=DOMAIN, password="secret", plan=plan, audio=audio, digest="SHA-256"
        )

    async def agent(self, name: str, password: str, *, tls: bool = False) -> UserAgent:
        """A user agent with an endpoint of its own, closed at the end."""
        endpoint = SipEndpoint("127.0.0.1", 0, trust=client_context(self.settings.ca_file) if tls else None)
        await endpoint.start()
        self._stack.push_async_callback(endpoint.close)
        agent = UserAgent(
            endpoint,
            Uri.parse(f"sip:{name}@{DOMAIN}"),
            Credentials(name, password),
            self._server(tls=tls),
            backoff=Backoff(0.05, 0.2),
        )
        await agent.start()
        self._stack.push_async_callback(agent.close)
        return agent

    def _server(self, *, tls: bool) -> Target:
        address = self.settings.sip_tls if tls else self.settings.sip
        assert address is not None
        return Target("tls" if tls else "udp", address.host, address.port)

    def at_the_end(self, close: Callable[[], object]) -> None:
        self._stack.callback(close)

    # -- what the directory says

    async def state(self, camera: str = "cam1") -> str:
        row: CameraStateRow | None = (await self.directory.cameras.states()).get(camera)
        return row.media if row else ""

    async def until_state(self, wanted: str, camera: str = "cam1", within: float = PATIENT_S) -> None:
        await until(lambda: self.state(camera), wanted, within)

    async def recordings(self, camera: str = "cam1") -> list[RecordingRow]:
        return await self.directory.catalog.recordings(camera)

    async def gaps(self, camera: str = "cam1") -> list[GapRow]:
        return await self.directory.catalog.gaps(camera)

    async def until_gap(self, cause: str, camera: str = "cam1", within: float = PATIENT_S) -> GapRow:
        """The newest gap, once it has this cause."""
        rows: list[GapRow] = []

        async def newest() -> str:
            rows[:] = await self.gaps(camera)
            return rows[-1].cause if rows else ""

        await until(newest, cause, within)
        return rows[-1]

    async def recorded(self, seconds: float, camera: str = "cam1", within: float = PATIENT_S) -> None:
        """Wait until so much of a camera is in the catalog."""

        async def enough() -> bool:
            return sum(row.end_us - row.start_us for row in await self.recordings(camera)) >= seconds * SECOND

        await until(enough, True, within)

    # -- its HTTP face

    def token(self, action: str, camera: str = "cam1", subject: str = "bob", lasts: float = 60) -> str:
        return mediaurl.issue(self.key, subject, camera, action, time.time() + lasts)

    async def base(self) -> str:
        """The worker's HTTP address and path."""

        async def placed() -> bool:
            cameras = {row.id for row in await self.directory.cameras.all()}
            return bool(await self.directory.media.instances()) and cameras == (await self.directory.homes.all()).keys()

        await until(placed, True)
        (instance,) = await self.directory.media.instances()
        return f"http://{instance.http}/media/{instance.id}"

    async def http(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=await self.base(), trust_env=False, timeout=PATIENT_S)
        self._stack.push_async_callback(client.aclose)
        return client


async def until(ask: Callable[[], object], wanted: object, within: float = PATIENT_S) -> None:
    """Wait until a question, which may be a coroutine function, has this answer."""
    answer: object = None
    try:
        async with asyncio.timeout(within):
            while True:
                answer = ask()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer == wanted:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still {answer!r}, not {wanted!r}") from None


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def timestamp(utc_us: int) -> str:
    """As in a query: RFC 3339."""
    return layout.timestamp(utc_us)


def now_us() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def living(furnished: Path, data: Path, **settings: object) -> AsyncIterator[House]:
    """A house whose SIP server runs, with other settings if given; the media worker is started by the test."""
    shutil.copytree(furnished, data, dirs_exist_ok=True)
    house = House(data)
    house.settings = house.settings.model_copy(update=settings)
    await house.open()
    await house.start_sip()
    try:
        yield house
    finally:
        await house.close()
