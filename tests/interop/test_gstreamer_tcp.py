"""RTP over TCP with somebody else's RFC 4571: GStreamer connects and is connected to, sends, and takes what we send."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE
from soip.net.rtptcp import TcpWay, open_tcp
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, AccessUnit, packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.sender import SendStream
from soip.sip.mediaway import Way
from soip.sip.offer import Stream
from tests.interop.film import decode, make_film
from tests.peers import need

FRAMES = 100
BUFFER = memoryview(bytearray(DATAGRAM_SIZE))
SENDS = ("qtdemux", "rtph264pay pt=96 config-interval=-1", "rtpstreampay")
BYTE_STREAM = "video/x-h264,stream-format=byte-stream"


def access_units(film: Path) -> list[list[bytes]]:
    """The NAL units of each picture of a film of ours, which are one slice each."""
    command = [need("ffmpeg"), "-v", "error", "-i", str(film), "-c", "copy", "-f", "h264", "-"]
    stream = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    units: list[list[bytes]] = [[]]
    for nal in filter(None, re.split(rb"\x00\x00\x00?\x01", stream)):
        units[-1].append(nal)
        if nal[0] & 0x1F in (1, 5):
            units.append([])
    return units[:-1]


class End:
    """Our end of the connection."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.poll = MediaPoll(loop)
        self.way: TcpWay = open_tcp(PortPairs(35_800, 35_898, quarantine=0), "127.0.0.1", loop.time)
        self.receiver = VideoReceiver(96)
        self.units: list[AccessUnit] = []
        self.way.watch(self.poll, self._media, lambda: self.way.drain_control(BUFFER))

    def agree(self, setup: str, port: int) -> None:
        there = ("127.0.0.1", port), ("127.0.0.1", port)
        way = Way("tcp", setup, True, True)
        self.way.direct(Stream("video", "H264", 96, frozenset({96}), 90_000, "recvonly", 0, *there, way=way))

    def _media(self) -> None:
        self.units += self.way.drain(self.receiver, BUFFER, asyncio.get_running_loop().time())

    def close(self) -> None:
        self.way.close()
        self.poll.close()


@asynccontextmanager
async def pipeline(*elements: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """GStreamer, running."""
    running = await asyncio.create_subprocess_exec(
        need("gst-launch-1.0"), "-e", "-q", *" ! ".join(elements).split(), stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(90):
        while not condition():  # noqa: ASYNC110 - what is waited for is plain state
            await asyncio.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def taken(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


async def test_gstreamer_connects_and_sends(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", FRAMES // 25)
    with closing(End()) as end:
        end.agree("passive", 9)
        sink = f"tcpclientsink host=127.0.0.1 port={end.way.port} sync=false"
        async with pipeline(f"filesrc location={film}", *SENDS, sink):
            await until(lambda: len(end.units) >= FRAMES - 1)
        end.units += end.receiver.flush()
        assert len(end.units) == FRAMES
        assert (end.receiver.lost, end.receiver.foreign, end.way.damaged) == (0, 0, 0)


async def test_gstreamer_is_connected_to_and_sends(tmp_path: Path) -> None:
    """We come in the middle of it."""
    film, port = make_film(tmp_path / "film.mp4", 60), free_port()
    with closing(End()) as end:
        sink = f"tcpserversink host=127.0.0.1 port={port} sync=true"
        async with pipeline(f"filesrc location={film}", *SENDS, sink):
            await until(lambda: taken(port))
            end.agree("active", port)
            await until(lambda: len(end.units) > 50)
        assert (end.receiver.lost, end.receiver.foreign) == (0, 0)


async def test_gstreamer_takes_what_we_send(tmp_path: Path) -> None:
    film, pictures = tmp_path / "seen.h264", access_units(make_film(tmp_path / "film.mp4", FRAMES // 25))
    caps = "application/x-rtp-stream,media=video,clock-rate=90000,encoding-name=H264,payload=96"
    with closing(End()) as end:
        end.agree("passive", 9)
        sender, stream = end.way.sender(PACKET_SIZE, lambda: None), SendStream(96, 5)
        source = f"tcpclientsrc host=127.0.0.1 port={end.way.port}"
        async with pipeline(
            source, caps, "rtpstreamdepay", "rtph264depay", BYTE_STREAM, f"filesink location={film}"
        ) as running:
            await until(lambda: end.way._connections)
            for number, nals in enumerate(pictures):
                sender.send(stream.stamp(packetise(H264, nals), number * 3600))
            await until(lambda: not end.way._connections[0].waits)
            end.way.close()
            async with asyncio.timeout(60):
                await running.wait()
        assert decode(film) == FRAMES
