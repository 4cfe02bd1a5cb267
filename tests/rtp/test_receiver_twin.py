"""The hot loop and its readable twins give equal access units for random streams on a random network."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.rtp.batch import SLOT_SIZE, SLOTS, DatagramBatch
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import AccessUnit, Coding, Depacketiser
from soip.rtp.packet import parse
from soip.rtp.receiver import VideoReceiver
from tests.rtp.wire import PAYLOAD_TYPE, Sender, comparable, random_nal, random_unit

CODINGS = st.sampled_from((H264, H265))
END = {"H264": b"\x41end", "H265": b"\x02\x01end"}
BATCH = DatagramBatch()
"""One for all, as in the product: what an earlier stream left in it must not matter."""


def drained(
    batches: Sequence[Sequence[bytes]], most: int = SLOTS, coding: Coding = H264
) -> tuple[VideoReceiver, list[AccessUnit]]:
    """Datagrams of each wake-up in batches of at most `most`."""
    receiver = VideoReceiver(PAYLOAD_TYPE, (), coding)
    units: list[AccessUnit] = []
    for number, batch in enumerate(batches):
        for at in range(0, len(batch), most):
            BATCH.load(batch[at : at + most])
            units += receiver.take(BATCH, number / 50)
    return receiver, units + receiver.flush()


def joined(batches: Sequence[Sequence[bytes]], coding: Coding = H264) -> tuple[VideoReceiver, list[AccessUnit]]:
    """The datagrams of each wake-up in bursts as the kernel joins them: of one size, the last one perhaps shorter."""
    receiver = VideoReceiver(PAYLOAD_TYPE, (), coding)
    units: list[AccessUnit] = []
    for number, batch in enumerate(batches):
        for burst in bursts(batch):
            if burst[0]:
                BATCH.load_joined(burst)
            else:  # what is empty comes alone
                BATCH.load(burst)
            units += receiver.take(BATCH, number / 50)
    return receiver, units + receiver.flush()


def bursts(datagrams: Sequence[bytes]) -> list[list[bytes]]:
    """At most 64 of one size, and one shorter last."""
    runs: list[list[bytes]] = []
    for datagram in datagrams:
        run = runs[-1] if runs else []
        if run and len(run[-1]) == len(run[0]) >= len(datagram) > 0 and len(run) < 64:
            run.append(datagram)
        else:
            runs.append([datagram])
    return runs


def plain(batches: Sequence[Sequence[bytes]], coding: Coding = H264) -> tuple[VideoReceiver, list[AccessUnit]]:
    """The same without the hot loop: every datagram by itself."""
    receiver = VideoReceiver(PAYLOAD_TYPE, (), coding)
    units: list[AccessUnit] = []
    for number, batch in enumerate(batches):
        for datagram in batch:
            units += receiver.receive(datagram, number / 50)
    return receiver, units + receiver.flush()


def readable(datagrams: Sequence[bytes], coding: Coding = H264) -> list[list[bytes]]:
    """RFC 6184, or RFC 7798, in a few lines, for packets in order with holes: the NAL units of each timestamp."""
    h264 = coding is H264
    pictures: dict[int, list[bytes]] = {}
    fragments: list[bytes] | None = None
    previous = None
    for packet in map(parse, datagrams):
        payload = bytes(packet.payload)
        nals = pictures.setdefault(packet.timestamp, [])
        if previous is not None and packet.sequence != (previous + 1) & 0xFFFF:
            fragments = None
        previous = packet.sequence
        if (payload[0] & 31 != 28) if h264 else (payload[0] >> 1 != 49):
            nals.append(payload)
            continue
        size = 1 if h264 else 2
        if payload[size] & 0x80:
            if h264:
                fragments = [bytes([payload[0] & 0xE0 | payload[1] & 0x1F])]
            else:
                fragments = [bytes([(payload[2] & 63) << 1, payload[1]])]
        if fragments is not None:
            fragments.append(payload[size + 1 :])
            if payload[size] & 0x40:
                nals.append(b"".join(fragments))
                fragments = None
    out = []
    carried: list[bytes] = []
    for nals in pictures.values():
        kinds = [nal[0] & 31 if h264 else nal[0] >> 1 for nal in nals]
        if any(kind <= (5 if h264 else 31) for kind in kinds):
            out.append(carried + nals)
            carried = []
        else:
            carried += [
                nal for kind, nal in zip(kinds, nals, strict=True) if kind in ((7, 8) if h264 else (32, 33, 34))
            ]
    return out


def stream(random: Random, units: int, coding: Coding) -> list[bytes]:
    sender = Sender(random.randrange(65_536), packet_size=random.choice((100, 200, 1200)), coding=coding)
    start = random.randrange(1 << 32)
    out: list[bytes] = []
    for number in range(units):
        out += sender.unit(random_unit(random, number % 5 == 0, coding), start + 3000 * number)
    return out


def network(random: Random, datagrams: Sequence[bytes], *, wild: bool) -> list[list[bytes]]:
    """Lose, repeat, reorder and (wild) damage datagrams; return them in batches as wake-ups see them."""
    arrived: list[tuple[float, bytes]] = []
    for at, datagram in enumerate(datagrams):
        fate = random.random()
        if fate < 0.03:
            continue
        data = bytearray(datagram)
        if wild and fate > 0.95:
            data[random.randrange(len(data))] = random.randrange(256)
        if wild and fate > 0.99:
            del data[random.randrange(len(data)) :]
        arrived.append((at + (random.uniform(0, 8) if fate < 0.08 else 0.0), bytes(data)))
        if 0.08 < fate < 0.1:
            arrived.append((at + random.uniform(0, 90), bytes(data)))
    arrived.sort(key=lambda item: item[0])
    batches: list[list[bytes]] = [[]]
    for _, datagram in arrived:
        if random.random() < 0.1:
            batches.append([])
        batches[-1].append(datagram)
    return batches


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32), st.booleans(), st.integers(1, SLOTS), CODINGS)
def test_the_hot_loop_equals_the_plain_path(seed: int, wild: bool, most: int, coding: Coding) -> None:
    random = Random(seed)
    batches = network(random, stream(random, random.randint(1, 25), coding), wild=wild)
    slow, slow_units = plain(batches, coding)
    for fast, fast_units in (drained(batches, most, coding), joined(batches, coding)):
        assert comparable(fast_units) == comparable(slow_units)
        for name in (
            "lost",
            "late",
            "foreign",
            "malformed",
            "highest",
            "expected_packets",
            "jitter",
            "broken_payloads",
        ):
            assert getattr(fast, name) == getattr(slow, name), name


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32), st.floats(0, 0.3), CODINGS)
def test_the_hot_loop_equals_the_rfc_read_aloud(seed: int, loss: float, coding: Coding) -> None:
    random = Random(seed)
    whole = stream(random, random.randint(1, 25), coding)
    datagrams = [datagram for datagram in whole if random.random() >= loss]
    # Enough after it that every gap is given up; wake-ups are far apart, so no gap waits for long.
    ender = Sender(parse(whole[-1]).sequence + 1)
    for number in range(40):
        datagrams += ender.unit([END[coding.name]], parse(whole[-1]).timestamp + 3000 + number)
    receiver = VideoReceiver(PAYLOAD_TYPE, (), coding)
    units: list[AccessUnit] = []
    for number, datagram in enumerate(datagrams):
        BATCH.load([datagram])
        units += receiver.take(BATCH, float(number))
    assert [[bytes(nal) for nal in unit.nals] for unit in units] == readable(datagrams, coding)
    assert sum(unit.lost for unit in units) == receiver.lost


@pytest.mark.parametrize("coding", [H264, H265], ids=lambda coding: coding.name)
def test_in_order_nothing_is_lost_and_everything_equals_what_was_sent(coding: Coding) -> None:
    random = Random(7)
    sender = Sender(65_500, packet_size=300, coding=coding)
    sent = [random_unit(random, number % 30 == 0, coding) for number in range(200)]
    batches = [sender.unit(nals, 0xFFFFFFFF - 90_000 + 3000 * number) for number, nals in enumerate(sent)]
    receiver, units = drained(batches, coding=coding)
    assert [[bytes(nal) for nal in unit.nals] for unit in units] == sent
    assert [unit.timestamp for unit in units] == [(1 << 33) - 1 - 90_000 + 3000 * n for n in range(200)]
    assert receiver.lost == receiver.late == receiver.foreign == receiver.malformed == 0
    assert receiver.expected_packets == len(sender.packets)


def pictures(random: Random, count: int, coding: Coding) -> list[list[bytes]]:
    """Pictures of one slice in fragments, with nothing, or a little that says something of it, before them."""
    h264 = coding is H264
    slices, leads = ((1, 5), (6, 9, 12)) if h264 else ((1, 19), (39, 35, 38))
    units = []
    for number in range(count):
        nals = [random_nal(random, random.choice(leads), random.randint(3, 60), coding) for _ in range(number % 4 // 2)]
        sets = [random_nal(random, kind, 9, coding) for kind in coding.sets] if number % 20 == 0 else []
        units.append([*sets, *nals, random_nal(random, slices[number % 20 == 0], random.randint(400, 2500), coding)])
    return units


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32), st.booleans(), st.booleans(), CODINGS)
def test_whole_pictures_taken_at_once_are_as_on_the_plain_path(
    seed: int, lossy: bool, wild: bool, coding: Coding
) -> None:
    random = Random(seed)
    sender = Sender(random.randrange(65_536), packet_size=200, coding=coding)
    start, datagrams = random.randrange(1 << 32), list[bytes]()
    for number, nals in enumerate(pictures(random, 60, coding)):
        datagrams += sender.unit(nals, start + 3000 * number)
    batches = network(random, datagrams, wild=wild) if lossy else [datagrams[at : at + 90] for at in range(0, 900, 90)]
    slow, slow_units = plain(batches, coding)
    at_once: list[int] = []
    take = Depacketiser.pictures

    def noted(self: Depacketiser, whole: list[Any]) -> None:
        at_once.append(len(whole))
        take(self, whole)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Depacketiser, "pictures", noted)
        for fast, fast_units in (drained(batches, coding=coding), joined(batches, coding)):
            assert comparable(fast_units) == comparable(slow_units)
            for name in ("lost", "late", "foreign", "malformed", "highest", "jitter", "broken_payloads"):
                assert getattr(fast, name) == getattr(slow, name), name
    # The first of each kind of slice tells how those begin, and every 20th picture is a keyframe.
    assert lossy or sum(at_once) > 40, "most of 120 come whole in a batch"
    assert lossy or max(at_once) > 1, "and some of them in a row"


@pytest.mark.parametrize("leads", [0, 1, 2])
def test_a_picture_has_come_when_its_first_packet_did(leads: int) -> None:
    random = Random(8)
    sender, receiver = Sender(packet_size=200), VideoReceiver(PAYLOAD_TYPE)
    units = list[AccessUnit]()
    for number in range(3):
        nals = [random_nal(random, 6, 20) for _ in range(leads)] + [random_nal(random, 5 - 4 * bool(number), 2000)]
        datagrams = sender.unit(nals, 3000 * number)
        content = [*datagrams[:leads], b"".join(datagrams[leads:])]
        for at, each in enumerate(content):
            BATCH.buffer[at * SLOT_SIZE : at * SLOT_SIZE + len(each)] = each
        BATCH.fill([*map(len, content)], [0] * leads + [200], [0.5 - at / 10 for at in range(leads + 1)])
        units += receiver.take(BATCH, float(number + 1))
    assert [unit.arrival for unit in units] == [0.5, 1.5, 2.5]


def test_what_comes_before_a_picture_and_is_none_of_it_keeps_its_way() -> None:
    """Such as keepalives, that some cameras send between pictures."""
    random = Random(9)
    sender, fast, slow = Sender(packet_size=200), VideoReceiver(PAYLOAD_TYPE), VideoReceiver(PAYLOAD_TYPE)
    came, want = list[AccessUnit](), list[AccessUnit]()
    for number, nals in enumerate(pictures(random, 40, H264)):
        datagrams = [b"\0\1\0\0" + bytes(16), *sender.unit(nals, 3000 * number)]
        for at in range(0, len(datagrams), SLOTS):
            BATCH.load(datagrams[at : at + SLOTS])
            came += fast.take(BATCH, number / 25)
        want += [unit for each in datagrams for unit in slow.receive(each, number / 25)]
    assert len(came) == 40
    assert comparable(came) == comparable(want)
    assert fast.malformed == slow.malformed == 40


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("also", [(), (95, 97)], ids=["foreign", "agreed on"])
def test_where_the_numbers_begin_anew_nothing_is_carried_into_the_payload_type(
    ahead: bool, also: tuple[int, ...]
) -> None:
    """Neither from what is ahead of a run, nor within it."""
    units = [[random_nal(Random(1), 6, 20), random_nal(Random(2), kind, 1500)] for kind in (5, 1, 1, 1)]
    length = len(Sender(packet_size=200).unit(units[0], 0))
    sender = Sender(65_535 - 2 * length - (0 if ahead else 4), packet_size=200)
    fast, slow = [VideoReceiver(PAYLOAD_TYPE, also) for _ in range(2)]
    came, want = list[AccessUnit](), list[AccessUnit]()
    for number, nals in enumerate(units):
        datagrams = sender.unit(nals, 3000 * number)
        if number == 2:
            others = range(1) if ahead else range(5, length)
            for at in others:
                each = datagrams[at]
                datagrams[at] = each[:1] + bytes([each[1] & 0x80 | (95 if ahead else 97)]) + each[2:]
        BATCH.load(datagrams)
        came += fast.take(BATCH, number / 25)
        want += [unit for each in datagrams for unit in slow.receive(each, number / 25)]
    assert comparable(came) == comparable(want)
    assert (fast.foreign, fast.lost, fast.highest) == (slow.foreign, slow.lost, slow.highest)
    assert bool(fast.foreign) == (not also)


def test_packets_of_many_sizes_are_no_harm() -> None:
    random = Random(5)
    sender = Sender()
    batches = []
    for number in range(200):
        sender.packet_size = random.randint(30, 300)
        batches.append(sender.unit([random_nal(random, 1, random.randint(1, 2000))], 3000 * number))
    assert comparable(drained(batches)[1]) == comparable(plain(batches)[1])


def test_a_short_fragment_between_long_ones_brings_nothing_of_what_lay_there_before() -> None:
    random = Random(4)
    sender = Sender(packet_size=200)
    fragments = sender.unit([random_nal(random, 1, 2000)], 3000)
    for at in range(1, len(fragments) - 1):
        cut = [*fragments[:at], fragments[at][:90], *fragments[at + 1 :]]
        for most in (3, SLOTS):
            assert comparable(drained([cut], most)[1]) == comparable(plain([cut])[1])
        assert comparable(joined([cut])[1]) == comparable(plain([cut])[1])


def test_a_fragment_that_cannot_be_used_ends_its_nal_unit() -> None:
    random = Random(3)
    sender = Sender(packet_size=200)
    whole = [sender.unit([random_nal(random, 1, 2000)], 3000 * number) for number in range(3)]
    broken = bytearray(whole[1][4])
    broken[0] |= 0x20  # padding, of more bytes than there are
    broken[-1] = 255
    whole[1][4] = bytes(broken)
    datagrams = [datagram for unit in whole for datagram in unit]
    receiver, units = drained([datagrams])
    assert comparable(units) == comparable(plain([datagrams])[1])
    assert receiver.malformed == 1
    assert len(units) == 2


def test_a_nal_unit_beyond_the_limit_is_dropped_alike() -> None:
    sender = Sender(packet_size=1200)
    batches = [sender.unit([b"\x41" + bytes(9 << 20)], 3000), sender.unit([b"\x41end"], 6000)]
    fast, fast_units = drained(batches)
    slow, slow_units = plain(batches)
    assert comparable(fast_units) == comparable(slow_units)
    assert fast.broken_payloads == slow.broken_payloads == 1


def test_an_empty_batch_is_nothing() -> None:
    BATCH.load([])
    assert VideoReceiver(PAYLOAD_TYPE).take(BATCH, 0.0) == []
