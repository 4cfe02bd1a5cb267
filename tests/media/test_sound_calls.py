"""A camera that speaks AAC or Opus: recorded as it came, heard so by who can and as G.711 by phones, live and later."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import av
import pytest

from soip.rtp.sound import OPUS, PCMU, SoundFormat
from tests.media.house import House, until
from tests.media.peers import Camera, Viewer
from tests.media.sounds import AAC, PITCH, decode, pitch, tone
from tests.media.test_calls import clock

shared = pytest.mark.asyncio(loop_scope="module")


async def speaking(home: House, name: str, form: SoundFormat) -> None:
    tone(form)  # encoded now: it would hold up the camera's first pictures
    await home.add_camera(name, audio=True)
    await Camera.make(home, name, sound=True, speaks=form)
    await home.until_state("recording", name)


@shared
@pytest.mark.parametrize(("form", "codec"), [(AAC, "mp4a.40.2"), (OPUS, "opus")])
async def test_it_is_recorded_as_it_came(home: House, name: str, form: SoundFormat, codec: str) -> None:
    await speaking(home, name, form)
    await home.recorded(2.0, name)
    row = (await home.recordings(name))[0]
    assert json.loads(row.tracks)[1] == codec
    sent = set(tone(form))
    with av.open(str(Path(row.root, row.path))) as container:
        (stream,) = container.streams.audio
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    assert len(packets) > 20
    assert set(packets) <= sent


@shared
@pytest.mark.parametrize("form", [AAC, OPUS])
async def test_who_knows_the_codec_hears_what_the_camera_sent(home: House, name: str, form: SoundFormat) -> None:
    await speaking(home, name, form)
    viewer = await (await Viewer.make(home)).dial(name, audio=True, hears=("PCMU", form.encoding))
    await until(lambda: len(viewer.sound) >= 20, True)
    assert viewer.agreement.audio is not None
    assert viewer.agreement.audio.encoding == form.encoding, "what need not be made is preferred to what is first"
    assert {frame.payload for frame in viewer.sound} <= set(tone(form))
    steps = {later.timestamp - earlier.timestamp for earlier, later in itertools.pairwise(viewer.sound)}
    assert steps == {form.samples(tone(form)[0])}


@shared
@pytest.mark.parametrize("form", [AAC, OPUS])
@pytest.mark.parametrize("encoding", ["PCMU", "PCMA"])
async def test_a_phone_hears_it_as_g711(home: House, name: str, form: SoundFormat, encoding: str) -> None:
    await speaking(home, name, form)
    phone = await (await Viewer.make(home)).dial(name, audio=True, hears=(encoding,))
    await until(lambda: len(phone.sound) >= 60, True)
    payloads = [frame.payload for frame in phone.sound]
    assert {len(payload) for payload in payloads} == {160}
    assert pitch(decode(SoundFormat(encoding), payloads)[1600:]) == pytest.approx(PITCH, rel=0.1)


@shared
@pytest.mark.parametrize("form", [AAC, OPUS])
async def test_what_was_recorded_is_heard_later_in_either_way(home: House, name: str, form: SoundFormat) -> None:
    await speaking(home, name, form)
    await home.recorded(3.0, name)
    row = (await home.recordings(name))[0]
    dialled = f"{name};start={clock(row.start_us)};stop={clock(row.start_us + 2_500_000)}"
    native = await (await Viewer.make(home)).dial(dialled, audio=True, hears=(form.encoding,))
    phone = await (await Viewer.make(home, "bob")).dial(dialled, audio=True)
    assert "end of the recording" in await native.ended()
    assert "end of the recording" in await phone.ended()
    length = form.samples(tone(form)[0])
    assert {frame.payload for frame in native.sound} <= set(tone(form))
    assert len(native.sound) * length / form.clock_rate == pytest.approx(2.5, abs=0.7)
    assert {later.timestamp - earlier.timestamp for earlier, later in itertools.pairwise(native.sound)} == {length}
    payloads = [frame.payload for frame in phone.sound]
    assert len(payloads) / 50 == pytest.approx(2.5, abs=0.7)
    assert pitch(decode(PCMU, payloads)[1600:]) == pytest.approx(PITCH, rel=0.1)
    assert len(native.pictures) > 40


@shared
async def test_a_recording_of_g711_is_heard_by_phones_and_by_those_without_a_screen(home: House, name: str) -> None:
    await speaking(home, name, PCMU)
    await home.recorded(3.0, name)
    row = (await home.recordings(name))[0]
    dialled = f"{name};start={clock(row.start_us)};stop={clock(row.start_us + 2_000_000)}"
    phone = await (await Viewer.make(home)).dial(dialled, audio=True)
    ears = await (await Viewer.make(home, "bob")).dial(dialled, audio=True, video=False)
    await phone.ended()
    await ears.ended()
    for viewer in (phone, ears):
        assert len(viewer.sound) / 50 == pytest.approx(2.0, abs=0.7)
    assert not ears.pictures
    assert len(phone.pictures) > 30
