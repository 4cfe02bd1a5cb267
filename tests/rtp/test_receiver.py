from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp.batch import SLOT_SIZE, SLOTS, TOGETHER_S, DatagramBatch
from soip.rtp.packet import RtpPacket, build
from soip.rtp.receiver import SSRC_SILENCE, AudioReceiver, VideoReceiver
from soip.rtp.reorder import MAX_HELD, PATIENCE, ReorderWindow
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, Sender, random_nal

SLICE = b"\x41slice"


def slices(count: int, sequence: int = 0, ssrc: int = SSRC) -> list[bytes]:
    """One packet a picture."""
    sender = Sender(sequence, ssrc)
    return [datagram for at in range(count) for datagram in sender.unit([SLICE + bytes([at & 255])], 3000 * at)]


def numbers(receiver: VideoReceiver, datagrams: list[bytes], now: float = 0.0) -> list[int]:
    """Feed datagrams; return the picture numbers that come out."""
    return [unit.nals[0][-1] for datagram in datagrams for unit in receiver.receive(datagram, now)]


def test_swapped_packets_come_out_in_order() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    zero, one, two, three = slices(4, 65_534)
    assert numbers(receiver, [zero, two, one, three]) == [0, 1, 2, 3]
    assert receiver.lost == 0
    assert receiver.expected_packets == 4


def test_a_gap_is_given_up_after_the_patience() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    zero, _, two, three, four = slices(5)
    assert numbers(receiver, [zero, two], 1.0) == [0]
    assert numbers(receiver, [three], 0.99 + PATIENCE) == []
    units = receiver.receive(four, 1.01 + PATIENCE)
    assert [(unit.nals[0][-1], unit.lost) for unit in units] == [(2, 1), (3, 0), (4, 0)]
    assert receiver.lost == 1


def test_a_gap_is_given_up_when_the_window_is_full() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    datagrams = slices(MAX_HELD + 2)
    del datagrams[1]
    assert numbers(receiver, datagrams[:-1]) == [0]
    assert len(numbers(receiver, datagrams[-1:])) == MAX_HELD


def test_two_gaps_wait_each_for_itself() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    zero, one, two, three, four = slices(5)
    assert numbers(receiver, [zero, two, four], 0.0) == [0]
    assert numbers(receiver, [one], 0.09) == [1, 2]
    assert numbers(receiver, [three], 0.15) == [3, 4]
    assert receiver.lost == 0


def test_late_and_repeated_packets_are_counted_and_dropped() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    zero, one, two, three, four = slices(5)
    assert numbers(receiver, [zero, one, one, three, three], 0.0) == [0, 1]
    assert numbers(receiver, [four], 1.0) == [3, 4]
    assert numbers(receiver, [two], 1.0) == []
    assert receiver.late == 3
    assert receiver.lost == 1


def test_another_ssrc_is_foreign_until_the_first_falls_silent() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    assert numbers(receiver, slices(2), 0.0) == [0, 1]
    other = slices(3, 500, ssrc=77)
    assert numbers(receiver, other, SSRC_SILENCE - 0.1) == []
    assert receiver.foreign == 3
    assert receiver.ssrc == SSRC
    assert numbers(receiver, other, SSRC_SILENCE) == [0, 1, 2]
    assert receiver.ssrc == 77
    assert receiver.expected_packets == 3


def test_another_payload_type_is_foreign() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    packet = RtpPacket(97, True, 0, 0, SSRC, SLICE)
    assert receiver.receive(build(packet), 0.0) == []
    assert receiver.foreign == 1
    assert receiver.ssrc is None


@pytest.mark.parametrize("junk", [b"", b"\x80", bytes(40), b"\x40" + bytes(40)])
def test_what_is_no_rtp_is_malformed(junk: bytes) -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    assert receiver.receive(junk, 0.0) == []
    assert receiver.malformed == 1


def test_padding_extensions_and_csrcs_are_stepped_over() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    packet = RtpPacket(PAYLOAD_TYPE, True, 5, 0, SSRC, SLICE, (1, 2), (0xBEDE, bytes(8)))
    padded = bytearray(build(packet)) + b"\x00\x00\x03"
    padded[0] |= 0x20
    (unit,) = receiver.receive(bytes(padded), 0.0)
    assert unit.nals == [SLICE]


def test_a_packet_with_broken_lengths_counts_as_missing_for_the_picture() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    zero, one, two = slices(3)
    broken = b"\x8f" + one[1:]  # 15 CSRCs that are not there
    assert numbers(receiver, [zero, broken]) == [0]
    (unit,) = receiver.receive(two, 0.0)
    assert unit.lost == 1
    assert receiver.malformed == 1
    assert receiver.lost == 0


def test_one_wild_sequence_number_changes_nothing() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    wild = slices(1, 30_000)
    assert numbers(receiver, [*slices(2), *wild, *slices(4)[2:]]) == [0, 1, 2, 3]
    assert receiver.lost == 0


def test_two_in_a_row_are_a_long_outage() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    assert numbers(receiver, slices(2)) == [0, 1]
    assert numbers(receiver, slices(3, 10_000)) == [1, 2]
    assert receiver.lost == 10_000 - 2 + 1
    assert receiver.expected_packets == 10_003


def test_two_in_a_row_backwards_are_a_restart() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    assert numbers(receiver, slices(2, 10_000)) == [0, 1]
    assert numbers(receiver, slices(3, 20)) == [1, 2]
    assert receiver.lost == 1
    assert receiver.expected_packets == 5
    assert receiver.highest & 0xFFFF == 22


def test_jitter_settles_at_the_mean_change_of_transit() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    sender = Sender()
    for number in range(400):
        (datagram,) = sender.unit([SLICE], 3000 * number)
        receiver.receive(datagram, number / 30 + (0.010 if number % 2 else 0.0))
    assert receiver.jitter == pytest.approx(900, rel=0.01)


def test_audio_frames_come_in_order_with_their_loss() -> None:
    receiver = AudioReceiver(0)
    packets = [build(RtpPacket(0, False, n, 0xFFFFFF00 + 160 * n & 0xFFFFFFFF, 9, bytes([n]) * 160)) for n in range(6)]
    frames = [
        frame for at, number in enumerate((0, 2, 1, 4, 5)) for frame in receiver.receive(packets[number], at * 0.2)
    ]
    assert [(frame.payload[0], frame.lost) for frame in frames] == [(0, 0), (1, 0), (2, 0), (4, 1), (5, 0)]
    assert [frame.timestamp - frames[0].timestamp for frame in frames] == [0, 160, 320, 640, 800]


def test_audio_is_taken_from_batches() -> None:
    receiver = AudioReceiver(8)
    batch = DatagramBatch()
    batch.load([build(RtpPacket(8, False, n, 160 * n, 9, bytes(160))) for n in range(5)])
    assert len(receiver.take(batch, 0.0)) == 5
    batch.load([])
    assert receiver.take(batch, 0.0) == []


def held(batch: DatagramBatch) -> list[bytes]:
    return [bytes(slot[:size]) for slot, size, _ in batch.datagrams()]


def test_a_batch_holds_as_many_as_it_has_slots() -> None:
    batch = DatagramBatch()
    datagrams = [bytes([n]) * (n + 14) for n in range(SLOTS + 3)]
    batch.load(datagrams)
    assert held(batch) == datagrams[:SLOTS]
    layout = batch.runs[0][0]
    assert len(layout.cut(14)) == SLOTS
    for size in range(20, 1000):
        assert {len(body) for body in layout.bodies(14, size)} == {size - 14}
    for size in range(20, 1000):
        batch.load_joined([bytes(size)] * 3)
        ((layout, first, count, each, last, age),) = batch.runs
        assert [len(slot) for slot in layout.slots[first : first + count]] == [each, each, last] == [size] * 3
        assert age == 0.0
    assert len(batch._joined) <= 512, "who varies the size shall not fill the memory"


def test_joined_datagrams_lie_one_behind_the_other() -> None:
    batch = DatagramBatch()
    batch.load_joined([b"a" * 20, b"b" * 20, b"c" * 15])
    assert held(batch) == [b"a" * 20, b"b" * 20, b"c" * 15]
    layout = batch.runs[0][0]
    assert [bytes(body) for body in layout.bodies(14, 20)[:2]] == [b"a" * 6, b"b" * 6]
    batch.load_joined([bytes([n]) * 20 for n in range(64)])
    assert held(batch) == [bytes([n]) * 20 for n in range(64)], "of more than before"
    receiver = VideoReceiver(96)
    for datagrams in ([b"x"] * 64, [b"12", b"34", b"5"]):
        batch.load_joined(datagrams)
        assert receiver.take(batch, 0.0) == []
    assert receiver.malformed == 67


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.floats(0, 0.01)), max_size=SLOTS))
def test_runs_are_of_one_size_and_one_time(told: list[tuple[int, int, float]]) -> None:
    batch = DatagramBatch()
    batch.buffer[:] = Random(1).randbytes(SLOT_SIZE) * SLOTS
    sizes = [size for size, _, _ in told]
    segments = [segment for _, segment, _ in told]  # sometimes of more than there is: it is one then
    ages = sorted((age for _, _, age in told), reverse=True)
    batch.fill(sizes, segments, ages)
    expected: list[tuple[bytes, float]] = []
    for number, (size, segment, age) in enumerate(zip(sizes, segments, ages, strict=True)):
        content = batch.buffer[number * SLOT_SIZE : number * SLOT_SIZE + size]
        step = segment or max(size, 1)
        expected += [(bytes(content[at : at + step]), age) for at in range(0, max(size, 1), step)]
    for shorter in (0, 3):
        if shorter:
            batch.resize([max(0, size - shorter) for _, size, _ in batch.datagrams()])
            expected = [(content[: max(0, len(content) - shorter)], age) for content, age in expected]
        assert held(batch) == [content for content, _ in expected]
        said = [age for _, _, age in batch.datagrams()]
        assert all(0 <= one - age <= TOGETHER_S for one, (_, age) in zip(said, expected, strict=True))
        assert all(last <= size and count for _, _, count, size, last, _ in batch.runs)


def test_a_new_audio_source_counts_anew() -> None:
    receiver = AudioReceiver(0)
    receiver.receive(build(RtpPacket(0, False, 1, 9000, 1, b"a")), 0.0)
    (frame,) = receiver.receive(build(RtpPacket(0, False, 9, 70, 2, b"b")), 5.0)
    assert frame.timestamp == (1 << 32) + 70


def test_memory_stays_bounded_over_a_hole_that_never_closes() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    window = ReorderWindow()
    for number in range(1000):
        window.hold(number, b"", 0.0)
        if window.gap_is_final(0.0):
            window.clear()
    assert len(window) < MAX_HELD
    random = Random(1)
    for number in range(0, 3000, 2):  # every second packet is missing
        receiver.receive(build(RtpPacket(PAYLOAD_TYPE, False, number, number, SSRC, random_nal(random, 1, 20))), 0.0)
    assert receiver.expected_packets - receiver.lost >= 1500 - MAX_HELD


def retyped(datagrams: list[bytes], payload_type: int) -> list[bytes]:
    return [bytes([each[0], each[1] & 0x80 | payload_type]) + each[2:] for each in datagrams]


@pytest.mark.parametrize("batched", [False, True])
def test_any_payload_type_that_was_agreed_on_is_taken_and_it_may_change(batched: bool) -> None:
    """baresip answers with numbers of its own and sends with ours (RFC 3264 §6.1)."""
    receiver = VideoReceiver(98, (96, 98))
    datagrams = slices(SLOTS)
    datagrams[SLOTS // 2 :] = retyped(datagrams[SLOTS // 2 :], 98)
    datagrams[-1:] = retyped(datagrams[-1:], 99)
    if batched:
        batch = DatagramBatch()
        batch.load(datagrams)
        came = [unit.nals[0][-1] for unit in receiver.take(batch, 0.0)]
    else:
        came = numbers(receiver, datagrams)
    assert came == list(range(SLOTS - 1))
    assert receiver.foreign == 1


def test_what_was_counted_of_one_source_stays_counted_with_the_next() -> None:
    receiver = AudioReceiver(0)
    for number in (1, 2, 2):  # the last one came twice
        receiver.receive(build(RtpPacket(0, False, number, 160 * number, 1, b"a")), 0.0)
    assert receiver.counted == (2, 0, 1)
    receiver.receive(build(RtpPacket(0, False, 70, 0, 2, b"b")), 5.0)
    assert (receiver.expected_packets, receiver.late) == (1, 0), "reports are of the new source"
    assert receiver.counted == (3, 0, 1)
