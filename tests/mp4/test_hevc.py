"""H.265 in MP4: the configuration record, the codec's name, and whole files, held against a walker of our own."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import av
import pytest
from av.container import InputContainer
from hypothesis import given
from hypothesis import strategies as st

from soip.mp4 import hevc
from soip.mp4.errors import BoxError
from soip.mp4.reader import parse_fragment, parse_init, samples, split_nals
from soip.mp4.repair import walk
from soip.mp4.tracks import Track, mime, video_track
from soip.mp4.writer import Edit, Head, fragment, init_segment
from tests.mp4 import walker
from tests.mp4.files import reader
from tests.mp4.material import EPOCH_US, Video, video

HEAD = Head("cam1", EPOCH_US, 0)


@cache
def film(bframes: int = 0) -> Video:
    return video(50, bframes=bframes, encoding="H265")


def groups(material: Video) -> list[list[bytes]]:
    return [[next(nal for nal in material.frames[0] if nal[0] >> 1 == kind)] for kind in (32, 33, 34)]


def file_of(material: Video) -> bytes:
    delay = material.offsets[0]
    front = init_segment([material.track], head=HEAD, reserve=1000, edits={1: Edit(delay)} if delay else None)
    runs = [material.run(first, 25, 0) for first in (0, 25)]
    return front + b"".join(fragment(n, [run], EPOCH_US + n * 1_000_000) for n, run in enumerate(runs, 1))


@pytest.mark.parametrize("bframes", [0, 2])
def test_a_file_is_what_the_standard_says_and_what_ffmpeg_reads(bframes: int) -> None:
    material = film(bframes)
    data = file_of(material)
    movie = walker.read(data)
    assert [sample.sync for sample in movie.samples] == material.keys
    name = walker.codecs(data)[1]
    assert material.track.codec == name
    assert material.track.encoding == "H265"
    assert mime([material.track]) == f'video/mp4; codecs="{name}"'
    with av.open(BytesIO(data)) as container:
        assert isinstance(container, InputContainer)
        stream = container.streams.video[0]
        assert stream.codec_context.name == "hevc"
        assert (stream.codec_context.codec_tag, stream.codec_context.width) == ("hvc1", 320)
        assert len(list(container.decode(stream))) == 50


def test_what_was_written_is_read_again() -> None:
    material = film()
    data = file_of(material)
    init = parse_init(data)
    assert init.tracks == (material.track,)
    found = walk(reader(data), len(data), init)
    assert sum([entry.frames for entry in found.fragments]) == 50
    head = parse_fragment(data, init.first_fragment, len(data))
    first = next(samples(head))
    nals = split_nals(data[init.first_fragment + first.start : init.first_fragment + first.end])
    assert nals == material.frames[0]


@pytest.mark.parametrize(
    ("front", "name"),
    [
        # The examples of ISO/IEC 14496-15 §E.3, and what Main and Main 10 look like in the wild.
        ("01 01 60000000 b00000000000 5d", "hvc1.1.6.L93.B0"),
        ("01 22 20000000 900000000000 99", "hvc1.2.4.H153.90"),
        ("01 41 80000000 000000000000 1e", "hvc1.A1.1.L30"),
        ("01 c4 00000001 9d00a8000000 7b", "hvc1.C4.80000000.L123.9D.0.A8"),
        ("01 01 60000000 900000000000 3f", "hvc1.1.6.L63.90"),
    ],
)
def test_the_name_of_a_codec(front: str, name: str) -> None:
    assert hevc.name(bytes.fromhex(front) + bytes(10)) == name


def test_no_track_without_all_kinds_of_parameter_sets() -> None:
    vps, sps, pps = groups(film())
    for some in ([vps, sps], [vps, [], pps], [vps, [b"\x42\x01"], pps], [vps, sps, pps * 256]):
        with pytest.raises(ValueError, match=r"parameter sets|no such picture"):
            video_track("H265", some, 320, 240)
    with pytest.raises(ValueError, match="no such picture"):
        video_track("H265", [vps, sps, pps], 0, 240)
    for cut in range(3, 18):
        with pytest.raises(ValueError, match="parameter set"):
            video_track("H265", [vps, [sps[0][:cut]], pps], 320, 240)


def test_a_file_of_half_a_configuration_is_refused() -> None:
    track = film().track
    for entry in (b"\0\0\0\x56hvc1" + bytes(78), track.entry[:86] + b"\0\0\0\x0chvcC\1\1\1\1"):
        whole = len(entry).to_bytes(4, "big") + entry[4:]
        front = init_segment([Track(1, "vide", 90_000, "hvc1", whole)], head=HEAD, reserve=100)
        with pytest.raises(BoxError, match=r"hvcC|cut"):
            parse_init(front + bytes(8))


@given(st.binary(min_size=3, max_size=80))
def test_any_sps_gives_a_record_that_holds_or_is_refused(payload: bytes) -> None:
    vps, _, pps = groups(film())
    sps = b"\x42\x01" + payload
    try:
        track = video_track("H265", [vps, [sps], pps], 320, 240)
    except ValueError:
        return
    record = track.entry[track.entry.index(b"hvcC") + 4 :]
    assert record.endswith(len(pps[0]).to_bytes(2, "big") + pps[0])
    assert hevc.name(record) == track.codec
