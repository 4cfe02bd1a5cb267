"""AAC in ADTS: what an encoder wrote, in any cut, and what is none."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp import adts
from soip.rtp.aac import RATES
from soip.rtp.errors import RtpBuildError
from tests.mp4.material import audio


def header(size: int, *, rate: int = 11, channels: int = 1, crc: bool = False, blocks: int = 0) -> bytes:
    """Of a frame with so many bytes behind its header."""
    whole = size + (9 if crc else 7)
    bits = f"{0xFFF:012b}0000{0 if crc else 1}"[:15] + f"{int(not crc)}01{rate:04b}0{channels:03b}0000"
    bits += f"{whole:013b}{0x7FF:011b}{blocks:02b}"
    return int(bits, 2).to_bytes(7, "big") + (b"\x12\x34" if crc else b"")


def frame(content: bytes, *, rate: int = 11, crc: bool = False) -> bytes:
    return header(len(content), rate=rate, crc=crc) + content


@given(st.integers(0, 1 << 32), st.booleans())
def test_frames_come_out_in_any_cut(seed: int, crc: bool) -> None:
    random = Random(seed)
    contents = [random.randbytes(random.randint(1, 300)) for _ in range(8)]
    stream = b"".join(frame(content, crc=crc) for content in contents)
    reader, read, at = adts.Reader(), list[adts.Frame](), 0
    while at < len(stream):
        size = random.choice((1, 3, 50, 500))
        read += reader.read(stream[at : at + size], 0)
        at += size
    assert [one.payload for one in read] == contents
    assert {one.config for one in read} == {b"\x15\x88"}


def test_frames_follow_each_other_in_time() -> None:
    reader = adts.Reader()
    first = reader.read(frame(b"one", rate=3) + frame(b"two", rate=3) + frame(b"three", rate=3)[:5], 9000)
    second = reader.read(frame(b"three", rate=3)[5:] + frame(b"four", rate=3), 50_000)
    step = 1024 * 90_000 // 48_000
    assert [one.ticks for one in first] == [9000, 9000 + step]
    assert [(one.payload, one.ticks) for one in second] == [(b"three", 9000 + 2 * step), (b"four", 50_000)]


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\xff",
        header(5, rate=13),
        header(5, channels=0),
        header(5, blocks=1),
        header(0),
        b"\xff\xf7" + header(5)[2:],
    ],
)
def test_what_is_no_frame_is_passed_over(broken: bytes) -> None:
    assert not adts.begins(broken)
    (one,) = adts.Reader().read(broken + frame(b"whole"), 5)
    assert (one.payload, one.ticks) == (b"whole", 5)


def test_a_frame_is_told_from_g711_that_looks_like_one() -> None:
    assert adts.begins(frame(b"abc"))
    assert adts.begins(frame(b"abc") + frame(b"def"))
    assert not adts.begins(frame(b"abc") + b"\xd5\xd5")


def test_after_a_hole_the_rest_of_a_frame_is_forgotten() -> None:
    reader = adts.Reader()
    assert not reader.read(frame(b"never whole")[:9], 0)
    reader.restart()
    assert [one.payload for one in reader.read(frame(b"next"), 0)] == [b"next"]


def test_the_configuration_is_that_of_a_real_encoder() -> None:
    track, frames = audio(1)
    stream = b"".join(frame(one, rate=8) for one in frames)
    read = adts.Reader().read(stream, 0)
    assert [one.payload for one in read] == frames
    assert read[0].config in track.entry


@given(st.binary(min_size=1, max_size=500), st.sampled_from(RATES), st.integers(1, 7))
def test_what_was_written_is_read(content: bytes, rate: int, channels: int) -> None:
    config = (2 << 11 | RATES.index(rate) << 7 | channels << 3).to_bytes(2, "big")
    (one,) = adts.Reader().read(adts.header(config, len(content)) + content, 7)
    assert (one.payload, one.ticks, one.config) == (content, 7, config)


def test_a_frame_that_is_too_long_cannot_be_written() -> None:
    assert adts.header(b"\x15\x88", 8184)
    with pytest.raises(RtpBuildError):
        adts.header(b"\x15\x88", 8185)
