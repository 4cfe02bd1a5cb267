"""RTP and RTCP in a stream of bytes (RFC 4571): each packet after its length, in two bytes.

Both may share a connection; the second byte tells them apart (RFC 5761 §4).

Theory. A stream has no packet boundaries of its own: whoever gets one length wrong, as devices do, is misread from
there on. So a frame is taken only when it begins like a packet, and, where what follows is there already, when that
does too. Otherwise the next frame is looked for: one of a known payload type, with a second one of the same source
behind it. What lies before it is skipped and counted; the gap in the sequence numbers then shows as loss. A frame whose
length covers the next one is dropped with it.

The shell owns the buffer: `begin` puts into it what was left over and says where to read more to; `take` says where the
packets lie.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from struct import Struct

from soip.rtp.errors import RtpParseError
from soip.rtp.packet import HEADER_SIZE, VERSION_BITS

PREFIX = 2
MAX_FRAME = 65_535
MAX_SKIPPED = 1 << 20
"""Bytes that are no frames after which the stream is given up; twice as many good ones make up for them."""
_RTCP_SIZES = range(8, 2049)
_HEAD = Struct(">HBB6xI")
"""Length, first and second byte, SSRC."""
_KEEP = 2 * PREFIX + MAX_FRAME + HEADER_SIZE
"""Of what was searched in vain, what may still begin a frame whose successor is not there yet."""
MAX_LEFT = 2 * _KEEP
"""Bytes that may be left over."""
_PATIENCE = 4096
"""A frame so much of which is there, and not all of it, may have a wrong length: the next one is looked for."""
_STEP = 256
"""Bytes that must have come at least before a search is made again."""
MOST_IN_A_ROW = 64
"""Frames looked at together."""
_SAME = (0, 1, 2, 10, 11, 12, 13)
"""Where in a frame its length, its first byte and its source lie."""
_REPORT, _EMPTY, _SHORT, _NOTHING = -1, -2, -3, -4
"""What may begin instead of RTP: RTCP; a packet of no bytes; too little to tell; no frame."""
_NO_OBJECTION = (_REPORT, _EMPTY, _SHORT)


def frame(packet: bytes) -> bytes:
    """One packet as it goes into the stream."""
    return len(packet).to_bytes(PREFIX, "big") + packet


def frame_runs(runs: Sequence[bytes], size: int) -> bytes:
    """An access unit's packets as they go into the stream, from runs of packets of `size` bytes, of which the last may
    be shorter (``rtp.sender.SendStream.stamp``).
    """
    full = size.to_bytes(PREFIX, "big")
    parts: list[bytes] = []
    for run in runs:
        whole = len(run) // size * size
        for at in range(0, whole, size):
            parts += (full, run[at : at + size])
        if whole < len(run):
            parts += ((len(run) - whole).to_bytes(PREFIX, "big"), run[whole:])
    return b"".join(parts)


def is_rtcp(second: int) -> bool:
    """Whether a packet with this second byte is RTCP (RFC 5761 §4)."""
    return 192 <= second < 224


def runs_of(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Where runs of packets begin and end that lie one behind the other, and their sizes: equal but for the last one,
    which may be shorter (``rtp.batch.DatagramBatch.load_framed``); at most `MOST_IN_A_ROW`.
    """
    begin, sizes, following = 0, list[int](), -1
    for at, size in spans:
        if sizes and at == following and size <= sizes[0] == sizes[-1] and len(sizes) < MOST_IN_A_ROW:
            sizes.append(size)
        else:
            if sizes:
                yield begin, following - PREFIX, sizes
            begin, sizes = at, [size]
        following = at + size + PREFIX
    if sizes:
        yield begin, following - PREFIX, sizes


class Deframer:
    """The frames of one connection. `payload_types` are those that may come; without, any."""

    def __init__(self, payload_types: Collection[int] = ()) -> None:
        self.skipped = 0
        """Bytes that were no frames."""
        self.damages = 0
        """How often such bytes came."""
        types = frozenset(payload_types) or frozenset(range(64))
        self._seconds = types | {number | 0x80 for number in types}
        """What the second byte of an RTP packet may be, with the marker or without."""
        self._allowed = bytes(self._seconds)
        self._beginnings = _beginnings(self._seconds)
        self._left = b""
        self._doubted = 0
        """How much of what is left over was searched in vain."""
        self._in_a_row = 0
        self._ssrc: int | None = None

    def begin(self, buffer: memoryview) -> int:
        """Put what was left over at the start of `buffer`; return where to go on filling it.

        The buffer must be larger than `MAX_LEFT` and what one read brings.
        """
        left = self._left
        buffer[: len(left)] = left
        return len(left)

    def take(self, buffer: memoryview, end: int) -> list[tuple[int, int]]:
        """Return where the packets in ``buffer[:end]`` begin and how long they are; none of them is empty.

        Raises RtpParseError when the stream is none: nothing more can be taken then.
        """
        spans: list[tuple[int, int]] = []
        at = 0
        source = self._look(buffer, 0, end)
        while source != _SHORT:
            following = at + PREFIX + (buffer[at] << 8 | buffer[at + 1])
            sure = source in (_EMPTY, _REPORT) or (source >= 0 and self._ssrc in (None, source))
            step = following - at
            if source == self._ssrc and (row := self._row(buffer, at, step, end)):
                # All of them have one of their own kind behind them.
                spans += [(place + PREFIX, step - PREFIX) for place in range(at, at + row, step)]
                self._in_a_row = max(0, self._in_a_row - 2 * row)
                at += row
                continue
            behind = self._look(buffer, following, end) if following <= end else _SHORT
            if following <= end and ((sure and behind in _NO_OBJECTION) or self._confirms(source, behind)):
                beyond = following
            elif following > end and sure and end - at < _PATIENCE:
                break
            else:
                found = self._search_after(buffer, at, end)
                if found is None:
                    break
                beyond = self._skip(at, found, following if sure else at)
                behind = self._look(buffer, beyond, end)
                sure = sure and following <= beyond
                if not sure:
                    at, source = beyond, behind
                    continue
            if source != _EMPTY:
                spans.append((at + PREFIX, following - at - PREFIX))
            if source >= 0:
                self._ssrc = source
            self._in_a_row = max(0, self._in_a_row - 2 * (following - at))
            at, source = beyond, behind
        self._left = bytes(buffer[at:end])
        return spans

    def _row(self, buffer: memoryview, at: int, step: int, end: int) -> int:
        """How many bytes the frames take from ``at`` on that have the same length, first byte and source as this one
        and lie one behind the other, without the last of them: looked at column by column, not frame by frame.
        """
        count = min((end - at) // step, MOST_IN_A_ROW)
        for offset in _SAME:
            if count < 2:
                return 0
            column = bytes(buffer[at + offset : at + count * step : step])
            count -= len(column.lstrip(column[:1]))
        if count < 2 or bytes(buffer[at + 3 : at + count * step : step]).translate(None, self._allowed):
            return 0
        return (count - 1) * step

    def _look(self, buffer: memoryview, at: int, end: int) -> int:
        """What begins here: the SSRC of an RTP packet of a known type, or of the known source; or one of the words
        below.
        """
        if end - at < PREFIX + HEADER_SIZE:
            return self._look_short(buffer, at, end)
        size, first, second, ssrc = _HEAD.unpack_from(buffer, at)
        if not size:
            return _EMPTY
        if first & 0xC0 != VERSION_BITS:  # RFC 3550 §5.1
            return _NOTHING
        if 192 <= second < 224:
            return _REPORT if 200 <= second < 208 and size in _RTCP_SIZES else _NOTHING
        known = second in self._seconds or ssrc == self._ssrc
        return int(ssrc) if known and size >= HEADER_SIZE else _NOTHING

    @staticmethod
    def _look_short(buffer: memoryview, at: int, end: int) -> int:
        """A whole report may be shorter than the header of RTP."""
        if end - at < PREFIX:
            return _SHORT
        size = buffer[at] << 8 | buffer[at + 1]
        if not size:  # RFC 4571 §2: a packet of no bytes is ignored
            return _EMPTY
        whole = end - at >= PREFIX + size and size in _RTCP_SIZES
        return _REPORT if whole and buffer[at + 2] & 0xC0 == VERSION_BITS and 200 <= buffer[at + 3] < 208 else _SHORT

    def _confirms(self, source: int, behind: int) -> bool:
        """Whether what lies behind a frame shows that it is one: both are of one source, or one of them is a report."""
        if source < 0 or behind < 0:
            rtp = max(source, behind)
            return min(source, behind) >= _EMPTY and (rtp < 0 or rtp == self._ssrc)
        return source == behind

    # -- when what comes is no frame

    def _search_after(self, buffer: memoryview, at: int, end: int) -> int | None:
        """The next place after ``at`` with two frames in a row. None while it is not there: it is not looked for again
        before half as much more has come, and what grows too long is no frame.
        """
        length = end - at
        if self._doubted and length <= MAX_LEFT and length < self._doubted + max(self._doubted // 2, _STEP):
            return None
        for match in self._beginnings.finditer(buffer[at + 1 : end]):
            place = at + 1 + match.start()
            source = self._look(buffer, place, end)
            if source > _EMPTY:
                following = place + PREFIX + (buffer[place] << 8 | buffer[place + 1])
                behind = self._look(buffer, following, end) if following <= end else _SHORT
                if behind > _EMPTY and self._confirms(source, behind):
                    return place
        self._doubted = length
        return end - _KEEP if length > MAX_LEFT else None

    def _skip(self, at: int, found: int, good_until: int) -> int:
        """Count what is skipped to go on at ``found``; a frame that ends before it is not. Returns ``found``."""
        self._doubted = 0
        skipped = found - (good_until if good_until <= found else at)
        self.skipped += skipped
        self.damages += skipped > 0 == self._in_a_row
        self._in_a_row += skipped
        if self._in_a_row > MAX_SKIPPED:
            raise RtpParseError(f"{self._in_a_row} bytes of the stream are no RTP packets")
        return found


@cache
def _beginnings(seconds: frozenset[int]) -> re.Pattern[bytes]:
    """Matches, without taking anything, where a frame of RTP of these types or of RTCP may begin."""
    listed = b"".join([b"\\x%02x" % number for number in sorted(seconds | set(range(200, 208)))])
    return re.compile(b"(?s)(?=..[\\x80-\\xbf][" + listed + b"])")
