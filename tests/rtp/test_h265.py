"""H.265 over RTP (RFC 7798): what is not said of H.264 already, and real pictures through the whole way."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.rtp.batch import SLOTS, DatagramBatch, Run
from soip.rtp.errors import RtpBuildError
from soip.rtp.h265 import H265
from soip.rtp.nal import MAX_ACCESS_UNIT, AccessUnit, Depacketiser, Nal, packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.sender import SendStream
from tests.mp4.material import video
from tests.rtp.wire import PAYLOAD_TYPE, Sender, payloads, plain_payloads_h265, random_nal, random_unit

VPS, SPS, PPS, IDR, TRAIL = b"\x40\x01vps", b"\x42\x01sps-", b"\x44\x01pps", b"\x26\x01idr-slice", b"\x02\x01p-slice"
CRA, RASL, RADL, BLA = b"\x2a\x01cra", b"\x10\x01rasl", b"\x0c\x01radl", b"\x20\x01bla"


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


def aggregated(*nals: bytes) -> bytes:
    return b"\x60\x01" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


@given(st.integers(0, 1 << 32), st.integers(28, 1500), st.booleans())
def test_packetise_equals_the_plain_way(seed: int, packet_size: int, keyframe: bool) -> None:
    nals = random_unit(Random(seed), keyframe, H265)
    plain = [payload for nal in nals for payload in plain_payloads_h265(nal, packet_size)]
    assert payloads(packetise(H265, nals, packet_size)) == plain


@given(st.integers(0, 1 << 32), st.integers(28, 1500), st.booleans())
def test_what_was_packetised_comes_out_again(seed: int, packet_size: int, keyframe: bool) -> None:
    nals = random_unit(Random(seed), keyframe, H265)
    (unit,) = feed(Depacketiser(H265), payloads(packetise(H265, nals, packet_size)))
    assert nals_of(unit) == nals
    assert unit.keyframe is keyframe
    assert unit.encoding == "H265"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 32), st.floats(0, 0.2))
def test_whatever_is_lost_repeated_or_late_what_comes_out_was_sent(seed: int, loss: float) -> None:
    random = Random(seed)
    sender = Sender(random.randrange(65_536), packet_size=100, coding=H265)
    sent = {3000 * n: random_unit(random, n % 5 == 0, H265) for n in range(30)}
    arrived = []
    for at, datagram in enumerate([one for ticks, nals in sent.items() for one in sender.unit(nals, ticks)]):
        for _ in range((random.random() >= loss) + (random.random() < loss / 4)):
            arrived.append((at + random.uniform(0, 6 * loss), datagram))
    receiver = VideoReceiver(PAYLOAD_TYPE, (), H265)
    units = [unit for at, one in sorted(arrived) for unit in receiver.receive(one, at / 500)] + receiver.flush()
    for unit in units:
        whole = sent[unit.timestamp & 0xFFFFFFFF]
        # Parameter sets of a keyframe whose slices were lost join what follows.
        own = [nal for nal in nals_of(unit) if nal in whole]
        assert [nal for nal in whole if nal in own] == own
        assert all(nal[0] >> 1 in H265.sets for nal in nals_of(unit) if nal not in whole)
    if loss == 0:
        assert [nals_of(unit) for unit in units] == list(sent.values())


@pytest.mark.parametrize("nals", [[], [b""], [IDR, b"\x26"]])
def test_nothing_cannot_be_packetised(nals: list[bytes]) -> None:
    with pytest.raises(RtpBuildError):
        packetise(H265, nals)


def test_an_aggregation_packet_gives_its_nal_units() -> None:
    (unit,) = feed(Depacketiser(H265), [aggregated(VPS, SPS, PPS, IDR)])
    assert nals_of(unit) == [VPS, SPS, PPS, IDR]
    assert unit.keyframe


@pytest.mark.parametrize(
    "broken",
    [
        aggregated(SPS) + b"\x00\x00" + aggregated(IDR)[2:],
        aggregated(SPS) + b"\x00",
        aggregated(SPS) + b"\x10\x00\x26\x01",
        aggregated(SPS, b"\x26"),
        aggregated(SPS, b"\x62\x01\x93abc"),
        aggregated(SPS, b"\x02\x09other layer"),
    ],
)
def test_a_broken_aggregation_packet_keeps_what_is_whole(broken: bytes) -> None:
    depacketiser = Depacketiser(H265)
    (unit,) = feed(depacketiser, [broken, IDR])
    assert nals_of(unit) == [SPS, IDR]
    assert depacketiser.malformed == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"\x64\x01\x00\x00",  # PACI
        b"\x66\x01\x00",
        b"\x7e\x01\x00",
        b"\x03\x01layer",  # nuh_layer_id 32
        b"\x62\x01\xb1fragment of a fragment",
        b"\x62\x09\x81fragment of another layer",
    ],
)
def test_what_nobody_agreed_on_is_counted(payload: bytes) -> None:
    depacketiser = Depacketiser(H265)
    (unit,) = feed(depacketiser, [payload, TRAIL])
    assert nals_of(unit) == [TRAIL]
    assert depacketiser.malformed == 1


def test_keepalives_and_ends_of_sequence_are_passed_over() -> None:
    depacketiser = Depacketiser(H265)
    (unit,) = feed(depacketiser, [b"", b"\x48", b"\x48\x01", TRAIL], lost=2)
    assert nals_of(unit) == [TRAIL]
    assert unit.lost == 2
    assert depacketiser.malformed == 0


@pytest.mark.parametrize(
    ("nal", "keyframe", "leading"),
    [
        (IDR, True, False),
        (b"\x28\x01idr", True, False),
        (CRA, True, False),
        (BLA, True, False),
        (TRAIL, False, False),
        (RASL, False, True),
        (b"\x12\x01rasl", False, True),
        (RADL, False, False),
        (b"\x00\x01trail", False, False),
    ],
)
def test_what_a_picture_is_is_told_by_its_slices(nal: bytes, keyframe: bool, leading: bool) -> None:
    (unit,) = feed(Depacketiser(H265), [b"\x46\x01\x50", nal, b"\x50\x01suffix"])
    assert (unit.keyframe, unit.leading) == (keyframe, leading)
    assert H265.is_keyframe([b"", SPS, nal]) is keyframe


def test_parameter_sets_alone_are_no_picture_and_join_the_next() -> None:
    depacketiser = Depacketiser(H265)
    feed(depacketiser, [VPS, SPS], 900)
    feed(depacketiser, [PPS, b"\x4e\x01sei"], 950)
    (unit,) = feed(depacketiser, [IDR], 1000)
    assert nals_of(unit) == [VPS, SPS, PPS, IDR]


def test_a_nal_unit_without_a_middle_fragment_is_dropped_whole() -> None:
    depacketiser = Depacketiser(H265)
    fragments = plain_payloads_h265(random_nal(Random(1), 1, 1000, H265), 200)
    feed(depacketiser, [TRAIL, *fragments[:2]], marker=False)
    (unit,) = feed(depacketiser, [*fragments[3:], TRAIL], lost=1)
    assert nals_of(unit) == [TRAIL, TRAIL]
    assert unit.lost == 1


def test_an_endless_fragment_is_dropped() -> None:
    depacketiser = Depacketiser(H265)
    content = bytes(60_000)
    feed(depacketiser, [b"\x62\x01\x93" + content], marker=False)
    for _ in range(MAX_ACCESS_UNIT // len(content) + 1):
        feed(depacketiser, [b"\x62\x01\x13" + content], marker=False)
    assert depacketiser.oversize == 1
    (unit,) = feed(depacketiser, [TRAIL])
    assert nals_of(unit) == [TRAIL]


@pytest.mark.parametrize("joined", [False, True])
def test_real_pictures_take_the_hot_path(joined: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []
    fragments, pictures_of = VideoReceiver._fragments, Depacketiser.pictures

    def noted(self: VideoReceiver, run: Run, now: float) -> bool:
        are = fragments(self, run, now)
        if run[2] > 1:
            taken.append(are)
        return are

    def noted_whole(self: Depacketiser, whole: list[tuple[list[Nal], int, float]]) -> None:
        taken.extend(True for _ in whole)
        pictures_of(self, whole)

    monkeypatch.setattr(VideoReceiver, "_fragments", noted)
    monkeypatch.setattr(Depacketiser, "pictures", noted_whole)
    pictures = video(30, encoding="H265", width=640, height=480).frames
    stream, receiver, batch = SendStream(96, 7, 65_530), VideoReceiver(96, (), H265), DatagramBatch()
    units: list[AccessUnit] = []
    for number, nals in enumerate(pictures):
        for run in packetise(H265, nals, 300):
            datagrams = stream.stamp([run], 3600 * number, 1)
            for at in range(0, len(datagrams), SLOTS):
                (batch.load_joined if joined else batch.load)(datagrams[at : at + SLOTS])
                units += receiver.take(batch, number / 25)
    units += receiver.flush()
    # The sender marks the end of each run here, not of each picture alone: every slice comes as a unit of its own.
    assert [nal for unit in units for nal in nals_of(unit)] == [nal for nals in pictures for nal in nals]
    assert sum(taken) > 20
    assert all(taken[1:]), "but for the packet that tells the source"
