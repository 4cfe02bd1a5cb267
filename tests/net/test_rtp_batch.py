from __future__ import annotations

import errno
from random import Random

import pytest

from soip.net.batch import BatchReader
from soip.rtp.batch import SLOT_SIZE, SLOTS
from tests.net.rtp_pairs import LOOPBACK, peer, port_of


def test_datagrams_come_as_they_were_sent_in_batches() -> None:
    random = Random(1)
    reader = BatchReader()
    sent = [random.randbytes(random.choice((1, 100, 1200, 1200, 9000))) for _ in range(SLOTS + 5)]
    with peer() as sink, peer() as source:
        for datagram in sent:
            source.sendto(datagram, (LOOPBACK, port_of(sink)))
        got: list[bytes] = []
        for expected in (SLOTS, 5, 0):
            assert reader.read(sink.fileno()) == expected == reader.batch.count
            batch = reader.batch
            got += [bytes(slot[:size]) for slot, size in zip(batch.slots, batch.sizes, strict=False)]
    assert got == sent


def test_a_datagram_longer_than_a_slot_is_given_as_nothing() -> None:
    reader = BatchReader()
    with peer() as sink, peer() as source:
        for size in (SLOT_SIZE - 1, SLOT_SIZE, 60_000, 10):
            source.sendto(bytes(size), (LOOPBACK, port_of(sink)))
        assert reader.read(sink.fileno()) == 4
        assert list(reader.batch.sizes) == [SLOT_SIZE - 1, 0, 0, 10]


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
        assert reader.batch.count == 0
