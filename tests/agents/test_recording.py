"""Access units into files: where a file begins, how long a picture lasts, what loss and sound do."""

from __future__ import annotations

import itertools
from array import array
from fractions import Fraction
from pathlib import Path

import av
import pytest

from soip.agents.aac import AacEncoder
from soip.agents.encoder import Encoder
from soip.agents.recording import Recording
from soip.rtp import g711
from soip.rtp.h264 import H264
from soip.rtp.nal import AccessUnit
from soip.rtp.receiver import AudioFrame
from soip.rtp.sound import OPUS, PCMU, SoundFormat
from tests.agents.media import grey
from tests.media.sounds import AAC, tone

TICKS = 1 << 32


def units(count: int, *, gop: float = 0.4, every: int = 3600) -> list[AccessUnit]:
    """A stream at 25 pictures a second, a keyframe every ten."""
    encoder = Encoder(320, 240, Fraction(25), gop_seconds=gop)
    made = []
    for number in range(count):
        nals = list(encoder.encode(grey(number), number * every, False))
        made.append(
            AccessUnit.of(list(nals), TICKS + number * every, H264.is_keyframe(nals), 100 + number * every / 90_000)
        )
    return made


def times(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame.pts or 0 for frame in container.decode(video=0)]


def record(path: Path, stream: list[AccessUnit], sets: list[bytes] | None = None) -> Recording:
    recording = Recording(path, sets or [])
    for unit in stream:
        recording.video(unit)
    recording.close()
    return recording


def test_a_file_begins_with_a_keyframe_and_time_zero(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recording = record(path, units(25)[4:])
    assert times(path) == [3600 * number for number in range(15)]
    assert (recording.frames, recording.keyframes) == (15, 2)
    assert recording.seconds == pytest.approx(14 / 25)
    assert recording.bytes == path.stat().st_size


def test_without_parameter_sets_there_is_no_file_until_the_description_has_them(tmp_path: Path) -> None:
    stream = units(12)
    sps, pps = H264.find_sets(stream[0].nals)
    for unit in stream:
        unit.hold([nal for nal in unit.nals if nal[0] & 31 not in (7, 8)])
    assert record(tmp_path / "none.mp4", stream).paths == []
    assert record(tmp_path / "out.mp4", stream, [*sps, *pps]).paths == [tmp_path / "out.mp4"]
    assert len(times(tmp_path / "out.mp4")) == 12
    broken = [b"\x67\x42", *pps]
    assert record(tmp_path / "none.mp4", stream, broken).paths == []


def test_a_lost_picture_lengthens_the_one_before(tmp_path: Path) -> None:
    stream = units(20)
    del stream[5]
    record(tmp_path / "out.mp4", stream)
    assert times(tmp_path / "out.mp4")[:8] == [3600 * number for number in (0, 1, 2, 3, 4, 6, 7, 8)]


def test_fragments_are_on_disk_before_the_end(tmp_path: Path) -> None:
    """A killed player leaves what it had finished: long GOPs are cut after two seconds, short ones at keyframes."""
    path = tmp_path / "out.mp4"
    recording = Recording(path)
    for unit in units(70, gop=60):
        recording.video(unit)
    cut = tmp_path / "killed.mp4"
    cut.write_bytes(path.read_bytes())
    recording.close()
    assert len(times(cut)) == 50
    assert len(times(path)) == 70


def test_sound_stays_beside_the_picture_and_loss_becomes_silence(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recording = Recording(path, sound=PCMU)
    loud = b"\x00" * 160  # the most negative μ-law value
    packet = 0
    for unit in units(50):
        recording.video(unit)
        while packet * 0.02 <= unit.arrival - 100:
            if not 40 <= packet < 60:
                recording.sound(AudioFrame(loud, TICKS + 160 * packet, 100 + packet * 0.02, 0))
            packet += 1
    recording.close()
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert sum(frame.samples for frame in frames) == pytest.approx(16_000, abs=1024)
    assert (frames[0].pts or 0) < 1200
    assert all(later.pts == (earlier.pts or 0) + 1024 for earlier, later in itertools.pairwise(frames))


def test_a_click_is_heard_when_it_is_seen(tmp_path: Path) -> None:
    """The AAC encoder's delay is taken out: what sounded 1.5 s after the first picture sounds there in the file."""
    recording = Recording(tmp_path / "out.mp4", sound=PCMU)
    stream = units(75)
    recording.video(stream[0])
    for packet in range(150):
        payload = (b"\x80\x80\x80\x80\x00\x00\x00\x00" if packet >= 75 else b"\xff" * 8) * 20
        recording.sound(AudioFrame(payload, TICKS + 160 * packet, 100 + packet * 0.02, 0))
    for unit in stream[1:]:
        recording.video(unit)
    recording.close()
    samples = array("f")
    with av.open(str(tmp_path / "out.mp4")) as container:
        for frame in container.decode(audio=0):
            samples.frombytes(bytes(frame.planes[0])[: 4 * frame.samples])
    onset = next(index for index, sample in enumerate(samples) if abs(sample) > 0.3)
    assert onset / 8000 == pytest.approx(1.5, abs=0.03)


def test_a_jump_of_the_sounds_clock_is_not_filled(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "out.mp4", sound=PCMU)
    stream = units(20)
    for number, unit in enumerate(stream):
        recording.video(unit)
        jump = 0 if number < 10 else 1 << 30
        recording.sound(AudioFrame(b"\xff" * 320, TICKS + 320 * number + jump, unit.arrival, 0))
    recording.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) <= 20 * 320 + 1024


def test_sound_before_the_first_picture_is_passed_over(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "out.mp4", sound=PCMU)
    recording.sound(AudioFrame(b"\xff" * 160, TICKS, 1.0, 0))
    recording.close()
    assert recording.paths == []


@pytest.mark.parametrize("form", [AAC, OPUS])
def test_aac_and_opus_are_kept_in_their_place(form: SoundFormat, tmp_path: Path) -> None:
    """What was lost is a hole, and a jump of the peer's clock is none."""
    recording = Recording(tmp_path / "out.mp4", sound=form)
    frames = tone(form)
    length = form.samples(frames[0])
    stream = units(75)
    recording.video(stream[0])
    for number in range(3 * form.clock_rate // length):
        at = number * length / form.clock_rate
        jump = 0 if at < 2 else 1 << 40
        if not 1.0 <= at < 1.5:
            recording.sound(AudioFrame(frames[number % len(frames)], TICKS + number * length + jump, 100 + at, 0))
    for unit in stream[1:]:
        recording.video(unit)
    recording.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
    starts = [float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None]
    steps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    step = length / form.clock_rate
    assert 0.5 - step <= max(steps) <= 0.5 + 2 * step
    assert sum(one > 1.01 * step for one in steps) == 1
    assert {bytes(packet) for packet in packets} <= set(frames)


@pytest.mark.parametrize("payload_type", [g711.PCMU, g711.PCMA])
def test_aac_frames_come_of_g711(payload_type: int) -> None:
    encoder = AacEncoder()
    assert encoder.config[0] >> 3 == 2  # AAC-LC (ISO/IEC 14496-3 table 1.17)
    frames = [frame for _ in range(100) for frame in encoder.encode(b"\x55" * 160, payload_type)]
    frames += encoder.finish()
    assert len(frames) == 1 + -(-16_000 // 1024)  # one more than its samples fill: the encoder's delay
