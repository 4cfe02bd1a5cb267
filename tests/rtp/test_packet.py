from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.errors import RtpBuildError, RtpParseError
from soip.rtp.packet import (
    RtpPacket,
    build,
    extend_timestamp,
    parse,
    payload_bounds,
    sequence_distance,
)

packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=100),
    csrcs=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    extension=st.none()
    | st.tuples(st.integers(0, 0xFFFF), st.integers(0, 5).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))),
)


@given(packets)
def test_what_is_built_parses_to_the_same(packet: RtpPacket) -> None:
    parsed = parse(build(packet))
    parsed.payload = bytes(parsed.payload)
    assert parsed == packet


@given(packets, st.integers(1, 255))
def test_padding_is_removed(packet: RtpPacket, padding: int) -> None:
    data = bytearray(build(packet)) + bytes(padding - 1) + bytes([padding])
    data[0] |= 0x20
    assert bytes(parse(data).payload) == packet.payload


@given(st.binary(max_size=80))
def test_any_bytes_parse_or_raise_the_documented_error(data: bytes) -> None:
    try:
        packet = parse(data)
    except RtpParseError:
        return
    assert len(packet.payload) <= len(data) - 12


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "shorter than its header"),
        (bytes(12), "version 0"),
        (b"\x82" + bytes(15), "exceed the packet"),
        (b"\x90" + bytes(13), "extension is cut off"),
        (b"\x90" + bytes(13) + b"\x00\x09", "exceed the packet"),
        (b"\xa0" + bytes(12), "padding count is zero"),
        (b"\xa0" + bytes(11) + b"\x09", "exceed the packet"),
    ],
)
def test_errors_say_what_is_wrong(data: bytes, what: str) -> None:
    with pytest.raises(RtpParseError, match=what):
        parse(data)


def test_errors_name_the_byte() -> None:
    with pytest.raises(RtpParseError, match=r"at byte 0") as caught:
        parse(bytes(12))
    assert caught.value.offset == 0


@pytest.mark.parametrize(
    "packet",
    [
        RtpPacket(128, False, 0, 0, 0, b""),
        RtpPacket(0, False, 0, 0, 0, b"", csrcs=tuple(range(16))),
        RtpPacket(0, False, 0, 0, 0, b"", extension=(1, b"abc")),
        RtpPacket(0, False, 0, 0, 0, bytes(65_500)),
    ],
)
def test_what_does_not_fit_is_not_built(packet: RtpPacket) -> None:
    with pytest.raises(RtpBuildError):
        build(packet)


def test_bounds_count_only_the_given_size_of_a_reused_buffer() -> None:
    buffer = bytearray(b"\x80" + bytes(99))
    assert payload_bounds(buffer, 20) == (12, 20)


@given(st.integers(0, 1 << 40), st.integers(-0x8000, 0x7FFF))
def test_sequence_distance_over_the_wrap(start: int, distance: int) -> None:
    assert sequence_distance((start + distance) & 0xFFFF, start & 0xFFFF) == distance


@given(st.integers(1 << 32, 1 << 50), st.integers(-(1 << 31), (1 << 31) - 1))
def test_timestamps_extend_to_the_nearest(last: int, distance: int) -> None:
    assert extend_timestamp(last, (last + distance) & 0xFFFFFFFF) == last + distance
