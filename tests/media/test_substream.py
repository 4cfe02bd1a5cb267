"""The sub-stream of a camera: called beside the main one, which never notices; who is shown what when there is none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest

from soip.directory.rows import CameraRow, CameraStateRow
from soip.media.camera import Camera as Served
from soip.media.cameracall import CameraCall
from soip.media.camerastream import CameraStream, End
from soip.media.context import Context
from soip.media.patience import Patience
from soip.media.recorder import Recorder
from soip.media.request import MAIN, SUB
from soip.media.stepdown import fits
from soip.media.substream import ABSENT_S
from soip.net.errors import FlowError, RequestRefusedError, RequestTimeoutError
from soip.net.ports import PortsExhaustedError
from soip.net.rtp import Peer
from soip.rtp import rtcp
from soip.rtp.codec import Codec
from soip.sip.errors import OfferError
from soip.sip.message import Headers, Response
from soip.sip.sdp import SessionDescription
from tests.media.house import House, until
from tests.media.peers import SIDES, SUB_SIDES, Camera, Viewer, shown
from tests.media.test_calls import clock, refused, shared
from tests.media.test_referrals import TO_ANN, Desk, Phone


def label(viewer: Viewer) -> str | None:
    """Which stream the answer says is shown."""
    video = SessionDescription.parse(viewer.call.remote_sdp).of_kind("video")
    assert video is not None
    return video.attribute("label")


async def looks(viewer: Viewer, sides: tuple[int, int]) -> None:
    """What comes is the picture of these sides."""
    sent = {b"".join(frame) for frame in shown(sides=sides)}
    units = await viewer.see(5)
    assert all(b"".join(unit.nals) in sent for unit in units)


async def recorded(home: House, name: str) -> Camera:
    """A camera with a sub-stream, which is being recorded."""
    await home.directory.cameras.add(name, realm="soip.test", password="secret", digest="SHA-256", sub=True)
    camera = await Camera.make(home, name)
    await home.recorded(0.5, name)
    return camera


async def unharmed(home: House, name: str, camera: Camera) -> None:
    """The main stream is in its first call, and nothing of it is missing since it began."""
    assert camera.users.count(name) == 1
    assert [call.end for call in camera.calls if call not in camera.subs] == [None]
    begun = (await home.recordings(name))[0].start_us
    assert [gap for gap in await home.gaps(name) if gap.end_us > begun] == []
    assert await home.state(name) == "recording"


# -- over real SIP and RTP


@shared
async def test_viewers_of_the_sub_stream_share_a_second_call_and_the_main_one_goes_on(home: House, name: str) -> None:
    camera = await recorded(home, name)
    whole = await (await Viewer.make(home)).dial(name)
    small = await (await Viewer.make(home, "bob")).dial(f"{name};stream=sub")
    await asyncio.gather(looks(whole, SIDES), looks(small, SUB_SIDES))
    assert (label(whole), label(small)) == (MAIN, SUB)
    another = await (await Viewer.make(home)).dial(f"{name};stream=SUB")
    await looks(another, SUB_SIDES)
    assert camera.users == [name, f"{name};stream=sub"], "one call for all who watch it"
    await another.call.bye()
    await looks(small, SUB_SIDES)
    assert camera.up == 2
    await small.call.bye()
    await until(lambda: camera.subs[0].end is not None, True)
    assert camera.subs[0].end is not None
    assert "nobody is watching" in camera.subs[0].end.reason
    await looks(whole, SIDES)
    await unharmed(home, name, camera)
    await small.dial(f"{name};stream=sub")
    await looks(small, SUB_SIDES)
    assert len(camera.subs) == 2, "it is called again for who comes next"
    await asyncio.gather(small.call.bye(), whole.call.bye())


def report(viewer: Viewer, loss: float) -> None:
    """Say how much of what was sent is lost, once there was a report to answer."""
    stream = viewer.agreement.video
    assert stream is not None
    for packet in [packet for packet in viewer.control if isinstance(packet, rtcp.SenderReport)][-1:]:
        block = rtcp.ReportBlock(packet.ssrc, int(loss * 256), 0, 0, 0, 0, 0)
        data = rtcp.build([rtcp.ReceiverReport(5, (block,))])
        viewer.pairs[0].send_control(data, Peer(*stream.remote_rtcp))


async def comes_to_look(viewer: Viewer, sides: tuple[int, int], loss: float) -> None:
    """After some reports of such a loss."""
    sent = {b"".join(frame) for frame in shown(sides=sides)}
    async with asyncio.timeout(60):
        while not all(b"".join(unit.nals) in sent for unit in await viewer.see(3)):
            report(viewer, loss)


def hasty(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    """How long it takes is tested in virtual time (`test_throttle.py`)."""
    for limit, seconds in limits.items():
        monkeypatch.setattr(f"soip.policy.throttle.{limit}", seconds)


@shared
async def test_who_does_not_bear_the_main_stream_is_shown_the_sub_stream_and_comes_back(
    home: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch, BAD_S=0.3, STEP_S=0.3, GOOD_S=0.5)
    camera = await recorded(home, name)
    lossy = await (await Viewer.make(home)).dial(name)
    other = await (await Viewer.make(home, "bob")).dial(name)
    await looks(lossy, SIDES)
    await comes_to_look(lossy, SUB_SIDES, 0.5)
    assert camera.users == [name, f"{name};stream=sub"]
    await looks(other, SIDES)
    await comes_to_look(lossy, SIDES, 0.0)
    await until(lambda: camera.subs[0].end is not None, True)
    assert lossy.call.end is None
    assert (lossy.receiver.earlier, lossy.receiver.lost) == ([0, 0, 0], 0), "all in one numbering"
    await unharmed(home, name, camera)
    await asyncio.gather(lossy.call.bye(), other.call.bye())


@shared
async def test_who_does_not_bear_the_main_stream_of_a_camera_that_refuses_the_other_is_hung_up_at_last(
    home: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch, BAD_S=0.3, STEP_S=0.3, GIVE_UP_S=2.0)
    camera = await recorded(home, name)
    camera.answers_sub = 486
    lossy = await (await Viewer.make(home)).dial(name)

    def ended() -> bool:
        report(lossy, 0.5)
        return lossy.call.end is not None

    await until(ended, True)
    assert "too much is lost on the way to you" in await lossy.ended()
    assert camera.users == [name, f"{name};stream=sub"], "asked once"
    await unharmed(home, name, camera)


@shared
async def test_a_viewer_that_hangs_up_lets_go_of_the_sub_stream_too(
    home: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty(monkeypatch, BAD_S=0.3, STEP_S=0.3)
    camera = await recorded(home, name)
    lossy = await (await Viewer.make(home)).dial(name)
    await comes_to_look(lossy, SUB_SIDES, 0.5)
    await lossy.call.bye()
    await until(lambda: camera.subs[0].end is not None, True)
    await unharmed(home, name, camera)


@pytest.mark.parametrize(
    ("stream", "promised", "expected"),
    [("42c01e", "42c01f", True), ("42c01e", "640028", True), ("640028", "42c01f", False), ("4d401e", "42c01f", False)],
)
def test_a_sub_stream_is_shown_to_who_can_decode_its_profile(stream: str, promised: str, expected: bool) -> None:
    def codec(profile: str, encoding: str = "H264") -> Codec:
        return cast(Codec, SimpleNamespace(encoding=encoding, parameters={"profile-level-id": profile}))

    assert fits(codec(stream), codec(promised)) is expected
    assert not fits(codec(stream, "H265"), codec(promised))
    assert fits(codec(stream, "H265"), codec(promised, "H265")), "both of the default profile"


@shared
async def test_a_camera_that_is_said_to_have_none_is_not_asked_and_the_main_one_is_shown(
    home: House, name: str
) -> None:
    await home.add_camera(name, plan="never")
    camera = await Camera.make(home, name)
    await home.until_state("idle", name)
    viewer = await (await Viewer.make(home)).dial(f"{name};stream=sub")
    await looks(viewer, SIDES)
    assert label(viewer) == MAIN
    assert camera.users == [name]
    await viewer.call.bye()


@shared
@pytest.mark.parametrize("answer", [404, 486, 488, 503])
async def test_who_refuses_the_second_call_is_not_asked_for_each_viewer(home: House, name: str, answer: int) -> None:
    camera = await recorded(home, name)
    camera.answers_sub = answer
    viewers = [await Viewer.make(home, who) for who in ("ann", "bob", "ann")]
    for viewer in viewers:
        await viewer.dial(f"{name};stream=sub")
        await looks(viewer, SIDES)
        assert label(viewer) == MAIN
    asked = camera.users[1:]
    assert set(asked) == {f"{name};stream=sub"}
    # One whose registration the directory does not know yet may be offered SRTP, and then RTP, as for the main stream.
    assert len(asked) <= (2 if answer == 488 else 1)
    await unharmed(home, name, camera)
    for viewer in viewers:
        await viewer.call.bye()


@shared
async def test_a_sub_stream_that_is_lost_comes_back_and_its_viewers_go_on(home: House, name: str) -> None:
    camera = await recorded(home, name)
    viewer = await (await Viewer.make(home)).dial(f"{name};stream=sub")
    await looks(viewer, SUB_SIDES)
    for round_number in (1, 2):
        await camera.subs[-1].bye('SIP;cause=200;text="no encoder left"')
        await until(partial(len, camera.subs), round_number + 1)
        await looks(viewer, SUB_SIDES)
    assert viewer.call.end is None
    await unharmed(home, name, camera)
    await viewer.call.bye()


@shared
async def test_who_watches_a_sub_stream_that_does_not_come_back_is_told_to_call_again_and_sees_the_main_one(
    home: House, name: str
) -> None:
    camera = await recorded(home, name)
    viewer = await (await Viewer.make(home)).dial(f"{name};stream=sub")
    await looks(viewer, SUB_SIDES)
    camera.answers_sub = 486
    await camera.subs[-1].bye()
    assert "no sub-stream now: call again" in await viewer.ended()
    await viewer.dial(f"{name};stream=sub")
    await looks(viewer, SIDES)
    await unharmed(home, name, camera)
    await viewer.call.bye()


@shared
async def test_a_sub_stream_that_is_switched_off_ends_its_views(home: House, name: str) -> None:
    camera = await recorded(home, name)
    viewer = await (await Viewer.make(home)).dial(f"{name};stream=sub")
    await viewer.see(2)
    await home.directory.cameras.change(name, sub=False)
    assert "no sub-stream now" in await viewer.ended()
    await until(lambda: camera.subs[0].end is not None, True)
    await unharmed(home, name, camera)


@shared
async def test_a_camera_that_is_removed_takes_both_streams_with_it(home: House, name: str) -> None:
    camera = await recorded(home, name)
    viewer = await (await Viewer.make(home)).dial(f"{name};stream=sub")
    await viewer.see(2)
    await home.directory.cameras.remove(name)
    assert "the camera has been removed" in await viewer.ended()
    await until(lambda: camera.up, 0)


@shared
async def test_addresses_of_streams_that_cannot_be_shown_are_404_with_the_reason(home: House, name: str) -> None:
    camera = await recorded(home, name)
    viewer = await Viewer.make(home)
    status, warning = await refused(viewer, f"{name};stream=third")
    assert (status, "ask for main or sub" in warning) == (404, True)
    since = (await home.recordings(name))[0].start_us
    status, warning = await refused(viewer, f"{name};stream=sub;start={clock(since)}")
    assert (status, "the sub-stream is not recorded" in warning) == (404, True)
    status, _ = await refused(viewer, f"{name};stream=sub;stream=main")
    assert status == 400
    assert camera.subs == []


@shared
async def test_an_operator_has_the_sub_stream_shown_on_a_phone(home: House, name: str) -> None:
    camera = await recorded(home, name)
    ann, desk = await (await Phone.make(home)).wait(), await Desk.make(home)
    assert (await desk.refer(f"{name};stream=sub", TO_ANN)).status == 202
    await desk.until_told("200 OK")
    await looks(ann, SUB_SIDES)
    assert "a=label:sub" in ann.incoming[0].offer.decode()
    assert len(camera.subs) == 1
    await ann.call.bye()


async def test_both_streams_count_for_the_worker_and_move_together(house: House) -> None:
    await house.add_camera()
    await house.directory.cameras.change("cam1", sub=True)
    camera = await Camera.make(house)
    house.settings = house.settings.model_copy(update={"failover_seconds": 6.0})
    house.start_media()
    await house.until_state("recording")
    viewer = await (await Viewer.make(house)).dial("cam1;stream=sub")
    await viewer.see(3)

    async def told() -> tuple[int, int]:
        (row,) = await house.directory.media.instances()
        return row.streams, row.viewers

    await until(told, (2, 1))
    (here,) = await house.directory.media.instances()
    there = await house.directory.media.publish(here.server_id, 7, sip="", http="127.0.0.1:1")
    await house.directory.homes.move("cam1", there.id)
    assert "served elsewhere" in await viewer.ended()
    await until(lambda: camera.up, 0)


# -- when it is asked for, in virtual time


@dataclass(eq=False)
class Clockwork:
    """Stands in for the context and the recorder; `at` is its clock."""

    at: float = 1000.0
    patience: Patience = field(default_factory=Patience)
    calling: asyncio.Semaphore = field(default_factory=asyncio.Semaphore)
    saved: list[CameraStateRow] = field(default_factory=list)
    instance: str = "m-0"

    @property
    def later(self) -> Clockwork:
        return self

    def now(self) -> float:
        return self.at

    def now_us(self) -> int:
        return int(self.at * 1_000_000)

    def holds(self, camera: str) -> bool:
        """Whether it is ours."""
        return camera == "cam1"

    def enable(self, on: bool) -> None:
        """What the plan says to the recorder."""

    def save(self, row: CameraStateRow) -> None:
        self.saved.append(row)


ROW = CameraRow("cam1", "cam1", "cam1", sub=True)


@pytest.fixture
def clockwork() -> Clockwork:
    return Clockwork()


@pytest.fixture
def camera(clockwork: Clockwork) -> Served:
    return Served(cast(Context, clockwork), ROW, cast(Recorder, clockwork))


def answer(status: int, *, by_camera: bool) -> RequestRefusedError:
    headers = Headers([("P-Asserted-Identity", "<sip:cam1@soip.test>")] if by_camera else [])
    return RequestRefusedError(Response(status, "No", headers))


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (answer(404, by_camera=True), True),
        (answer(486, by_camera=True), True),
        (answer(500, by_camera=True), True),
        (answer(408, by_camera=False), True),
        (RequestTimeoutError("no answer"), True),
        (OfferError("no video"), True),
        (answer(480, by_camera=False), False),
        (answer(404, by_camera=False), False),
        (answer(503, by_camera=False), False),
        (FlowError("the connection is gone"), False),
        (PortsExhaustedError("no ports"), False),
        (OSError("no route"), False),
    ],
)
def test_only_what_the_camera_says_means_that_there_is_none(
    camera: Served, clockwork: Clockwork, error: Exception, absent: bool
) -> None:
    told: list[tuple[bool, str]] = []
    camera.sub.farewells.add(lambda: told.append(camera.sub.parting))
    camera.sub._failed(error)
    assert camera.sub.offered is not absent
    assert camera.sub.problem
    assert camera.to_show(SUB) == ((camera,) if absent else (camera.sub, camera))
    assert told == ([(True, "the camera has no sub-stream now")] if absent else [])
    assert camera.problem == "", "the main stream knows nothing of it"
    assert clockwork.saved == []
    clockwork.at += ABSENT_S - 1
    assert camera.sub.offered is not absent
    clockwork.at += 1
    assert camera.sub.offered


def test_a_camera_that_registers_anew_is_asked_again(camera: Served) -> None:
    camera.sub._failed(answer(486, by_camera=True))
    assert camera.to_show(SUB) == (camera,)
    camera.poke()
    assert camera.to_show(SUB) == (camera.sub, camera)


def test_what_the_directory_says_is_followed(camera: Served, clockwork: Clockwork) -> None:
    told: list[str] = []
    camera.sub.farewells.add(lambda: told.append("bye"))
    camera.follow_plan(replace(ROW, sub=False), False)
    assert (camera.to_show(SUB), told) == ((camera,), ["bye"])
    camera.follow_plan(replace(ROW, sub=False), False)
    assert told == ["bye"], "once"
    camera.sub._failed(answer(486, by_camera=True))
    camera.follow_plan(ROW, False)
    assert camera.to_show(SUB) == (camera.sub, camera), "switched on, it is asked whatever was before"
    assert camera.to_show(MAIN) == (camera,)


@pytest.mark.parametrize(
    ("shown", "fault", "offered"), [(False, True, False), (True, True, True), (False, False, True)]
)
async def test_a_call_without_a_picture_means_that_there_is_none(
    camera: Served, monkeypatch: pytest.MonkeyPatch, shown: bool, fault: bool, offered: bool
) -> None:
    async def attend(_stream: CameraStream, _call: CameraCall) -> End:
        return End("no picture for 15 s", fault)

    @dataclass
    class Call:
        shown: bool

    monkeypatch.setattr(CameraStream, "_attend", attend)
    await camera.sub._attend(cast(CameraCall, Call(shown)))
    assert camera.sub.offered is offered


async def test_a_stream_that_is_not_to_be_had_is_not_called_by_who_still_holds_it(
    camera: Served, clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    async def place(_stream: CameraStream, _serves: str) -> CameraCall:
        tried.append(clockwork.at)
        raise RequestTimeoutError("no answer")

    monkeypatch.setattr(CameraStream, "_place", place)
    camera.sub.hold(object())
    assert await camera.sub._try() is None
    assert await camera.sub._try() is None
    assert tried == [1000.0]
    clockwork.at += ABSENT_S
    assert await camera.sub._try() is None
    assert tried == [1000.0, 1000.0 + ABSENT_S]
