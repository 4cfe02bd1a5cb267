"""Asking for what is missing and answering who asks, in virtual time over a lossy link."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.rtp import rtcp
from soip.rtp.h264 import H264
from soip.rtp.nal import AccessUnit, packetise
from soip.rtp.receiver import VideoReceiver
from soip.rtp.reception import Reception
from soip.rtp.reorder import PATIENCE, ReorderWindow
from soip.rtp.retransmission import (
    ANSWERS_BURST,
    ANSWERS_PER_S,
    FIRST_RTT,
    HISTORY_BYTES,
    HISTORY_S,
    HOPELESS,
    MESSAGES_PER_S,
    MOST_ASKED,
    PATIENCE_CAP,
    TIMES,
    Answers,
    History,
    Requests,
)
from soip.rtp.sender import SendStream
from tests.rtp.test_damage import stream
from tests.rtp.wire import PAYLOAD_TYPE

SEGMENT = 500
STEP = 3600


@dataclass
class Link:
    """A camera that keeps a history and a receiver that asks, `delay` seconds apart each way."""

    random: Random
    loss: float
    delay: float
    lossy_feedback: bool = False
    answers: bool = True
    sequence: int = 65_000
    units: list[AccessUnit] = field(default_factory=list)
    messages: list[tuple[float, int]] = field(default_factory=list)
    """When the receiver asked, and for how many."""

    def __post_init__(self) -> None:
        self.receiver = VideoReceiver(PAYLOAD_TYPE)
        self.receiver.ask_again()
        self.sender = SendStream(PAYLOAD_TYPE, 7, self.sequence)
        self.history, self.replies = History(SEGMENT), Answers()
        self._events: list[tuple[float, int, str, bytes]] = []
        self._order = count()

    def carry(self, sent: list[list[bytes]]) -> None:
        for number, nals in enumerate(sent):
            now = number / 25
            self.run(now)
            first = self.sender.sequence
            runs = self.sender.stamp(packetise(H264, nals, SEGMENT), number * STEP)
            self.history.add(first, runs, now)
            spared = number == 0 or number > len(sent) - 30
            for datagram in split(runs):
                self._leave("media", datagram, now, 0.0 if spared else self.loss)
        self.run(len(sent) / 25 + 5)
        self.units += self.receiver.flush()

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            now, _, kind, data = heapq.heappop(self._events)
            if kind == "media":
                self.units += self.receiver.receive(data, now)
                if wanted := self.receiver.wanted(now):
                    self.messages.append((now, len(wanted)))
                    nack = rtcp.build([rtcp.Nack(1, 7, tuple(wanted))])
                    self._leave("nack", nack, now, self.loss if self.lossy_feedback else 0.0)
            elif self.answers:
                (packet,) = rtcp.parse(data)
                assert isinstance(packet, rtcp.Nack)
                for datagram in self.replies.answer(self.history, packet.sequences, 2 * self.delay, now):
                    self._leave("media", datagram, now, self.loss if self.lossy_feedback else 0.0)

    def _leave(self, kind: str, data: bytes, now: float, loss: float) -> None:
        if self.random.random() >= loss:
            heapq.heappush(self._events, (now + self.delay, next(self._order), kind, data))


def split(runs: list[bytes]) -> list[bytes]:
    return [run[at : at + SEGMENT] for run in runs for at in range(0, len(run), SEGMENT)]


SEEDS = st.integers(0, 1 << 32)


@given(SEEDS, st.sampled_from([0.01, 0.03]), st.sampled_from([0.001, 0.02, 0.08]))
def test_what_is_asked_for_comes_and_nothing_is_lost(seed: int, loss: float, delay: float) -> None:
    random = Random(seed)
    sent = stream(random, 100)
    link = Link(random, loss, delay)
    link.carry(sent)
    assert [[bytes(nal) for nal in unit.nals] for unit in link.units] == sent
    assert not any(unit.damaged for unit in link.units)
    requests = link.receiver.requests
    assert requests is not None
    assert link.receiver.lost == 0
    assert requests.asked == requests.answered
    if requests.answered > 20:
        assert requests.rtt == pytest.approx(2 * delay, abs=0.05), "what came is measured"


@given(SEEDS, st.sampled_from([0.02, 0.2]), st.booleans())
def test_a_link_that_loses_everything_alike_is_asked_within_bounds(seed: int, loss: float, answers: bool) -> None:
    random = Random(seed)
    link = Link(random, loss, 0.03, lossy_feedback=True, answers=answers)
    link.carry(stream(random, 150))
    assert all(number <= MOST_ASKED for _, number in link.messages)
    for at, _ in link.messages:
        assert sum(at <= other < at + 1 for other, _ in link.messages) <= MESSAGES_PER_S * 1.5 + 1
    numbers = [unit.timestamp for unit in link.units]
    assert numbers == sorted(set(numbers)), "each picture once, in order"
    assert sum(number for _, number in link.messages) <= TIMES * (link.receiver.requests or Requests(0)).asked


def test_who_does_not_answer_is_not_waited_for() -> None:
    requests = Requests(PATIENCE)
    assert requests.patience == pytest.approx(PATIENCE + 2 * FIRST_RTT)
    for number in range(HOPELESS):
        assert requests.due([number], float(number)) == [number]
        assert requests.due([], number + 0.5) == []
    assert requests.patience == PATIENCE
    assert requests.due([99], 99.0) == [99], "it is asked all the same"
    requests.arrived(99, 99.01)
    assert requests.patience > PATIENCE, "and trusted again when it answers"


def test_the_wait_follows_the_round_trip_up_to_a_cap() -> None:
    requests = Requests(PATIENCE)
    for number in range(40):
        requests.due([number], float(number))
        requests.arrived(number, number + 0.9)
    assert requests.rtt == pytest.approx(0.9, abs=0.01)
    assert requests.patience == PATIENCE_CAP


def test_a_packet_is_asked_for_twice_at_most_and_not_within_a_round_trip() -> None:
    requests = Requests(PATIENCE)
    asked = [now / 100 for now in range(100) if requests.due([5], now / 100)]
    assert asked == [0.0, pytest.approx(FIRST_RTT, abs=0.011)]


def test_an_answer_after_two_requests_measures_nothing() -> None:
    requests = Requests(PATIENCE)
    requests.due([5], 0.0)
    requests.due([5], 0.2)
    requests.arrived(5, 0.21)
    assert (requests.rtt, requests.answered) == (FIRST_RTT, 1)


def test_an_outage_is_not_asked_for() -> None:
    requests = Requests(PATIENCE)
    assert requests.due(list(range(MOST_ASKED + 1)), 0.0) == []
    assert requests.due(list(range(MOST_ASKED)), 0.0) == list(range(MOST_ASKED))


def test_a_receiver_that_was_not_told_so_asks_for_nothing() -> None:
    receiver = VideoReceiver(PAYLOAD_TYPE)
    sender = SendStream(PAYLOAD_TYPE, 7)
    for at in (0, 2, 3):
        sender.sequence = at
        (datagram,) = sender.stamp(packetise(H264, [b"\x41\x80x"], SEGMENT), at)
        receiver.receive(datagram, 0.0)
    assert receiver.wanted(0.0) == []
    receiver.ask_again()


@given(st.sets(st.integers(0, 300), max_size=100), st.integers(1, 100))
def test_the_window_names_what_is_missing(held: set[int], most: int) -> None:
    window = ReorderWindow(1000)
    for number in held:
        window.hold(number, b"", 0.0)
    missing = [number for number in range(max(held, default=0)) if number not in held]
    assert window.missing(0, most) == missing[:most]


@given(st.lists(st.integers(1, 3 * SEGMENT), min_size=1, max_size=40), st.integers(0, 0xFFFF))
def test_the_history_gives_each_packet_back(sizes: list[int], first: int) -> None:
    history = History(SEGMENT)
    runs = [bytes([at % 251]) * size for at, size in enumerate(sizes)]
    packets = split(runs)
    history.add(first, runs, 0.0)
    for at, packet in enumerate(packets):
        assert history.find(first + at & 0xFFFF) == packet
    assert history.find(first - 1 & 0xFFFF) is None
    assert history.find(first + len(packets) & 0xFFFF) is None


def test_the_history_is_bounded_in_time_and_size() -> None:
    history = History(SEGMENT)
    history.add(0, [b"old"], 0.0)
    history.add(1, [b"new"], HISTORY_S + 0.1)
    assert (history.find(0), history.find(1)) == (None, b"new")
    for number in range(200):
        history.add(10 + number, [bytes(60_000)], HISTORY_S + 0.2)
    assert history._bytes <= HISTORY_BYTES
    assert history.find(1) is None


def test_a_viewer_gets_each_packet_once_in_a_round_trip_and_not_too_many() -> None:
    history, answers = History(SEGMENT), Answers()
    history.add(0, [bytes(SEGMENT)] * 1000, 0.0)
    assert len(answers.answer(history, [5, 5, 6], 0.1, 0.0)) == 2
    assert answers.answer(history, [5, 6], 0.1, 0.09) == []
    assert len(answers.answer(history, [5, 6], 0.1, 0.11)) == 2
    assert len(answers.answer(history, range(100, 900), 0.1, 0.2)) <= ANSWERS_BURST
    got = sum(len(answers.answer(history, range(1000), 0.0, 0.2 + at / 100)) for at in range(80))
    assert got <= ANSWERS_BURST + ANSWERS_PER_S * 0.8
    assert answers.refused > 700


@given(st.lists(st.integers(-3, 3), min_size=20, max_size=200), st.integers(0, 0xFFFF))
def test_reports_count_as_the_standard_says(steps: list[int], first: int) -> None:
    """RFC 3550 §A.3: expected by the numbers, received by the packets, whatever order and however often they come."""
    receiver = VideoReceiver(PAYLOAD_TYPE)
    reception = Reception(receiver)
    sender = SendStream(PAYLOAD_TYPE, 7)
    at, highest, received, before = 100, 0, 0, (0, 0)
    for number, step in enumerate([0, *steps]):
        at = max(100, at + step)
        sender.sequence = first + at & 0xFFFF
        (datagram,) = sender.stamp(packetise(H264, [b"\x41\x80x"], SEGMENT), at * STEP)
        receiver.receive(datagram, number / 50)
        highest, received = max(highest, at), received + 1
        if number % 7 == 6:
            block = reception.block(number / 50)
            assert block is not None
            expected = highest - 100 + 1
            assert block.lost == expected - received
            assert block.highest & 0xFFFF == first + highest & 0xFFFF
            lost = expected - before[0] - (received - before[1])
            fraction = 256 * lost // (expected - before[0]) if lost > 0 and expected > before[0] else 0
            assert block.fraction_lost == min(255, fraction)
            before = (expected, received)
