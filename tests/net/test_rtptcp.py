"""RTP over TCP on real sockets, with the clock in the test's hand: both roles, enemies, the slow and the dead."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from random import Random

import pytest

from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs, PortsExhaustedError
from soip.net.rtptcp import ACCEPTS, CONNECT_S, QUEUE_AGE_S, STALLED_S, TcpWay, open_tcp
from soip.rtp.framing import Deframer, frame
from soip.rtp.h264 import H264
from soip.rtp.nal import PACKET_SIZE, AccessUnit, packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.rtcp import ReceiverReport, build
from soip.rtp.sender import SendStream
from soip.sip.mediaway import Way
from soip.sip.offer import Stream
from tests.net.rtp_pairs import BUFFER, LOOPBACK
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, random_nal

REPORT = build([ReceiverReport(9, ())])
ELSEWHERE = "127.0.0.2"


class Desk:
    """A poll, ports and a clock; `side` makes one end."""

    def __init__(self) -> None:
        self.poll = MediaPoll(asyncio.get_running_loop())
        self.ports = PortPairs(35_400, 35_598, quarantine=0)
        self.time = 100.0
        self.sides: list[Side] = []
        self.sockets: list[socket.socket] = []

    def now(self) -> float:
        return self.time

    def side(self) -> Side:
        self.sides.append(Side(self))
        return self.sides[-1]

    def pair(self, *, mux: bool = True) -> tuple[Side, Side]:
        """A passive side and an active one that will be connected."""
        passive, active = self.side(), self.side()
        passive.agree("passive", mux=mux)
        active.agree("active", passive.way.port, mux=mux)
        return passive, active

    def connect(self, way: TcpWay, host: str = LOOPBACK, *, rtcp: bool = False, small: bool = False) -> socket.socket:
        """A plain peer that connects, from any address of this machine; `small`: it takes little at a time."""
        sock = socket.socket()
        self.sockets.append(sock)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind((host, 0))
        sock.connect((LOOPBACK, way.port + rtcp))
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        for side in self.sides:
            side.way.close()
        for sock in self.sockets:
            sock.close()
        assert len(self.poll) == 0
        assert self.ports.in_use == 0
        self.poll.close()


class Side:
    """One end, with a receiver and what it got."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.way = open_tcp(desk.ports, LOOPBACK, desk.now)
        self.receiver = VideoReceiver(PAYLOAD_TYPE)
        self.units: list[AccessUnit] = []
        self.reports: list[bytes] = []
        self.lost = 0
        self.sender = self.way.sender(PACKET_SIZE, self._lost)
        self.stream = SendStream(PAYLOAD_TYPE, SSRC)
        self.way.watch(desk.poll, self._media, self._control)

    def agree(self, setup: str, port: int = 9, *, mux: bool = True, fresh: bool = True, host: str = LOOPBACK) -> None:
        there = (host, port), (host, port if mux else port + 1)
        direction = "sendonly" if setup == "active" else "recvonly"
        way = Way("tcp", setup, fresh, mux)
        self.way.direct(
            Stream("video", "H264", PAYLOAD_TYPE, frozenset({PAYLOAD_TYPE}), 90_000, direction, 0, *there, way=way)
        )

    def send(self, *nals: bytes) -> None:
        self.sender.send(self.stream.stamp(packetise(H264, nals), self.stream.packets))

    def _media(self) -> None:
        self.units += self.way.drain(self.receiver, BUFFER, self.desk.time)

    def _control(self) -> None:
        self.reports += self.way.drain_control(BUFFER)

    def _lost(self) -> None:
        self.lost += 1

    @property
    def trouble(self) -> str:
        return self.way.trouble(self.desk.time)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is plain state
            await asyncio.sleep(0.002)


def nal(number: int, size: int = 300) -> bytes:
    return random_nal(Random(number), 1, size)


@pytest.mark.parametrize("mux", [True, False])
async def test_media_and_reports_go_both_ways(desk: Desk, mux: bool) -> None:
    passive, active = desk.pair(mux=mux)
    sent = [nal(number, size) for number, size in enumerate((5, 1400, 90_000, 700, 20))]
    for one in sent:
        active.send(one)
    await until(lambda: len(passive.units) == len(sent))
    assert [bytes(unit.nals[0]) for unit in passive.units] == sent
    assert passive.receiver.lost == passive.receiver.foreign == 0

    def reported() -> bool:
        return (passive.way.send_control(REPORT) and False) or bool(active.reports)

    await until(reported)
    active.way.send_control(REPORT)
    await until(lambda: passive.reports)
    assert set(active.reports) == set(passive.reports) == {REPORT}
    assert (active.trouble, passive.trouble, active.lost) == ("", "", 0)
    assert len(passive.way._connections) == (1 if mux else 2)


async def test_the_passive_side_may_send(desk: Desk) -> None:
    passive, active = desk.pair()
    passive.send(nal(1))
    await until(lambda: active.units)
    assert passive.lost == 0, "what is sent before the connection comes waits for it"


async def test_reports_come_on_either_connection(desk: Desk) -> None:
    """Devices put both on one connection without having said rtcp-mux."""
    side = desk.side()
    side.agree("passive", mux=False)
    camera = desk.connect(side.way)
    camera.send(frame(REPORT) + frame(build([ReceiverReport(8, ())])))
    await until(lambda: len(side.reports) == 2)
    assert side.reports[0] == REPORT


async def test_only_the_negotiated_host_is_taken_and_only_once(desk: Desk) -> None:
    side = desk.side()
    early = desk.connect(side.way, ELSEWHERE)
    side.agree("passive")
    await until(lambda: side.way.foreign == 1)
    assert side.way._connections == {}
    camera = desk.connect(side.way)
    await until(lambda: side.way._connections)
    with pytest.raises(ConnectionError):
        desk.connect(side.way)
    with pytest.raises(ConnectionError):
        early.recv(1)
    camera.send(frame(b"\x80\x60" + bytes(6) + b"\0\0\0\1" + b"\x61x"))
    await until(lambda: side.receiver.ssrc == 1)
    assert side.trouble == ""


async def test_a_flood_of_connections_delays_nobody(desk: Desk) -> None:
    side, (passive, active) = desk.side(), desk.pair()
    await until(lambda: passive.way._connections and active.way._connections)
    side.agree("passive")
    flood = []
    for number in range(20 * ACCEPTS):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((ELSEWHERE, 0))
        sock.connect_ex((LOOPBACK, side.way.port))
        flood.append(sock)
        if not number % ACCEPTS:
            active.send(nal(number))
            await asyncio.sleep(0)
    await until(lambda: len(passive.units) == 20 and side.way.foreign >= ACCEPTS)
    for sock in flood:
        sock.close()
    await asyncio.to_thread(desk.connect, side.way)
    await until(lambda: 0 in side.way._connections)


async def test_nobody_connects(desk: Desk) -> None:
    side = desk.side()
    side.agree("passive")
    assert side.trouble == ""
    desk.time += CONNECT_S + 1
    assert side.trouble == "no media connection in 10 s"
    with pytest.raises(ConnectionError):
        desk.connect(side.way)


async def test_a_port_that_is_closed(desk: Desk) -> None:
    side = desk.side()
    with socket.socket() as nobody:
        nobody.bind((LOOPBACK, 0))
        side.agree("active", nobody.getsockname()[1])
        await until(lambda: side.trouble)
    assert side.trouble == "no media connection: ECONNREFUSED"


async def test_a_peer_that_goes_in_the_middle_of_a_frame(desk: Desk) -> None:
    passive, active = desk.pair()
    active.send(nal(1))
    await until(lambda: passive.units)
    active.way._connections[0].sock.send(b"\x05\x00\x80\x60")
    active.way.close()
    await until(lambda: passive.trouble)
    assert passive.trouble == "the peer has closed the media connection"
    passive.send(nal(2))
    assert passive.lost == 1


async def test_a_reset_is_trouble(desk: Desk) -> None:
    side = desk.side()
    side.agree("passive")
    camera = desk.connect(side.way)
    await until(lambda: side.way._connections)
    camera.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    camera.close()
    await until(lambda: side.trouble)
    assert side.trouble.startswith("the media connection broke")


async def test_what_is_no_rtp_ends_the_connection(desk: Desk) -> None:
    side = desk.side()
    side.agree("passive")
    camera = desk.connect(side.way)
    camera.setblocking(True)
    random = Random(1)

    def flood() -> None:
        try:
            for _ in range(400):
                camera.sendall(random.randbytes(10_000))
        except OSError:
            pass

    await asyncio.to_thread(flood)
    await until(lambda: side.trouble)
    assert "is no RTP" in side.trouble
    assert side.units == []
    assert side.way.damaged > 1_000_000


async def test_garbage_in_between_is_skipped_and_counted(desk: Desk) -> None:
    side = desk.side()
    side.agree("passive")
    camera = desk.connect(side.way)
    stream = SendStream(PAYLOAD_TYPE, SSRC)
    for number in range(20):
        for run in stream.stamp(packetise(H264, [nal(number)]), number):
            camera.send(frame(run) + (b"\xff" * 77 if number == 9 else b""))
    await until(lambda: len(side.units) == 20)
    assert side.way.damaged == 77


async def test_a_slow_reader_loses_whole_frames_by_age_and_goes_on(desk: Desk) -> None:
    """Nothing blocks; the rest of what has begun to leave leaves; what waited too long does not."""
    side = desk.side()
    side.agree("passive")
    viewer = desk.connect(side.way, small=True)
    await until(lambda: side.way._connections)
    number = 0
    while not side.way._connections[0]._queue:  # until the kernel takes no more
        side.send(nal(number, 100_000))
        number += 1
        assert number < 1000
    while not side.lost:
        desk.time += 0.1
        side.send(nal(number, 100_000))
        number += 1
    assert desk.time - 100.0 == pytest.approx(QUEUE_AGE_S, abs=0.25)
    assert side.sender.dropped >= QUEUE_AGE_S / 0.1
    assert not side.way._connections[0]._queue
    last = nal(7777)
    side.send(last)
    deframer, packets, buffer = Deframer([PAYLOAD_TYPE]), list[bytes](), memoryview(bytearray(1 << 20))

    def read() -> bool:
        at = deframer.begin(buffer)
        try:
            size = viewer.recv_into(buffer[at : at + 65_536])
        except BlockingIOError:
            return False
        packets.extend(bytes(buffer[start : start + n]) for start, n in deframer.take(buffer, at + size))
        return bool(packets) and packets[-1][12:] == last

    await until(read)
    assert deframer.skipped == 0, "frames are dropped at their boundaries"
    sequences = [int.from_bytes(packet[2:4], "big") for packet in packets]
    holes = [b - a & 0xFFFF for a, b in pairwise(sequences) if b - a & 0xFFFF != 1]
    assert len(holes) == 1
    assert side.trouble == ""


async def test_who_takes_nothing_is_dead(desk: Desk) -> None:
    side = desk.side()
    side.agree("passive")
    desk.connect(side.way, small=True)
    await until(lambda: side.way._connections)
    while not side.lost:
        desk.time += 0.1
        side.send(nal(1, 100_000))
    assert side.trouble == ""
    desk.time += STALLED_S
    assert side.trouble == f"the peer has taken nothing for {STALLED_S:.0f} s"


async def test_what_waits_for_a_connection_is_dropped_by_age_too(desk: Desk) -> None:
    side = desk.side()
    side.agree("passive")
    while not side.lost:
        side.send(nal(1))
        desk.time += 0.25
    assert desk.time - 100 == pytest.approx(QUEUE_AGE_S + 0.5, abs=0.3)
    desk.connect(side.way)
    await until(lambda: side.lost == 2)  # a keyframe is wanted now


async def test_a_new_connection_replaces_the_old_one(desk: Desk) -> None:
    """RFC 4145 §5: connection:new; existing, and what is said again, leave it as it is."""
    passive, active = desk.pair()
    active.send(nal(1))
    await until(lambda: len(passive.units) == 1)
    first = passive.way._connections[0]
    passive.agree("passive", fresh=False)
    active.agree("active", passive.way.port, fresh=False)
    active.send(nal(2))
    await until(lambda: len(passive.units) == 2)
    assert passive.way._connections[0] is first
    passive.agree("passive")
    active.agree("active", passive.way.port)
    active.send(nal(3))
    await until(lambda: len(passive.units) == 3)
    assert passive.way._connections[0] is not first
    assert (passive.trouble, active.trouble) == ("", "")


async def test_a_new_connection_that_never_comes_leaves_the_old_one(desk: Desk) -> None:
    passive, active = desk.pair()
    await until(lambda: passive.way._connections and active.way._connections)
    passive.agree("passive", fresh=False)
    passive.agree("passive")
    desk.time += CONNECT_S + 1
    assert passive.trouble == ""
    active.send(nal(1))
    await until(lambda: passive.units)


async def test_holdconn_waits(desk: Desk) -> None:
    side = desk.side()
    side.agree("holdconn")
    desk.time += 10 * CONNECT_S
    assert side.trouble == ""
    side.agree("passive", fresh=False)
    desk.connect(side.way)
    await until(lambda: side.way._connections)


async def test_ports_are_taken_and_given_back(desk: Desk) -> None:
    ports = PortPairs(35_600, 35_603, quarantine=0)
    with socket.socket() as other:
        other.bind((LOOPBACK, 35_601))
        other.listen()
        way = open_tcp(ports, LOOPBACK, desk.now)
        assert way.port == 35_602
        with pytest.raises(PortsExhaustedError, match="35600-35603"):
            open_tcp(ports, LOOPBACK, desk.now)
    way.close()
    way.close()
    assert ports.in_use == 0
    with pytest.raises(OSError, match="assign"):
        open_tcp(ports, "192.0.2.1", desk.now)
    assert ports.in_use == 0
