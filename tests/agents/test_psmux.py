"""The software camera's program stream, read by FFmpeg; and FFmpeg's, read by us."""

from __future__ import annotations

import io
from fractions import Fraction
from random import Random
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.agents.psmux import MAX_PACKET, Muxer, _crc, packets, program_map
from soip.rtp.ps import Demultiplexer
from soip.rtp.sound import PCMA, PCMU, SoundFormat
from tests.mp4.material import FRAME_TICKS, Video, video
from tests.rtp.program import Cut, chance_cut, cut, demultiplex, nals_of, pictures, sounds, unit

BASE = 1 << 33
TONE = bytes(range(0x80, 0xD0)) * 2


def muxed(film: Video, sound: SoundFormat | None = None) -> list[tuple[int, bytes]]:
    """The film's pictures, each with its time and with 40 ms of sound behind it."""
    muxer = Muxer("H264", sound)
    parts = []
    for number, nals in enumerate(film.frames):
        ticks = 90_000 + number * FRAME_TICKS + film.offsets[number]
        parts.append((ticks, muxer.picture(nals, ticks, film.keys[number])))
        if sound:
            at = 90_000 + number * FRAME_TICKS
            parts.append((at, muxer.sound(TONE, at)))
    return parts


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("size", [60, 1400])
def test_what_we_write_we_read(bframes: int, size: int) -> None:
    film = video(60, gop=20, bframes=bframes)
    cuts = [one for ticks, part in muxed(film, PCMU) for one in cut(part, ticks, size)]
    demultiplexer = Demultiplexer()
    ready = demultiplex(cuts, into=demultiplexer)
    assert [nals_of(one) for one in pictures(ready)] == film.frames
    assert [one.keyframe for one in pictures(ready)] == film.keys
    times = [BASE + 90_000 + number * FRAME_TICKS + offset for number, offset in enumerate(film.offsets)]
    assert [one.timestamp for one in pictures(ready)] == times
    assert b"".join(one.payload for one in sounds(ready)) == TONE * 60
    assert {one.encoding for one in sounds(ready)} == {"PCMU"}
    assert demultiplexer.malformed == 0


def read(stream: bytes) -> Any:
    return av.open(io.BytesIO(stream), format="mpeg")


def test_ffmpeg_reads_what_we_write() -> None:
    film = video(60, gop=20)
    stream = b"".join(part for _, part in muxed(film))
    with read(stream) as container:
        (shown,) = container.streams.video
        assert shown.codec_context.name == "h264"
        frames = [(frame.pts, frame.key_frame, frame.width) for frame in container.decode(shown)]
    first = frames[0][0]
    assert frames == [(first + number * FRAME_TICKS, film.keys[number], 320) for number in range(60)]


def test_ffmpeg_hears_what_we_write() -> None:
    film = video(60, gop=20)
    stream = b"".join(part for _, part in muxed(film, PCMA))
    with read(stream) as container:
        (heard,) = container.streams.audio
        assert heard.codec_context.name == "pcm_alaw"
        sound = b"".join(bytes(packet) for packet in container.demux(heard))
    assert sound == TONE * 60


@pytest.mark.parametrize("form", ["vob", "svcd", "dvd"])
@pytest.mark.parametrize("bframes", [0, 2])
def test_we_read_what_ffmpeg_writes(form: str, bframes: int) -> None:
    """Packets of 2 kB that begin anywhere in pictures, no map, a PTS for the first picture of each."""
    film = video(75, gop=25, bframes=bframes, width=640, height=480)
    stream = foreign(film, form)
    random = Random(form)
    for cuts in (cut(stream, 0, 1400), chance_cut(random, stream, 0)):
        ready = pictures(demultiplex([Cut(one.payload, 0, False) for one in cuts]))
        assert [[nal for nal in nals_of(one) if nal[0] & 31 != 9] for one in ready] == [
            [nal for nal in nals if nal[0] & 31 != 9] for nals in film.frames
        ]
        assert [one.keyframe for one in ready] == film.keys
        began = ready[0].timestamp - film.offsets[0]
        times = [began + number * FRAME_TICKS + offset for number, offset in enumerate(film.offsets)]
        told = [one.timestamp for one in ready]
        # Where a second picture begins in a PES packet it has no PTS: then the one before has told the time.
        assert all(told[number] in (times[number], told[number - 1]) for number in range(75))
        assert sum(mine == right for mine, right in zip(told, times, strict=True)) > 15


def foreign(film: Video, form: str) -> bytes:
    """The film as FFmpeg writes a program stream."""
    with av.open(io.BytesIO(elementary(film)), "r", format="h264") as bare, io.BytesIO() as out:
        with av.open(out, "w", format=form) as container:
            stream = container.add_stream_from_template(bare.streams.video[0])
            number = 0
            for packet in bare.demux(bare.streams.video[0]):
                if not packet.size:
                    continue
                packet.stream = stream
                packet.time_base = Fraction(1, 90_000)
                packet.dts = 90_000 + number * FRAME_TICKS
                packet.pts = packet.dts + film.offsets[number]
                container.mux(packet)
                number += 1
        return out.getvalue()


def elementary(film: Video) -> bytes:
    return b"".join(b"\x00\x00\x00\x01" + nal for nals in film.frames for nal in nals)


@given(st.integers(0, 1 << 32), st.integers(0, 7), st.integers(0, (1 << 34) - 1))
def test_any_picture_survives(seed: int, stuffing: int, ticks: int) -> None:
    random = Random(seed)
    nals = unit(random, True, 150_000)
    muxer = Muxer("H264", stuffing=stuffing)
    (one,) = pictures(demultiplex(cut(muxer.picture(nals, ticks, True), 5, 1400)))
    assert nals_of(one) == nals
    assert (one.timestamp - ticks) % BASE == 0


def test_a_large_picture_takes_several_packets_and_one_pts() -> None:
    content = bytes(MAX_PACKET * 2)
    stream = packets(0xE0, content, 900)
    headers, at = [], 0
    while at < len(stream):
        length = int.from_bytes(stream[at + 4 : at + 6], "big")
        headers.append((length, stream[at + 7]))
        at += 6 + length
    # 3 bytes of header in each, 5 of PTS in the first.
    assert headers == [(65_535, 0x80), (65_535, 0), (3 * 3 + 5, 0)]


def test_the_map_has_a_right_sum() -> None:
    assert _crc(program_map([(0x1B, 0xE0), (0x90, 0xC0)])) == 0
