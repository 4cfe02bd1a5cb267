"""Viewers on bad ways, over real sockets: each gets what it can bear, and none is in another's way.

The clock of the worker is the test's: what takes minutes is done in a moment.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import cast

import pytest

from soip.media.camera import Camera
from soip.media.camerastream import CameraStream
from soip.media.context import Context
from soip.media.liveview import LiveView
from soip.media.patience import Patience
from soip.media.relay import Relay
from soip.media.viewlink import SILENT_S, UNREACHABLE_S
from soip.media.walltime import WallClock
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import open_pair
from soip.policy.throttle import BAD_S, GIVE_UP_S, GOOD_S
from soip.rtp import rtcp
from soip.rtp.nal import AccessUnit
from soip.rtp.packet import parse
from soip.rtp.receiver import VideoReceiver
from soip.rtp.reception import Reception
from soip.sip.offer import Agreement, Stream
from tests.media.material import START_US, picture
from tests.media.test_relay import numbers

_PORTS = PortPairs(34_000, 34_399, quarantine=0.0)
GOP = 25


@dataclass
class Desk:
    """Stands in for context and camera; `at` is its clock."""

    poll: MediaPoll
    at: float = 1000.0
    patience: Patience = field(default_factory=Patience)
    sounds: set[object] = field(default_factory=set)
    instance: str = "m-0"
    domain: str = "example.org"
    keyframes_asked: int = 0
    shown: int = 0

    def __post_init__(self) -> None:
        self.relay = Relay(self.ask_keyframe)
        self.wall = WallClock(self.at, lambda: START_US)
        self.buffer = memoryview(bytearray(65_536))
        self.stack = ExitStack()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def now(self) -> float:
        return self.at

    def ask_keyframe(self) -> None:
        self.keyframes_asked += 1

    def viewer(self, *, asks: bool = False) -> Screen:
        return Screen(self, asks=asks)

    async def show(self, count: int, *screens: Screen, size: int = 3000, loss: float = 0.0) -> None:
        """So many pictures, each in its twenty-fifth of a second."""
        for _ in range(count):
            self.relay.push(picture(self.shown, gop=GOP, size=size, arrival=self.at))
            self.shown += 1
            self.at += 0.04
            await self.settle()
            for screen in screens:
                screen.drain(loss)

    async def settle(self) -> None:
        """Until the sockets have nothing left to tell: what loopback carries is there at once."""
        for _ in range(3):
            await asyncio.sleep(0)


class Screen:
    """A viewer's end of the call: real sockets, and a receiver that may ask again."""

    def __init__(self, desk: Desk, *, asks: bool) -> None:
        self.desk = desk
        self.random = Random(1)
        self.media, self.control = (desk.stack.enter_context(_socket()) for _ in range(2))
        self.pair = open_pair(_PORTS, "127.0.0.1", desk.now)
        desk.stack.callback(self.pair.close)
        feedback = frozenset({"nack", "nack pli"}) if asks else frozenset({"nack pli"})
        there = self.media.getsockname(), self.control.getsockname()
        stream = Stream("video", "H264", 96, frozenset({96}), 90_000, "sendonly", 0, *there, feedback=feedback)
        self.view = LiveView(cast(Context, desk), cast(Camera, desk), Agreement((stream,)), [self.pair])
        desk.stack.callback(self.view.close)
        self.receiver = VideoReceiver(96)
        if asks:
            self.receiver.ask_again()
        self.reception = Reception(self.receiver)
        self.units: list[AccessUnit] = []
        self.packets: list[bytes] = []

    @property
    def shown(self) -> list[int]:
        """The numbers of the pictures that came since the last look."""
        units, self.units = self.units, []
        return numbers(units)

    def drain(self, loss: float = 0.0) -> None:
        while True:
            try:
                packet = self.media.recv(2048)
            except BlockingIOError:
                break
            if self.random.random() >= loss:
                self.packets.append(packet)
                self.units += self.receiver.receive(packet, self.desk.at)
        if wanted := self.receiver.wanted(self.desk.at):
            self.say(rtcp.Nack(5, self.receiver.ssrc or 0, tuple(wanted)))

    def say(self, *packets: rtcp.Packet) -> None:
        data = rtcp.build([rtcp.ReceiverReport(5, ()), *packets])
        self.control.sendto(data, ("127.0.0.1", self.pair.port + 1))

    def report(self, loss: float, *, rtt: float = 0.0) -> None:
        """A report about what we get, which answers a sender report of `rtt` ago."""
        ssrc = self.receiver.ssrc
        assert ssrc is not None
        last_sr = 0
        if rtt:
            last_sr = rtcp.us_to_ntp(self.desk.wall.utc_us(self.desk.at - rtt)) >> 16 & 0xFFFFFFFF
        block = rtcp.ReportBlock(ssrc, int(loss * 256), 0, 0, 0, last_sr, 0)
        self.control.sendto(rtcp.build([rtcp.ReceiverReport(5, (block,))]), ("127.0.0.1", self.pair.port + 1))


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.setblocking(False)
    return sock


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(MediaPoll(asyncio.get_running_loop()))
    desk.relay.push(picture(0, gop=GOP, arrival=desk.at))
    desk.shown = 1
    yield desk
    desk.stack.close()
    desk.poll.close()


async def test_who_loses_too_much_gets_keyframes_until_the_way_is_good_again(desk: Desk) -> None:
    bad, good = desk.viewer(), desk.viewer()
    await desk.show(30, bad, good)
    assert bad.shown == good.shown == list(range(31))
    while desk.at < 1000 + BAD_S + 8:
        bad.report(0.4)
        good.report(0.0)
        await desk.show(25, bad, good)
    bad.shown.clear()
    before = desk.shown
    await desk.show(4 * GOP, bad, good)
    assert all(number % GOP == 0 for number in bad.shown[-3:])
    bad.say(rtcp.PictureLossIndication(5, 1))
    await desk.show(1, bad, good)
    assert desk.keyframes_asked == 0, "who cannot bear the stream makes it no larger for all"
    good.say(rtcp.PictureLossIndication(5, 1))
    await desk.show(1, bad, good)
    assert desk.keyframes_asked == 1
    until = desk.at + GOOD_S + 8
    while desk.at < until:
        bad.report(0.0)
        await desk.show(25, bad, good)
    assert bad.shown[-10:] == list(range(desk.shown - 10, desk.shown)), "all pictures again"
    assert good.shown[-1] == desk.shown - 1
    assert before < desk.shown
    assert (bad.receiver.lost, good.receiver.lost) == (0, 0), "neither sees a hole in its numbering"
    assert len({parse(packet).ssrc for packet in bad.packets}) == 1
    assert (bad.view.trouble, good.view.trouble) == ("", "")


async def test_who_loses_even_keyframes_is_hung_up_and_nobody_else(desk: Desk) -> None:
    bad, good = desk.viewer(), desk.viewer()
    await desk.show(5, bad, good)
    for _ in range(round((GIVE_UP_S + BAD_S) / 5) + 6):
        desk.at += 5
        bad.report(0.7)
        good.report(0.01)
        await desk.show(2, bad, good)
    assert bad.view.trouble == "too much is lost on the way to you"
    assert good.view.trouble == ""
    assert len(good.shown) == desk.shown


async def test_another_stream_of_the_camera_goes_on_in_the_same_numbering(desk: Desk) -> None:
    small = Desk(desk.poll)
    screen = desk.viewer()
    await desk.show(30, screen)
    assert screen.shown == list(range(31))
    small.at = desk.at
    small.relay.push(picture(desk.shown // GOP * GOP, gop=GOP, arrival=desk.at, size=500))
    small.shown = desk.shown
    screen.view.show(cast(CameraStream, small))
    assert small.keyframes_asked == 1
    await small.show(2 * GOP, screen, size=500)
    assert screen.shown[-10:] == list(range(small.shown - 10, small.shown))
    desk.shown, desk.at = small.shown, small.at
    screen.view.show(cast(CameraStream, desk))
    await desk.show(2 * GOP, screen)
    assert screen.shown[-10:] == list(range(desk.shown - 10, desk.shown))
    assert not [*small.relay.viewers], "who has gone back is not served there"
    assert screen.receiver.lost == 0
    assert len({parse(packet).ssrc for packet in screen.packets}) == 1
    screen.view.close()
    screen.view.show(cast(CameraStream, small))
    assert not [*small.relay.viewers, *desk.relay.viewers], "who is gone is not served any more"


async def test_a_viewer_that_stops_reading_and_reporting_is_found_gone(desk: Desk) -> None:
    deaf, good, mute = desk.viewer(), desk.viewer(), desk.viewer()
    for _ in range(4):
        deaf.report(0.0) if deaf.receiver.ssrc else None
        await desk.show(25, deaf, good, mute)
    for second in range(round(SILENT_S) + 2):
        if second % 5 == 0:
            good.report(0.0)
        await desk.show(2, good, mute)
        desk.at += 1
        for screen in (deaf, good, mute):
            screen.view.tick()
    assert deaf.view.trouble.startswith("no RTCP report for")
    assert (good.view.trouble, mute.view.trouble) == ("", ""), "who has never reported is left to its session timer"
    assert len(good.shown) == len(mute.shown) == desk.shown


async def test_a_viewer_whose_port_is_closed_is_found_gone(desk: Desk) -> None:
    away, good = desk.viewer(), desk.viewer()
    await desk.show(5, away, good)
    away.media.close()
    for _ in range(round(UNREACHABLE_S) + 3):
        await desk.show(2, good)
        desk.at += 1
        for screen in (away, good):
            screen.view.tick()
    assert "closed" in away.view.trouble
    assert good.view.trouble == ""
    assert len(good.shown) == desk.shown


async def test_who_asks_again_over_a_lossy_way_misses_nothing(desk: Desk) -> None:
    lossy, good = desk.viewer(asks=True), desk.viewer()
    await desk.show(10, lossy, good)
    await desk.show(200, lossy, good, loss=0.02)
    await desk.show(10, lossy, good)
    requests = lossy.receiver.requests
    assert requests is not None
    assert requests.answered > 10
    assert lossy.shown == list(range(desk.shown))
    assert lossy.receiver.lost == 0
    assert not any(unit.damaged for unit in lossy.units)


async def test_a_packet_sent_again_is_the_packet(desk: Desk) -> None:
    viewer, other = desk.viewer(asks=True), desk.viewer(asks=True)
    await desk.show(10, viewer, other)
    sent, seen = list(viewer.packets), len(other.packets)
    wanted = [parse(packet).sequence for packet in sent[-5:]]
    viewer.say(rtcp.Nack(5, parse(sent[0]).ssrc, (*wanted, *wanted)))
    viewer.say(rtcp.Nack(5, parse(sent[0]).ssrc ^ 1, tuple(wanted)))
    await desk.settle()
    for screen in (viewer, other):
        screen.drain()
    assert viewer.packets[len(sent) :] == sent[-5:], "each once, however often it is asked for"
    assert len(other.packets) == seen
    assert (desk.relay.counted.resent, desk.relay.counted.refused) == (5, 5)
    viewer.view.close()
    assert (desk.relay.counted.resent, desk.relay.counted.refused) == (5, 5), "also of who has left"


async def test_the_round_trip_counts_from_when_a_report_left_whatever_time_it_tells(desk: Desk) -> None:
    viewer = desk.viewer()
    await desk.show(5, viewer)
    desk.at += desk.patience.report_s
    viewer.view.tick()
    (report,) = [one for one in rtcp.parse(viewer.control.recv(2048)) if isinstance(one, rtcp.SenderReport)]
    now = rtcp.us_to_ntp(desk.wall.utc_us(desk.at))
    assert now - report.ntp > 1 << 32, "it tells of the newest picture, which is some seconds old"
    desk.at += 0.25
    block = rtcp.ReportBlock(report.ssrc, 0, 0, 0, 0, report.ntp >> 16 & 0xFFFFFFFF, int(0.2 * 65_536))
    viewer.say(rtcp.ReceiverReport(5, (block,)))
    await desk.settle()
    assert viewer.view._link.rtt == pytest.approx(0.05, abs=0.001)


async def test_who_did_not_agree_to_it_is_not_answered(desk: Desk) -> None:
    viewer = desk.viewer()
    await desk.show(10, viewer)
    seen = len(viewer.packets)
    viewer.say(rtcp.Nack(5, parse(viewer.packets[0]).ssrc, (parse(viewer.packets[-1]).sequence,)))
    await desk.settle()
    viewer.drain()
    assert len(viewer.packets) == seen


async def test_large_pictures_leave_for_afar_in_small_bursts(desk: Desk) -> None:
    far, near = desk.viewer(), desk.viewer()
    await desk.show(5, far, near)
    far.report(0.0, rtt=0.08)
    near.report(0.0, rtt=0.0005)
    await desk.settle()
    while desk.shown % GOP:
        await desk.show(1, far, near)
    for screen in (far, near):
        screen.packets.clear()
    await desk.show(1, far, near, size=200_000)
    assert len(near.packets) > 160, "at once, as to all on the same network"
    assert len(far.packets) < len(near.packets) / 2, "in bursts of sixteen"
    async with asyncio.timeout(60):
        while len(far.packets) < len(near.packets):
            await asyncio.sleep(0.005)
            far.drain()
    await desk.show(10, far, near)
    assert far.shown == near.shown == list(range(desk.shown))
    sequence = [parse(packet).sequence for packet in far.packets]
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in itertools.pairwise(sequence)), "and in order"
