"""A small bitmap font: 5 × 7 dots, enough for camera ids, clocks and dates.

A glyph is seven numbers, one per line from the top, five bits each, the most significant bit left.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

WIDTH, HEIGHT = 5, 7
ADVANCE = WIDTH + 1  # one empty column between neighbours

_ROWS = """
0 0E 11 13 15 19 11 0E
1 04 0C 04 04 04 04 0E
2 0E 11 01 06 08 10 1F
3 1F 02 04 02 01 11 0E
4 02 06 0A 12 1F 02 02
5 1F 10 1E 01 01 11 0E
6 06 08 10 1E 11 11 0E
7 1F 01 02 04 08 08 08
8 0E 11 11 0E 11 11 0E
9 0E 11 11 0F 01 02 0C
A 0E 11 11 1F 11 11 11
B 1E 11 11 1E 11 11 1E
C 0E 11 10 10 10 11 0E
D 1C 12 11 11 11 12 1C
E 1F 10 10 1E 10 10 1F
F 1F 10 10 1E 10 10 10
G 0E 11 10 17 11 11 0F
H 11 11 11 1F 11 11 11
I 0E 04 04 04 04 04 0E
J 07 02 02 02 02 12 0C
K 11 12 14 18 14 12 11
L 10 10 10 10 10 10 1F
M 11 1B 15 15 11 11 11
N 11 19 15 13 11 11 11
O 0E 11 11 11 11 11 0E
P 1E 11 11 1E 10 10 10
Q 0E 11 11 11 15 12 0D
R 1E 11 11 1E 14 12 11
S 0F 10 10 0E 01 01 1E
T 1F 04 04 04 04 04 04
U 11 11 11 11 11 11 0E
V 11 11 11 11 11 0A 04
W 11 11 11 15 15 1B 11
X 11 11 0A 04 0A 11 11
Y 11 11 0A 04 04 04 04
Z 1F 01 02 04 08 10 1F
a 00 00 0E 01 0F 11 0F
b 10 10 1E 11 11 11 1E
c 00 00 0E 11 10 11 0E
d 01 01 0F 11 11 11 0F
e 00 00 0E 11 1F 10 0E
f 06 09 08 1C 08 08 08
g 00 0F 11 11 0F 01 0E
h 10 10 1E 11 11 11 11
i 04 00 0C 04 04 04 0E
j 02 00 06 02 02 12 0C
k 10 10 12 14 18 14 12
l 0C 04 04 04 04 04 0E
m 00 00 1A 15 15 15 15
n 00 00 1E 11 11 11 11
o 00 00 0E 11 11 11 0E
p 00 1E 11 11 1E 10 10
q 00 0F 11 11 0F 01 01
r 00 00 16 19 10 10 10
s 00 00 0F 10 0E 01 1E
t 08 08 1C 08 08 09 06
u 00 00 11 11 11 11 0F
v 00 00 11 11 11 0A 04
w 00 00 11 15 15 15 0A
x 00 00 11 0A 04 0A 11
y 00 11 11 11 0F 01 0E
z 00 00 1F 02 04 08 1F
. 00 00 00 00 00 0C 0C
_ 00 00 00 00 00 00 1F
- 00 00 00 0E 00 00 00
: 00 0C 0C 00 0C 0C 00
"""

GLYPHS: dict[str, tuple[int, ...]] = {
    name: tuple(int(value, 16) for value in values)
    for name, *values in (line.split() for line in _ROWS.strip().splitlines())
} | {" ": (0,) * HEIGHT}
_UNKNOWN = (0x1F, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1F)


def width_of(text: str, scale: int) -> int:
    """The width in samples of `text` drawn at `scale` samples per dot."""
    return max(0, len(text) * ADVANCE - 1) * scale


def fitting_scale(text: str, width: int, height: int) -> int:
    """The largest scale, at least 1, at which `text` fits `width` × `height` samples."""
    return max(1, min(width // max(1, len(text) * ADVANCE - 1), height // HEIGHT))


def lines(character: str, scale: int, ink: int, paper: int) -> Iterator[bytes]:
    """A character's sample lines from the top: `HEIGHT * scale` of them, `ADVANCE * scale` samples each."""
    for line in _glyph(character, scale, ink, paper):
        for _ in range(scale):
            yield line


@lru_cache(maxsize=512)
def _glyph(character: str, scale: int, ink: int, paper: int) -> tuple[bytes, ...]:
    dot, gap = bytes([ink]) * scale, bytes([paper]) * scale
    return tuple(
        b"".join(dot if row >> (WIDTH - 1 - column) & 1 else gap for column in range(WIDTH)) + gap
        for row in GLYPHS.get(character, _UNKNOWN)
    )
