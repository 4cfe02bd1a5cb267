"""Boxes: the one structure of MP4 (ISO/IEC 14496-12 §4.2). Build them, walk them."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .errors import BoxError, CutError

Buffer = bytes | bytearray | memoryview

_HEADER = struct.Struct(">I4s")
_LARGE = struct.Struct(">Q")


def box(kind: bytes, *parts: Buffer) -> bytes:
    """A box of what `parts` hold, one after the other."""
    return b"".join((_HEADER.pack(8 + sum(map(len, parts)), kind), *parts))


def full_box(kind: bytes, version: int, flags: int, *parts: Buffer) -> bytes:
    """A box with version and flags (§4.2.2)."""
    return box(kind, (version << 24 | flags).to_bytes(4, "big"), *parts)


class Box(NamedTuple):
    """Where a box lies: its type, first byte, first byte of its body, and the byte after it."""

    kind: bytes
    start: int
    body: int
    end: int


def box_at(data: Buffer, start: int, limit: int) -> Box:
    """The box whose header stands at `start`; it may end beyond what `data` holds, but not beyond `limit`.

    Raises CutError when the header or the box goes beyond, BoxError for a size no box has. Sizes of 0 ("to the
    end of the file") are refused: nothing we write has them, and a zero-filled tail looks like them.
    """
    if start + 8 > min(len(data), limit):
        raise CutError("a box header is cut", start)
    size, kind = _HEADER.unpack_from(data, start)
    body = start + 8
    if size == 1:
        if body + 8 > min(len(data), limit):
            raise CutError("a box header is cut", start)
        size = _LARGE.unpack_from(data, body)[0]
        body += 8
    if size < body - start:
        raise BoxError(f"a box of {size} bytes", start)
    if start + size > limit:
        raise CutError(f"box {kind!r} of {size} bytes is cut", start)
    return Box(kind, start, body, start + size)


def boxes(data: Buffer, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes that fill `data[start:end]` exactly. Raises BoxError or CutError where they do not."""
    end = len(data) if end is None else end
    while start < end:
        found = box_at(data, start, end)
        yield found
        start = found.end


def children(data: Buffer, parent: Box, skip: int = 0) -> dict[bytes, Box]:
    """The boxes in a box by type, the first of each; `skip` bytes of fields stand before them."""
    found: dict[bytes, Box] = {}
    for child in boxes(data, parent.body + skip, parent.end):
        found.setdefault(child.kind, child)
    return found


def need(found: dict[bytes, Box], kind: bytes, parent: Box) -> Box:
    """A child that must be there."""
    if kind not in found:
        raise BoxError(f"{parent.kind!r} lacks {kind!r}", parent.start)
    return found[kind]


def fields(layout: struct.Struct, data: Buffer, where: Box, skip: int = 0) -> tuple[int, ...]:
    """Unpack fields of a box, inside the box. Raises BoxError when it is too small for them."""
    at = where.body + skip
    if at + layout.size > min(where.end, len(data)):
        raise BoxError(f"{where.kind!r} is too small", where.start)
    return layout.unpack_from(data, at)
