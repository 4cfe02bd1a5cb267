from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.errors import RtpBuildError
from soip.rtp.h264 import H264
from soip.rtp.nal import (
    MAX_ACCESS_UNIT,
    MAX_NALS,
    AccessUnit,
    Depacketiser,
    length_prefixed,
    packetise,
    split_annex_b,
    split_length_prefixed,
)
from tests.rtp.wire import comparable, payloads, plain_payloads, random_nal, random_unit

SPS, PPS, IDR, SLICE = b"\x67sps-", b"\x68pps", b"\x65idr-slice", b"\x41p-slice"


def feed(
    depacketiser: Depacketiser, content: Sequence[bytes], timestamp: int = 1000, *, marker: bool = True, lost: int = 0
) -> list[AccessUnit]:
    """Push payloads of one timestamp, the last with the marker; return the access units completed so far."""
    for at, payload in enumerate(content):
        end = marker and at == len(content) - 1
        depacketiser.push(memoryview(payload), 0, len(payload), end, timestamp, 1.5, lost if at == 0 else 0)
    return depacketiser.ready


def nals_of(unit: AccessUnit) -> list[bytes]:
    return [bytes(nal) for nal in unit.nals]


def stap(*nals: bytes) -> bytes:
    return b"\x78" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


@given(st.integers(0, 1 << 32), st.integers(28, 1500), st.booleans())
def test_packetise_equals_the_plain_way(seed: int, packet_size: int, keyframe: bool) -> None:
    nals = random_unit(Random(seed), keyframe)
    plain = [payload for nal in nals for payload in plain_payloads(nal, packet_size)]
    assert payloads(packetise(H264, nals, packet_size)) == plain


@given(st.integers(0, 1 << 32), st.integers(28, 1500), st.booleans())
def test_what_was_packetised_comes_out_again(seed: int, packet_size: int, keyframe: bool) -> None:
    nals = random_unit(Random(seed), keyframe)
    runs = packetise(H264, nals, packet_size)
    (unit,) = feed(Depacketiser(H264), payloads(runs))
    assert nals_of(unit) == nals
    assert unit.keyframe is keyframe
    assert unit.size == sum(4 + len(nal) for nal in nals)
    assert bytes(unit.sample) == length_prefixed(nals)


@given(st.integers(0, 1 << 32), st.integers(28, 1500))
def test_runs_are_of_equal_payloads_but_the_last(seed: int, packet_size: int) -> None:
    nals = random_unit(Random(seed), True)
    for run in packetise(H264, nals, packet_size):
        sizes = [len(run.parts[at + 1]) + len(run.parts[at + 2]) for at in range(0, len(run.parts), 3)]
        assert len(sizes) == run.count
        assert sum(sizes) == run.octets
        assert 12 + max(sizes) <= packet_size
        assert run.count == 1 or set(sizes[:-1]) == {packet_size - 12}


@pytest.mark.parametrize("nals", [[], [b""], [IDR, b""]])
def test_nothing_cannot_be_packetised(nals: list[bytes]) -> None:
    with pytest.raises(RtpBuildError):
        packetise(H264, nals)


def test_packets_need_room() -> None:
    with pytest.raises(RtpBuildError, match="no room"):
        packetise(H264, [IDR], 20)


def test_stap_a_gives_its_nal_units() -> None:
    (unit,) = feed(Depacketiser(H264), [stap(SPS, PPS, IDR)])
    assert nals_of(unit) == [SPS, PPS, IDR]


@pytest.mark.parametrize(
    "broken",
    [
        stap(SPS) + b"\x00\x00" + stap(IDR)[1:],
        stap(SPS) + b"\x00",
        stap(SPS) + b"\x10\x00\x65",
        stap(SPS, b"\x7cabc"),
    ],
)
def test_a_broken_stap_a_keeps_what_is_whole(broken: bytes) -> None:
    depacketiser = Depacketiser(H264)
    (unit,) = feed(depacketiser, [broken, IDR])
    assert nals_of(unit) == [SPS, IDR]
    assert depacketiser.malformed == 1


def test_the_timestamp_ends_a_unit_where_the_marker_is_missing() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SLICE, SLICE], 1000, marker=False)
    assert not depacketiser.ready
    feed(depacketiser, [IDR], 4000, marker=False)
    (unit,) = depacketiser.ready
    assert nals_of(unit) == [SLICE, SLICE]
    assert unit.timestamp == (1 << 32) + 1000


def test_a_marker_after_parameter_sets_does_not_end_the_unit() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SPS])
    feed(depacketiser, [PPS])
    (unit,) = feed(depacketiser, [IDR])
    assert nals_of(unit) == [SPS, PPS, IDR]


def test_parameter_sets_with_a_timestamp_of_their_own_join_the_next_picture() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SPS, PPS], 900)
    (unit,) = feed(depacketiser, [IDR], 1000)
    assert nals_of(unit) == [SPS, PPS, IDR]
    assert unit.timestamp == (1 << 32) + 1000


def test_timestamps_wrap_and_step_back() -> None:
    depacketiser = Depacketiser(H264)
    for timestamp in (0xFFFFFF00, 0x00000100, 0xFFFFFFF0):
        feed(depacketiser, [SLICE], timestamp)
    assert [unit.timestamp for unit in depacketiser.ready] == [0x1_FFFFFF00, 0x2_00000100, 0x1_FFFFFFF0]


def test_a_nal_unit_without_a_middle_fragment_is_dropped_whole() -> None:
    depacketiser = Depacketiser(H264)
    fragments = plain_payloads(random_nal(Random(1), 1, 1000), 200)
    feed(depacketiser, [SLICE, *fragments[:2]], marker=False)
    (unit,) = feed(depacketiser, [*fragments[3:], SLICE], lost=1)
    assert nals_of(unit) == [SLICE, SLICE]
    assert unit.lost == 1


def test_fragments_without_their_start_are_dropped() -> None:
    depacketiser = Depacketiser(H264)
    fragments = plain_payloads(random_nal(Random(1), 1, 1000), 200)
    feed(depacketiser, fragments[1:])
    assert not depacketiser.ready
    (unit,) = feed(depacketiser, [SLICE], 2000, lost=3)
    assert unit.lost == 3


def test_loss_between_two_pictures_is_shared_by_what_each_lacks() -> None:
    fragments = plain_payloads(random_nal(Random(1), 1, 1000), 200)
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SLICE], 1000, marker=False)  # its end is missing, and the next one's start
    feed(depacketiser, [*fragments[1:], SLICE], 4000, lost=2)
    assert [(nals_of(unit), unit.lost) for unit in depacketiser.ready] == [([SLICE], 1), ([SLICE], 1)]


def test_loss_after_a_marker_counts_for_the_next_picture() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SLICE], 1000)
    feed(depacketiser, [SLICE], 4000, lost=4)
    assert [unit.lost for unit in depacketiser.ready] == [0, 4]


def test_loss_of_a_whole_picture_without_markers_counts_for_the_one_before() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SLICE], 1000, marker=False)
    feed(depacketiser, [SLICE], 9000, lost=2)
    assert [unit.lost for unit in depacketiser.ready] == [2, 0]


@pytest.mark.parametrize("payload", [b"\x00\x00", b"\x79\x00\x00", b"\x7d\x80\x00", b"\x7f\xff", b"\x7c\x9c\x00"])
def test_payloads_of_other_types_are_counted(payload: bytes) -> None:
    depacketiser = Depacketiser(H264)
    (unit,) = feed(depacketiser, [payload, SLICE])
    assert nals_of(unit) == [SLICE]
    assert depacketiser.malformed == 1


def test_keepalives_and_ends_of_sequence_are_passed_over() -> None:
    depacketiser = Depacketiser(H264)
    (unit,) = feed(depacketiser, [b"", b"\x0a", SLICE], lost=2)
    assert nals_of(unit) == [SLICE]
    assert unit.lost == 2
    assert depacketiser.malformed == 0


def test_an_endless_fragment_is_dropped() -> None:
    depacketiser = Depacketiser(H264)
    content = bytes(60_000)
    feed(depacketiser, [b"\x7c\x85" + content], marker=False)
    for _ in range(MAX_ACCESS_UNIT // len(content) + 1):
        feed(depacketiser, [b"\x7c\x05" + content], marker=False)
    assert depacketiser.oversize == 1
    assert depacketiser.fragmented == -1
    (unit,) = feed(depacketiser, [SLICE])
    assert nals_of(unit) == [SLICE]


def test_too_many_nal_units_are_dropped() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SLICE] * (MAX_NALS + 1), marker=False)
    assert depacketiser.oversize == 1
    assert not depacketiser.ready


def test_flush_gives_the_picture_under_way() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SLICE], marker=False)
    depacketiser.flush()
    depacketiser.flush()
    assert len(depacketiser.ready) == 1


def test_restart_forgets() -> None:
    depacketiser = Depacketiser(H264)
    feed(depacketiser, [SLICE], 5000, marker=False)
    depacketiser.restart()
    (unit,) = feed(depacketiser, [IDR], 70)
    assert comparable([unit])[0][:6] == ([IDR], (1 << 32) + 70, True, False, 1.5, 0)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5))
def test_length_prefixes_there_and_back(nals: list[bytes]) -> None:
    assert split_length_prefixed(length_prefixed(nals)) == nals


def test_a_cut_sample_gives_its_whole_nal_units() -> None:
    sample = length_prefixed([SPS, IDR])
    assert split_length_prefixed(sample[:-1]) == [SPS]
    assert split_length_prefixed(sample + b"\x00\x00\x00\x00\x01") == [SPS, IDR]


def test_start_codes_of_three_and_four_bytes() -> None:
    stream = b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS + b"\x00\x00\x00\x01" + IDR + b"\x00"
    assert split_annex_b(stream) == [SPS, PPS, IDR]
    assert split_annex_b(b"no start code") == []


def test_keyframes_are_told_by_an_idr_slice() -> None:
    assert H264.is_keyframe([SPS, IDR])
    assert not H264.is_keyframe([SPS, b"", SLICE])
