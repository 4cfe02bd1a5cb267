"""A small site for the agents: a registrar and proxy on loopback, cameras running, peers that call them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from soip.agents.camera import SimulateOptions, run_cameras
from soip.agents.station import Server, Station
from soip.net.rtp import Peer, RtpSocketPair
from soip.net.sip import SipEndpoint
from soip.net.ua import UserAgent
from soip.rtp import rtcp
from soip.rtp.nal import AccessUnit
from soip.rtp.receiver import VideoReceiver
from soip.sip.digest import Credentials
from soip.sip.offer import Stream
from soip.sip.uri import Uri
from tests.net.proxy import REALM, SmallProxy

PORTS = (26_000, 26_999)
PATIENT_S = 60.0
"""How long a test waits for what should take a moment: machines are busy."""


@asynccontextmanager
async def proxy(**passwords: str) -> AsyncIterator[SmallProxy]:
    """The site's SIP server; accounts by name."""
    endpoint = SipEndpoint("127.0.0.1", 0)
    server = SmallProxy(endpoint, passwords)
    endpoint.serve(server)
    await endpoint.start()
    try:
        yield server
    finally:
        await endpoint.close()


def server_of(server: SmallProxy) -> Server:
    return Server(*server.endpoint.address)


def camera_options(server: SmallProxy, **changes: object) -> SimulateOptions:
    values: dict[str, object] = {"identity": "cam1", "password": "secret", "domain": REALM, "rtp_ports": PORTS}
    return SimulateOptions(server=server_of(server), **(values | changes))  # type: ignore[arg-type]  # fields by name


@asynccontextmanager
async def cameras(server: SmallProxy, **changes: object) -> AsyncIterator[SimulateOptions]:
    """Cameras that are registered; stopped as by Ctrl-C at the end."""
    options = camera_options(server, **changes)
    stop = asyncio.Event()
    task = asyncio.create_task(run_cameras(options, stop))
    try:
        while not all(identity in server.bindings for identity in options.identities):
            await asyncio.sleep(0.01)
            if task.done():
                await task
        yield options
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENT_S)


@asynccontextmanager
async def caller(server: SmallProxy, name: str = "viewer", password: str = "seen") -> AsyncIterator[Caller]:
    """A user agent of its own endpoint, with RTP sockets."""
    station = Station(PORTS)
    await station.start(server_of(server))
    agent = UserAgent(station.endpoint, Uri.parse(f"sip:{name}@{REALM}"), Credentials(name, password), station.outbound)
    await agent.start()
    peer = Caller(station, agent)
    try:
        yield peer
    finally:
        await agent.close()
        peer.close()
        await station.close()


def _open_pair(station: Station) -> RtpSocketPair:
    pair = station.open_way()
    assert isinstance(pair, RtpSocketPair)
    return pair


class Caller:
    """Someone who calls cameras and looks at each packet."""

    def __init__(self, station: Station, agent: UserAgent) -> None:
        self.station, self.agent = station, agent
        self.units: list[AccessUnit] = []
        self.control: list[rtcp.Packet] = []
        self.pair = _open_pair(station)
        self.sound = _open_pair(station)
        self._changed = asyncio.Event()
        self._peer: Peer | None = None
        self._open = True

    def listen(self, agreed: Stream) -> None:
        """Collect what `agreed` brings."""
        self.receiver = VideoReceiver(agreed.payload_type)
        self.pair.allow([agreed.remote[0]])
        self._peer = Peer(*agreed.remote_rtcp)
        self.station.poll.add(self.pair.rtp, self._rtp)
        self.station.poll.add(self.pair.rtcp, self._rtcp)

    def _rtp(self) -> None:
        self.units += self.pair.drain(self.receiver, self.station.buffer, self.station.now())
        self._changed.set()

    def _rtcp(self) -> None:
        for datagram in self.pair.drain_control(self.station.buffer):
            self.control += rtcp.parse(datagram)
        self._changed.set()

    async def until(self, count: int, within: float = PATIENT_S) -> list[AccessUnit]:
        """Wait for `count` access units."""
        async with asyncio.timeout(within):
            while len(self.units) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.units[:count]

    def send(self, *packets: rtcp.Packet) -> None:
        """Send RTCP to the camera."""
        assert self._peer is not None
        self.pair.send_control(rtcp.build(packets), self._peer)

    def send_raw(self, data: bytes) -> None:
        assert self._peer is not None
        self.pair.send_control(data, self._peer)

    @property
    def ssrc(self) -> int:
        assert self.receiver.ssrc is not None
        return self.receiver.ssrc

    def close(self) -> None:
        """Close the media sockets; again is harmless."""
        if self._open:
            self._open = False
            for sock in (self.pair.rtp, self.pair.rtcp):
                self.station.poll.remove(sock)
            self.pair.close()
            self.sound.close()


def rtp_header(packet: bytes) -> tuple[int, int, int, int]:
    """Payload type, sequence number, timestamp, SSRC."""
    _, second, sequence, timestamp, ssrc = struct.unpack_from(">BBHII", packet)
    return second & 127, sequence, timestamp, ssrc
