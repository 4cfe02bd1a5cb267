from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.errors import RtpBuildError
from soip.rtp.h264 import H264
from soip.rtp.nal import packetise
from soip.rtp.sender import MAX_RUN, SendStream
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, Sender, random_nal, random_unit


def cut(runs: list[bytes], packet_size: int) -> list[bytes]:
    """Cut runs by size alone, as the kernel does."""
    return [run[at : at + packet_size] for run in runs for at in range(0, len(run), packet_size)]


@given(st.integers(0, 1 << 32), st.integers(40, 1400), st.integers(0, 0xFFFF), st.integers(1, 64))
def test_the_runs_cut_by_size_are_the_plain_packets(seed: int, packet_size: int, sequence: int, segments: int) -> None:
    random = Random(seed)
    plain = Sender(sequence, packet_size=packet_size)
    stream = SendStream(PAYLOAD_TYPE, SSRC, sequence)
    expected: list[bytes] = []
    sent: list[bytes] = []
    for number in range(3):
        nals = random_unit(random, number == 0)
        timestamp = 0xFFFFFFFF - 3000 + 3000 * number
        expected += plain.unit(nals, timestamp)
        runs = stream.stamp(packetise(H264, nals, packet_size), timestamp, segments)
        assert all(len(run) <= segments * packet_size for run in runs)
        sent += cut(runs, packet_size)
    assert sent == expected
    assert stream.packets == len(plain.packets)
    assert stream.octets == sum(len(packet.payload) for packet in plain.packets)
    assert stream.sequence == plain.sequence & 0xFFFF


def test_one_send_is_never_larger_than_the_kernel_takes() -> None:
    nal = random_nal(Random(1), 5, 600_000)
    runs = SendStream(96, 1).stamp(packetise(H264, [nal], 1400), 0)
    assert max(map(len, runs)) <= MAX_RUN
    assert all(len(run) % 1400 == 0 for run in runs[:-1])


def test_two_classes_share_the_payloads() -> None:
    runs = packetise(H264, [random_nal(Random(1), 1, 5000)])
    one, two = SendStream(96, 1, 10, 500), SendStream(97, 2, 65_535)
    first, second = cut(one.stamp(runs, 3000), 1200), cut(two.stamp(runs, 3000), 1200)
    assert [packet[12:] for packet in first] == [packet[12:] for packet in second]
    assert one.timestamp == 3500
    assert two.timestamp == 3000


def test_payload_types_have_seven_bits() -> None:
    with pytest.raises(RtpBuildError):
        SendStream(128, 1)
