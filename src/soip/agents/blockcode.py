"""A machine-readable stamp inside the picture: which frame this is, when it was sent, by which camera.

128 bits (frame counter 32, UTC milliseconds 48, camera hash 24, CRC 24) stand as flat black and white cells
in the luma plane. A cell is a whole number of macroblocks on the macroblock grid, so an H.264 encoder spends
one DC coefficient on it and even a starved one (100 kbit/s) keeps the level on the right side of the middle.
Reading averages the heart of each cell; the CRC tells a picture without a stamp, or a broken one, from a good
one. Times and counters are stored as a Gray code: neighbours differ in one bit, so a picture changes little.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from soip.agents.errors import PatternError

MACROBLOCK = 16  # H.264 (ITU-T H.264 §6.3): a macroblock is 16 × 16 luma samples
BITS = 128
COLUMNS = 32
DARK, BRIGHT, MIDDLE = 40, 216, 128
_BODY_BITS = 104
_CRC_MASK = 0xFFFFFF


@dataclass(frozen=True)
class Stamp:
    """What one picture says of itself. `counter` is modulo 2**32, `utc_ms` counts from the UNIX epoch."""

    counter: int
    utc_ms: int
    camera_hash: int


@dataclass(frozen=True)
class Layout:
    """Where the cells of a `width` × `height` picture stand; all figures in luma samples."""

    cell: int
    columns: int
    rows: int
    left: int
    top: int


def camera_hash(camera: str) -> int:
    """24 bits that tell cameras apart in a stamp."""
    return zlib.crc32(camera.encode()) & 0xFFFFFF


def layout(width: int, height: int) -> Layout:
    """The cells' place: the lowest whole macroblock rows, centred. Raises `PatternError` if too small."""
    cell = MACROBLOCK * max(1, width // 640)
    columns = min(COLUMNS, width // cell)
    if columns < 8:
        raise PatternError(f"a picture {width} samples wide has no room for the stamp; use 128 or more")
    rows = -(-BITS // columns)
    top = (height - rows * cell) // MACROBLOCK * MACROBLOCK
    if top < 0:
        raise PatternError(f"a {width}×{height} picture has no room for the stamp's {rows * cell} lines")
    left = (width - columns * cell) // 2 // MACROBLOCK * MACROBLOCK
    return Layout(cell, columns, rows, left, top)


def to_bits(stamp: Stamp) -> int:
    """The 128 bits of a stamp, most significant first in reading order."""
    counter = _gray(stamp.counter & 0xFFFFFFFF)
    utc = _gray(stamp.utc_ms & 0xFFFFFFFFFFFF)
    body = counter << 72 | utc << 24 | stamp.camera_hash & 0xFFFFFF
    return body << 24 | _crc(body)


def from_bits(bits: int) -> Stamp | None:
    """The stamp of 128 bits read from a picture, None if the CRC denies it."""
    body = bits >> 24
    if _crc(body) != bits & _CRC_MASK:
        return None
    return Stamp(_ungray(body >> 72), _ungray(body >> 24 & 0xFFFFFFFFFFFF), body & 0xFFFFFF)


def draw(plane: memoryview | bytearray, stride: int, place: Layout, stamp: Stamp) -> None:
    """Draw `stamp` into a luma plane of `stride` bytes per line."""
    bits = to_bits(stamp) << (place.rows * place.columns - BITS)
    last = place.rows * place.columns - 1
    dark, bright = bytes([DARK]) * place.cell, bytes([BRIGHT]) * place.cell
    width = place.columns * place.cell
    for row in range(place.rows):
        first = last - row * place.columns
        line = b"".join(bright if bits >> (first - column) & 1 else dark for column in range(place.columns))
        start = (place.top + row * place.cell) * stride + place.left
        for offset in range(start, start + place.cell * stride, stride):
            plane[offset : offset + width] = line


def read(plane: bytes | bytearray | memoryview, stride: int, width: int, height: int) -> Stamp | None:
    """The stamp in a decoded picture's luma plane, None if it bears none (or one too damaged to trust)."""
    place = layout(width, height)
    quarter = place.cell // 4
    bits = 0
    for index in range(BITS):
        row, column = divmod(index, place.columns)
        start = (place.top + row * place.cell + quarter) * stride + place.left + column * place.cell + quarter
        total = 0
        for offset in range(start, start + 2 * quarter * stride, stride):
            total += sum(plane[offset : offset + 2 * quarter])
        bits = bits << 1 | (total >= MIDDLE * 4 * quarter * quarter)
    return from_bits(bits)


def _crc(body: int) -> int:
    # CRC-32 (ISO 3309) cut to 24 bits; of all-zero data it is not zero, so a black picture is no stamp.
    return zlib.crc32(body.to_bytes(_BODY_BITS // 8, "big")) & _CRC_MASK


def _gray(value: int) -> int:
    return value ^ value >> 1


def _ungray(value: int) -> int:
    shift = 1
    while value >> shift:
        value ^= value >> shift
        shift *= 2
    return value
