"""What the writer writes, read by a walker that knows only the standard."""

from __future__ import annotations

import struct
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.mp4.boxes import box
from soip.mp4.errors import BoxError
from soip.mp4.reader import parse_init
from soip.mp4.times import ntp_of, utc_of
from soip.mp4.tracks import audio_config, audio_track, mime, opus_track, video_track
from soip.mp4.writer import Edit, Head, fragment, init_segment
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, Frame, audio, run_of, video

SPS = bytes.fromhex("6742c01edd8050051e84")
TRACK = video_track("H264", [[SPS], [bytes.fromhex("68ce3c80")]], 1280, 720)
SOUND = audio_track(bytes.fromhex("1408"), 16_000, 1)
HEAD = Head("cam-1", EPOCH_US, 161_565_763_691_111, trigger="plan", server="m1")

sample_strategy = st.builds(
    Frame,
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4),
    st.integers(0, 1 << 24),
    st.one_of(st.just(0), st.integers(-(1 << 24), 1 << 24)),
    st.booleans(),
    st.booleans(),
)
run_strategy = st.lists(sample_strategy, min_size=1, max_size=20)


@given(run_strategy, st.one_of(st.none(), run_strategy), st.integers(1 << 24, 1 << 62), st.integers(1, (1 << 32) - 1))
def test_a_fragment_holds_what_it_was_given(
    video_samples: list[Frame], audio_samples: list[Frame] | None, start: int, sequence: int
) -> None:
    runs = [run_of(1, start, video_samples)] + ([run_of(2, start // 7, audio_samples)] if audio_samples else [])
    data = init_segment([TRACK, SOUND]) + fragment(sequence, runs, EPOCH_US)
    # The live init segment has no mehd, the walker's reading of one is not asked for.
    movie = walker.read(data)
    for run, frames in zip(runs, (video_samples, audio_samples or []), strict=False):
        time = run.decode_time
        got = movie.of(run.track_id)
        assert len(got) == len(run.samples)
        for sample, found in zip(frames, got, strict=True):
            assert found.data == sample.data
            assert (found.dts, found.cts, found.duration) == (time, sample.composition_offset, sample.duration)
            assert (found.sync, found.damaged) == (sample.sync, sample.damaged)
            time += sample.duration
    shown = start + video_samples[0].composition_offset
    assert movie.utc == [(ntp_of(EPOCH_US), shown)]


@given(st.integers(0, 4_000_000_000_000_000))
def test_utc_survives_ntp(utc_us: int) -> None:
    assert utc_of(ntp_of(utc_us)) == utc_us


def test_ntp_turns_over_in_2036() -> None:
    turn_us = 2_085_978_496_000_000  # 7 February 2036, 06:28:16
    assert ntp_of(turn_us) == 0
    assert utc_of(0) == turn_us
    assert ntp_of(0) == 2_208_988_800 << 32


def test_a_file_begins_with_head_and_room_for_its_index() -> None:
    front = init_segment([TRACK, SOUND], head=HEAD, reserve=8192, edits={1: Edit(7200)})
    nodes = walker.tree(front)
    assert [node.kind for node in nodes] == ["ftyp", "moov", "uuid", "free"]
    assert nodes[3].size == 8192
    assert nodes[3].offset % 8 == 0, "what sealing flips lies in one sector"
    assert b'"camera":"cam-1"' in nodes[2].body
    elst = nodes[1].inner[1].one("edts/elst")
    assert (elst.number(8, 8), elst.number(16, 8), elst.number(24, 2), elst.number(26, 2)) == (0, 7200, 1, 0)
    assert not nodes[1].inner[2].all("edts")
    assert nodes[1].one("mvex").inner[0].kind == "mehd"


def test_a_live_stream_has_neither_duration_nor_edits() -> None:
    nodes = walker.tree(init_segment([TRACK]))
    assert [node.kind for node in nodes] == ["ftyp", "moov"]
    assert [node.kind for node in nodes[1].one("mvex").inner] == ["trex"]
    assert not nodes[1].one("trak").all("edts")


def test_the_flags_browsers_look_for() -> None:
    samples = [Frame([b"a"], 3600), Frame([b"b"], 3600, sync=False)]
    moof = next(node for node in walker.tree(fragment(7, [run_of(1, 5, samples)], EPOCH_US)) if node.kind == "moof")
    traf = moof.one("traf")
    assert (traf.one("tfhd").flags, traf.one("tfdt").version) == (0x020000, 1)
    assert (traf.one("trun").version, traf.one("trun").flags) == (1, 0x701)
    assert [traf.one("trun").number(12 + 12 * n + 8) for n in range(2)] == [0x0200_0000, 0x0101_0000]
    single = walker.tree(fragment(7, [run_of(1, 5, samples[:1])], EPOCH_US))[1].one("traf")
    assert (single.one("tfhd").flags, single.one("tfhd").number(8)) == (0x020020, 0x0200_0000)
    assert single.one("trun").flags == 0x301


def test_the_video_entry_is_an_avc_configuration() -> None:
    entry = TRACK.entry
    assert (entry[4:8], struct.unpack_from(">HH", entry, 32)) == (b"avc1", (1280, 720))
    avcc = walker.tree(entry[86:])[0]
    assert (avcc.kind, avcc.body[:6]) == ("avcC", b"\x01\x42\xc0\x1e\xff\xe1")
    assert avcc.body[6:] == len(SPS).to_bytes(2, "big") + SPS + b"\x01\x00\x04\x68\xce\x3c\x80"
    assert (TRACK.codec, SOUND.codec) == ("avc1.42C01E", "mp4a.40.2")
    assert mime([TRACK, SOUND]) == 'video/mp4; codecs="avc1.42C01E,mp4a.40.2"'


def test_high_profile_tells_chroma_and_depth() -> None:
    high = video(bframes=2).track
    avcc = walker.tree(high.entry[86:])[0]
    assert avcc.body[1] == 100
    assert avcc.body[-4:] == b"\xfd\xf8\xf8\x00", "4:2:0, 8 bits, no extension"


def test_real_aac_has_a_configuration_ffmpeg_made() -> None:
    track, frames = audio()
    assert track.timescale == 16_000
    assert frames
    esds = walker.tree(track.entry[36:])[0]
    assert esds.kind == "esds"
    assert esds.body[24] == 5


@pytest.mark.parametrize(
    ("sps", "pps", "size"),
    [([], [b"abcd"], (1, 1)), ([b"gB"], [b"abcd"], (1, 1)), ([SPS], [], (1, 1)), ([SPS], [b"abcd"], (0, 1))],
)
def test_no_track_without_parameter_sets_and_size(sps: list[bytes], pps: list[bytes], size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"parameter sets|no such picture"):
        video_track("H264", [sps, pps], *size)


def test_cut_high_profile_parameter_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="parameter set"):
        video_track("H264", [[b"\x67\x64\x00\x1e\x00\x00"], [b"abcd"]], 320, 240)


def test_no_sound_without_configuration() -> None:
    for config, rate, channels in ((b"\x14", 16_000, 1), (b"\x14\x08", 0, 1), (b"\x14\x08", 8000, 0)):
        with pytest.raises(ValueError, match="AudioSpecificConfig"):
            audio_track(config, rate, channels)


def test_the_head_box_is_bounded() -> None:
    with pytest.raises(ValueError, match="head box"):
        init_segment([TRACK], head=Head("x" * 9000, 0, 0))


def test_building_costs_about_a_microsecond_a_frame() -> None:
    samples = [Frame((b"\0\0\x10\0", bytes(200)), 3600, 0, number == 0) for number in range(50)]
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for sequence in range(20):
            fragment(sequence, [run_of(1, 0, samples)], EPOCH_US)
        best = min(best, (time.perf_counter() - began) / 1000)
    assert best < 5e-6, f"{best * 1e6:.2f} µs a frame"


def test_the_opus_entry_is_that_of_the_encapsulation() -> None:
    track = opus_track()
    assert (track.timescale, track.codec, track.handler) == (48_000, "opus", "soun")
    assert mime([TRACK, track]) == 'video/mp4; codecs="avc1.42C01E,opus"'
    entry = track.entry
    assert (entry[4:8], struct.unpack_from(">HHHHI", entry, 24)) == (b"Opus", (2, 16, 0, 0, 48_000 << 16))
    (dops,) = walker.tree(entry[36:])
    assert dops.kind == "dOps"
    # §4.3.2: version, channels, PreSkip, InputSampleRate, OutputGain, ChannelMappingFamily
    assert struct.unpack(">BBHIhB", dops.body) == (0, 2, 0, 48_000, 0, 0)
    with pytest.raises(ValueError, match="channels"):
        opus_track(3)


@pytest.mark.parametrize("config", ["1408", "1190", "2b11880000", "11" * 64])
def test_the_configuration_of_aac_is_kept_and_read_back(config: str) -> None:
    data = bytes.fromhex(config)
    track = audio_track(data, 16_000, 1)
    assert audio_config(track) == data
    movie = init_segment([TRACK, track], head=HEAD, reserve=200) + b"\0\0\0\x08free"
    assert parse_init(movie).tracks == (TRACK, track)


def test_only_aac_has_a_configuration_of_aac() -> None:
    for track in (opus_track(), TRACK, replace(SOUND, entry=box(b"mp4a", bytes(28), box(b"esds", bytes(20))))):
        with pytest.raises(BoxError):
            audio_config(track)


def test_tracks_of_opus_come_back() -> None:
    head = replace(HEAD, camera_offset_us=-7_000_000)
    movie = init_segment([TRACK, opus_track(1)], head=head, reserve=200) + b"\0\0\0\x08free"
    init = parse_init(movie)
    assert init.tracks == (TRACK, opus_track(1))
    assert init.head == head


@pytest.mark.parametrize("offset", ["1", "true", "1e99", "9223372036854775808"])
def test_a_camera_offset_that_is_none_is_refused(offset: str) -> None:
    head = replace(HEAD, camera_offset_us=7_777)
    movie = init_segment([TRACK], head=head, reserve=200) + b"\0\0\0\x08free"
    told = b'"camera_offset_us":7777}'
    wrong = f'"camera_offset_us":{offset if offset != "1" else chr(34) + "1" + chr(34)}}}'.encode()
    grown = movie.replace(told, wrong)
    at = grown.index(b"uuid") - 4
    size = int.from_bytes(grown[at : at + 4], "big") + len(wrong) - len(told)
    with pytest.raises(BoxError, match="no such time"):
        parse_init(grown[:at] + size.to_bytes(4, "big") + grown[at + 4 :])
