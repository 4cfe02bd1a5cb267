"""Fuzz target: RTP in a stream of bytes."""

from __future__ import annotations

from soip.rtp.errors import RtpParseError
from soip.rtp.framing import MAX_LEFT, Deframer, frame

_BUFFER = memoryview(bytearray(1 << 20))


def fuzz(data: bytes) -> None:
    """Cut anywhere, packets lie inside of what came, in order; the rest is bounded, and every byte is accounted for."""
    step = 1 + (data[0] if data else 0) * 8
    stream = _stream(data[1:])
    deframer = Deframer([96])
    taken = 0
    for begin in range(0, len(stream), step):
        chunk = stream[begin : begin + step]
        at = deframer.begin(_BUFFER)
        _BUFFER[at : at + len(chunk)] = chunk
        end = at + len(chunk)
        try:
            spans = deframer.take(_BUFFER, end)
        except RtpParseError:
            return
        place = 0
        for start, size in spans:
            assert place + 2 <= start <= start + size <= end
            assert size
            place = start + size
            taken += 2 + size
        assert len(deframer._left) <= MAX_LEFT
    nothing = len(stream) - taken - deframer.skipped - len(deframer._left)
    assert nothing >= 0
    assert nothing % 2 == 0  # packets of no bytes


def _stream(data: bytes) -> bytes:
    """The input with good frames where it says so, so that there is something to go on after."""
    parts = []
    for sequence, piece in enumerate(data.split(b"\xf0")):
        parts.append(piece)
        parts.append(frame(b"\x80\x60" + sequence.to_bytes(2, "big") + bytes(4) + b"\0\0\0\1" + piece[:4] * 3))
    return b"".join(parts)
