"""Fuzz target: datagrams of a video stream."""

from __future__ import annotations

from itertools import groupby

from soip.rtp.batch import SLOTS, DatagramBatch
from soip.rtp.h264 import H264
from soip.rtp.nal import MAX_ACCESS_UNIT, Coding
from soip.rtp.receiver import VideoReceiver
from tests.rtp.wire import comparable

_BATCH = DatagramBatch()


def fuzz(data: bytes) -> None:
    """In batches or one by one, the same access units come out; nothing is raised, nothing exceeds its bound."""
    hold(data, H264)


def hold(data: bytes, coding: Coding) -> None:
    """The invariant, of a coding."""
    datagrams = _datagrams(data)
    fast, slow, burst = [VideoReceiver(96, (), coding) for _ in range(3)]
    drained, joined = [], []
    for at in range(0, len(datagrams), SLOTS):
        _BATCH.load(datagrams[at : at + SLOTS])
        drained += fast.take(_BATCH, 1.0)
    drained += fast.flush()
    single = [unit for datagram in datagrams for unit in slow.receive(datagram, 1.0)] + slow.flush()
    for size, run in groupby(datagrams, key=len):
        if size:
            _BATCH.load_joined(list(run))
            joined += burst.take(_BATCH, 1.0)
        else:
            burst.malformed += len(list(run))
    joined += burst.flush()
    assert comparable(drained) == comparable(joined) == comparable(single)
    assert fast.lost == slow.lost
    assert fast.malformed == burst.malformed == slow.malformed
    assert all(unit.size <= MAX_ACCESS_UNIT and unit.nals for unit in drained)


def _datagrams(data: bytes) -> list[bytes]:
    """Cut the input: a length byte each; the first bit completes a header that is near to in order."""
    out = []
    at = 0
    sequence = 65_530
    while at < len(data):
        size = data[at] & 0x7F
        content = data[at + 1 : at + 1 + size]
        if data[at] & 0x80 and content:
            sequence += content[0] & 3
            marker = content[0] & 0x80 | 96
            header = bytes((0x80, marker)) + (sequence & 0xFFFF).to_bytes(2, "big") + bytes((0, 0, 0, content[0] >> 4))
            content = header + b"\0\0\0\1" + content[1:]
        out.append(content)
        at += 1 + size
    return out
