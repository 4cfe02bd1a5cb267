"""The SIP server as a process: opens the directory, takes the port, keeps the tables true until it is
cancelled.

At the start: accounts and bindings come from the directory before the port opens, so the first request finds
what the last process knew. Then four tasks: one follows the directory's version, one lets bindings run out
and hands changes to the writer each half second, one hands alarms over, and the endpoint serves.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import secrets
import ssl
import time

import structlog
from starlette.applications import Starlette

from soip import asgi, metrics
from soip.config import HostPort, Settings
from soip.directory.directory import Directory
from soip.directory.rows import Account
from soip.directory.settings import FLOW_TOKEN_KEY, SIP_HTTP, SIP_ROUTES, SIP_TOKEN_KEY, SIP_WEBSOCKET
from soip.directory.writebehind import WriteBehind
from soip.net import websocket
from soip.net.limits import Limits, connections_for
from soip.net.resolver import Resolver
from soip.net.sip import SipEndpoint
from soip.net.tls import Identity, client_context
from soip.net.wire import Listener
from soip.signalling.accounts import AccountTable
from soip.signalling.blocklist import Blocklist
from soip.signalling.bygones import Bygones
from soip.signalling.finder import Finder
from soip.signalling.ladder import Ladder
from soip.signalling.limits import default_gate
from soip.signalling.location import Binding, Location
from soip.signalling.memory import home_of, restored, row_of, rows_of
from soip.signalling.metrics import Metrics
from soip.signalling.news import News
from soip.signalling.registrar import Lifetimes
from soip.signalling.server import Keys, Server
from soip.signalling.trunks import Trunks
from soip.signalling.trust import House
from soip.sip.flow import Address

# With the writer's own second, a binding is in the directory well within two, mostly within one.
SWEEP_SECONDS = 0.25
WRITE_SECONDS = 0.5
TRACES_EVERY = 2
"""Sweeps between two looks at the ladder: a call changes more often than a binding, and is written whole each time."""

_log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Serve SIP until cancelled. Raises DirectoryError, net.PortBusyError or net.TlsError when it cannot start."""
    async with (
        await Directory.open(settings.database_url) as directory,
        directory.write_behind(interval_s=WRITE_SECONDS) as later,
    ):
        await Role(settings, directory, later).serve()


class Role:
    """One running SIP server. `ready` tells the address once the port is open."""

    def __init__(self, settings: Settings, directory: Directory, later: WriteBehind) -> None:
        self._settings = settings
        self._directory = directory
        self._later = later
        self.ready: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._resolver = Resolver()
        self.endpoint = SipEndpoint(
            settings.sip.host,
            settings.sip.port,
            setting="--sip / SOIP_SIP",
            listeners=_listeners(settings),
            trust=_trust(settings),
            resolver=self._resolver,
            limits=Limits(connections=connections_for(resource.getrlimit(resource.RLIMIT_NOFILE)[0])),
        )
        self._accounts = AccountTable()
        self._location = Location()
        self._lifetimes = Lifetimes.of(settings)
        self._news = News(time.monotonic)
        self._blocklist = Blocklist()
        self._finder = Finder(self._accounts, self._lookup, time.monotonic)
        self._ladder = Ladder(time.monotonic, lambda: time.time_ns() // 1000, lambda: secrets.token_hex(5))
        self._server: Server | None = None
        self.trunks: Trunks | None = None

    def bindings(self, aor: str) -> tuple[Binding, ...]:
        """The contacts of an address of record, the latest first."""
        return self._location.bindings(aor, time.monotonic())

    @property
    def registered(self) -> int:
        """How many bindings there are."""
        return len(self._location)

    async def serve(self) -> None:
        """Load, listen, and keep going until cancelled."""
        realm = await self._directory.settings.realm(self._settings.domain)
        await self._load()
        await self._restore()
        self._ladder.restore(await self._directory.traces.last(ladders=True))
        tokens = await self._directory.settings.secret(FLOW_TOKEN_KEY)
        bearer = await self._directory.settings.secret(SIP_TOKEN_KEY)
        self.trunks = trunks = Trunks(
            self._settings.sip_routes,
            self.endpoint,
            self._resolver,
            ("udp", "tcp", "tls"),
            self._settings.domain,
            lambda states: self._directory.settings.publish(SIP_ROUTES, states),
        )
        self._server = server = Server(
            self.endpoint,
            House(self._settings.domain, realm, frozenset(self._settings.sip_peers)),
            Keys(tokens, secrets.token_bytes(32), bearer),
            self._accounts,
            self._location,
            self._finder,
            default_gate(),
            self._blocklist,
            self._lifetimes,
            self._ladder,
            trunks,
            self._news,
            self._directory,
            self._later,
            time.monotonic,
            time.time,
        )
        counted = Metrics(self.endpoint, self._location, self._blocklist, trunks)
        face = Starlette(routes=[metrics.face(counted.figures, await self._directory.settings.secret(metrics.KEY))])
        self.endpoint.serve(server)
        self.endpoint.show(self._ladder)
        await self.endpoint.start()
        host, port = self.endpoint.address
        browsers = HostPort(*self.endpoint.address_towards("127.0.0.1", "ws"))
        await self._directory.settings.publish(SIP_WEBSOCKET, str(browsers))
        # Only the web role asks here, on the same machine: whom it lets through has to come through it.
        listener = asgi.listen("127.0.0.1", 0)
        await self._directory.settings.publish(SIP_HTTP, str(HostPort(*listener.getsockname()[:2])))
        self.ready.set_result((host, port))
        _log.info("SIP server ready", host=host, port=port, domain=self._settings.domain, realm=realm)
        if self._settings.sip_tls is not None:
            _log.info("SIP over TLS ready", port=self.endpoint.address_towards(host, "tls")[1])
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._directory.follow(self._load))
                tasks.create_task(self._sweep())
                tasks.create_task(server.run())
                tasks.create_task(Bygones(self._directory.events, self._settings.event_days).run())
                tasks.create_task(asgi.serve(asgi.configure(face), listener))
        finally:
            listener.close()
            await trunks.close()
            await self.endpoint.close()
            await self._resolver.close()
            await server.close()
            await self._finder.close()
            self._write()
            self._write_traces()

    async def _load(self) -> None:
        """Read all accounts; what was registered with a secret or a right that is gone is gone too."""
        async with self._finder.filling:
            accounts = await self._directory.accounts.all()
            servers = await self._directory.media.servers()
            workers = range(self._settings.media_workers)
            # Those that are to be, and those of servers with more workers than this machine's.
            instances = [(f"{server}-{worker}", server) for server in servers for worker in workers]
            instances += [(each.id, each.server_id) for each in await self._directory.media.instances()]
            rows = await self._directory.homes.all()
            homes = {name: row.instance_id for name, row in rows.items()}
            changed = self._accounts.replace(accounts, instances, homes)
            self._finder.forget_misses()
        _log.info("configuration loaded", accounts=len(accounts))
        for binding in self._location.forget(lambda b: b.account in changed or not self._rightful(b)):
            self._news.tell("unregistered", id=binding.aor, reason="its account was changed or removed")
        if self._server is not None:
            self._server.configured(changed)
            self._server.moved(rows.values())

    def _rightful(self, binding: Binding) -> bool:
        owner = self._accounts.owner_of(binding.aor)
        return owner is not None and owner.id == binding.account

    async def _restore(self) -> None:
        rows = await self._directory.calls.bindings()
        now, now_us = time.monotonic(), time.time_ns() // 1000
        good, void = restored(rows, now, now_us, self._lifetimes.longest)
        kept = [binding for binding in good if self._rightful(binding)]
        lost = [row_of(binding, now, now_us) for binding in good if not self._rightful(binding)]
        self._location.restore(kept)
        for row in rows:
            self._location.was_at(row.account_id, home_of(row))
        self._later.delete(*void, *lost)
        _log.info("bindings restored", online=len(kept), void=len(rows) - len(kept))

    async def _sweep(self) -> None:
        for turn in itertools.count():
            for binding in self._location.expire(time.monotonic()):
                self._news.tell(
                    "unregistered", id=binding.aor, source=str(binding.flow), reason="not refreshed in time"
                )
            self._news.sum_up()
            self._blocklist.sweep(time.monotonic())
            self._write()
            if turn % TRACES_EVERY == 0:
                self._write_traces()
            await asyncio.sleep(SWEEP_SECONDS)

    def _write(self) -> None:
        changes = self._location.take_changes()
        if changes:
            saved, gone = rows_of(changes, time.monotonic(), time.time_ns() // 1000)
            self._later.delete(*gone)
            self._later.save(*saved)

    def _write_traces(self) -> None:
        traces, dropped = self._ladder.take_rows()
        self._later.delete(*dropped)
        self._later.save(*traces)

    async def _lookup(self, identity: str) -> Account | None:
        found = await self._directory.accounts.get(identity)
        return found if found is not None else await self._directory.accounts.of_camera(identity)


def _listeners(settings: Settings) -> list[Listener]:
    """What the server listens on beside UDP and TCP. Raises TlsError."""
    origins = frozenset(settings.sip_ws_origins)
    found = [websocket.listener(settings.sip_ws.host, settings.sip_ws.port, origins, "SOIP_SIP_WS")]
    if settings.sip_tls is not None:
        # Only where peers may be known by their certificates are they asked for one: some phones send whatever they
        # came with from the factory.
        known = bool(settings.sip_peers) or any(route.account for route in settings.sip_routes)
        ca = settings.ca_file if known else None
        identity = Identity(settings.certificate_file, settings.key_file, ca)
        found.append(identity.listener(settings.sip_tls.host, settings.sip_tls.port, "--sip-tls / SOIP_SIP_TLS"))
    return found


def _trust(settings: Settings) -> ssl.SSLContext | None:
    """Whom we believe when we connect to other servers, and what we show them: the certificate that `soip tls client`
    has made for our own domain, if there is one. Raises TlsError.
    """
    if not settings.sip_routes:
        return None
    own = settings.tls_folder / "clients" / settings.domain
    pair = own.with_name(own.name + ".pem"), own.with_name(own.name + ".key")
    return client_context(
        settings.ca_file if settings.ca_file.exists() else None,
        system=True,
        pair=pair if all(file.exists() for file in pair) else None,
    )
