"""What happens inside viewers' calls: hold, resume, moves, refreshes, calls that take another's place."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime

import pytest

from soip.net.call import Call
from soip.net.errors import RequestRefusedError
from soip.net.rtp import Peer, open_pair
from soip.rtp import rtcp
from soip.rtp.nal import AccessUnit
from soip.rtp.receiver import VideoReceiver
from soip.sip.headers import Replaces
from soip.sip.offer import read_answer
from soip.sip.sdp import SessionDescription
from tests.media.house import SECOND, House, until
from tests.media.peers import PORTS, Camera, Viewer

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD = (b"a=recvonly", b"a=inactive")


async def quiet(viewer: Viewer) -> None:
    """Wait until nothing comes any more."""
    seen = -1

    async def still() -> bool:
        nonlocal seen
        before, seen = seen, len(viewer.pictures)
        await asyncio.sleep(0.3)
        return before == len(viewer.pictures)

    await until(still, True)


async def watching(home: House, name: str, *, audio: bool = False) -> tuple[Camera, Viewer]:
    await home.add_camera(name, audio=audio)
    camera = await Camera.make(home, name, sound=audio)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name, audio=audio)
    await viewer.see(3)
    return camera, viewer


def later(call: Call, seconds: float) -> None:
    """What the session timer of a call does so many seconds from now."""
    call._keeper.advance(asyncio.get_running_loop().time() + seconds)


async def test_a_viewer_holds_and_resumes(home: House, name: str) -> None:
    camera, viewer = await watching(home, name, audio=True)
    await until(lambda: len(viewer.sound) > 5, True)
    mine = viewer.call.local_sdp
    answer = SessionDescription.parse(await viewer.call.reinvite(mine.replace(*HELD)))
    assert [answer.direction(media) for media in answer.media] == ["inactive", "inactive"]
    await quiet(viewer)
    held, heard = len(viewer.pictures), len(viewer.sound)
    answer = SessionDescription.parse(await viewer.call.reinvite(mine))
    assert [answer.direction(media) for media in answer.media] == ["sendonly", "sendonly"]
    await until(lambda: len(viewer.pictures) > held + 10, True)
    assert viewer.pictures[held].keyframe, "it begins with one that can be decoded"
    await until(lambda: len(viewer.sound) > heard + 5, True)
    assert len(camera.asked) == 1


async def test_a_call_that_begins_on_hold_shows_when_it_is_resumed(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name, change=("a=recvonly", "a=inactive"))
    await quiet(viewer)
    assert viewer.pictures == []
    await viewer.call.reinvite(viewer.call.local_sdp.replace(HELD[1], HELD[0]))
    await viewer.see(5)


async def test_media_moves_to_another_port_and_a_refused_move_leaves_it(home: House, name: str) -> None:
    _, viewer = await watching(home, name)
    mine = viewer.call.local_sdp
    for bad in (
        mine.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 phone.example"),
        mine.replace(b"c=IN IP4 127.0.0.1", b"c=IN IP4 255.255.255.255"),
        mine.replace(b"H264", b"VP8"),
        b"nonsense",
    ):
        with pytest.raises(RequestRefusedError) as refused:
            await viewer.call.reinvite(bad)
        assert refused.value.status in (400, 488)
    await viewer.see(5)
    loop = asyncio.get_running_loop()
    pair = open_pair(PORTS, "127.0.0.1", loop.time)
    old = viewer.pairs[0]
    try:
        offer = SessionDescription.parse(mine.replace(b"m=video %d" % old.port, b"m=video %d" % pair.port))
        agreed = read_answer(offer, SessionDescription.parse(await viewer.call.reinvite(offer.to_bytes()))).video
        assert agreed is not None
        pair.allow([agreed.remote[0]])
        receiver = VideoReceiver(agreed.payload_type)
        buffer = memoryview(bytearray(65536))
        moved: list[AccessUnit] = []

        def more() -> bool:
            moved.extend(pair.drain(receiver, buffer, loop.time()))
            return len(moved) > 5

        await until(more, True)
        await quiet(viewer)
    finally:
        pair.close()


async def test_a_refresh_of_the_session_disturbs_nothing(home: House, name: str) -> None:
    camera, viewer = await watching(home, name)
    assert viewer.call.session.interval == 1800
    assert camera.calls[0].session.interval == 1800
    assert not camera.calls[0].session.refreshing, "the media server refreshes what it calls"
    later(viewer.call, 900)
    await until(lambda: viewer.call.session.next_deadline() is not None, True)
    await viewer.see(25)
    assert sum(unit.lost for unit in viewer.pictures) == 0
    times = [unit.timestamp for unit in viewer.pictures]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert viewer.call.end is None


async def test_a_camera_that_was_not_refreshed_hangs_up_and_is_called_anew(home: House, name: str) -> None:
    camera, viewer = await watching(home, name)
    later(camera.calls[0], 1768)
    await until(lambda: len(camera.calls), 2)
    await viewer.see(10)
    assert camera.up == 1


async def test_a_camera_may_pause_and_go_on_but_not_move(home: House, name: str) -> None:
    camera, viewer = await watching(home, name)
    (call,) = camera.calls
    offer = call.local_sdp
    answer = SessionDescription.parse(await call.reinvite(offer))
    video = answer.of_kind("video")
    assert video is not None
    assert answer.direction(video) == "recvonly"
    with pytest.raises(RequestRefusedError) as refused:
        await call.reinvite(offer.replace(b"IN IP4 127.0.0.1", b"IN IP4 127.0.0.2"))
    assert refused.value.status == 488
    await viewer.see(10)
    assert len(camera.asked) == 1


async def test_playback_pauses_on_hold_and_goes_on_where_it_was(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.recorded(2.5, name)
    (row,) = await home.recordings(name)
    begin = f"{datetime.fromtimestamp(row.start_us / SECOND, UTC):%Y%m%dT%H%M%S.%f}Z"
    end = f"{datetime.fromtimestamp(row.start_us / SECOND + 2, UTC):%Y%m%dT%H%M%S.%f}Z"
    viewer = await (await Viewer.make(home)).dial(f"{name};start={begin};stop={end}")
    await viewer.see(3)
    mine = viewer.call.local_sdp
    await viewer.call.reinvite(mine.replace(*HELD))
    await quiet(viewer)
    assert viewer.call.end is None
    await viewer.call.reinvite(mine)
    assert "end of the recording" in await viewer.ended()
    assert len(viewer.pictures) >= 45, "all of two seconds, the pause left nothing out"
    assert sum(unit.lost for unit in viewer.pictures) == 0


# -- calls that take another's place


def replacing(viewer: Viewer) -> Replaces:
    name = viewer.call.dialog.id
    return Replaces(name.call_id, name.remote_tag, name.local_tag)


async def test_a_viewer_takes_its_own_call_over_from_another_phone(home: House, name: str) -> None:
    camera, first = await watching(home, name)
    second = await (await Viewer.make(home)).dial(name, replaces=replacing(first))
    await second.see(5)
    assert "replaced" in await first.ended()
    assert second.call.end is None
    assert camera.up == 1


async def test_a_phone_that_is_handed_a_call_dials_its_contact(home: House, name: str) -> None:
    """As an attended transfer has it (RFC 5589 §7): the Contact of the call with the media server names no camera."""
    _, first = await watching(home, name)
    contact = first.call.dialog.target.user
    assert contact.startswith("media-")
    with pytest.raises(RequestRefusedError, match="403"):
        await (await Viewer.make(home)).dial(contact)
    second = await (await Viewer.make(home)).dial(contact, replaces=replacing(first))
    await second.see(5)
    assert "replaced" in await first.ended()


async def test_an_operator_may_take_over_and_a_viewer_may_not(home: House, name: str) -> None:
    _, operator = await watching(home, name)
    await operator.call.bye()
    operator = await (await Viewer.make(home, "bob")).dial(name)
    viewer = await Viewer.make(home)
    with pytest.raises(RequestRefusedError) as refused:
        await viewer.dial(name, replaces=replacing(operator))
    assert refused.value.status == 403
    await operator.see(3)
    await viewer.dial(name)
    other = await (await Viewer.make(home, "bob")).dial(name, replaces=replacing(viewer))
    await other.see(3)
    assert "replaced" in await viewer.ended()
    assert operator.call.end is None


async def test_a_call_that_cannot_be_shown_replaces_nothing(home: House, name: str) -> None:
    _, viewer = await watching(home, name)
    other = await Viewer.make(home)
    for user, status in (("nobody", 404), (f"{name};start=yesterday", 400)):
        with pytest.raises(RequestRefusedError) as refused:
            await other.dial(user, replaces=replacing(viewer))
        assert refused.value.status == status
    with pytest.raises(RequestRefusedError) as gone:
        await other.dial(name, replaces=Replaces("no", "such", "dialog"))
    assert gone.value.status == 481
    await viewer.see(3)
    assert viewer.call.end is None


async def test_who_has_gone_without_a_word_is_hung_up_with_a_reason_and_nobody_else(
    home: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long that takes is tested in virtual time (`test_viewlink.py`)."""
    camera, gone = await watching(home, name)
    other = await (await Viewer.make(home, "bob")).dial(name)
    monkeypatch.setattr("soip.media.viewlink.UNREACHABLE_S", 0.5)
    gone._poll.remove(gone.pairs[0].rtp)
    gone.pairs[0].rtp.close()
    reason = await gone.ended()
    assert reason.startswith("SIP;cause=503;")
    assert "media port has been closed" in reason
    await other.see(10)
    assert other.call.end is None
    assert camera.up == 1


async def test_who_reports_that_nothing_arrives_is_sent_less_and_then_hung_up(
    home: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lossy = await watching(home, name)
    other = await (await Viewer.make(home, "bob")).dial(name)
    for limit in ("BAD_S", "GIVE_UP_S"):
        monkeypatch.setattr(f"soip.policy.throttle.{limit}", 0.5)
    stream = lossy.agreement.video
    assert stream is not None

    def ended() -> bool:
        reports = [packet for packet in lossy.control if isinstance(packet, rtcp.SenderReport)]
        if reports and lossy.call.end is None:
            block = rtcp.ReportBlock(reports[-1].ssrc, 128, 0, 0, 0, 0, 0)
            data = rtcp.build([rtcp.ReceiverReport(5, (block,))])
            lossy.pairs[0].send_control(data, Peer(*stream.remote_rtcp))
        return lossy.call.end is not None

    await until(ended, True)
    assert "too much is lost on the way to you" in await lossy.ended()
    units = await other.see(30)
    assert sum(unit.lost for unit in units) == 0
    assert other.call.end is None
