"""What is lost is marked: a unit that is not marked is what was sent, and so is all that it is decoded from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.h264 import H264
from soip.rtp.h265 import H265, TYPE_CRA, TYPE_IDR_W_RADL, TYPE_RASL_R
from soip.rtp.nal import MAX_ACCESS_UNIT, AccessUnit, Depacketiser
from soip.rtp.packet import RtpPacket, build, parse
from soip.rtp.receiver import SSRC_SILENCE, VideoReceiver
from tests.rtp.wire import PAYLOAD_TYPE, Sender, random_nal

AUD, SPS, PPS, SEI = b"\x09\xf0", b"\x67sps", b"\x68pps", b"\x06sei"
STEP = 3000
SEEDS = st.integers(0, 1 << 32).map(Random)


def slice_nal(random: Random, kind: int, *, first: bool, size: int = 0) -> bytes:
    """A slice whose first_mb_in_slice says whether it is the picture's first."""
    size = size or random.choice((2, 40, 187, 188, 700, 2500))
    body = bytearray(random_nal(random, kind, size))
    body[1] = body[1] | 0x80 if first else body[1] & 0x7F
    return bytes(body)


def stream(random: Random, count: int, *, sets: bool = True) -> list[list[bytes]]:
    """Pictures of one to three slices, a keyframe now and then; `sets` says that keyframes bring their parameters."""
    units = []
    for number in range(count):
        keyframe = number == 0 or random.random() < 0.15
        nals = [AUD] if random.random() < 0.2 else []
        nals += [SPS, PPS] if keyframe and sets else []
        nals += [SEI] if random.random() < 0.2 else []
        slices = random.randint(1, 3)
        nals += [slice_nal(random, 5 if keyframe else 1, first=at == 0) for at in range(slices)]
        units.append(nals)
    return units


@dataclass
class Link:
    """What was sent, and what came out of the receiver that got only some of it."""

    sent: list[list[bytes]]
    got: list[AccessUnit]
    receiver: VideoReceiver
    dropped: set[int]
    """The numbers of the units of which a packet was lost."""

    def number(self, unit: AccessUnit) -> int:
        return (unit.timestamp & 0xFFFFFFFF) // STEP

    def is_as_sent(self, unit: AccessUnit) -> bool:
        """But for a delimiter, which says nothing of the picture, and parameter sets of one before it that vanished."""
        got, sent = ([bytes(nal) for nal in nals if nal != AUD] for nals in (unit.nals, self.sent[self.number(unit)]))
        joined = got[: len(got) - len(sent)]
        return got[len(joined) :] == sent and set(joined) <= {SPS, PPS}


def carry(
    sent: list[list[bytes]],
    random: Random,
    loss: float,
    *,
    markers: bool = True,
    shuffle: Callable[[list[bytes]], list[bytes]] = lambda wire: wire,
    rate: float = 5,
) -> Link:
    """`rate` packets a second: by default so few that a gap is given up as soon as another packet comes."""
    sender, receiver = Sender(sequence=65_500), VideoReceiver(PAYLOAD_TYPE)
    wire: list[bytes] = []
    dropped: set[int] = set()
    for number, nals in enumerate(sent):
        for datagram in sender.unit(nals, number * STEP):
            # Behind the last packets nothing would tell of a loss.
            if random.random() < loss and wire and number < len(sent) - 8:
                dropped.add(number)
            else:
                wire.append(datagram if markers else _unmarked(datagram))
    got = [unit for at, datagram in enumerate(shuffle(wire)) for unit in receiver.receive(datagram, at / rate)]
    got += receiver.flush()
    return Link(sent, got, receiver, dropped)


def _unmarked(datagram: bytes) -> bytes:
    packet = parse(datagram)
    return build(RtpPacket(packet.payload_type, False, packet.sequence, packet.timestamp, packet.ssrc, packet.payload))


@given(SEEDS, st.sampled_from([0.01, 0.05, 0.3]), st.booleans(), st.booleans())
def test_what_is_not_marked_is_as_sent_and_so_is_what_it_is_decoded_from(
    random: Random, loss: float, markers: bool, sets: bool
) -> None:
    link = carry(stream(random, 40, sets=sets), random, loss, markers=markers)
    before: AccessUnit | None = None
    for unit in link.got:
        if not unit.damaged:
            assert link.is_as_sent(unit)
            if not unit.keyframe:
                assert before is not None
                assert not before.damaged
                assert link.number(unit) == link.number(before) + 1
        before = unit
    assert sum(unit.lost for unit in link.got) <= link.receiver.lost


@given(SEEDS, st.sampled_from([0.01, 0.05, 0.3]))
def test_of_a_camera_that_marks_its_pictures_nothing_else_is_marked(random: Random, loss: float) -> None:
    sent = [nals if AUD not in nals else nals[1:] for nals in stream(random, 40)]
    link = carry(sent, random, loss)
    broken, follows = True, 0
    for unit in link.got:
        number = link.number(unit)
        missed = any(other in link.dropped for other in range(follows, number))
        whole = number not in link.dropped and link.is_as_sent(unit)
        broken = not whole or ((broken or missed) and not unit.keyframe)
        assert unit.damaged == broken, number
        follows = number + 1


@given(SEEDS, st.booleans(), st.booleans())
def test_of_an_undisturbed_stream_nothing_is_marked(random: Random, markers: bool, sets: bool) -> None:
    link = carry(stream(random, 40, sets=sets), random, 0, markers=markers)
    assert [link.is_as_sent(unit) and not unit.damaged for unit in link.got] == [True] * 40


@given(SEEDS)
def test_reordering_alone_marks_nothing(random: Random) -> None:
    def swap(wire: list[bytes]) -> list[bytes]:
        for at in range(1, len(wire) - 1, 2):
            if random.random() < 0.5:
                wire[at], wire[at + 1] = wire[at + 1], wire[at]
        return wire

    link = carry(stream(random, 40), random, 0, shuffle=swap, rate=400)
    assert [link.is_as_sent(unit) and not unit.damaged for unit in link.got] == [True] * 40
    assert link.receiver.lost == 0


def push(depacketiser: Depacketiser, payloads: Sequence[bytes], number: int, lost: int = 0) -> None:
    for at, payload in enumerate(payloads):
        marker = at == len(payloads) - 1
        depacketiser.push(memoryview(payload), 0, len(payload), marker, number * STEP, 0.0, lost if at == 0 else 0)


IDR, SLICE, LATER = b"\x65\x88idr", b"\x41\x9aslice", b"\x41\x1alater"


def damages(depacketiser: Depacketiser) -> list[bool]:
    return [unit.damaged for unit in depacketiser.ready]


def test_a_chain_is_broken_until_the_next_keyframe() -> None:
    made = Depacketiser(H264)
    push(made, [SPS, PPS, IDR], 0)
    push(made, [SLICE], 1)
    push(made, [SLICE], 3, lost=1)
    push(made, [SLICE], 4)
    push(made, [SPS, PPS, IDR], 5)
    push(made, [SLICE], 6)
    assert damages(made) == [False, False, True, True, False, False]


def test_a_keyframe_that_is_not_whole_mends_nothing() -> None:
    made = Depacketiser(H264)
    push(made, [SPS, PPS, IDR], 0)
    push(made, [IDR], 1, lost=2)
    push(made, [SLICE], 2)
    assert damages(made) == [False, True, True]


def test_a_stream_that_is_met_in_the_middle_is_damaged_up_to_a_keyframe() -> None:
    made = Depacketiser(H264)
    push(made, [SLICE], 0)
    push(made, [SPS, PPS, IDR], 1)
    assert damages(made) == [True, False]


@pytest.mark.parametrize("first", [b"\x65\x08later", b"\x7c\x05middle", b"\x78\x00\x04\x65\x08la"])
def test_a_keyframe_met_in_the_middle_is_damaged(first: bytes) -> None:
    made = Depacketiser(H264)
    push(made, [first, IDR], 0)
    push(made, [SLICE], 1)
    assert damages(made) == [True, True]


@pytest.mark.parametrize("first", [IDR, b"\x7c\x85\x88start", b"\x78\x00\x04\x65\x88id", b"\x06sei", AUD])
def test_a_keyframe_met_at_its_beginning_is_not(first: bytes) -> None:
    made = Depacketiser(H264)
    push(made, [first, b"\x65\x18later"], 0)
    push(made, [SLICE], 1)
    assert damages(made)[1:] == [damages(made)[0]]
    assert damages(made)[0] == (first[0] == 0x7C), "only of the fragment nothing follows"


def test_a_nal_unit_that_is_broken_off_without_a_loss_damages_its_picture() -> None:
    made = Depacketiser(H264)
    push(made, [SPS, PPS, IDR], 0)
    push(made, [SLICE, b"\x5c\x81\x1abegun"], 1)
    push(made, [SLICE], 2)
    assert damages(made) == [False, True, True]


def test_a_picture_that_vanished_breaks_the_chain() -> None:
    made = Depacketiser(H264)
    push(made, [SPS, PPS, IDR], 0)
    push(made, [b"\x5c\x81\x9abegun"], 1)
    push(made, [SLICE], 2)
    push(made, [SPS, PPS, IDR], 3)
    assert damages(made) == [False, True, False]


def test_what_has_no_known_shape_damages_its_picture() -> None:
    made = Depacketiser(H264)
    push(made, [SPS, PPS, IDR], 0)
    push(made, [b"\x7edim", SLICE], 1)
    push(made, [SPS, PPS, IDR], 2)
    push(made, [SLICE, b"\x78\x00\x09\x06cut"], 3)
    assert damages(made) == [False, True, False, True]


def test_a_picture_dropped_for_its_size_is_missing_to_those_that_follow() -> None:
    made = Depacketiser(H264)
    push(made, [SPS, PPS, IDR], 0)
    push(made, [b"\x41\x9a" + bytes(60_000)] * (MAX_ACCESS_UNIT // 60_000 + 1), 1)
    push(made, [SLICE], 2)
    assert made.oversize == 1
    assert damages(made)[0] is False
    assert damages(made)[1:] == [True] * (len(made.ready) - 1)


def test_a_loss_before_a_keepalive_may_have_reached_both_neighbours() -> None:
    made = Depacketiser(H264)
    push(made, [SPS, PPS, IDR], 0)
    made.push(memoryview(SLICE), 0, len(SLICE), 0, STEP, 0.0)
    made.push(memoryview(b"\x0b"), 0, 1, 0, STEP, 0.0, 1)
    push(made, [SPS, PPS, IDR], 2)
    assert damages(made) == [False, True, True]


def test_another_source_begins_without_what_was_before() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    units = []
    for number, (ssrc, nals) in enumerate([(1, [SPS, PPS, IDR]), (1, [SLICE]), (2, [SLICE]), (2, [SPS, PPS, IDR])]):
        sender = Sender(ssrc=ssrc, sequence=100 * number)
        if ssrc == 2:
            sender.sequence = 500 if number == 2 else 501
        else:
            sender.sequence = 100 if number == 0 else 103
        for datagram in sender.unit(nals, number * STEP):
            units += receiver.receive(datagram, number * (SSRC_SILENCE + 1))
    assert [unit.damaged for unit in units] == [False, False, True, False]


# -- H.265


def nal265(kind: int, body: bytes, layer: int = 0) -> bytes:
    return (kind << 9 | layer << 3 | 1).to_bytes(2, "big") + body


VPS265, SPS265, PPS265, AUD265 = (nal265(kind, b"set") for kind in (32, 33, 34, 35))
IDR265, CRA265 = nal265(TYPE_IDR_W_RADL, b"\x88idr"), nal265(TYPE_CRA, b"\x88cra")
RASL265, SLICE265, LATER265 = nal265(TYPE_RASL_R, b"\x88rasl"), nal265(1, b"\x88slice"), nal265(1, b"\x08later")
SETS265 = [VPS265, SPS265, PPS265]


def test_of_h265_a_chain_is_broken_until_the_next_keyframe() -> None:
    made = Depacketiser(H265)
    for number, (payloads, lost) in enumerate(
        [
            ([*SETS265, IDR265], 0),
            ([SLICE265, LATER265], 0),
            ([SLICE265], 1),
            ([SLICE265], 0),
            ([*SETS265, CRA265], 0),
            ([SLICE265], 0),
        ]
    ):
        push(made, payloads, number, lost)
    assert damages(made) == [False, False, True, True, False, False]


@pytest.mark.parametrize("lost", [0, 1])
def test_leading_pictures_are_decoded_from_what_was_before_their_keyframe_too(lost: int) -> None:
    made = Depacketiser(H265)
    push(made, [*SETS265, IDR265], 0)
    push(made, [SLICE265], 1, lost)
    push(made, [*SETS265, CRA265], 2)
    push(made, [RASL265], 3)
    push(made, [SLICE265], 4)
    assert [(unit.leading, unit.damaged) for unit in made.ready[2:]] == [
        (False, False),
        (True, lost > 0),
        (False, False),
    ]


@pytest.mark.parametrize(
    ("first", "whole"),
    [
        (AUD265, True),
        (VPS265, True),
        (PPS265, False),
        (SLICE265, False),
        (LATER265, False),
        (b"\x62\x01\x81\x88begun", False),
        (b"\x60\x01\x00\x05" + VPS265, True),
    ],
)
def test_of_h265_a_picture_behind_a_loss_is_whole_if_it_certainly_begins_there(first: bytes, whole: bool) -> None:
    """The loss is of the picture before, which lacks its end."""
    made = Depacketiser(H265)
    push(made, [*SETS265, IDR265], 0)
    made.push(memoryview(SLICE265), 0, len(SLICE265), 0, STEP, 0.0)
    push(made, [first, IDR265], 2, lost=1)
    assert damages(made) == [False, True, not whole]


@pytest.mark.parametrize(("first", "damaged"), [(IDR265, False), (nal265(TYPE_IDR_W_RADL, b"\x08later"), True)])
def test_of_h265_a_keyframe_met_in_the_middle_is_damaged(first: bytes, damaged: bool) -> None:
    made = Depacketiser(H265)
    push(made, [first, nal265(TYPE_IDR_W_RADL, b"\x08later")], 0)
    push(made, [SLICE265], 1)
    assert damages(made) == [damaged, damaged]


def test_other_layers_are_not_missed() -> None:
    made = Depacketiser(H265)
    push(made, [*SETS265, IDR265], 0)
    fragment = b"\x62\x09\xc1\x88of another layer"
    aggregate = b"\x60\x01" + b"".join(len(one).to_bytes(2, "big") + one for one in (nal265(1, b"x", 1), SLICE265))
    for number, payload in enumerate([nal265(1, b"\x88other", 1), fragment], 1):
        push(made, [SLICE265, payload, LATER265], number)
    push(made, [aggregate], 3)
    assert made.malformed == 3
    assert damages(made) == [False] * 4


def test_of_h265_what_has_no_known_shape_damages_its_picture() -> None:
    made = Depacketiser(H265)
    push(made, [*SETS265, IDR265], 0)
    push(made, [nal265(50, b"paci"), SLICE265], 1)
    assert damages(made) == [False, True]


@given(SEEDS, st.sampled_from([0.02, 0.1, 0.3]))
def test_of_h265_too_what_is_not_marked_is_as_sent(random: Random, loss: float) -> None:
    """Pictures of one or two slices, each a keyframe with its sets or a trailing one that refers to the one before."""
    sent = []
    for number in range(40):
        keyframe = number == 0 or random.random() < 0.15
        slices = [nal265(TYPE_IDR_W_RADL if keyframe else 1, b"\x88" + random.randbytes(random.choice((5, 400))))]
        if random.random() < 0.4:
            slices.append(nal265(TYPE_IDR_W_RADL if keyframe else 1, b"\x08" + random.randbytes(300)))
        sent.append([*(SETS265 if keyframe else []), *slices])
    sender, receiver = Sender(coding=H265), VideoReceiver(PAYLOAD_TYPE, (), H265)
    wire = [packet for number, nals in enumerate(sent) for packet in sender.unit(nals, number * STEP)]
    kept = [packet for number, packet in enumerate(wire) if number == 0 or random.random() >= loss]
    got = [unit for at, packet in enumerate(kept) for unit in receiver.receive(packet, at / 5)] + receiver.flush()
    before = -1
    for unit in got:
        number = (unit.timestamp & 0xFFFFFFFF) // STEP
        if not unit.damaged and number < 39:
            nals = [bytes(nal) for nal in unit.nals]
            assert nals[len(nals) - len(sent[number]) :] == sent[number]
            assert unit.keyframe or before == number - 1
        before = number if not unit.damaged else -1
