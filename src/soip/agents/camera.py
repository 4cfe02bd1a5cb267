"""`soip simulate`: software cameras that register and are called like any bought one."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from soip.agents.alarmbell import AlarmBell
from soip.agents.cameracall import PEER_SILENCE, CameraCall
from soip.agents.containersource import ContainerSource
from soip.agents.errors import AgentError, SourceError
from soip.agents.interrupts import interrupted
from soip.agents.patternsource import PatternSource
from soip.agents.soundencoder import SPOKEN
from soip.agents.source import Source
from soip.agents.station import Server, Station, address_of_record
from soip.net.backoff import Backoff
from soip.net.call import IncomingCall
from soip.net.errors import AuthError, NetError, RequestRefusedError
from soip.net.ports import PortsExhaustedError
from soip.net.ua import UserAgent
from soip.rtp.codec import CODINGS
from soip.sip.digest import Credentials
from soip.sip.errors import UriError
from soip.sip.uri import split_user

log = structlog.get_logger(__name__)

PATTERN = "pattern"
MAX_CALLS = 16
"""Calls one camera takes at once; more get 486."""
SUB_SIDES = (320, 180)
"""Pixels of the sub-stream's picture."""
_BACKOFF = Backoff(0.5, 8.0)


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What `soip simulate` was asked for. `source` is "pattern", a media file or an rtsp:// address.

    With `count` > 1 the cameras are `identity`-1 … `identity`-N with the same password. `width` to `bitrate`
    (bit/s, None: by quality) and `codec` (its name in SDP) concern the pattern. `expires` is the registration's
    lifetime in seconds, `alarm_every` the pause between two alarms, 0 for none; `audio` is what it speaks, one of
    `soundencoder.SPOKEN`. With `program` all is sent as one program stream. `tcp_setup`: whether a camera whose media
    is wanted over TCP connects ("active") or is connected to ("passive") where it may choose. `sub`: the pattern has a
    sub-stream of `SUB_SIDES`, shown to who calls with `;stream=sub`.
    """

    identity: str
    password: str = field(repr=False)
    server: Server
    domain: str
    source: str = field(default=PATTERN, repr=False)  # An address may hold a password.
    count: int = 1
    width: int = 640
    height: int = 360
    rate: int = 25
    gop_seconds: float = 2.0
    bitrate: int | None = None
    codec: str = "H264"
    rtp_ports: tuple[int, int] = (30_000, 32_767)
    expires: int = 60
    peer_silence: float = PEER_SILENCE
    alarm_every: float = 0.0
    program: bool = False
    audio: str = "pcmu"
    tcp_setup: str = "active"
    sub: bool = True

    @property
    def identities(self) -> tuple[str, ...]:
        if self.count == 1:
            return (self.identity,)
        return tuple(f"{self.identity}-{number}" for number in range(1, self.count + 1))


class Camera:
    """One camera on a station: registers as `identity` and answers calls with `source`'s media, or those of `sub`."""

    def __init__(
        self, station: Station, options: SimulateOptions, identity: str, source: Source, sub: Source | None = None
    ) -> None:
        self.identity = identity
        self._station = station
        self._options = options
        self._source = source
        self._sub = sub
        self._calls = 0
        self._log = log.bind(camera=identity)
        self.agent = UserAgent(
            station.endpoint,
            address_of_record(identity, options.domain),
            Credentials(identity, options.password),
            station.outbound,
            backoff=_BACKOFF,
            user_agent="SoIP camera",
        )
        self._bell = AlarmBell(self.agent, identity, options.alarm_every)
        self._ringing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take calls, and register. Raises AgentError if the server will not have us."""
        self.agent.on_invite(self._called)
        self.agent.on_message(self._bell.told)
        self.agent.on_registration(self._registration_changed)
        await self.agent.start()
        try:
            await self.agent.register(self._options.expires)
        except RequestRefusedError as error:
            # 403 is what a registrar says that will not ask again (RFC 3261 §21.4.4).
            if isinstance(error, AuthError) or error.status == 403:
                raise AgentError(f"{self.identity}: wrong password, or no such camera ({error})") from error
            raise AgentError(f"{self.identity}: the server refuses the registration: {error}") from error
        if self._options.alarm_every:
            self._ringing = asyncio.create_task(self._bell.run(), name=f"alarms of {self.identity}")

    async def close(self) -> None:
        """End all calls and unregister."""
        if self._ringing is not None:
            self._ringing.cancel()
            await asyncio.gather(self._ringing, return_exceptions=True)
        await self.agent.close()

    async def _called(self, incoming: IncomingCall) -> None:
        if self._calls >= MAX_CALLS:
            incoming.reject(486, f"{self.identity} has {MAX_CALLS} calls already")
            return
        source = self._wanted(incoming.user)
        if source is None:
            incoming.reject(404, f"{self.identity} has no such stream")
            return
        self._calls += 1
        try:
            with structlog.contextvars.bound_contextvars(camera=self.identity):
                options = self._options
                call = CameraCall(
                    self._station, source, options.peer_silence, options.tcp_setup, program=options.program
                )
                await call.run(incoming)
        except PortsExhaustedError as error:
            incoming.reject(503, str(error))
        finally:
            self._calls -= 1

    def _wanted(self, user: str) -> Source | None:
        """What a Request-URI's user part asks for. Another parameter than `stream` is somebody else's business."""
        try:
            _, params = split_user(user)
        except UriError:
            return self._source
        return {"main": self._source, "sub": self._sub}.get(params.get("stream", "main").lower())

    def _registration_changed(self, registered: bool, why: str) -> None:
        if registered:
            self._log.info("registered", server=str(self._options.server.host))
        else:
            self._log.warning("not registered; trying again", why=why)


async def simulate(options: SimulateOptions) -> int:
    """Run the cameras until SIGINT or SIGTERM; the exit code. Errors are told on standard error."""
    try:
        with interrupted() as stop:
            await run_cameras(options, stop)
    except (AgentError, NetError) as error:
        print(f"soip simulate: {error}", file=sys.stderr)
        return 1
    return 0


async def run_cameras(options: SimulateOptions, stop: asyncio.Event) -> None:
    """Run the cameras until `stop` is set. Raises AgentError or NetError if they cannot begin."""
    for identity in options.identities:
        address_of_record(identity, options.domain)
    sources, subs = await asyncio.to_thread(lambda: (make_sources(options), make_subs(options)))
    station = Station(options.rtp_ports)
    await station.start(options.server)
    cameras = [
        Camera(station, options, identity, source, sub)
        for identity, source, sub in zip(options.identities, sources, subs, strict=True)
    ]
    starting: asyncio.Future[Any] = asyncio.gather(*(camera.start() for camera in cameras))
    stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting  # raises what went wrong
        await stopping
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await asyncio.gather(*(camera.close() for camera in cameras))
        await asyncio.gather(*(source.close() for source in {*sources, *filter(None, subs)}))
        await station.close()


def make_sources(options: SimulateOptions) -> list[Source]:
    """A source for each camera, or one shared by all; looks into a file. Raises SourceError."""
    sound = SPOKEN[options.audio]
    if options.source == PATTERN:
        sides = (options.width, options.height)
        return [_pattern(options, identity, sides, options.bitrate) for identity in options.identities]
    if "://" not in options.source and not Path(options.source).is_file():
        raise SourceError(f"no such file: {options.source}; --source is pattern, a media file or rtsp://…")
    source = ContainerSource(options.source, sound)
    source.probe()
    return [source] * options.count


def make_subs(options: SimulateOptions) -> list[Source | None]:
    """The sub-stream of each camera, if it has one."""
    if options.source != PATTERN or not options.sub:
        return [None] * options.count
    return [_pattern(options, identity, SUB_SIDES) for identity in options.identities]


def _pattern(
    options: SimulateOptions, identity: str, sides: tuple[int, int], bitrate: int | None = None
) -> PatternSource:
    return PatternSource(
        identity,
        width=sides[0],
        height=sides[1],
        rate=options.rate,
        gop_seconds=options.gop_seconds,
        bitrate=bitrate,
        coding=CODINGS[options.codec],
        sound=SPOKEN[options.audio],
    )
