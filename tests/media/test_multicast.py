"""Viewers by multicast: one send for all who ask, to groups of the settings alone, until the last has left."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from soip.config import GroupRange
from soip.media.camera import Camera as WatchedCamera
from soip.media.context import Context
from soip.media.intake import Sound
from soip.media.liveview import LiveView
from soip.media.multicast import Channels, Seats
from soip.media.patience import Patience
from soip.media.relay import Relay
from soip.media.telephone import Telephone
from soip.media.walltime import WallClock
from soip.net import multicast
from soip.net.errors import RequestRefusedError
from soip.net.multicast import GroupPool
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE, open_pair
from soip.rtp import rtcp
from soip.rtp.framing import is_rtcp
from soip.rtp.receiver import VideoReceiver
from soip.sip.mediaway import Group, Way
from soip.sip.offer import Agreement, Stream
from soip.sip.sdp import RtpMap, SessionDescription
from tests.media.house import DOMAIN, House, living, until
from tests.media.material import picture
from tests.media.peers import SIDES, SUB_SIDES, Camera, Viewer, shown
from tests.media.test_calls import clock
from tests.media.test_in_calls import HELD, quiet
from tests.media.test_metrics import of, scrape
from tests.media.test_relay import numbers
from tests.media.test_srtp import keys, secured

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = f"239.{random.randrange(1, 254)}.{random.randrange(256)}"
"""No other test that runs at the same time sends there."""
GROUPS = [f"{PREFIX}.{number}" for number in range(4)]
BUFFER = memoryview(bytearray(DATAGRAM_SIZE))
H264, PCMU = RtpMap("H264", 90_000), RtpMap("PCMU", 8000)


# -- channels and seats, with time that the test makes


@dataclass(eq=False)
class Desk:
    """Stands in for the context and the camera."""

    poll: MediaPoll
    groups: GroupPool
    address: str = "127.0.0.1"
    instance: str = "media-0"
    domain: str = DOMAIN
    patience: Patience = field(default_factory=Patience)
    sounds: set[object] = field(default_factory=set)
    wall: WallClock = field(default_factory=lambda: WallClock(0.0))
    ports: PortPairs = field(default_factory=lambda: PortPairs(33_000, 33_098, quarantine=0.0))
    buffer: memoryview = BUFFER
    at: float = 100.0
    keyframes_asked: int = 0
    sharing: int = 0
    shown: int = 0

    def __post_init__(self) -> None:
        self.telephone = Telephone(cast("set[Callable[[Sound], None]]", self.sounds))
        self.relay = Relay(self.ask_keyframe)
        self.row = self
        self.id = "cam1"
        self.channels = Channels(cast(Context, self))
        self.views: list[tuple[LiveView, Seats]] = []

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def now(self) -> float:
        return self.at

    def ask_keyframe(self) -> None:
        self.keyframes_asked += 1

    def seats(self) -> Seats:
        return self.channels.seats(cast(WatchedCamera, self))

    def view(self, payload_type: int = 96) -> LiveView:
        """A viewer who has asked for a group."""
        seats = self.seats()
        group = seats.group("video", H264, payload_type)
        agreement = Agreement((stream(group, payload_type),))
        pairs = [open_pair(self.ports, "127.0.0.1", self.now)]
        view = LiveView(cast(Context, self), cast(WatchedCamera, self), agreement, [*pairs], seats)
        self.views.append((view, seats))
        return view

    def end(self, view: LiveView) -> None:
        """Its call has ended."""
        (seats,) = [seats for each, seats in self.views if each is view]
        self.views.remove((view, seats))
        view.close()
        seats.close()

    def show(self, count: int) -> None:
        for _ in range(count):
            self.relay.push(picture(self.shown, gop=25, size=3000, arrival=self.at))
            self.shown += 1
            self.at += 0.04


def stream(group: Group | None, payload_type: int = 96, direction: str = "sendonly", host: str = "127.0.0.1") -> Stream:
    there = (host, 40_000), (host, 40_001)
    way = Way(group=group)
    return Stream("video", "H264", payload_type, frozenset({payload_type}), 90_000, direction, 0, *there, way=way)


@pytest_asyncio.fixture(loop_scope="module")
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(MediaPoll(asyncio.get_running_loop()), GroupPool([f"{PREFIX}.{n}" for n in (101, 102)], 1))
    yield desk
    for view, _ in tuple(desk.views):
        desk.end(view)
    assert (len(desk.poll), desk.ports.in_use, desk.groups.in_use, desk.sharing) == (0, 0, 0, 0)
    assert list(desk.relay.viewers) == []
    desk.poll.close()


@contextmanager
def listening(address: str, port: int = 5004) -> Iterator[socket.socket]:
    """A plain socket in a group."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((address, port))
        sock.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(address) + socket.inet_aton("127.0.0.1")
        )
        sock.setblocking(False)
        yield sock


def drained(sock: socket.socket) -> list[bytes]:
    packets: list[bytes] = []
    while True:
        try:
            packets.append(sock.recv(65_536))
        except BlockingIOError:
            return packets


def pictures(packets: list[bytes]) -> list[int]:
    receiver = VideoReceiver(packets[0][1] & 127)
    units = [unit for packet in packets for unit in receiver.receive(packet, 0.0)] + receiver.flush()
    assert receiver.lost == 0
    return numbers(units)


@pytest.mark.parametrize("viewers", [1, 5])
async def test_what_is_sent_does_not_depend_on_how_many_watch(desk: Desk, viewers: int) -> None:
    """The datagrams in the group are the same number for one viewer and for five, each of them once."""
    with listening(desk.groups._free[0]) as group:
        for _ in range(viewers):
            desk.view()
        desk.show(50)
        packets = drained(group)
        (served,) = desk.relay.viewers
    assert served.stream is not None
    assert len(packets) == served.stream.packets
    assert pictures(packets) == list(range(50))
    assert desk.sharing == viewers - 1
    assert desk.channels.watched(cast(WatchedCamera, desk)) == (1, viewers)


async def test_the_group_is_sent_to_until_the_last_has_left(desk: Desk) -> None:
    with listening(desk.groups._free[0]) as group:
        first, second = desk.view(), desk.view()
        desk.show(3)
        desk.end(first)
        desk.show(3)
        assert pictures(drained(group)) == list(range(6))
        assert desk.groups.in_use == 1
        desk.end(second)
        assert desk.groups.in_use == 0
        desk.show(3)
        assert drained(group) == []


async def test_who_holds_keeps_the_group_and_goes_on_in_its_numbering(desk: Desk) -> None:
    with listening(desk.groups._free[0]) as group:
        view = desk.view()
        told = view._agreement.streams[0]
        assert told is not None
        desk.show(10)
        before = drained(group)
        view.direct(Agreement((stream(None, direction="inactive"),)))
        desk.show(10)
        assert drained(group) == []
        assert desk.groups.in_use == 1
        view.direct(Agreement((told,)))
        desk.show(10)
        packets = drained(group)
        assert packets[0][8:12] == before[0][8:12], "the SSRC that its receiver knows"
        first, last = (int.from_bytes(packet[2:4], "big") for packet in (packets[0], before[-1]))
        assert first == (last + 1) & 0xFFFF
        assert pictures(packets)[0] == 0, "the keyframe that there is"


async def test_a_later_viewer_disturbs_nobody_and_has_a_keyframe_asked_for(desk: Desk) -> None:
    with listening(desk.groups._free[0]) as group:
        desk.view()
        desk.show(30)
        asked = desk.keyframes_asked
        desk.view()
        assert desk.keyframes_asked == asked + 1
        desk.show(30)
        assert pictures(drained(group)) == list(range(60)), "nothing twice, nothing out of order"


async def test_what_one_says_changes_nothing_for_the_others(desk: Desk) -> None:
    """Reports of a way that bears nothing, requests to send again, silence: the group goes on, nobody is hung up."""
    with listening(desk.groups._free[0]) as group:
        bad, good = desk.view(), desk.view()
        desk.show(1)
        (served,) = desk.relay.viewers
        assert served.stream is not None
        drained(group)
        for _ in range(120):
            before = served.stream.packets
            desk.show(25)
            for ssrc in (served.stream.ssrc, 5):
                block = rtcp.ReportBlock(ssrc, 255, 100_000, 70_000, 90_000, 0, 0)
                bad._heed([rtcp.ReceiverReport(6, (block,)), rtcp.Nack(6, served.stream.ssrc, tuple(range(17)))])
            for view in (bad, good):
                view.tick()
                assert view.trouble == ""
            came = [packet for packet in drained(group) if not is_rtcp(packet[1])]
            assert len({packet[2:4] for packet in came}) == len(came) == served.stream.packets - before
        assert not served.thinned
        assert (desk.relay.counted.resent, desk.relay.counted.unshown) == (0, 0)
    assert list(desk.relay.viewers) == [served]


async def test_a_keyframe_may_be_asked_for_by_anybody_in_the_group(desk: Desk) -> None:
    view = desk.view()
    desk.show(1)
    asked = desk.keyframes_asked
    view._keyframe()
    assert desk.keyframes_asked == asked + 1


async def test_sender_reports_go_to_the_group_once(desk: Desk) -> None:
    address = desk.groups._free[0]
    with listening(address) as group, listening(address, 5005) as control:
        views = [desk.view() for _ in range(3)]
        desk.show(1)
        (served,) = desk.relay.viewers
        for _ in range(40):
            desk.at += 1.0
            for view in views:
                view.tick()
        reports = [rtcp.parse(packet)[0] for packet in drained(control)]
        assert not any(is_rtcp(packet[1]) for packet in drained(group))
    assert 2 <= len(reports) <= 40 / desk.patience.report_s
    assert served.stream is not None
    assert all(isinstance(report, rtcp.SenderReport) and report.ssrc == served.stream.ssrc for report in reports)


async def test_another_payload_type_is_another_group_and_a_third_finds_none(desk: Desk) -> None:
    with listening(desk.groups._free[0]) as first, listening(desk.groups._free[1]) as second:
        desk.view(96)
        desk.view(97)
        assert desk.seats().group("video", H264, 98) is None
        assert desk.seats().group("audio", PCMU, 0) is None
        desk.show(5)
        for sock, number in ((first, 96), (second, 97)):
            packets = drained(sock)
            assert {packet[1] & 127 for packet in packets} == {number}
            assert pictures(packets) == list(range(5))


async def test_a_call_takes_one_group_for_each_kind(desk: Desk) -> None:
    """However often its formats are changed: who asks for much does not take what others could have."""
    seats = desk.seats()
    group = seats.group("video", H264, 96)
    assert group is not None
    assert [seats.group("video", H264, number) for number in range(97, 128)] == [None] * 31
    assert seats.group("video", H264, 96) == group
    assert desk.groups.in_use == 1
    seats.close()
    seats.close()
    assert desk.groups.in_use == 0


async def test_where_no_socket_can_be_had_it_goes_to_each_by_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(multicast, "_aim", refuse)
    assert desk.seats().group("video", H264, 96) is None
    desk.ports = PortPairs(33_100, 33_101, quarantine=0.0)
    desk.ports.take(0.0)
    assert desk.seats().group("video", H264, 96) is None
    desk.ports.release(33_100, 0.0)
    assert desk.groups.in_use == 0


# -- calls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(furnished_media: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house with four groups."""
    folder = tmp_path_factory.mktemp("multicast")
    async with living(furnished_media, folder, multicast_groups=GroupRange.parse(f"{PREFIX}.0/30")) as house:
        house.start_media()
        await house.base()
        yield house


async def live(home: House, name: str, *, audio: bool = False) -> Camera:
    await home.add_camera(name, audio=audio)
    camera = await Camera.make(home, name, sound=audio)
    await home.until_state("recording", name)
    return camera


async def watch(home: House, name: str, user: str = "ann", *, audio: bool = False) -> Viewer:
    return await (await Viewer.make(home, user)).dial(name, audio=audio, multicast=True)


def group_of(viewer: Viewer, kind: str = "video") -> Group:
    agreed = viewer.agreement.of_kind(kind)
    assert agreed is not None
    assert agreed.way.group is not None
    return agreed.way.group


async def groups_used(home: House) -> float:
    return of(await scrape(home), "soip_worker_multicast_groups", state="used")


async def test_three_viewers_see_what_is_sent_once(home: House, name: str) -> None:
    await live(home, name)
    first = await watch(home, name)
    group = group_of(first)
    assert group.address in GROUPS
    assert (group.port, group.ttl, group.source) == (5004, 1, "127.0.0.1")
    await first.see(5)
    viewers = [first, await watch(home, name, "bob"), await watch(home, name)]
    assert {group_of(viewer) for viewer in viewers} == {group}
    with listening(group.address) as sock:
        for viewer in viewers:
            assert (await viewer.see(40))[0].encoding == "H264"
        packets = drained(sock)
    assert len({packet[8:12] for packet in packets}) == 1, "one source"
    assert set(Counter(packet[2:4] for packet in packets).values()) == {1}, "each packet once"
    for viewer in viewers:
        assert any(unit.keyframe for unit in viewer.pictures)
        assert viewer.receiver.lost == 0

    async def counted() -> list[float]:
        found = await scrape(home)
        return [of(found, "soip_media_viewers", camera=name, way=way) for way in ("multicast", "rtp", "browser")]

    assert await counted() == [3, 0, 0]
    assert await groups_used(home) == 1
    for viewer in viewers[:2]:
        await viewer.call.bye()
    await until(counted, [1, 0, 0])
    await viewers[2].see(10)
    await viewers[2].call.bye()
    await until(counted, [0, 0, 0])
    await until(lambda: groups_used(home), 0.0)
    await quiet(viewers[2])


async def test_sound_has_a_group_of_its_own(home: House, name: str) -> None:
    await live(home, name, audio=True)
    viewers = [await watch(home, name, audio=True) for _ in range(2)]
    sound = group_of(viewers[0], "audio")
    assert sound == group_of(viewers[1], "audio")
    assert sound.address != group_of(viewers[0]).address
    assert sound.port == 5006
    await until(lambda: all(len(each.sound) > 20 and len(each.pictures) > 20 for each in viewers), True)
    assert await groups_used(home) == 2
    for viewer in viewers:
        await viewer.call.bye()
    await until(lambda: groups_used(home), 0.0)


async def test_beside_viewers_of_their_own(home: House, name: str) -> None:
    """One who did not ask gets what it always did."""
    await live(home, name)
    together, alone = await watch(home, name), await (await Viewer.make(home, "bob")).dial(name)
    assert alone.agreement.video is not None
    assert alone.agreement.video.way.group is None
    for viewer in (together, alone):
        await viewer.see(30)
        assert viewer.receiver.lost == 0
    for viewer in (together, alone):
        await viewer.call.bye()


async def test_cameras_have_groups_of_their_own_and_when_none_is_left_it_goes_to_each_by_itself(
    home: House, name: str
) -> None:
    await until(lambda: groups_used(home), 0.0)
    cameras = [f"{name}-{number}" for number in range(5)]
    for camera in cameras:
        await live(home, camera)
    viewers = [await watch(home, camera) for camera in cameras]
    assert {group_of(viewer).address for viewer in viewers[:4]} == set(GROUPS)
    last = viewers[4].agreement.video
    assert last is not None
    assert last.way.group is None
    for viewer in viewers:
        await viewer.see(10)
        await viewer.call.bye()
    for camera in cameras:
        await home.directory.cameras.remove(camera)
    await until(lambda: groups_used(home), 0.0)


async def test_the_streams_of_a_camera_have_groups_of_their_own(home: House, name: str) -> None:
    await until(lambda: groups_used(home), 0.0)
    await live(home, name)
    await home.directory.cameras.change(name, sub=True)

    async def small() -> bool:
        """Asked until the worker has read the directory."""
        viewer = await watch(home, f"{name};stream=sub", "bob")
        units = await viewer.see(5)
        await viewer.call.bye()
        return b"".join(units[0].nals) in {b"".join(frame) for frame in shown(sides=SUB_SIDES)}

    await until(small, True)
    whole = await watch(home, name)
    subs = [await watch(home, f"{name};stream=sub", user) for user in ("ann", "bob")]
    assert group_of(subs[0]) == group_of(subs[1]) != group_of(whole)
    for viewer, sides in ((whole, SIDES), (subs[0], SUB_SIDES), (subs[1], SUB_SIDES)):
        sent = {b"".join(frame) for frame in shown(sides=sides)}
        assert all(b"".join(unit.nals) in sent for unit in await viewer.see(5))
    figures = await scrape(home)
    assert of(figures, "soip_media_viewers", camera=name, way="multicast") == 3
    for viewer in (whole, *subs):
        await viewer.call.bye()
    await until(lambda: groups_used(home), 0.0)


async def test_a_viewer_holds_resumes_and_is_refreshed(home: House, name: str) -> None:
    await live(home, name)
    viewer = await watch(home, name)
    group = group_of(viewer)
    await viewer.see(5)
    mine = viewer.call.local_sdp
    held = SessionDescription.parse(await viewer.call.reinvite(mine.replace(*HELD)))
    assert held.direction(held.media[0]) == "inactive"
    await quiet(viewer)
    assert await groups_used(home) == 1, "it stays the call's"
    again = SessionDescription.parse(await viewer.call.reinvite(mine))
    assert (again.media[0].connection, again.media[0].port) == (group.address, group.port)
    await viewer.see(10)
    refreshed = SessionDescription.parse(await viewer.call.reinvite(mine))
    assert refreshed.media == again.media
    plain = SessionDescription.parse(await viewer.call.reinvite(mine.replace(b"a=soip-multicast\r\n", b"")))
    assert plain.media[0].connection is None, "from now on to itself"
    await quiet(viewer)
    await viewer.call.bye()
    await until(lambda: groups_used(home), 0.0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c=IN IP4 127.0.0.1", "c=IN IP4 239.254.254.1/1"),
        ("c=IN IP4 127.0.0.1", f"c=IN IP4 {GROUPS[0]}/1"),
        ("c=IN IP4 127.0.0.1", "c=IN IP4 224.0.0.251"),
        ("a=recvonly", "a=rtcp:5005 IN IP4 239.254.254.1\r\na=recvonly"),
    ],
    ids=["a group elsewhere", "one of ours", "mDNS", "for reports"],
)
async def test_no_viewer_says_where_a_stream_goes(home: House, name: str, old: str, new: str) -> None:
    await live(home, name)
    viewer = await Viewer.make(home)
    for asks in (True, False):
        with pytest.raises(RequestRefusedError) as refused:
            await viewer.dial(name, change=(old, new), multicast=asks)
        assert refused.value.status == 488
        assert "goes to no group that the offer names" in refused.value.said
    with pytest.raises(RequestRefusedError) as refused:
        await viewer.dial(name, change=("m=video ", "m=video 0 RTP/AVP 96\r\na=x:"), multicast=True)
    assert refused.value.status == 488
    assert await groups_used(home) == 0


async def test_a_call_by_multicast_is_not_moved_to_another_group(home: House, name: str) -> None:
    await live(home, name)
    viewer = await watch(home, name)
    await viewer.see(3)
    mine = viewer.call.local_sdp
    with pytest.raises(RequestRefusedError) as refused:
        await viewer.call.reinvite(mine.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 239.254.254.1/1"))
    assert refused.value.status == 488
    await viewer.see(5)
    await viewer.call.bye()


async def test_a_report_reaches_the_server_and_a_keyframe_comes_for_all(home: House, name: str) -> None:
    camera = await live(home, name)
    viewer, other = await watch(home, name), await watch(home, name, "bob")
    await viewer.see(5)
    asked = camera.keyframes_asked

    def ask() -> bool:
        viewer.ask_keyframe()
        return camera.keyframes_asked > asked

    await until(ask, True)
    assert any(unit.keyframe for unit in await other.see(30))
    await until(lambda: any(isinstance(packet, rtcp.SenderReport) for packet in other.control), True)
    for each in (viewer, other):
        await each.call.bye()


async def test_with_the_right_goes_the_group(furnished_media: Path, tmp_path: Path) -> None:
    groups = GroupRange.parse(f"{PREFIX}.64/31")
    async with living(furnished_media, tmp_path, multicast_groups=groups) as house:
        house.start_media()
        await live(house, "cam1")
        ann, bob = await watch(house, "cam1"), await watch(house, "cam1", "bob")
        await ann.see(5)
        await house.directory.users.remove("ann")
        assert 'cause=403;text="the right to watch has ended"' in await ann.ended()
        await bob.see(10)
        await house.directory.users.remove("bob")
        await bob.ended()
        await until(lambda: groups_used(house), 0.0)
        await quiet(bob)


async def test_a_removed_camera_leaves_its_group(home: House, name: str) -> None:
    await live(home, name)
    viewer = await watch(home, name)
    await viewer.see(3)
    await home.directory.cameras.remove(name)
    assert "404" in await viewer.ended()
    await until(lambda: groups_used(home), 0.0)


@pytest.mark.parametrize("srtp", ["optional", "required"])
async def test_who_has_keys_is_sent_to_alone(furnished_media: Path, tmp_path: Path, srtp: str) -> None:
    """A group has no keys that its viewers alone know; where they are required there is no way round them."""
    groups = GroupRange.parse(f"{PREFIX}.66/31")
    async with secured(furnished_media, tmp_path, srtp, multicast_groups=groups) as house:
        await house.add_camera("cam1")
        camera = Camera(house, await house.agent("cam1", "secret", tls=True))
        camera.keys = keys
        camera.agent.on_invite(camera._take)
        await camera.agent.register(60)
        await house.until_state("recording")
        secret = await (await Viewer.make(house, tls=True)).dial(keys=keys, multicast=True)
        assert secret.agreement.video is not None
        assert secret.agreement.video.way.group is None
        assert secret.agreement.video.srtp is not None
        await secret.see(10)
        assert await groups_used(house) == 0
        if srtp == "required":
            with pytest.raises(RequestRefusedError) as refused:
                await watch(house, "cam1", "bob")
            assert refused.value.status == 488
            assert "SRTP only" in refused.value.said
            assert await groups_used(house) == 0
        else:
            plain = await watch(house, "cam1", "bob")
            assert group_of(plain).address in (f"{PREFIX}.66", f"{PREFIX}.67")
            await plain.see(10)


async def test_recordings_go_to_no_group(home: House, name: str) -> None:
    await live(home, name)
    await home.recorded(1.0, name)
    (row, *_) = await home.recordings(name)
    viewer = await (await Viewer.make(home)).dial(f"{name};start={clock(row.start_us)}", multicast=True)
    assert viewer.agreement.video is not None
    assert viewer.agreement.video.way.group is None
    await viewer.call.bye()
