"""AAC over RTP: configurations, packets of several access units, access units of several packets, and nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.aac import (
    HBR,
    LBR,
    MAX_UNITS,
    RATES,
    Depacketiser,
    Mode,
    aggregate,
    build_config,
    format_fmtp,
    packetise,
    parse_config,
    parse_fmtp,
)
from soip.rtp.errors import RtpBuildError, RtpParseError
from soip.rtp.packet import RtpPacket, build
from soip.rtp.receiver import AudioFrame
from soip.rtp.sound import SoundFormat

LC_16K = bytes.fromhex("1408")
FORMAT = SoundFormat.of_aac(LC_16K)
UNITS = st.lists(st.binary(min_size=1, max_size=700), min_size=1, max_size=MAX_UNITS)


def depacketiser(mode: Mode = HBR) -> Depacketiser:
    return Depacketiser(parse_config(LC_16K), mode, 16_000)


# -- configuration


@pytest.mark.parametrize(
    ("text", "kind", "rate", "channels", "samples"),
    [
        ("1408", 2, 16_000, 1, 1024),  # most cameras
        ("1588", 2, 8_000, 1, 1024),
        ("1190", 2, 48_000, 2, 1024),
        ("1210", 2, 44_100, 2, 1024),
        ("140c", 2, 16_000, 1, 960),  # frameLengthFlag
        ("2b11880000", 5, 24_000, 2, 1024),  # HE-AAC: the core at half the rate
        ("eb8a0800", 29, 22_050, 1, 1024),  # HE-AAC v2: one channel carries two
        ("17801f4008", 2, 16_000, 1, 1024),  # the rate in 24 bits
    ],
)
def test_configurations_of_real_encoders(text: str, kind: int, rate: int, channels: int, samples: int) -> None:
    config = parse_config(bytes.fromhex(text))
    found = (config.object_type, config.sample_rate, config.channels, config.frame_samples)
    assert found == (kind, rate, channels, samples)
    assert config.config.hex() == text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut off"),
        (b"\x14", "cut off"),
        (bytes(65), "65 bytes"),
        (bytes.fromhex("fc08"), "object type 31"),  # the escape to xHE-AAC and ELD
        (bytes.fromhex("bc08"), "object type 23"),  # LD has other frames
        (bytes.fromhex("1400"), "channel configuration 0"),
        (bytes.fromhex("1448"), "channel configuration 9"),
        (bytes.fromhex("1708"), "frequency index 14"),
        (bytes.fromhex("1008"), "frequency 96000"),
        (bytes.fromhex("17800000087f"), "frequency 0"),
    ],
)
def test_configurations_that_are_none_of_ours(data: bytes, words: str) -> None:
    with pytest.raises(RtpParseError, match=words):
        parse_config(data)


@given(st.sampled_from([rate for rate in RATES if rate <= 64_000]), st.sampled_from([1, 2, 3, 4, 5, 6, 8]))
def test_a_configuration_that_was_built_is_read(rate: int, channels: int) -> None:
    config = parse_config(build_config(rate, channels))
    assert (config.object_type, config.sample_rate, config.channels) == (2, rate, channels)


@pytest.mark.parametrize(("rate", "channels"), [(16_001, 1), (16_000, 0), (16_000, 7)])
def test_what_no_configuration_can_say_is_not_built(rate: int, channels: int) -> None:
    with pytest.raises(RtpBuildError):
        build_config(rate, channels)


def test_format_parameters_are_read_back_and_lengths_may_be_missing() -> None:
    params = dict(part.split("=") for part in format_fmtp(LC_16K).split(";"))
    assert parse_fmtp(params) == (parse_config(LC_16K), HBR)
    assert parse_fmtp({"mode": "aac-lbr", "config": "1408"})[1] == LBR
    assert parse_fmtp({"config": "1408", "sizelength": "6"})[1] == Mode("AAC-hbr", 6, 3, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"config": ""},
        {"config": "14zz"},
        {"config": "14" * 65},
        {"mode": "CELP-cbr"},
        {"sizelength": "14"},
        {"sizelength": "0"},
        {"indexlength": "-1"},
        {"indexdeltalength": "³"},
        {"ctsdeltalength": "8"},
        {"auxiliarydatasizelength": "2"},
    ],
)
def test_format_parameters_that_cannot_be_taken(change: dict[str, str]) -> None:
    with pytest.raises(RtpParseError):
        parse_fmtp({"mode": "AAC-hbr", "config": "1408"} | change)


# -- payloads


def test_the_payload_of_the_standard() -> None:
    """RFC 3640 §3.2.1: 16 bits of headers, 13 of size, 3 of index."""
    assert packetise(b"\xaa" * 5, 1400) == [bytes.fromhex("0010 0028 aaaaaaaaaa")]
    assert aggregate([b"\1", b"\2\2"]) == bytes.fromhex("0020 0008 0010 01 0202")
    assert aggregate([b"\1", b"\2\2", b"\3"], LBR) == bytes.fromhex("0018 04 08 04 01 0202 03")


@given(UNITS)
def test_units_that_share_a_packet_come_out_of_it(units: list[bytes]) -> None:
    stream = depacketiser()
    assert stream.unpack(aggregate(units), 0, 1, 0) == units
    assert stream.malformed == 0


@given(st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=MAX_UNITS))
def test_units_of_low_bit_rate_come_out(units: list[bytes]) -> None:
    assert depacketiser(LBR).unpack(aggregate(units, LBR), 0, 1, 0) == units


@given(st.lists(st.binary(min_size=1, max_size=4000), min_size=1, max_size=4), st.integers(10, 900))
def test_units_over_several_packets_come_out_whole(units: list[bytes], limit: int) -> None:
    stream = depacketiser()
    out: list[bytes] = []
    for number, unit in enumerate(units):
        payloads = packetise(unit, limit)
        assert all(len(payload) <= limit for payload in payloads)
        for payload in payloads:
            out += stream.unpack(payload, number * 1024, payload is payloads[-1], 0)
    assert out == units
    assert stream.malformed == 0


@given(st.binary(min_size=200, max_size=2000), st.data())
def test_a_unit_of_which_a_part_is_lost_is_dropped_and_the_next_is_whole(unit: bytes, data: st.DataObject) -> None:
    payloads = packetise(unit, 60)
    missing = data.draw(st.integers(0, len(payloads) - 1))
    stream = depacketiser()
    out: list[bytes] = []
    for number, payload in enumerate(payloads):
        if number != missing:
            out += stream.unpack(payload, 0, number == len(payloads) - 1, int(number == missing + 1))
    out += stream.unpack(packetise(b"next", 60)[0], 1024, 1, int(missing == len(payloads) - 1))
    assert out == [b"next"]
    assert stream.malformed >= 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\0\x10",
        b"\0\x10\0\x28",  # headers alone
        b"\0\0\xaa",  # no header at all
        b"\0\x0f\0\x28\xaa",  # a header that is cut off
        b"\0\x10\0\0\xaa",  # a unit of no bytes
        b"\0\x20\0\x08\0\x11\x01\x02\x02",  # interleaved
        b"\0\x20\0\x08\0\x18\x01\x02",  # two units in too few bytes
        b"\xff\xff" + bytes(100),
    ],
)
def test_nonsense_is_counted_and_the_stream_goes_on(payload: bytes) -> None:
    stream = depacketiser()
    assert stream.unpack(payload, 0, 1, 0) == []
    assert stream.malformed == 1
    assert stream.unpack(aggregate([b"good"]), 1024, 1, 0) == [b"good"]


def test_what_does_not_fit_is_not_built() -> None:
    for units in ([], [b""], [b"x"] * (MAX_UNITS + 1), [bytes(8192)]):
        with pytest.raises(RtpBuildError):
            aggregate(units)
    with pytest.raises(RtpBuildError):
        packetise(bytes(63), 40, LBR)  # §3.3.5: AAC-lbr has no fragments
    with pytest.raises(RtpBuildError):
        packetise(b"x", 4)


# -- through the receiver


def receive(payloads: list[tuple[bytes, int]], form: SoundFormat = FORMAT) -> list[AudioFrame]:
    receiver = form.receiver(97)
    frames: list[AudioFrame] = []
    for number, (payload, ticks) in enumerate(payloads):
        frames += receiver.receive(build(RtpPacket(97, True, number, ticks, 7, payload)), number / 10)
    return frames


def test_units_of_one_packet_are_a_frame_apart_and_only_the_first_tells_of_loss() -> None:
    receiver = FORMAT.receiver(97)
    receiver.receive(build(RtpPacket(97, True, 0, 5000, 7, aggregate([b"a"]))), 0.0)
    assert receiver.ticks == (1 << 32) + 5000
    late = [build(RtpPacket(97, True, number, 9096, 7, aggregate([b"b", b"c"]))) for number in range(4, 300)]
    frames = [frame for datagram in late for frame in receiver.receive(datagram, 2.0)]
    assert [frame.payload for frame in frames[:2]] == [b"b", b"c"]
    assert [frame.timestamp - (1 << 32) for frame in frames[:2]] == [9096, 9096 + 1024]
    assert [frame.lost for frame in frames[:2]] == [3, 0]


def test_a_clock_other_than_the_cores_is_counted_in() -> None:
    """HE-AAC: the clock runs at the rate that is heard, a frame of the core lasts twice as many ticks."""
    form = SoundFormat.of("MPEG4-GENERIC", 48_000, 2, {"config": "2b11880000"})
    frames = receive([(aggregate([b"a", b"b"]), 0)], form)
    assert frames[1].timestamp - frames[0].timestamp == 2048
    assert form.samples(b"") == 2048


def test_a_broken_payload_is_a_number_of_the_receiver() -> None:
    receiver = FORMAT.receiver(97)
    assert receiver.receive(build(RtpPacket(97, True, 0, 0, 7, b"\0\0\0")), 0.0) == []
    assert receiver.broken_payloads == 1
    assert receiver.lost == 0


def test_another_source_does_not_complete_what_the_last_one_began() -> None:
    receiver = FORMAT.receiver(97)
    first, second = packetise(bytes(100), 70)
    receiver.receive(build(RtpPacket(97, False, 0, 0, 7, first)), 0.0)
    assert receiver.receive(build(RtpPacket(97, True, 1, 0, 8, second)), 5.0) == []


def test_formats_are_what_a_file_can_hold_both_of() -> None:
    params = {"config": "1408"}
    assert SoundFormat.of("MPEG4-GENERIC", 16_000, 1, params) == FORMAT
    assert SoundFormat.of("MPEG4-GENERIC", 16_000, 1, params | {"mode": "AAC-lbr"}) == FORMAT
    assert SoundFormat.of("MPEG4-GENERIC", 16_000, 1, {"config": "140c"}) != FORMAT
    assert SoundFormat.of("PCMU", 8000, 1, {}).is_g711
    for encoding, rate, channels in [("PCMU", 16_000, 1), ("PCMA", 8000, 2), ("OPUS", 16_000, 2), ("G722", 8000, 1)]:
        with pytest.raises(RtpParseError):
            SoundFormat.of(encoding, rate, channels, {})
    with pytest.raises(RtpParseError):
        SoundFormat.of("MPEG4-GENERIC", 1, 1, params)
