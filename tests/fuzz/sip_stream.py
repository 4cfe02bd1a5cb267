"""Fuzz target: SIP messages out of a byte stream."""

from __future__ import annotations

from soip.sip.errors import SipParseError
from soip.sip.stream import Keepalive, StreamItem, StreamParser


def fuzz(data: bytes) -> None:
    """Whole, cut in two or byte by byte: the same messages, errors and keepalives, and nothing is raised.

    Only how often a keepalive is told depends on the cut: all line breaks that are read together are one.
    """
    cut = data[0] % (len(data) + 1) if data else 0
    whole = _run([data])
    assert _run([data[:cut], data[cut:]]) == whole
    assert _run([data[n : n + 1] for n in range(len(data))]) == whole
    # On a connection we opened, what reads as half a PING is a PONG.
    assert [item for item in _run([data], opened=True) if not isinstance(item, Keepalive)] == [
        item for item in whole if not isinstance(item, Keepalive)
    ]


def _run(pieces: list[bytes], *, opened: bool = False) -> list[object]:
    parser = StreamParser(opened=opened)
    items = [item for piece in pieces for item in parser.feed(piece)]
    assert all(not isinstance(item, SipParseError) or item.status >= 400 for item in items)
    assert (parser.broken is not None) == (bool(items) and items[-1] is parser.broken)
    return [
        _comparable(item)
        for before, item in zip([None, *items], items, strict=False)
        if not (isinstance(item, Keepalive) and item is before)
    ]


def _comparable(item: StreamItem) -> object:
    return (item.what, item.offset, item.status, item.method) if isinstance(item, SipParseError) else item
