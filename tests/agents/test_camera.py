"""The software camera as its peers see it: registration, calls, media, feedback, ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from soip.agents import blockcode
from soip.agents.camera import SUB_SIDES, SimulateOptions, run_cameras, simulate
from soip.agents.patternsource import PatternSource
from soip.agents.source import VideoUnit
from soip.agents.station import Server
from soip.net.call import Call
from soip.net.errors import RequestRefusedError
from soip.rtp import rtcp
from soip.rtp.h265 import H265
from soip.rtp.nal import AccessUnit
from soip.rtp.ps import PsReceiver, Sounding
from soip.sip.formats import Audio, Video
from soip.sip.offer import Agreement, Local, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri
from tests.agents.media import decode, movie_units, write_movie
from tests.agents.site import PATIENT_S, Caller, caller, camera_options, cameras, proxy, rtp_header, server_of
from tests.net.proxy import REALM


async def call(peer: Caller, camera: str = "cam1", *, sound: bool = False) -> tuple[Call, Agreement]:
    media: list[Video | Audio] = [Video(peer.pair.port, receives=True)]
    if sound:
        media.append(Audio(peer.sound.port, receives=True))
    offer = make_offer(Local("127.0.0.1", 7), media)
    made = await peer.agent.invite(Uri.parse(f"sip:{camera}@{REALM}"), offer.to_bytes(), within=PATIENT_S)
    agreement = read_answer(offer, SessionDescription.parse(made.remote_sdp))
    assert agreement.video is not None
    peer.listen(agreement.video)
    return made, agreement


def stamps(units: list[AccessUnit]) -> list[blockcode.Stamp | None]:
    pictures = decode([VideoUnit(tuple(bytes(n) for n in u.nals), u.timestamp, 0.0, u.keyframe) for u in units])
    return [blockcode.read(bytes(p.planes[0]), p.planes[0].line_size, p.width, p.height) for p in pictures]


async def ended(made: Call) -> float:
    """Seconds until the call has ended."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    over = asyncio.Event()
    made.on_end(lambda _: over.set())
    await asyncio.wait_for(over.wait(), PATIENT_S)
    return loop.time() - begin


async def test_a_call_brings_the_stamped_pattern_with_sender_reports() -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server), caller(server) as peer:
        made, agreement = await call(peer)
        units = await peer.until(30)
        seen = stamps(units)
        assert all(seen)
        counters = [stamp.counter for stamp in seen if stamp]
        assert counters == list(range(counters[0], counters[0] + 30))
        assert {stamp.camera_hash for stamp in seen if stamp} == {blockcode.camera_hash("cam1")}
        assert units[0].keyframe
        assert agreement.video is not None
        assert agreement.video.direction == "recvonly"
        assert agreement.video.fmtp["profile-level-id"].lower().startswith("42e0")
        report = next(packet for packet in peer.control if isinstance(packet, rtcp.SenderReport))
        sent = {unit.timestamp & 0xFFFFFFFF: stamp for unit, stamp in zip(units, seen, strict=True)}
        stamp = sent[report.timestamp]
        assert stamp is not None
        assert abs(report.utc_us / 1000 - stamp.utc_ms) < 2
        await made.bye()
        sizes = len(peer.units)
        await asyncio.sleep(0.2)
        assert len(peer.units) <= sizes + 2
        assert any(isinstance(packet, rtcp.Bye) for packet in peer.control)


async def test_a_source_that_is_coded_otherwise_than_was_agreed_on_ends_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An address may be of another camera after it was away: the next call agrees on what comes then."""
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server), caller(server) as peer:
        made, _ = await call(peer)
        await peer.until(5)
        monkeypatch.setattr(PatternSource, "coding", H265)
        await ended(made)
        assert made.end is not None
        assert "the camera sends H265 now" in made.end.reason


async def test_several_calls_share_the_encoder() -> None:
    async with (
        proxy(cam1="secret", viewer="seen", guard="x") as server,
        cameras(server),
        caller(server) as one,
        caller(server, "guard", "x") as two,
    ):
        await call(one)
        await call(two)
        await asyncio.gather(one.until(15), two.until(15))
        pictures = {b"".join(unit.nals) for unit in one.units} & {b"".join(unit.nals) for unit in two.units}
        assert len(pictures) >= 10
        assert one.ssrc != two.ssrc


@pytest.mark.parametrize("kind", ["pli", "fir"])
async def test_a_keyframe_comes_when_asked(kind: str) -> None:
    async with (
        proxy(cam1="secret", viewer="seen") as server,
        cameras(server, gop_seconds=60.0),
        caller(server) as peer,
    ):
        await call(peer)
        await peer.until(16)
        assert sum(unit.keyframe for unit in peer.units) <= 2
        before = len(peer.units)
        peer.send_raw(b"\x80\xc9\0\x09nonsense")
        peer.send(
            rtcp.ReceiverReport(1),
            rtcp.PictureLossIndication(1, peer.ssrc) if kind == "pli" else rtcp.FullIntraRequest(1, ((peer.ssrc, 1),)),
        )
        await peer.until(before + 8)
        assert any(unit.keyframe for unit in peer.units[before:])


async def test_a_packet_that_is_asked_for_is_sent_again() -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server), caller(server) as peer:
        await call(peer)
        await peer.until(8)
        peer.send(rtcp.ReceiverReport(1), rtcp.Nack(1, peer.ssrc ^ 1, (peer.receiver.highest & 0xFFFF,)))
        peer.send(rtcp.ReceiverReport(1), rtcp.Nack(1, peer.ssrc, (peer.receiver.highest & 0xFFFF,)))
        seen = len(peer.units)
        await peer.until(seen + 8)
        assert (peer.receiver.late, peer.receiver.lost) == (1, 0), "once, and only of its own stream"


async def test_sound_is_sent_where_offered() -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server), caller(server) as peer:
        _, agreement = await call(peer, sound=True)
        assert agreement.audio is not None
        assert agreement.audio.encoding == "PCMU"
        await peer.until(10)
        packets = [rtp_header(peer.sound.rtp.recv(2000)) for _ in range(10)]
        assert {packet[0] for packet in packets} == {0}
        assert [packet[1] - packets[0][1] & 0xFFFF for packet in packets] == list(range(10))
        assert [packet[2] - packets[0][2] & 0xFFFFFFFF for packet in packets] == list(range(0, 1600, 160))


async def test_an_invite_without_offer_gets_one() -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server), caller(server) as peer:
        agreed: list[Agreement] = []

        def answer(offer: bytes) -> bytes:
            agreement = answer_offer(
                SessionDescription.parse(offer), Local("127.0.0.1", 9), [Video(peer.pair.port, receives=True)]
            )
            agreed.append(agreement)
            assert agreement.answer is not None
            return agreement.answer.to_bytes()

        await peer.agent.invite(Uri.parse(f"sip:cam1@{REALM}"), b"", answerer=answer, within=PATIENT_S)
        assert agreed[0].video is not None
        peer.listen(agreed[0].video)
        await peer.until(10)


async def test_hold_and_resume() -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server), caller(server) as peer:
        made, _ = await call(peer)
        await peer.until(5)
        hold = make_offer(Local("127.0.0.1", 7, 2), [Video(peer.pair.port)])
        answer = await made.reinvite(hold.to_bytes())
        assert b"a=inactive" in answer
        await asyncio.sleep(0.1)
        quiet = len(peer.units)
        await asyncio.sleep(0.3)
        assert len(peer.units) == quiet
        resume = make_offer(Local("127.0.0.1", 7, 3), [Video(peer.pair.port, receives=True)])
        assert b"a=sendonly" in await made.reinvite(resume.to_bytes())
        await peer.until(quiet + 5)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"v=1\r\n", 400),
        (b"\xff\xfe not an offer", 400),
        (b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5000 RTP/AVP 31\r\n", 488),
        (b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", 488),
    ],
)
async def test_what_cannot_be_answered_is_refused_and_the_camera_goes_on(body: bytes, status: int) -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server), caller(server) as peer:
        with pytest.raises(RequestRefusedError) as refusal:
            await peer.agent.invite(Uri.parse(f"sip:cam1@{REALM}"), body, within=PATIENT_S)
        assert refusal.value.status == status
        assert refusal.value.response.headers.get("Warning")
        await call(peer)
        await peer.until(3)


async def test_a_file_with_b_frames_arrives_byte_for_byte(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "movie.mp4", b_frames=2)
    async with (
        proxy(cam1="secret", viewer="seen") as server,
        cameras(server, source=str(path)),
        caller(server) as peer,
    ):
        await call(peer)
        units = await peer.until(60)
        expected = movie_units(path)
        assert [[n for n in map(bytes, u.nals) if n[0] & 31 in (1, 5)] for u in units] == [
            [n for n in expected[index % 30][1] if n[0] & 31 in (1, 5)] for index in range(60)
        ]
        ticks = [unit.timestamp - units[0].timestamp for unit in units[:30]]
        assert ticks == pytest.approx([round((pts - expected[0][0]) * 90_000) for pts, _ in expected], abs=2)


async def test_count_makes_cameras_that_share_a_file(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "movie.mp4")
    passwords = {f"cam-{number}": "secret" for number in (1, 2, 3)}
    async with proxy(viewer="seen", guard="x", **passwords) as server:
        shared = {"identity": "cam", "count": 3, "source": str(path)}
        async with cameras(server, **shared) as options, caller(server) as one, caller(server, "guard", "x") as two:
            assert options.identities == ("cam-1", "cam-2", "cam-3")
            await call(one, "cam-1")
            await call(two, "cam-3")
            await asyncio.gather(one.until(10), two.until(10))
        assert not server.bindings


async def test_a_peer_that_went_without_a_word_is_hung_up() -> None:
    async with (
        proxy(cam1="secret", viewer="seen") as server,
        cameras(server, peer_silence=1.0),
        caller(server) as peer,
    ):
        made, _ = await call(peer)
        await peer.until(3)
        peer.send(rtcp.ReceiverReport(1))
        assert await ended(made) > 0.9
        assert made.end is not None
        assert made.end.by_peer
        assert "Media timeout" in made.end.reason


async def test_a_peer_that_never_sends_rtcp_is_kept_but_not_with_a_closed_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("soip.agents.cameracall.REFUSALS", 2)
    async with (
        proxy(cam1="secret", viewer="seen") as server,
        cameras(server, peer_silence=1.0),
        caller(server) as peer,
    ):
        made, _ = await call(peer)
        await peer.until(30)
        assert made.end is None
        peer.close()
        assert await ended(made) > 1


async def test_a_server_that_was_away_is_found_again() -> None:
    async with proxy(cam1="secret") as server:
        server.fail_register = [503, 500]
        async with cameras(server):
            assert server.seen.count("REGISTER") >= 3


async def test_the_sub_stream_is_a_smaller_picture_at_the_same_time() -> None:
    async with (
        proxy(cam1="secret", viewer="seen", guard="x") as server,
        cameras(server),
        caller(server) as one,
        caller(server, "guard", "x") as two,
    ):
        await call(one, "cam1;stream=main")
        _, agreement = await call(two, "cam1;stream=sub")
        whole, small = await asyncio.gather(one.until(20), two.until(20))
        for units, sides in ((whole, (640, 360)), (small, SUB_SIDES)):
            assert units[0].keyframe
            pictures = decode([VideoUnit(tuple(map(bytes, u.nals)), u.timestamp, 0.0, u.keyframe) for u in units])
            assert {(picture.width, picture.height) for picture in pictures} == {sides}
            seen = stamps(units)
            assert {stamp.camera_hash for stamp in seen if stamp} == {blockcode.camera_hash("cam1")}
            counters = [stamp.counter for stamp in seen if stamp]
            assert counters == list(range(counters[0], counters[0] + 20))
        assert agreement.video is not None


@pytest.mark.parametrize(("user", "sub"), [("cam1;stream=sub", False), ("cam1;stream=third", True)])
async def test_a_stream_that_the_camera_has_not_is_refused(user: str, sub: bool) -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server, sub=sub), caller(server) as peer:
        with pytest.raises(RequestRefusedError) as refusal:
            await call(peer, user)
        assert refusal.value.status == 404
        assert "no such stream" in str(refusal.value.said)
        await call(peer, "cam1;else=what")
        await peer.until(3)


async def test_too_many_calls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soip.agents.camera.MAX_CALLS", 1)
    async with (
        proxy(cam1="secret", viewer="seen", guard="x") as server,
        cameras(server),
        caller(server) as one,
        caller(server, "guard", "x") as two,
    ):
        await call(one)
        with pytest.raises(RequestRefusedError) as refusal:
            await call(two)
        assert refusal.value.status == 486


async def test_a_wrong_password_ends_the_command_with_words(capsys: pytest.CaptureFixture[str]) -> None:
    async with proxy(cam1="other") as server:
        assert await simulate(camera_options(server)) == 1
    assert "wrong password" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"source": "/nowhere/movie.mp4"}, "no such file"), ({"width": 100}, "room"), ({"domain": "a b"}, "sip:cam1@a b")],
)
async def test_nonsense_options_end_the_command_with_words(
    changes: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with proxy() as server:
        assert await simulate(camera_options(server, **changes)) == 1
    assert words in capsys.readouterr().err


async def test_a_host_nobody_knows_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    options = SimulateOptions("cam1", "x", Server("no-such-host.invalid"), REALM)
    assert await simulate(options) == 1
    assert "no-such-host.invalid" in capsys.readouterr().err


async def test_stopping_before_the_server_answers_is_quick() -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(run_cameras(SimulateOptions("cam1", "x", Server("127.0.0.1", 9), REALM), stop))
    await asyncio.sleep(0.1)
    stop.set()
    await asyncio.wait_for(task, PATIENT_S)


async def test_options_keep_the_password_to_themselves() -> None:
    async with proxy() as server:
        assert "secret" not in repr(camera_options(server))
        assert server_of(server).host == "127.0.0.1"


async def test_a_program_stream_brings_the_stamped_pattern_and_the_tone() -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server, program=True), caller(server) as peer:
        offer = make_offer(
            Local("127.0.0.1", 7),
            [Video(peer.pair.port, receives=True, program=True), Audio(peer.sound.port, receives=True)],
        )
        made = await peer.agent.invite(Uri.parse(f"sip:cam1@{REALM}"), offer.to_bytes(), within=PATIENT_S)
        agreement = read_answer(offer, SessionDescription.parse(made.remote_sdp))
        agreed = agreement.video
        assert agreed is not None
        assert agreed.encoding == "PS"
        assert agreement.audio is None, "sound is in the program stream"
        peer.pair.allow([agreed.remote[0]])
        receiver = PsReceiver(agreed.payload_type)
        ready: list[AccessUnit | Sounding] = []
        async with asyncio.timeout(PATIENT_S):
            while sum(isinstance(one, AccessUnit) for one in ready) < 30:
                ready += peer.pair.drain(receiver, peer.station.buffer, peer.station.now())
                await asyncio.sleep(0.01)
        await made.bye()
        units = [one for one in ready if isinstance(one, AccessUnit)]
        counters = [stamp.counter for stamp in stamps(units) if stamp]
        assert counters == list(range(counters[0], counters[0] + len(units)))
        sounds = [one for one in ready if isinstance(one, Sounding)]
        assert {(one.encoding, len(one.payload)) for one in sounds} == {("PCMU", 160)}
        assert len(sounds) >= 50
        assert receiver.lost == receiver.malformed == receiver.broken_payloads == 0


async def test_who_does_not_take_a_program_stream_is_refused() -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server, program=True), caller(server) as peer:
        with pytest.raises(RequestRefusedError) as refused:
            await call(peer)
        assert refused.value.status == 488
