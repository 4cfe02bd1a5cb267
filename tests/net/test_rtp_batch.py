from __future__ import annotations

import errno
import socket
import time
from random import Random

import pytest

from soip.net.batch import BatchReader, prepare
from soip.net.gso import UDP_SEGMENT
from soip.rtp.batch import SLOTS
from tests.net.rtp_pairs import LOOPBACK, peer, port_of, stamped


def datagrams(reader: BatchReader) -> list[bytes]:
    """What the last read brought."""
    return [bytes(slot[:size]) for slot, size, _ in reader.batch.datagrams()]


@pytest.mark.parametrize("joined", [False, True])
def test_datagrams_come_as_they_were_sent_in_batches(joined: bool) -> None:
    random = Random(1)
    reader = BatchReader()
    sent = [random.randbytes(random.choice((1, 100, 1200, 1200, 9000))) for _ in range(SLOTS + 5)]
    with peer() as sink, peer() as source:
        if joined:
            prepare(sink)
        for datagram in sent:
            source.sendto(datagram, (LOOPBACK, port_of(sink)))
        got: list[bytes] = []
        for expected in (SLOTS, 5, 0):
            assert reader.read(sink.fileno()) == expected
            got += datagrams(reader)
    assert got == sent


def test_bursts_come_joined_and_are_cut_where_they_were() -> None:
    random = Random(2)
    reader = BatchReader()
    sent: list[bytes] = []
    with peer() as sink, peer() as source:
        prepare(sink)
        source.connect((LOOPBACK, port_of(sink)))
        for size, count, last in ((1200, 14, 500), (1200, 1, 0), (20, 5, 20), (100, 64, 0), (8, 3, 1), (1200, 50, 7)):
            burst = [random.randbytes(size) for _ in range(count)] + [random.randbytes(last)][: bool(last)]
            sent += burst
            source.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size if len(burst) > 1 else 0)
            source.send(b"".join(burst))
            sent.append(random.randbytes(30))
            source.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            source.send(sent[-1])
        assert reader.read(sink.fileno()) == 12, "a burst is one message"
        assert datagrams(reader) == sent


def test_errors_are_the_systems() -> None:
    reader = BatchReader()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        reader.read(-1)
    assert caught.value.errno == errno.EBADF
    with peer() as sink:
        with peer() as gone:
            sink.connect((LOOPBACK, port_of(gone)))
        sink.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            reader.read(sink.fileno())
        assert datagrams(reader) == []


def test_each_run_knows_how_long_it_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soip.net.batch.OLDEST_S", 60.0)  # a machine that stalls makes it wait longer
    reader = BatchReader()
    with stamped(), peer() as sink, peer() as source:
        prepare(sink)
        source.connect((LOOPBACK, port_of(sink)))
        began = time.monotonic()
        for burst in (3, 2):
            for number in range(burst):
                source.send(bytes([number]))
            time.sleep(0.1)  # What was sent waits so long.
        time.sleep(0.5)  # And this.
        waited = time.monotonic() - began
        assert reader.read(sink.fileno()) == 5
        found = [(count, age) for _, _, count, _, _, age in reader.batch.runs]
        # A machine that stalls while a burst is sent makes two of it.
        assert sum(count for count, _ in found) == 5
        ages = [age for _, age in found]
        assert waited >= ages[0] - 0.01
        assert ages[0] - ages[-1] >= 0.095
        assert ages[-1] >= 0.095 + 0.5
        assert ages == sorted(ages, reverse=True)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_step_of_the_clock_makes_nothing_older_or_younger(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    reader = BatchReader()
    with peer() as sink, peer() as source:
        prepare(sink)
        source.sendto(b"x", (LOOPBACK, port_of(sink)))
        there = time.time()
        monkeypatch.setattr(time, "time", lambda: there + step_s)
        reader.read(sink.fileno())
        assert [age for _, _, age in reader.batch.datagrams()] == [0.0]
