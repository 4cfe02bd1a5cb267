"""Opus packets: how long each is, and which are none (RFC 6716 §3)."""

from __future__ import annotations

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.errors import RtpParseError
from soip.rtp.opus import MAX_SAMPLES, frame_samples, packet_samples
from soip.rtp.packet import RtpPacket, build
from soip.rtp.sound import OPUS, SoundFormat

# RFC 6716 §3.1, table 2: by configuration, in tenths of a millisecond
TABLE = [100, 200, 400, 600] * 3 + [100, 200] * 2 + [25, 50, 100, 200] * 4


def test_durations_are_those_of_the_table() -> None:
    assert [frame_samples(config << 3) * 10 // 48 for config in range(32)] == TABLE


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"\x78", 960),  # a TOC alone: nothing was said (§3.2.1)
        (b"\x78" + bytes(1275), 960),
        (b"\x79" + bytes(8), 1920),
        (b"\x7a\x02\1\1\2\2\2", 1920),
        (b"\x7b\x03" + bytes(9), 2880),
        (b"\x7b\x83\1\2\1\2\2\3\3", 2880),  # each with its length
        (b"\x7b\x43\x04" + bytes(9) + bytes(4), 2880),  # padded
        (b"\xe3\x30" + bytes(48), 5760),  # 48 frames of 2.5 ms
    ],
)
def test_packets(packet: bytes, samples: int) -> None:
    assert packet_samples(packet) == samples


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x78" + bytes(1300),  # R2
        b"\x79" + bytes(7),  # R3
        b"\x7a\xfc",  # R4: the length is cut
        b"\x7a\x09\1",  # R4: it exceeds the packet
        b"\x7b",  # R6
        b"\x7b\x00",  # no frame
        b"\x7b\x07" + bytes(7),  # R5: 140 ms
        b"\x7b\x03" + bytes(8),  # R6: not equal
        b"\x7b\x43\xff",  # padding without an end
        b"\x7b\x41\x08" + bytes(3),  # R6: more padding than packet
        b"\x7b\x83\1\x09\1\2\2",  # R7
    ],
)
def test_packets_that_no_decoder_takes(packet: bytes) -> None:
    with pytest.raises(RtpParseError):
        packet_samples(packet)


@given(st.binary(max_size=1500))
def test_any_bytes_have_a_bounded_length_or_none(packet: bytes) -> None:
    try:
        samples = packet_samples(packet)
    except RtpParseError:
        return
    assert 0 < samples <= MAX_SAMPLES


@pytest.mark.parametrize("milliseconds", [10, 20, 40, 60])
def test_what_an_encoder_makes_is_as_long_as_it_says(milliseconds: int) -> None:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.options = {"frame_duration": str(milliseconds)}
    samples = 48 * milliseconds
    for _ in range(5):
        frame = av.AudioFrame("s16", "mono", samples)
        frame.sample_rate = 48_000
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        for packet in encoder.encode(frame):
            assert packet_samples(bytes(packet)) == samples


def test_packets_pass_the_receiver_as_they_are_and_nonsense_is_counted() -> None:
    form = SoundFormat.of("OPUS", 48_000, 2, {"sprop-stereo": "1"})
    assert form == OPUS
    receiver = form.receiver(111)
    frames = []
    for number, payload in enumerate([b"\x78abc", b"\x7b\0", b"\x78"]):
        frames += receiver.receive(build(RtpPacket(111, True, number, number * 960, 7, payload)), 0.0)
    assert [(frame.payload, frame.timestamp - (1 << 32)) for frame in frames] == [(b"\x78abc", 0), (b"\x78", 1920)]
    assert receiver.broken_payloads == 1
    assert [form.samples(frame.payload) for frame in frames] == [960, 960]
    assert form.packetise(b"\x78abc", 1400) == [b"\x78abc"]
