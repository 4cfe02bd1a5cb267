"""The media worker as a process: opens what it needs, registers, repairs, then serves until it is cancelled.

The start, in this order, because each step needs the one before: directory and account; the root of the recordings;
the connection to the SIP server, over which the dialogs of an earlier life are ended, while its unsealed files are
mended; cameras are called; viewers are served.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import structlog

from soip import asgi, metrics
from soip.config import Settings
from soip.directory.directory import Directory
from soip.directory.errors import UnavailableError
from soip.directory.media import MediaServer
from soip.directory.rows import MediaInstance
from soip.directory.settings import MEDIA_URL_KEY
from soip.directory.writebehind import WriteBehind
from soip.media.alarms import Alarms
from soip.media.archive import Archive
from soip.media.calls import Calls
from soip.media.cameras import Cameras
from soip.media.context import Context, own_address
from soip.media.face import create_app
from soip.media.grants import Grants
from soip.media.group import Group
from soip.media.journal import end_left_behind, end_old_dialogs
from soip.media.metrics import Metrics
from soip.media.patience import Patience
from soip.media.referrals import Referrals
from soip.media.rights import Rights
from soip.media.showing import Showing
from soip.media.snapshots import Snapshots
from soip.media.walltime import WallClock
from soip.net.backoff import Backoff, default_jitter
from soip.net.errors import RequestRefusedError
from soip.net.multicast import GroupPool
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.uri import Uri

AWAKE_S = 0.5
"""How often it is looked whether the cameras are still this worker's; many times within a lease."""
CLOCK_S = 1.0
STANDARD = Patience()

_log = structlog.get_logger()


async def run(settings: Settings, worker: int, patience: Patience = STANDARD) -> None:
    """Serve as media worker number `worker` until cancelled. Raises DirectoryError, StoreError, OSError when it cannot
    start, each with what to do.
    """
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(await Directory.open(settings.database_url))
        later = await stack.enter_async_context(directory.write_behind(interval_s=patience.write_s))
        realm = await directory.settings.realm(settings.domain)
        server = await directory.media.create_or_load(settings.media_server_file, realm)
        address = own_address(settings.sip.host)
        # Only the web role asks here, on the same machine: whom it lets through has to come through it.
        with asgi.listen("127.0.0.1", 0) as listener:
            instance = await _publish(directory, server, worker, listener)
            endpoint = SipEndpoint(address, 0, transports=("tcp",))
            await endpoint.start()
            stack.push_async_callback(endpoint.close)
            context = _context(settings, worker, instance, directory, later, endpoint, server, address)
            context.patience = patience
            siblings = {server.instance(number) for number in range(settings.media_workers)}
            group = Group(
                directory.homes, instance, siblings, settings.failover_seconds, lambda: context.agent.connected
            )
            context.holds = group.holds
            stack.callback(context.poll.close)
            archive = await stack.enter_async_context(Archive(settings, context, server.id))
            async with _registered(context):
                await _Worker(settings, context, group, archive, endpoint, listener).serve()


async def _publish(directory: Directory, server: MediaServer, worker: int, listener: socket.socket) -> MediaInstance:
    host, port = listener.getsockname()[:2]
    http = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # No SIP address: the SIP server reaches a worker over the connection the worker opened.
    return await directory.media.publish(server.id, worker, sip="", http=http)


def _context(
    settings: Settings,
    worker: int,
    instance: MediaInstance,
    directory: Directory,
    later: WriteBehind,
    endpoint: SipEndpoint,
    server: MediaServer,
    address: str,
) -> Context:
    ports = settings.worker_ports(worker)
    agent = UserAgent(
        endpoint,
        Uri("sip", instance.id, settings.domain),
        Credentials(server.id, server.secret),
        proxy_of(settings),
        contact=Uri("sip", instance.id, settings.domain, None, (("gr", None),)),
        persistent=True,
        catch_all=True,
        backoff=Backoff(0.2, 2.0),
    )
    loop = asyncio.get_running_loop()
    return Context(
        instance=instance.id,
        domain=settings.domain,
        address=address,
        directory=directory,
        later=later,
        rights=Rights(directory),
        agent=agent,
        ports=PortPairs(ports.low, ports.high, start=random.random()),  # noqa: S311 - any will do
        poll=MediaPoll(loop),
        wall=WallClock(loop.time()),
        srtp=settings.srtp,
        groups=GroupPool(settings.worker_groups(worker), settings.multicast_ttl),
    )


def proxy_of(settings: Settings) -> Target:
    """Where the SIP server is reached from this machine."""
    return Target("tcp", own_address(settings.sip.host), settings.sip.port)


@asynccontextmanager
async def _registered(context: Context) -> AsyncIterator[None]:
    agent = context.agent
    agent.on_registration(lambda up, why: _log.info("registered" if up else "not registered", reason=why))
    await agent.start()
    try:
        yield
    finally:
        await agent.close()


class _Worker:
    """The tasks of a worker that has all it needs."""

    def __init__(
        self,
        settings: Settings,
        context: Context,
        group: Group,
        archive: Archive,
        endpoint: SipEndpoint,
        listener: socket.socket,
    ) -> None:
        self._settings = settings
        self._context = context
        self._group = group
        self._archive = archive
        self._endpoint = endpoint
        self._listener = listener
        settle = partial(end_left_behind, context, endpoint, proxy_of(settings))
        self._cameras = Cameras(context, archive, group, settle)
        self._showing = showing = Showing(context)
        self._calls = Calls(context, self._cameras.all, self._cameras.find, archive.programme, showing)
        self._referrals = Referrals(context, self._cameras.find, showing)

    async def serve(self) -> None:
        key = await self._context.directory.settings.secret(MEDIA_URL_KEY)
        grants = Grants(key, self._context.rights)
        snapshots = Snapshots(self._context)
        app = create_app(self._cameras, self._archive, snapshots, grants, self._context.instance)
        counted = Metrics(self._context, self._cameras, self._archive, self._showing, snapshots)
        metrics_key = await self._context.directory.settings.secret(metrics.KEY)
        app.router.routes.append(metrics.face(counted.figures, metrics_key))
        self._context.agent.on_message(Alarms(self._context, self._archive.note, self._cameras.lost).take)
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            stack.push_async_callback(snapshots.close)
            tasks.create_task(asgi.serve(asgi.configure(app), self._listener))
            tasks.create_task(self._heartbeat())
            tasks.create_task(self._stay_awake())
            tasks.create_task(self._clock())
            tasks.create_task(self._archive.run())
            async with asyncio.TaskGroup() as start:
                start.create_task(self._archive.mend())
                start.create_task(self._join())
            self._context.agent.on_invite(self._calls.take)
            self._context.agent.on_replace(self._calls.may_replace)
            self._context.agent.on_refer(self._referrals.take)
            _log.info("media worker ready", instance=self._context.instance, rtp=str(self._settings.rtp_ports))
            tasks.create_task(self._follow())
            tasks.create_task(self._cameras.run())

    async def _join(self) -> None:
        """Register, however long it takes, and hang up what an earlier run left behind.

        A SIP server that does not know this media server yet will soon: it reads the directory each second.
        """
        refusals = 0
        while True:
            try:
                await self._context.agent.register()
                break
            except RequestRefusedError as error:
                refusals += 1
                _log.warning(
                    "the SIP server does not take this media server; trying again",
                    reason=str(error),
                    check="both must use the same directory and domain",
                )
                await asyncio.sleep(self._context.patience.refused.delay(refusals, default_jitter))
        await end_old_dialogs(self._context, self._endpoint, proxy_of(self._settings))

    async def _follow(self) -> None:
        """Take over each change of configuration: cameras, plans, rights."""

        async def load() -> None:
            await self._cameras.beat()  # cameras that were added are placed, and moved ones known
            await self._cameras.load()
            await self._context.rights.check_again()
            await self._archive.follow()

        await self._context.directory.follow(load, self._context.patience.follow_s)

    async def _heartbeat(self) -> None:
        while True:
            # While the directory is away cameras go on, or not: `policy/lease.py` says.
            with suppress(UnavailableError):
                await self._cameras.beat()
                await self._cameras.follow_group()
            await asyncio.sleep(self._group.pause_s)

    async def _stay_awake(self) -> None:
        """Beside the heartbeats, which may have to wait for the directory."""
        while True:
            self._group.awake()
            if not self._group.leased:
                self._cameras.keep()
            await asyncio.sleep(min(AWAKE_S, self._group.pause_s / 4))

    async def _clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_S)
            if self._context.wall.follow(self._context.now()):
                _log.warning("the system's clock was stepped ahead", effect="new files begin, cause clock")
                self._cameras.restart_clocks()
