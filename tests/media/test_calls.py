"""Viewers' calls: live, with sound, played back, refused, and ended when the right does."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from soip.directory.rows import DialogRow
from soip.net.backoff import Backoff
from soip.net.errors import RequestRefusedError
from soip.rtp import rtcp
from tests.media.house import DOMAIN, SECOND, House, now_us, until
from tests.media.peers import Camera, Viewer
from tests.mp4.material import video

shared = pytest.mark.asyncio(loop_scope="module")
"""For tests that share one house."""


def clock(utc_us: int) -> str:
    """As a range is dialled."""
    return f"{datetime.fromtimestamp(utc_us / SECOND, UTC):%Y%m%dT%H%M%S.%f}Z"


async def refused(viewer: Viewer, user: str = "cam1", **how: object) -> tuple[int, str]:
    """Status and warning of a call that must not come about."""
    with pytest.raises(RequestRefusedError) as caught:
        await viewer.dial(user, **how)  # type: ignore[arg-type]  # keywords by name
    return caught.value.status, caught.value.response.headers.get("Warning") or ""


@shared
async def test_a_viewer_joins_the_running_session_and_sees_every_picture(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name)
    units = await viewer.see(40)
    assert units[0].keyframe, "the first thing shown can be decoded"
    sent = {b"".join(frame) for frame in video(100, 25).frames}
    assert all(b"".join(unit.nals) in sent for unit in units)
    assert sum(unit.lost for unit in units) == 0
    times = [unit.timestamp for unit in units]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    assert len(camera.asked) == 1, "the running session serves everybody"
    stream = viewer.agreement.video
    assert stream is not None
    assert stream.parameter_sets == tuple(video(100, 25).frames[0][:2])
    await viewer.call.bye()
    await asyncio.sleep(0.2)
    assert camera.up == 1, "it is still recorded"


@shared
async def test_h265_is_watched_by_who_has_it_and_refused_by_its_name_to_others(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    camera.encoding = "H265"
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name)
    units = await viewer.see(40)
    material = video(100, 25, encoding="H265")
    sent = {b"".join(frame) for frame in material.frames}
    assert units[0].keyframe
    assert all(b"".join(unit.nals) in sent for unit in units)
    stream = viewer.agreement.video
    assert stream is not None
    assert (stream.encoding, stream.parameter_sets) == ("H265", tuple(material.frames[0][:3]))
    await viewer.call.bye()
    status, warning = await refused(await Viewer.make(home, "bob"), name, change=("H265", "H266"))
    assert status == 488
    assert "video is H265" in warning


@shared
async def test_a_view_ends_when_the_camera_changes_to_another_codec(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name)
    await viewer.see(10)
    camera.encoding = "H265"
    await camera.hang_up()
    assert "the camera sends H265 now: call again" in await viewer.ended()
    again = await viewer.dial(name)
    assert (await again.see(3))[0].encoding == "H265"
    await again.call.bye()


@shared
async def test_a_camera_that_is_not_recorded_is_called_for_its_first_viewer_and_let_go_after_the_last(
    home: House, name: str
) -> None:
    await home.add_camera(name, plan="never")
    camera = await Camera.make(home, name)
    await home.until_state("idle", name)
    for round_number in (1, 2):
        first = await (await Viewer.make(home)).dial(name)
        await first.see(3)
        assert len(camera.asked) == round_number
        second = await (await Viewer.make(home, "bob")).dial(name)
        await first.call.bye()
        await second.see(3)
        ended = asyncio.get_running_loop().time()
        await second.call.bye()
        await until(lambda: camera.up, 0)
        assert asyncio.get_running_loop().time() - ended >= 0.4, "it lingers, for the next viewer"
        await home.until_state("idle", name)
    assert await home.recordings(name) == []


async def test_who_comes_back_while_the_camera_lingers_finds_it(house: House) -> None:
    house.patience = replace(house.patience, linger_s=60.0)
    await house.add_camera(plan="never")
    camera = await Camera.make(house)
    house.start_media()
    await house.until_state("idle")
    for _ in range(3):
        viewer = await (await Viewer.make(house)).dial()
        await viewer.see(2)
        await viewer.call.bye()
    assert len(camera.asked) == 1


@shared
async def test_a_viewer_without_an_offer_gets_ours(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name, delayed=True)
    await viewer.see(10)


@shared
async def test_sound_goes_to_viewers_who_want_it_and_alone_to_phones_without_a_screen(home: House, name: str) -> None:
    await home.add_camera(name, audio=True)
    await Camera.make(home, name, sound=True)
    await home.until_state("recording", name)
    both = await (await Viewer.make(home)).dial(name, audio=True)
    await both.see(5)
    await until(lambda: len(both.sound) >= 20, True)
    steps = {later.timestamp - earlier.timestamp for earlier, later in itertools.pairwise(both.sound)}
    assert steps == {160}
    phone = await (await Viewer.make(home, "bob")).dial(name, audio=True, video=False)
    await until(lambda: len(phone.sound) >= 20, True)
    assert phone.agreement.video is None
    assert {len(frame.payload) for frame in phone.sound} == {160}


@shared
async def test_a_viewer_gets_sender_reports_and_may_ask_for_a_keyframe(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name)
    await viewer.see(3)
    asked = camera.keyframes_asked
    viewer.ask_keyframe()
    await until(lambda: camera.keyframes_asked > asked, True)
    await until(lambda: any(isinstance(one, rtcp.SenderReport) for one in viewer.control), True)
    report = next(one for one in viewer.control if isinstance(one, rtcp.SenderReport))
    assert abs(rtcp.ntp_to_us(report.ntp) - now_us()) < 60 * SECOND


# -- refusals


async def test_refusals_say_why(house: House) -> None:
    await house.add_camera()
    await house.add_camera("cam2")
    await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    await house.until_state("offline", "cam2")
    viewer = await Viewer.make(house)
    assert (await refused(viewer, "nobody"))[0] == 404
    assert await refused(viewer, "cam1;start=yesterday") == (
        400,
        "399 soip.test \"'yesterday' is not a time like 20261120T100000Z\"",
    )
    status, why = await refused(viewer, "cam1;start=20200101T000000Z;stop=20200101T010000Z")
    assert (status, "nothing of cam1 was recorded" in why) == (404, True)
    status, why = await refused(viewer, "cam2")
    assert (status, "not registered" in why) == (480, True)
    status, why = await refused(viewer, change=("H264", "VP8"))
    assert (status, "H264" in why) == (488, True)
    status, why = await refused(viewer, audio=True, video=False)
    assert status == 488, "a camera that may not be heard has nothing for a phone without a screen"
    status, why = await refused(viewer, change=("c=IN IP4 127.0.0.1", "c=IN IP4 viewer.example"))
    assert (status, "IP addresses only" in why) == (488, True)
    status, _ = await refused(viewer, change=("m=video", "m=vid eo"))
    assert status == 400
    await house.directory.users.set_role("ann", "operator")
    await viewer.dial()


async def test_who_has_no_role_may_not_watch(house: House) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    viewer = await Viewer.make(house)
    await (await viewer.dial()).call.bye()
    await house.directory.users.remove("ann")
    status, _ = await refused(viewer)
    assert status in (401, 403, 407)


async def test_a_camera_without_pictures_is_480_with_the_reason(house: House) -> None:
    house.patience = replace(house.patience, ready_s=0.5)
    await house.add_camera(plan="never")
    camera = await Camera.make(house)
    camera.sends = False
    house.start_media()
    await house.until_state("idle")
    viewer = await Viewer.make(house)
    assert await refused(viewer) == (480, '399 soip.test "the camera sends no pictures"')
    camera.sends = True

    async def accepted() -> bool:
        with suppress(RequestRefusedError):
            await viewer.dial()
            return True
        return False

    await until(accepted, True)
    await viewer.see(3)


async def test_a_new_viewer_is_a_reason_to_try_a_camera_that_was_away(house: House) -> None:
    house.patience = replace(house.patience, backoff=Backoff(600.0, 600.0))
    await house.add_camera()
    camera = await Camera.make(house)
    camera.answers = 486

    async def written() -> int:
        return len(await house.directory.calls.bindings())

    await until(written, 1)  # The SIP server writes bindings behind: a new one would be one more reason to try.
    house.start_media()
    await house.until_state("offline")
    await asyncio.sleep(1.1)  # A camera that was tried within the second is not tried again for a viewer.
    assert len(camera.asked) == 1
    camera.answers = 200
    await (await (await Viewer.make(house)).dial()).see(3)


# -- ends


async def test_the_right_ends_and_so_does_the_view(house: House) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    ann = await (await Viewer.make(house)).dial()
    bob = await (await Viewer.make(house, "bob")).dial()
    await asyncio.gather(ann.see(3), bob.see(3))
    await house.directory.users.remove("ann")
    assert 'cause=403;text="the right to watch has ended"' in await ann.ended()
    await bob.see(10)
    assert bob.call.end is None


@shared
async def test_a_viewer_who_went_without_a_word_is_noticed(home: House, name: str) -> None:
    await home.add_camera(name, plan="never")
    camera = await Camera.make(home, name)
    await home.until_state("idle", name)
    viewer = await (await Viewer.make(home)).dial(name)
    await viewer.see(3)
    await asyncio.sleep(1.0)
    assert viewer.call.end is None, "who answers OPTIONS stays"
    viewer.agent._calls.clear()  # As after a power cut: the dialog is unknown.
    await until(lambda: camera.up, 0)


@shared
async def test_viewers_go_on_when_the_camera_is_called_anew(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.until_state("recording", name)
    viewer = await (await Viewer.make(home)).dial(name)
    await viewer.see(5)
    await camera.hang_up()
    before = len(viewer.pictures)
    await until(lambda: len(camera.calls), 2)
    await viewer.see(10)
    assert sum(unit.lost for unit in viewer.pictures) == 0
    assert any(unit.keyframe for unit in viewer.pictures[before:])
    times = [unit.timestamp for unit in viewer.pictures]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


async def test_a_worker_that_stops_hangs_up(house: House) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    viewer = await (await Viewer.make(house)).dial()
    await viewer.see(3)
    await house.stop_media()
    assert await viewer.ended()


# -- playback


@shared
async def test_a_range_is_played_back_and_then_hung_up(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.recorded(1.0, name)
    await camera.hang_up()
    await until(lambda: len(camera.calls), 2)
    await until(lambda: _files(home, name), 2)
    await home.recorded(2.0, name)
    first, second = await home.recordings(name)
    viewer = await (await Viewer.make(home)).dial(f"{name};start={clock(first.start_us)};stop={clock(second.end_us)}")
    reason = await viewer.ended()
    assert "end of the recording" in reason
    expected = first.frames + (await home.recordings(name))[1].frames
    assert first.frames < len(viewer.pictures) <= expected + 25
    assert sum(unit.lost for unit in viewer.pictures) == 0
    times = [unit.timestamp for unit in viewer.pictures]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(steps) > 0
    assert max(steps) < 3 * 90_000, "gaps are skipped"


async def _files(house: House, camera: str = "cam1") -> int:
    return len(await house.recordings(camera))


async def test_the_right_to_play_back_ends_too(house: House) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.recorded(2.5)
    (row,) = await house.recordings()
    viewer = await (await Viewer.make(house)).dial(f"cam1;start={clock(row.start_us)}")
    await viewer.see(5)
    await house.directory.users.remove("ann")
    assert "cause=403" in await viewer.ended()


@shared
async def test_a_viewer_may_hang_up_in_the_middle(home: House, name: str) -> None:
    await home.add_camera(name)
    await Camera.make(home, name)
    await home.recorded(1.5, name)
    (row,) = await home.recordings(name)
    viewer = await (await Viewer.make(home)).dial(f"{name};start={clock(row.start_us)}")
    await viewer.see(5)
    await viewer.call.bye()
    await asyncio.sleep(0.3)
    seen = len(viewer.pictures)
    await asyncio.sleep(0.3)
    assert len(viewer.pictures) == seen


# -- what an earlier life left behind


async def test_dialogs_of_an_earlier_life_are_ended_first(house: House) -> None:
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(0.4)
    (row,) = await house.directory.calls.dialogs((await house.directory.media.instances())[0].id)
    assert row.camera_id == "cam1"
    assert house._media is not None
    lost = camera.calls[0]
    await house.stop_media()
    await until(lambda: lost.end is not None, True)
    # As if it had been killed: the row is there, and so is the call at the camera.
    lost.end = None
    camera.agent._remember(lost)
    await house.directory.save(row, _nobody(row))
    house.start_media()
    await until(lambda: lost.end is not None and "media server restarted" in lost.end.reason, True)
    await house.until_state("recording")

    async def left() -> set[str]:
        rows = await house.directory.calls.dialogs(row.instance_id)
        return {one.call_id for one in rows} & {row.call_id, "nobody"}

    await until(left, set())


@pytest.mark.parametrize("answers", [True, False])
async def test_the_new_home_of_a_camera_ends_the_call_of_a_dead_one(house: House, answers: bool) -> None:
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(0.4)
    (first,) = await house.directory.media.instances()
    (row,) = await house.directory.calls.dialogs(first.id)
    lost = camera.calls[0]
    await house.stop_media()
    await until(lambda: lost.end is not None, True)
    # As if that worker had been killed, and its camera had moved.
    if answers:
        lost.end = None
        camera.agent._remember(lost)
    viewer = replace(row, id="watched tag", call_id="watched", remote_uri=f"<sip:ann@{DOMAIN}>")
    await house.directory.save(row, viewer, replace(row, id="broken tag", call_id="broken", remote_uri="<sip:cam1"))
    second = await house.directory.media.publish(first.server_id, 1, sip="", http="127.0.0.1:1")
    await house.directory.homes.move("cam1", second.id)
    house.settings = house.settings.model_copy(update={"media_workers": 2})
    house.start_media(1)
    if answers:
        await until(lambda: lost.end is not None and "another media server" in lost.end.reason, True)
    await until(lambda: camera.up, 1)

    async def left() -> set[str]:
        return {one.call_id for one in await house.directory.calls.dialogs(first.id)}

    await until(left, {"watched", "broken"})  # no calls to the camera

    async def own() -> list[str]:
        return [one.camera_id for one in await house.directory.calls.dialogs(second.id)]

    await until(own, ["cam1"])


def _nobody(row: DialogRow) -> DialogRow:
    """A dialog whose peer is gone."""
    return replace(row, id="nobody tag", call_id="nobody", rtp_port=row.rtp_port + 2)


async def test_the_time_a_killed_worker_was_away_is_a_gap_and_its_files_are_mended(house: House) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.recorded(0.6)
    await house.stop_media()
    (row,) = await house.recordings()
    # As if it had been killed: not sealed, and the catalog a second behind.
    await house.directory.save(replace(row, sealed=False, end_us=row.end_us - SECOND // 2, sha256=""))
    await asyncio.sleep(0.3)
    house.start_media()
    await until(lambda: _files(house), 2)
    old, new = await house.recordings()
    (gap,) = await house.gaps()
    assert old.sealed
    assert old.end_us == row.end_us
    assert gap.cause == "media server down"
    assert (gap.start_us, gap.end_us) == (old.end_us, new.start_us)


@shared
async def test_packets_are_sent_again_live_and_of_recordings(home: House, name: str) -> None:
    """By who has agreed to it (RFC 4585 §4.2); a viewer asks here for what it has, so that it comes late."""
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.recorded(2.0, name)
    live = await (await Viewer.make(home)).dial(name)
    (row, *_) = await home.recordings(name)
    start = clock(row.start_us)
    recorded = await (await Viewer.make(home, "bob")).dial(f"{name};start={start}")
    plain = await (await Viewer.make(home, "bob")).dial(name, change=("a=rtcp-fb:* nack\r\n", ""))
    for viewer in (live, recorded, plain):
        await viewer.see(5)
        viewer.ask_again()
    await until(lambda: live.receiver.late > 0 and recorded.receiver.late > 0, True)
    await plain.see(10)
    assert plain.receiver.late == 0
    assert camera.up == 1


async def test_who_watches_sees_at_once_what_else_is_read_in_rounds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rounds that never come, only who is watched goes on; and what waits when a call ends is not lost."""
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(1)
    monkeypatch.setattr("soip.net.poll.ROUND_S", 1e6)
    viewer = await (await Viewer.make(house)).dial()
    await viewer.see(3 * 25)
    await viewer.call.bye()
    await asyncio.sleep(1)  # It rests again after a tick.
    (before,) = await house.recordings()
    began = now_us()
    await asyncio.sleep(2)  # Pictures that nobody reads.
    await camera.hang_up()
    await until(lambda: len(camera.asked), 2)
    monkeypatch.undo()

    async def sealed() -> bool:
        return (await house.recordings())[0].sealed

    await until(sealed, True)
    row = (await house.recordings())[0]
    assert row.path == before.path
    assert row.end_us > began + 1.5 * SECOND, "the last pictures are in it"
    assert (row.damaged, row.lost) == (0, 0)
