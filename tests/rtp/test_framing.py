"""RTP in a stream: any cut gives the same packets, and what is no frame is skipped."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.rtp.batch import DatagramBatch
from soip.rtp.errors import RtpParseError
from soip.rtp.framing import MAX_FRAME, MAX_LEFT, MAX_SKIPPED, PREFIX, Deframer, frame, frame_runs, is_rtcp, runs_of
from soip.rtp.h264 import H264
from soip.rtp.nal import packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.rtcp import Bye, ReceiverReport, build
from soip.rtp.sender import SendStream
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, Sender, comparable, random_unit

BUFFER = memoryview(bytearray(4 << 20))
REPORT = build([ReceiverReport(SSRC, ())])


def deframed(chunks: list[bytes], deframer: Deframer | None = None) -> list[bytes]:
    """The packets in the chunks, each of which is read by itself."""
    deframer = deframer or Deframer([PAYLOAD_TYPE])
    found = []
    for chunk in chunks:
        at = deframer.begin(BUFFER)
        BUFFER[at : at + len(chunk)] = chunk
        found += [bytes(BUFFER[start : start + size]) for start, size in deframer.take(BUFFER, at + len(chunk))]
    return found


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    return [stream[a:b] for a, b in pairwise([0, *sorted(place % (len(stream) + 1) for place in places), len(stream)])]


def packets(random: Random, count: int) -> list[bytes]:
    """RTP of one stream, with a report now and then."""
    sender = Sender(sequence=random.getrandbits(16))
    found: list[bytes] = []
    while len(found) < count:
        found += sender.unit(random_unit(random, keyframe=not found), len(found) * 90)
        if random.random() < 0.3:
            found.append(REPORT)
    return found


@given(seed=st.integers(0, 1 << 32), places=st.lists(st.integers(0, 1 << 20), max_size=60))
def test_any_cut_gives_the_same_packets(seed: int, places: list[int]) -> None:
    sent = packets(Random(seed), 30)
    deframer = Deframer([PAYLOAD_TYPE])
    assert deframed(cut(b"".join(map(frame, sent)), places), deframer) == sent
    assert (deframer.skipped, deframer.damages) == (0, 0)


def test_byte_by_byte() -> None:
    sent = packets(Random(3), 12)
    stream = b"".join(map(frame, sent))
    assert deframed([stream[at : at + 1] for at in range(len(stream))]) == sent


@settings(deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    garbage=st.binary(min_size=1, max_size=3000),
    after=st.integers(2, 25),
    places=st.lists(st.integers(0, 1 << 20), max_size=20),
)
def test_after_garbage_it_goes_on(seed: int, garbage: bytes, after: int, places: list[int]) -> None:
    """What came before is whole; of what follows at most the packet is lost that garbage hides, and nothing is
    invented in its place that a receiver would take.
    """
    sent = packets(Random(seed), 60)
    stream = b"".join(map(frame, sent[:after])) + garbage + b"".join(map(frame, sent[after:]))
    found = deframed(cut(stream, places))
    known = set(sent)
    whole = [packet for packet in found if packet in known]
    assert whole[: after - 1] == sent[: after - 1]
    assert whole[-10:] == sent[-10:]
    assert len(whole) >= len(sent) - 4 or len(garbage) > 1000


@settings(deadline=None)
@given(
    seed=st.integers(0, 1 << 32), which=st.integers(5, 30), wrong=st.integers(0, MAX_FRAME), size=st.integers(1, 9000)
)
def test_a_wrong_length_costs_what_it_covers(seed: int, which: int, wrong: int, size: int) -> None:
    """A device says one length and sends another."""
    sent = packets(Random(seed), 400)
    framed = [frame(packet) for packet in sent]
    framed[which] = wrong.to_bytes(2, "big") + sent[which]
    stream = b"".join(framed)
    deframer = Deframer([PAYLOAD_TYPE])
    found = deframed([stream[at : at + size] for at in range(0, len(stream), size)], deframer)
    known = set(sent)
    whole = [packet for packet in found if packet in known]
    assert whole[:which] == sent[:which]
    if sum(map(len, framed[which:])) > MAX_FRAME + 4000:
        assert whole[-5:] == sent[-5:]


def test_a_wrong_length_is_counted_and_costs_one_packet() -> None:
    sent = packets(Random(5), 30)
    framed = [frame(packet) for packet in sent]
    framed[10] = (len(sent[10]) + 300).to_bytes(2, "big") + sent[10]
    deframer = Deframer([PAYLOAD_TYPE])
    assert deframed([b"".join(framed)], deframer) == sent[:10] + sent[11:]
    assert deframer.damages == 1
    assert deframer.skipped == len(framed[10])


def test_garbage_between_two_frames_costs_none() -> None:
    sent = packets(Random(6), 30)
    stream = b"".join(map(frame, sent[:10])) + b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"".join(map(frame, sent[10:]))
    deframer = Deframer([PAYLOAD_TYPE])
    assert deframed([stream], deframer) == sent
    assert (deframer.damages, deframer.skipped) == (1, 28)


def test_another_source_is_found_in_the_end() -> None:
    """A camera that restarts behind a proxy: garbage, then another SSRC."""
    sender = Sender(ssrc=7)
    before = packets(Random(8), 20)
    after = [sender.packet(bytes(900), number, marker=True) for number in range(400)]
    stream = b"".join(map(frame, before)) + b"\x01" * 500 + b"".join(map(frame, after))
    found = deframed([stream[at : at + 4000] for at in range(0, len(stream), 4000)])
    assert found[: len(before)] == before
    assert found[-100:] == after[-100:]


@pytest.mark.parametrize("size", [11, 700, 65_536])
def test_a_stream_without_any_frame_is_given_up(size: int) -> None:
    random = Random(1)
    deframer = Deframer([PAYLOAD_TYPE])
    noise = [random.randbytes(size) for _ in range(2 * MAX_SKIPPED // size + 2)]
    with pytest.raises(RtpParseError, match="are no RTP packets"):
        deframed(noise, deframer)
    assert len(deframer._left) <= MAX_LEFT


def test_what_is_kept_is_bounded_whatever_comes() -> None:
    random = Random(2)
    deframer = Deframer([PAYLOAD_TYPE])
    good = frame(packets(random, 1)[0])
    for _ in range(300):
        deframed([good + random.randbytes(random.choice((1, 60, 5000)))], deframer)
        assert len(deframer._left) <= MAX_LEFT


def test_packets_of_no_bytes_are_ignored() -> None:
    sent = packets(Random(4), 5)
    assert deframed([b"\0\0".join(map(frame, sent))]) == sent


def test_rtp_and_rtcp_are_told_apart_by_the_second_byte() -> None:
    assert [is_rtcp(second) for second in (96, 191, 192, 200, 223, 224)] == [False, False, True, True, True, False]
    assert is_rtcp(build([Bye((1,))])[1])
    assert not is_rtcp(Sender().packet(b"x", 0, marker=True)[1])


@given(seed=st.integers(0, 1 << 32), size=st.sampled_from([60, 200, 1400]))
def test_runs_are_framed_packet_by_packet(seed: int, size: int) -> None:
    random = Random(seed)
    stream, twin = SendStream(PAYLOAD_TYPE, SSRC), Sender(packet_size=size)
    for number in range(4):
        nals = random_unit(random, number == 0)
        runs = stream.stamp(packetise(H264, nals, size), number)
        assert frame_runs(runs, size) == b"".join(map(frame, twin.unit(nals, number)))


@given(seed=st.integers(0, 1 << 32), reads=st.integers(100, 20_000))
def test_receivers_take_frames_as_they_take_datagrams(seed: int, reads: int) -> None:
    """The batch is aimed at frames in the stream, one behind the other, and gives what single datagrams give."""
    random = Random(seed)
    sender = Sender()
    datagrams = [one for number in range(40) for one in sender.unit(random_unit(random, number % 9 == 0), number)]
    lossy = [one for one in datagrams if random.random() > 0.02]
    plain = VideoReceiver(PAYLOAD_TYPE)
    expected = [unit for one in lossy for unit in plain.receive(one, 1.0)] + plain.flush()
    fast, batch, deframer = VideoReceiver(PAYLOAD_TYPE), DatagramBatch(), Deframer([PAYLOAD_TYPE])
    stream = b"".join(map(frame, lossy))
    units = []
    for begin in range(0, len(stream), reads):
        chunk = stream[begin : begin + reads]
        at = deframer.begin(BUFFER)
        BUFFER[at : at + len(chunk)] = chunk
        for start, end, sizes in runs_of(deframer.take(BUFFER, at + len(chunk))):
            batch.load_framed(BUFFER[start:end], PREFIX, sizes)
            units += fast.take(batch, 1.0)
    assert comparable(units + fast.flush()) == comparable(expected)
    assert (fast.lost, fast.malformed) == (plain.lost, plain.malformed)
