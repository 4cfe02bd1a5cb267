"""Sources: cadence, keyframes on request, files passed through byte for byte, transcoding, sharing."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from soip.agents import blockcode
from soip.agents.camera import SimulateOptions
from soip.agents.containersource import ContainerSource
from soip.agents.encoder import Encoder
from soip.agents.errors import SourceError
from soip.agents.patternsource import PatternSource, tone
from soip.agents.soundencoder import SPOKEN, SoundEncoder
from soip.agents.source import Unit, VideoUnit
from soip.agents.station import Server
from soip.rtp import g711
from soip.rtp.codec import learn
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import parse_sps
from soip.rtp.h265 import H265
from soip.rtp.nal import Coding
from tests.agents.media import decode, grey, listen, movie_units, write_movie
from tests.agents.rtsp import rtsp_camera

VCL = (1, 5)


def slices(nals: tuple[bytes, ...] | list[bytes]) -> list[bytes]:
    return [bytes(nal) for nal in nals if nal[0] & 31 in VCL]


def test_the_encoder_makes_constrained_baseline_with_sets_before_each_idr() -> None:
    encoder = Encoder(320, 240, Fraction(25), gop_seconds=0.4)
    units = [encoder.encode(grey(number), 3600 * number, number == 3) for number in range(12)]
    kinds = [[nal[0] & 31 for nal in unit] for unit in units]
    for number in (0, 3):
        assert {5, 7, 8} <= set(kinds[number])
    assert sum(5 in kind for kind in kinds) == 2  # the next comes ten pictures after the asked one
    sps = parse_sps(next(nal for nal in units[0] if nal[0] & 31 == 7))
    assert (sps.profile_idc, sps.constraints & 0x40) == (66, 0x40)
    assert (sps.width, sps.height, sps.reorder_depth) == (320, 240, 0)


def test_the_encoder_makes_h265_without_delay_and_with_sets_before_each_idr(capfd: pytest.CaptureFixture[str]) -> None:
    encoder = Encoder(320, 240, Fraction(25), coding=H265, gop_seconds=0.4)
    units = [encoder.encode(grey(number), 3600 * number, number == 3) for number in range(12)]
    assert all(units), "each picture comes out at once"
    kinds = [[nal[0] >> 1 for nal in unit] for unit in units]
    for number in (0, 3):
        assert kinds[number][:3] == [32, 33, 34]
        assert kinds[number][-1] in (19, 20)
    assert sum(H265.is_keyframe(unit) for unit in units) == 2  # the next comes ten pictures after the asked one
    codec = learn(H265, units[0])
    assert codec is not None
    assert (codec.info.width, codec.info.height, codec.info.reorder_depth) == (320, 240, 0)
    assert codec.parameters["profile-id"] == "1"
    assert capfd.readouterr() == ("", ""), "the library keeps its words to itself"


@pytest.mark.parametrize("coding", [H264, H265], ids=lambda coding: coding.name)
async def test_the_pattern_counts_and_keeps_time(coding: Coding) -> None:
    source = PatternSource("cam1", coding=coding)
    units, audio = await listen(source, 20)
    await source.close()
    pictures = decode(units, "h264" if coding is H264 else "hevc")
    stamps = [blockcode.read(bytes(p.planes[0]), p.planes[0].line_size, 640, 360) for p in pictures]
    assert [stamp and stamp.counter for stamp in stamps] == list(range(20))
    assert units[0].keyframe
    for unit, stamp in zip(units, stamps, strict=True):
        assert stamp is not None
        assert stamp.camera_hash == blockcode.camera_hash("cam1")
        assert stamp.utc_ms == int(unit.utc * 1000)
    assert all((b.ticks - a.ticks) % 3600 == 0 < b.ticks - a.ticks for a, b in itertools.pairwise(units))
    spoken = g711.encode(tone(8000) * 2, g711.PCMU)
    assert all(len(unit.payload) == 160 and unit.payload in spoken for unit in audio)
    assert len(audio) == pytest.approx(40, abs=4)
    assert sorted({unit.ticks for unit in audio}) == [unit.ticks for unit in audio]


async def test_a_keyframe_comes_when_asked_and_counters_go_on_between_listeners() -> None:
    source = PatternSource("cam1", gop_seconds=60)
    first, _ = await listen(source, 5)
    seen: list[VideoUnit] = []
    done = asyncio.Event()

    def take(unit: Unit) -> None:
        if isinstance(unit, VideoUnit):
            seen.append(unit)
            if len(seen) == 4:
                source.request_keyframe()
            if len(seen) == 12:
                done.set()

    source.attach(take)
    await asyncio.wait_for(done.wait(), 5)
    source.detach(take)
    await source.close()
    keyframes = [index for index, unit in enumerate(seen) if unit.keyframe]
    assert keyframes[0] == 0
    assert len(keyframes) == 2
    assert 4 <= keyframes[1] <= 6
    stamp = blockcode.read(bytes((picture := decode(seen)[0]).planes[0]), picture.planes[0].line_size, 640, 360)
    assert stamp is not None
    assert 5 <= stamp.counter <= 7
    assert seen[0].ticks > first[-1].ticks


async def test_two_listeners_share_one_thread() -> None:
    source = PatternSource("cam1")
    (one, _), (two, _) = await asyncio.gather(listen(source, 10), listen(source, 10))
    assert {id(unit) for unit in one} & {id(unit) for unit in two}
    assert sum(thread.name == "pattern cam1" for thread in threading.enumerate()) <= 1
    await source.close()
    assert not any(thread.name == "pattern cam1" for thread in threading.enumerate())


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
async def test_h264_passes_through_untouched_with_its_composition_offsets(tmp_path: Path, suffix: str) -> None:
    path = write_movie(tmp_path / f"movie.{suffix}", b_frames=2)
    source = ContainerSource(str(path))
    source.probe()
    assert not source.has_audio
    units, _ = await listen(source, 45)  # one and a half times round
    await source.close()
    expected = movie_units(path)
    for index, unit in enumerate(units):
        assert slices(unit.nals) == slices(expected[index % 30][1])
        if unit.keyframe:
            assert {7, 8} <= {nal[0] & 31 for nal in unit.nals}
    passed = [unit.ticks - units[0].ticks for unit in units]
    wanted = [round((pts - expected[0][0]) * 90_000) for pts, _ in expected]
    assert passed[:30] == pytest.approx(wanted, abs=2)
    assert any(b < a for a, b in itertools.pairwise(passed))  # B-frames are there
    # A loop goes on where the last picture ended: no picture's time is used twice, none is skipped.
    shown = sorted(passed[:30]) + sorted(passed[30:40])
    assert [b - a for a, b in itertools.pairwise(shown)] == pytest.approx([900] * 39, abs=2)
    assert len(decode(units)) == 45


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
async def test_h265_passes_through_untouched_with_its_composition_offsets(tmp_path: Path, suffix: str) -> None:
    path = write_movie(tmp_path / f"movie.{suffix}", "libx265", b_frames=2)
    source = ContainerSource(str(path))
    source.probe()
    assert source.coding is H265
    assert {nal[0] >> 1 for nal in source.parameter_sets} == {32, 33, 34}
    units, _ = await listen(source, 45)  # one and a half times round
    await source.close()
    expected = movie_units(path)

    def pictures(nals: Iterable[bytes]) -> list[bytes]:
        return [bytes(nal) for nal in nals if nal[0] >> 1 < 32]

    for index, unit in enumerate(units):
        if suffix == "ts":  # FFmpeg hands out byte streams there
            assert pictures(unit.nals) == pictures(expected[index % 30][1])
        assert unit.keyframe == H265.is_keyframe(unit.nals) == (index % 30 % 10 == 0)
        if unit.keyframe:
            assert {32, 33, 34} <= {nal[0] >> 1 for nal in unit.nals}
    passed = [unit.ticks - units[0].ticks for unit in units]
    assert passed[:30] == pytest.approx([round((pts - expected[0][0]) * 90_000) for pts, _ in expected], abs=2)
    assert any(b < a for a, b in itertools.pairwise(passed))  # B-frames are there
    assert len(decode(units, "hevc")) == 45


async def test_a_bare_byte_stream_is_counted(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "movie.h264")
    source = ContainerSource(str(path))
    source.probe()
    units, _ = await listen(source, 12)
    await source.close()
    assert [slices(unit.nals) for unit in units] == [slices(nals) for _, nals in movie_units(path)[:12]]
    assert [unit.ticks - units[0].ticks for unit in units] == pytest.approx(range(0, 10_800, 900), abs=2)
    assert source.parameter_sets


@pytest.mark.parametrize(("name", "codec", "b_frames"), [("m.avi", "mpeg4", 0), ("m.h264", "libx264", 2)])
async def test_anything_else_is_transcoded(tmp_path: Path, name: str, codec: str, b_frames: int) -> None:
    path = write_movie(tmp_path / name, codec, b_frames=b_frames)
    source = ContainerSource(str(path))
    source.probe()
    units, _ = await listen(source, 15)
    await source.close()
    pictures = decode(units)
    assert [picture.width for picture in pictures] == [320] * 15
    levels = [bytes(picture.planes[0])[5000] for picture in pictures]
    assert levels == pytest.approx([(16 + number * 7) % 220 for number in range(15)], abs=6)
    assert [unit.ticks - units[0].ticks for unit in units] == pytest.approx(range(0, 13_500, 900), abs=90)
    assert not any(nal[0] & 31 in VCL and nal[1] & 0x80 == 0 for unit in units for nal in unit.nals[:1])


@pytest.mark.parametrize("spoken", ["pcma", "aac", "opus"])
async def test_sound_is_in_what_the_camera_was_told_to_speak(spoken: str, tmp_path: Path) -> None:
    form = SPOKEN[spoken]
    movie = write_movie(tmp_path / "movie.mp4", audio=True, frames=100)
    for source in (PatternSource("cam1", sound=form), ContainerSource(str(movie), form)):
        units, audio = await listen(source, 40)
        await source.close()
        length = form.samples(audio[0].payload)
        assert {form.samples(unit.payload) for unit in audio} == {length}
        # A machine that stalls makes the pattern skip; what is there stays on the count of samples.
        steps = [later.ticks - earlier.ticks for earlier, later in itertools.pairwise(audio)]
        assert all(step >= length for step in steps)
        assert steps.count(length) >= len(steps) - 2
        lead = audio[0].ticks / form.clock_rate - units[0].ticks / 90_000
        assert abs(lead - audio[0].utc + units[0].utc) < 0.1, "ticks and UTC go together in both streams"


@pytest.mark.parametrize("spoken", sorted(SPOKEN))
def test_ticks_jump_over_what_was_not_said(spoken: str) -> None:
    form = SPOKEN[spoken]
    encoder = SoundEncoder(form)
    rate, silence = form.clock_rate, bytes(2 * form.clock_rate)
    before = encoder.feed(silence, 7 * rate)
    after = encoder.feed(silence, 9 * rate)
    length = form.samples(before[0][1])
    assert before[0][0] == 7 * rate
    assert [tick - before[0][0] for tick, _ in before] == [length * number for number in range(len(before))]
    assert after[0][0] - before[-1][0] == rate + length
    assert 9.8 * rate < after[-1][0] + length <= 10 * rate


async def test_a_movies_sound_becomes_pcmu(tmp_path: Path) -> None:
    source = ContainerSource(str(write_movie(tmp_path / "movie.mp4", audio=True, frames=100)))
    source.probe()
    assert source.has_audio
    _, audio = await listen(source, 30)
    await source.close()
    assert audio
    assert {len(unit.payload) for unit in audio} == {160}
    assert [b.ticks - a.ticks for a, b in itertools.pairwise(audio)] == [160] * (len(audio) - 1)


@pytest.mark.parametrize("content", [b"", b"not a movie at all", b"\0" * 4096])
def test_a_file_that_is_no_movie_is_named_in_the_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"broken\.mp4"):
        ContainerSource(str(path)).probe()


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        ContainerSource(str(tmp_path / "nowhere.mp4")).probe()


def test_a_file_without_picture_is_refused(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    with pytest.raises(SourceError, match="no video"):
        ContainerSource(str(tmp_path / "sound.wav")).probe()


def test_an_rtsp_address_may_be_away_at_the_start() -> None:
    source = ContainerSource("rtsp://127.0.0.1:9/none")
    source.probe()
    assert source.parameter_sets == ()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://ann:secret@cam.example/live", "rtsp://cam.example/live"),
        ("rtsp://ann:sec@ret#@cam.example:554/live?x=1", "rtsp://cam.example:554/live?x=1"),
        ("rtsp://secret@[2001:db8::1]/", "rtsp://[2001:db8::1]/"),
        ("rtsp://cam.example/live@1", "rtsp://cam.example/live@1"),
        ("/films/a@b.mp4", "/films/a@b.mp4"),
    ],
)
def test_a_source_is_named_without_its_password(address: str, name: str) -> None:
    assert ContainerSource(address).name == name
    assert address not in repr(SimulateOptions("cam1", "p", Server("x"), "d", source=address))


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
async def test_no_password_is_in_what_is_told_of_a_source(scheme: str, capfd: pytest.CaptureFixture[str]) -> None:
    """By us, by FFmpeg, and in the traceback of the thread."""
    async with deaf_server() as port:
        source = ContainerSource(f"{scheme}://ann:secret@127.0.0.1:{port}/live")
        try:
            await asyncio.to_thread(source.probe)
        except SourceError as error:
            print(error, repr(error.__cause__), error.__suppress_context__)
        seen: list[Unit] = []
        with capture_logs([structlog.processors.format_exc_info]) as logs:
            source.attach(seen.append)
            async with asyncio.timeout(60):
                while not logs:  # noqa: ASYNC110 - written by the thread
                    await asyncio.sleep(0.02)
            await source.close()
    told = str(logs) + "".join(capfd.readouterr())
    assert f"{scheme}://127.0.0.1:{port}/live" in told
    assert "cannot read" in told
    assert "secret" not in told
    assert not seen


@asynccontextmanager
async def deaf_server() -> AsyncIterator[int]:
    """Takes connections and hangs up; its port."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_an_rtsp_camera_passes_through_and_is_found_again_when_it_breaks_off() -> None:
    encoder = Encoder(320, 240, Fraction(25), gop_seconds=0.4)
    sent = [encoder.encode(grey(number), 3600 * number, False) for number in range(60)]
    async with rtsp_camera(sent) as camera:
        source = ContainerSource(camera.address)
        await asyncio.to_thread(source.probe)
        assert parse_sps(source.parameter_sets[0]).width == 320
        assert not source.has_audio
        units, _ = await listen(source, 75)
        await source.close()
        assert camera.sessions >= 2
    everything = [slices(nals) for nals in sent]
    received = [slices(unit.nals) for unit in units]
    assert all(nals in everything for nals in received)
    assert received[:40] == everything[everything.index(received[0]) :][:40]
    ticks = [unit.ticks for unit in units]
    assert [b - a for a, b in itertools.pairwise(ticks[:40])] == pytest.approx([3600] * 39, abs=2)
    assert ticks == sorted(ticks)


async def test_a_source_that_failed_is_tried_by_the_next_call(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "movie.mp4")
    source = ContainerSource(str(path))
    hidden = path.rename(tmp_path / "away.mp4")
    seen: list[Unit] = []
    source.attach(seen.append)
    await asyncio.sleep(0.2)
    assert not seen
    hidden.rename(path)
    units, _ = await listen(source, 5)
    assert len(units) == 5
    assert seen
    await source.close()
