"""The player against the software camera through a small proxy: files that play, and words for every failure."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import av
import pytest
from av.video.frame import VideoFrame
from rich.console import Console

from soip.agents import blockcode
from soip.agents.camera import SimulateOptions
from soip.agents.errors import PlayError
from soip.agents.player import PlayOptions, dialled, fetch, play, progress_line
from soip.agents.recording import Recording
from soip.agents.station import Server
from soip.net.call import IncomingCall
from soip.net.errors import RequestRefusedError
from soip.net.sip import SipEndpoint
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.formats import Video
from soip.sip.offer import Local, answer_offer
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri
from tests.agents.media import movie_units, write_movie
from tests.agents.site import PATIENT_S, PORTS, cameras, proxy, server_of
from tests.net.proxy import REALM, SmallProxy


def options(server: SmallProxy | Server, output: Path, **changes: object) -> PlayOptions:
    values: dict[str, object] = {
        "uri": f"sip:cam1@{REALM}",
        "user": "viewer",
        "password": "seen",
        "duration": 1.0,
        "rtp_ports": PORTS,
    }
    where = server if isinstance(server, Server) else server_of(server)
    return PlayOptions(server=where, output=output, **(values | changes))  # type: ignore[arg-type]  # by name


def silent(recording: Recording, lost: int) -> None:
    """No progress line."""


def pictures(path: Path) -> list[VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def counters(path: Path) -> list[int]:
    stamps = [blockcode.read(bytes(p.planes[0]), p.planes[0].line_size, p.width, p.height) for p in pictures(path)]
    return [stamp.counter for stamp in stamps if stamp]


async def test_the_pattern_lands_in_a_file_that_plays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server):
        stats = await fetch(options(server, path), asyncio.Event(), silent)
    seen = counters(path)
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert len(seen) == stats.frames
    assert stats.files == (path,)
    assert stats.bytes == path.stat().st_size
    assert 1.0 <= stats.seconds < 5, "and what a busy camera skips"
    assert (stats.lost, stats.end) == (0, "duration reached")
    assert stats.first_packet is not None
    assert stats.first_packet < 10
    with av.open(str(path)) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
        first = next(container.demux(video=0))
        assert first.is_keyframe
        assert first.pts == 0
    with av.open(str(path)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 4000


@pytest.mark.parametrize(("spoken", "codec", "rate"), [("aac", "aac", 16_000), ("opus", "opus", 48_000)])
async def test_sound_is_kept_as_it_came(spoken: str, codec: str, rate: int, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server, audio=spoken):
        stats = await fetch(options(server, path, duration=2.0), asyncio.Event(), silent)
    assert stats.frames > 25
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.codec_context.sample_rate) == (codec, rate)
        heard = list(container.decode(stream))
    assert sum(frame.samples for frame in heard) > 0.8 * rate
    assert heard[0].time is not None
    assert heard[0].time < 1.5


async def test_b_frames_keep_their_bytes_and_times(tmp_path: Path) -> None:
    source, path = write_movie(tmp_path / "movie.mp4", b_frames=2, frames=60), tmp_path / "out.mp4"
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server, source=str(source)):
        await fetch(options(server, path, duration=0.5), asyncio.Event(), silent)
    sent, received = movie_units(source), movie_units(path)
    assert len(received) >= 50
    for (sent_at, sent_nals), (received_at, received_nals) in zip(sent, received[:50], strict=False):
        assert [n for n in received_nals if n[0] & 31 in (1, 5)] == [n for n in sent_nals if n[0] & 31 in (1, 5)]
        assert received_at - received[0][0] == pytest.approx(sent_at - sent[0][0], abs=0.001)
    shown = [frame.pts or 0 for frame in pictures(path)]
    assert len(shown) == len(received)
    assert shown == sorted(shown)


async def test_it_ends_with_the_peer(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    async with proxy(cam1="secret", viewer="seen") as server:
        async with cameras(server):
            enough = asyncio.Event()

            def show(recording: Recording, lost: int) -> None:
                if recording.frames > 12:
                    enough.set()

            task = asyncio.create_task(fetch(options(server, path, duration=None), asyncio.Event(), show))
            await asyncio.wait_for(enough.wait(), PATIENT_S)
        stats = await asyncio.wait_for(task, PATIENT_S)
    assert stats.frames == len(counters(path)) > 10


async def test_ctrl_c_ends_it_with_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.mp4"
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server):
        task = asyncio.create_task(play(options(server, path, duration=None)))
        async with asyncio.timeout(PATIENT_S):
            while not path.exists():  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(task, PATIENT_S) == 0
    assert len(counters(path)) > 0
    said = capsys.readouterr().err
    assert "interrupted" in said.replace("\n", " ")
    assert "out.mp4" in said.replace("\n", "")


async def test_a_change_of_decoder_parameters_begins_another_file(tmp_path: Path) -> None:
    """Two movies of different sets, joined as one byte stream: what a camera does when it is reconfigured."""
    one = write_movie(tmp_path / "one.h264", frames=30)
    two = write_movie(tmp_path / "two.h264", frames=80, size=(192, 160))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    path = tmp_path / "out.mp4"
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server, source=str(joined)):
        stats = await fetch(options(server, path, duration=0.6), asyncio.Event(), silent)
    assert stats.files == (path, tmp_path / "out-2.mp4")
    assert {picture.width for picture in pictures(path)} == {320}
    assert {picture.width for picture in pictures(tmp_path / "out-2.mp4")} == {192}


async def test_a_refresh_of_its_session_is_answered_and_media_does_not_move(tmp_path: Path) -> None:
    async with proxy(cam1="secret", viewer="seen") as server:
        endpoint = SipEndpoint("127.0.0.1", 0)
        await endpoint.start()
        agent = UserAgent(endpoint, Uri.parse(f"sip:cam1@{REALM}"), Credentials("cam1", "secret"), server.target)
        answers: list[bytes] = []
        refused: list[int] = []

        async def refresh(incoming: IncomingCall) -> None:
            offer = SessionDescription.parse(incoming.offer)
            answer = answer_offer(
                offer, Local("127.0.0.1", 1), [Video(26_998, "H264", {"profile-level-id": "42e01f"}, sends=True)]
            ).answer
            assert answer is not None
            call = incoming.answer(answer.to_bytes())
            await call.confirmed()
            assert call.session.interval == 1800
            answers.append(await call.reinvite(answer.to_bytes()))
            try:
                await call.reinvite(answer.to_bytes().replace(b"IN IP4 127.0.0.1", b"IN IP4 127.0.0.2"))
            except RequestRefusedError as error:
                refused.append(error.status)
            await call.bye()

        agent.on_invite(refresh)
        await agent.start()
        await agent.register(60)
        with pytest.raises(PlayError, match="no RTP packet came"):
            await fetch(options(server, tmp_path / "out.mp4", silence=30.0), asyncio.Event(), silent)
        await agent.close()
        await endpoint.close()
    (answer,) = [SessionDescription.parse(body) for body in answers]
    assert [answer.direction(media) for media in answer.media if media.port] == ["recvonly"]
    assert refused == [488]


async def answering(server: SmallProxy, output: Path, status: int, warning: str = "") -> tuple[int, list[IncomingCall]]:
    """Play against a camera that refuses with `status`."""
    endpoint = SipEndpoint("127.0.0.1", 0)
    await endpoint.start()
    agent = UserAgent(endpoint, Uri.parse(f"sip:cam1@{REALM}"), Credentials("cam1", "secret"), server.target)
    asked: list[IncomingCall] = []

    async def refuse(incoming: IncomingCall) -> None:
        asked.append(incoming)
        incoming.reject(status, warning)

    agent.on_invite(refuse)
    await agent.start()
    await agent.register(60)
    try:
        zone = timezone(timedelta(hours=9))
        start = datetime(2026, 11, 20, 19, 0, 0, tzinfo=zone)
        ranged = options(server, output, start=start, stop=start + timedelta(minutes=10))
        return await play(ranged), asked
    finally:
        await agent.close()
        await endpoint.close()


@pytest.mark.parametrize(
    ("status", "warning", "code", "words"),
    [
        (404, "nothing recorded there", 3, "nothing recorded there"),
        (403, "", 4, "not permitted"),
        (480, "", 5, "offline"),
        (488, "H264 only", 6, "H264 only"),
        (503, "", 5, "try again"),
        (600, "", 1, "refused"),
    ],
)
async def test_refusals_are_told_in_words_and_exit_codes(
    status: int, warning: str, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with proxy(cam1="secret", viewer="seen") as server:
        result, asked = await answering(server, tmp_path / "out.mp4", status, warning)
    assert result == code
    assert words in capsys.readouterr().err
    assert asked[0].user == "cam1;start=20261120T100000Z;stop=20261120T101000Z"
    assert not (tmp_path / "out.mp4").exists()


async def test_a_wrong_password_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server):
        assert await play(options(server, tmp_path / "out.mp4", password="guess")) == 4
    assert "wrong user or password" in capsys.readouterr().err


async def test_an_unknown_camera_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with proxy(viewer="seen") as server:
        assert await play(options(server, tmp_path / "out.mp4")) == 3
    assert "no such camera" in capsys.readouterr().err


async def test_a_server_that_is_away_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = Server("127.0.0.1", 9)
    assert await play(options(away, tmp_path / "out.mp4", within=0.5)) == 5
    assert "127.0.0.1" in capsys.readouterr().err


class Mute:
    """Answers calls, but sends nothing, or something that is no answer."""

    def __init__(self, sdp: bytes) -> None:
        self._sdp = sdp

    async def __call__(self, incoming: IncomingCall) -> None:
        incoming.answer(self._sdp)


HEAD = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    ("sdp", "words"),
    [
        (
            HEAD + b"m=video 26998 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=sendonly\r\nm=audio 0 RTP/AVP 0\r\n",
            "no RTP",
        ),
        (HEAD + b"m=video 0 RTP/AVP 96\r\nm=audio 5004 RTP/AVP 0\r\n", "no video"),
        (b"nonsense", "of no use"),
    ],
)
async def test_calls_without_media_end_with_words(
    sdp: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with proxy(cam1="secret", viewer="seen") as server:
        endpoint = SipEndpoint("127.0.0.1", 0)
        await endpoint.start()
        agent = UserAgent(endpoint, Uri.parse(f"sip:cam1@{REALM}"), Credentials("cam1", "secret"), server.target)
        agent.on_invite(Mute(sdp))
        await agent.start()
        await agent.register(60)
        try:
            assert await play(options(server, tmp_path / "out.mp4", silence=0.5)) == 6
        finally:
            await agent.close()
            await endpoint.close()
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (b"IN IP4 239.254.7.1/1", "the network may not carry multicast to here: try --rtp udp"),
        (b"IN IP6 ff15::7:1", "cannot hear multicast on 127.0.0.1"),
    ],
)
async def test_groups_that_bring_nothing_end_with_words(
    group: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = b"m=video 5004 RTP/AVP 96\r\nc=" + group + b"\r\na=rtpmap:96 H264/90000\r\na=sendonly\r\n"
    async with proxy(cam1="secret", viewer="seen") as server:
        endpoint = SipEndpoint("127.0.0.1", 0)
        await endpoint.start()
        agent = UserAgent(endpoint, Uri.parse(f"sip:cam1@{REALM}"), Credentials("cam1", "secret"), server.target)
        agent.on_invite(Mute(HEAD + video + b"m=audio 0 RTP/AVP 0\r\n"))
        await agent.start()
        await agent.register(60)
        try:
            assert await play(options(server, tmp_path / "out.mp4", silence=0.5, rtp="multicast")) == 6
        finally:
            await agent.close()
            await endpoint.close()
    assert words in capsys.readouterr().err


async def test_who_knows_no_multicast_is_watched_as_ever(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.mp4"
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server):
        assert await play(options(server, path, rtp="multicast")) == 0
    assert len(counters(path)) > 10
    assert "not by multicast: the server has no group for it" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uri": "cam1"}, "no SIP address"),
        ({"uri": "sip:soip.local"}, "names no camera"),
        ({"uri": "tel:123"}, "names no camera"),
        ({"start": datetime(2026, 11, 20, tzinfo=UTC)}, "--to"),
        ({"start": datetime(2026, 11, 20, tzinfo=UTC), "stop": datetime(2026, 11, 19, tzinfo=UTC)}, "--to"),
        ({"user": "a b"}, "is no"),
    ],
)
async def test_nonsense_options_end_with_words(
    changes: dict[str, object], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = options(Server("127.0.0.1", 9), **({"output": tmp_path / "out.mp4"} | changes))  # type: ignore[arg-type]
    assert await play(asked) in (1, 2)
    assert words in capsys.readouterr().err


async def test_a_file_that_cannot_be_written_ends_the_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.mp4"
    path.symlink_to("/dev/full")
    async with proxy(cam1="secret", viewer="seen") as server, cameras(server, gop_seconds=0.4):
        assert await play(options(server, path, duration=10.0)) == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_line_is_for_terminals(terminal: bool, tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with progress_line(console, options(Server("127.0.0.1"), tmp_path / "out.mp4", duration=60.0)) as show:
        recording = Recording(tmp_path / "out.mp4")
        show(recording, 0)
        recording.first_ticks, recording.last_ticks = 0, 90_000 * 30
        show(recording, 7)
    assert ("30.0 s" in out.getvalue()) is terminal
    assert ("7 lost" in out.getvalue()) is terminal


def test_fractions_of_a_second_widen_the_range() -> None:
    start = datetime(2026, 11, 20, 10, 0, 0, 900_000, tzinfo=UTC)
    asked = options(Server("127.0.0.1"), Path("out.mp4"), start=start, stop=start + timedelta(seconds=1))
    assert dialled(asked).user == "cam1;start=20261120T100000Z;stop=20261120T100002Z"


def test_passwords_stay_out_of_representations() -> None:
    assert "seen" not in repr(options(Server("127.0.0.1"), Path("out.mp4")))
    assert "pass" not in repr(SimulateOptions("cam1", "pass", Server("127.0.0.1"), REALM)).replace("password", "")
