"""Calls whose media goes over TCP: viewers who ask for it, cameras that are asked for it, and what breaks."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import closing
from typing import Self

import pytest
from structlog.testing import capture_logs

from soip.net.call import Call, IncomingCall
from soip.net.errors import RequestRefusedError
from soip.rtp.framing import frame, is_rtcp
from soip.rtp.h264 import H264
from soip.rtp.nal import AccessUnit, packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.sender import SendStream
from soip.sip.formats import Video
from soip.sip.offer import Local, Stream, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri
from tests.media.house import DOMAIN, PATIENT_S, House, until
from tests.media.peers import Camera, Viewer
from tests.mp4.material import video

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECEIVES = Video(9, receives=True, transport="tcp", mux=True)


class TcpCamera:
    """Answers with TCP and connects from `host`; sends 25 pictures a second, a keyframe each second."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.offers: list[SessionDescription] = []
        self.calls: list[Call] = []
        self.writers: list[asyncio.StreamWriter] = []

    @classmethod
    async def make(cls, house: House, name: str, host: str = "127.0.0.1") -> Self:
        camera = cls(host)
        agent = await house.agent(name, "secret")
        agent.on_invite(camera._take)
        await agent.register(60)
        return camera

    async def _take(self, incoming: IncomingCall) -> None:
        self.offers.append(SessionDescription.parse(incoming.offer))
        shows = Video(9, "H264", {"profile-level-id": "42e01f"}, sends=True, transport="tcp", setup="active", mux=True)
        agreement = answer_offer(self.offers[-1], Local("127.0.0.1", 1), [shows])
        assert agreement.answer is not None
        assert agreement.video is not None
        call = incoming.answer(agreement.answer.to_bytes())
        await call.confirmed()
        self.calls.append(call)
        try:
            _, writer = await asyncio.open_connection(*agreement.video.remote, local_addr=(self.host, 0))
            self.writers.append(writer)
            await self._send(writer, agreement.video, call)
        except OSError:
            pass  # the media server closed it, or the test did

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, stream: Stream, call: Call) -> None:
        numbered = SendStream(stream.payload_type, 77)
        frames = video(100, 25).frames
        number = 0
        with closing(writer):
            while call.end is None:
                for run in numbered.stamp(packetise(H264, frames[number % 100]), number * 3600, 1):
                    writer.write(frame(run))
                await writer.drain()
                number += 1
                await asyncio.sleep(0.04)


async def dial(house: House, name: str, setup: str) -> tuple[Call, Stream, socket.socket | None]:
    """Call a camera over TCP; where we are to be connected to, the socket that waits for it."""
    agent = await house.agent("ann", "ann-sip")
    listener = None
    port = 9
    if setup == "passive":
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        port = listener.getsockname()[1]
    offer = make_offer(Local("127.0.0.1", 2), [Video(port, receives=True, transport="tcp", mux=True)])
    text = str(offer).replace("setup:actpass", f"setup:{setup}")
    call = await agent.invite(Uri.parse(f"sip:{name}@{DOMAIN}"), text.encode(), within=PATIENT_S)
    offer = SessionDescription.parse(text)
    stream = read_answer(offer, SessionDescription.parse(call.remote_sdp)).video
    assert stream is not None
    return call, stream, listener


async def see(reader: asyncio.StreamReader, stream: Stream, count: int) -> list[AccessUnit]:
    """So many pictures, which come framed; reports between them are passed over."""
    receiver = VideoReceiver(stream.payload_type)
    units: list[AccessUnit] = []
    async with asyncio.timeout(PATIENT_S):
        while len(units) < count:
            size = int.from_bytes(await reader.readexactly(2), "big")
            packet = await reader.readexactly(size)
            if not is_rtcp(packet[1]):
                units += receiver.receive(packet, 0.0)
    assert receiver.lost == 0
    return units


@pytest.mark.parametrize("setup", ["active", "passive", "actpass"])
async def test_a_viewer_over_tcp(home: House, name: str, setup: str) -> None:
    """It connects, or is connected to; where it leaves the choice, the server is connected to."""
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.until_state("recording", name)
    call, stream, listener = await dial(home, name, setup)
    if listener is not None:
        with listener:
            sock, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(listener), PATIENT_S)
        reader, writer = await asyncio.open_connection(sock=sock)
    else:
        assert stream.way.setup == "active"
        reader, writer = await asyncio.open_connection(*stream.remote)
    units = await see(reader, stream, 30)
    assert units[0].keyframe
    await call.bye()
    async with asyncio.timeout(PATIENT_S):
        while await reader.read(65_536):
            pass
    writer.close()


async def test_a_viewer_that_closes_its_connection_is_told_why_its_call_ends(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.until_state("recording", name)
    call, stream, _ = await dial(home, name, "active")
    reader, writer = await asyncio.open_connection(*stream.remote)
    await see(reader, stream, 5)
    writer.close()
    await until(lambda: call.end is not None, True)
    assert call.end is not None
    assert "the peer has closed the media connection" in call.end.reason or "broke" in call.end.reason
    other = await (await Viewer.make(home)).dial(name)
    await other.see(5)


async def test_a_refused_connection_to_a_viewer_ends_its_call(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.until_state("recording", name)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        agent = await home.agent("ann", "ann-sip")
        port = bound.getsockname()[1]
        offer = make_offer(Local("127.0.0.1", 2), [Video(port, receives=True, transport="tcp", mux=True)])
        text = str(offer).replace("setup:actpass", "setup:passive")
        call = await agent.invite(Uri.parse(f"sip:{name}@{DOMAIN}"), text.encode(), within=PATIENT_S)
        await until(lambda: call.end is not None, True)
    assert call.end is not None
    assert "no media connection" in call.end.reason


async def test_a_camera_over_tcp_is_recorded_and_seen_by_anybody(home: House, name: str) -> None:
    await home.directory.cameras.add(name, realm=DOMAIN, password="secret", transport="tcp", digest="SHA-256")
    camera = await TcpCamera.make(home, name)
    await home.until_state("recording", name)
    assert camera.offers[0].media[0].protocol == "TCP/RTP/AVP"
    assert camera.offers[0].media[0].attribute("setup") == "actpass"
    viewer = await (await Viewer.make(home)).dial(name)
    units = await viewer.see(30)
    assert len(units) >= 30


async def test_a_camera_whose_connection_breaks_is_called_anew(home: House, name: str) -> None:
    await home.directory.cameras.add(name, realm=DOMAIN, password="secret", transport="tcp", digest="SHA-256")
    camera = await TcpCamera.make(home, name)
    await home.until_state("recording", name)
    sock = camera.writers[0].get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    camera.writers[0].transport.abort()
    await until(lambda: len(camera.calls) > 1, True)
    assert camera.calls[0].end is not None
    assert "media connection" in camera.calls[0].end.reason
    await until(lambda: len(camera.writers) > 1, True)
    viewer = await (await Viewer.make(home)).dial(name)
    await viewer.see(5)


async def test_a_camera_that_changes_to_tcp_is_called_anew(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.until_state("recording", name)
    await home.directory.cameras.change(name, transport="tcp")
    await until(lambda: len(camera.asked) > 1, True)
    assert camera.offers[-1].media[0].protocol == "TCP/RTP/AVP"


async def test_what_cannot_be_connected_is_refused(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.until_state("recording", name)
    agent = await home.agent("ann", "ann-sip")
    offer = str(make_offer(Local("127.0.0.1", 2), [RECEIVES])).replace("setup:actpass", "setup:sideways")
    with pytest.raises(RequestRefusedError) as refused:
        await agent.invite(Uri.parse(f"sip:{name}@{DOMAIN}"), offer.encode(), within=PATIENT_S)
    assert refused.value.status == 488


async def test_a_damaged_stream_is_told_once_and_goes_on(home: House, name: str) -> None:
    await home.directory.cameras.add(name, realm=DOMAIN, password="secret", transport="tcp", digest="SHA-256")
    camera = await TcpCamera.make(home, name)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name)
    await viewer.see(5)
    with capture_logs() as logs:
        camera.writers[0].write(b"\xff" * 500)
        await viewer.see(60)
        await until(lambda: any("damaged" in entry["event"] for entry in logs), True)
    assert [entry["skipped_bytes"] for entry in logs if "damaged" in entry["event"]] == [500]
    assert len(camera.calls) == 1
