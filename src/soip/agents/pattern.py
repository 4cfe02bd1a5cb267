"""The software camera's test pattern: painted once, then only what changes is drawn again.

For people: colour bars, the camera's id, a running UTC clock and a bead that slides along its track, so
anybody sees at a glance which camera it is and that the picture lives. For machines: the block code
(`blockcode`) in the lowest lines. The picture is planar 4:2:0 (BT.601, limited range); only luma ever
changes, so a frame costs a few hundred short copies and the encoder skips nearly all of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from soip.agents import blockcode, font
from soip.agents.blockcode import Stamp
from soip.agents.errors import PatternError

# 75 % colour bars (ITU-R BT.471), their luma and chroma in BT.601 limited range: white … blue.
BARS = (
    (180, 128, 128),
    (162, 44, 142),
    (131, 156, 44),
    (112, 72, 58),
    (84, 184, 198),
    (65, 100, 212),
    (35, 212, 114),
)
PAPER, RULE, TRACK, INK, SOFT_INK = 34, 42, 60, 225, 150
PAPER_CB, PAPER_CR = 138, 122  # a slate rather than a dead grey


@dataclass(frozen=True)
class Box:
    """A rectangle of the luma plane, in samples."""

    left: int
    top: int
    width: int
    height: int


class Planes:
    """Three writable planes of a 4:2:0 picture and their strides (bytes per line)."""

    def __init__(self, width: int, height: int, planes: list[memoryview], strides: list[int]) -> None:
        self.width, self.height = width, height
        self.luma, self.cb, self.cr = planes
        self.stride, self.chroma_stride, _ = strides

    def fill(self, box: Box, luma: int) -> None:
        """Fill a rectangle of the luma plane."""
        line = bytes([luma]) * box.width
        start = box.top * self.stride + box.left
        for offset in range(start, start + box.height * self.stride, self.stride):
            self.luma[offset : offset + box.width] = line

    def colour(self, box: Box, cb: int, cr: int) -> None:
        """Fill the chroma under a rectangle of even place and size."""
        width = box.width // 2
        for plane, value in ((self.cb, cb), (self.cr, cr)):
            line = bytes([value]) * width
            start = box.top // 2 * self.chroma_stride + box.left // 2
            for row in range(box.height // 2):
                offset = start + row * self.chroma_stride
                plane[offset : offset + width] = line

    def text(self, left: int, top: int, text: str, scale: int, ink: int) -> None:
        """Write one line of text whose first dot stands at (`left`, `top`)."""
        advance = font.ADVANCE * scale
        for index, character in enumerate(text):
            offset = top * self.stride + left + index * advance
            for line in font.lines(character, scale, ink, PAPER):
                self.luma[offset : offset + advance] = line
                offset += self.stride


class Pattern:
    """Draws one camera's picture into `planes`: `Pattern(...)` paints it, `update()` makes the next frame."""

    def __init__(self, camera: str, planes: Planes, rate: int) -> None:
        self.planes = planes
        self.camera_hash = blockcode.camera_hash(camera)
        self._rate = rate
        self._code = blockcode.layout(planes.width, planes.height)
        self._clock_text = self._date_text = ""
        self._bead: Box | None = None
        self._place()
        self._paint(camera)

    def update(self, counter: int, utc_ms: int) -> None:
        """Draw what differs in frame `counter`, sent at `utc_ms` (UNIX milliseconds)."""
        moment = time.gmtime(utc_ms // 1000)
        self._write_clock(time.strftime("%H:%M:%S", moment), time.strftime("%Y-%m-%d UTC", moment))
        self._move_bead(counter)
        stamp = Stamp(counter & 0xFFFFFFFF, utc_ms, self.camera_hash)
        blockcode.draw(self.planes.luma, self.planes.stride, self._code, stamp)

    def _place(self) -> None:
        width, room = self.planes.width, self._code.top
        if room < 64 or width % 2 or self.planes.height % 2:
            raise PatternError(f"the test pattern does not fit {width}×{self.planes.height}; use 320×240 or more")
        self._unit = unit = room // 36  # 8 at 640 × 360: the picture's vertical rhythm
        self._bars_height = unit * 6 // 2 * 2
        self._text_width = width - 8 * unit
        self._name_top = unit * 8
        self._clock_top = unit * 14
        self._date_top = unit * 24
        self._track = Box(4 * unit, unit * 30, (width - 8 * unit) // 2 * 2, 2 * unit)

    def _paint(self, camera: str) -> None:
        planes = self.planes
        whole = Box(0, 0, planes.width, planes.height)
        planes.fill(whole, PAPER)
        planes.colour(whole, PAPER_CB, PAPER_CR)
        edges = [planes.width * index // len(BARS) // 2 * 2 for index in range(len(BARS) + 1)]
        for (luma, cb, cr), left, right in zip(BARS, edges, edges[1:], strict=False):
            bar = Box(left, 0, right - left, self._bars_height)
            planes.fill(bar, luma)
            planes.colour(bar, cb, cr)
        planes.fill(Box(0, self._bars_height, planes.width, max(1, self._unit // 4)), RULE)
        scale = font.fitting_scale(camera, self._text_width, 4 * self._unit)
        self._centre(self._name_top + (4 * self._unit - font.HEIGHT * scale) // 2, camera, scale, INK)
        planes.fill(self._track, TRACK)

    def _centre(self, top: int, text: str, scale: int, ink: int) -> None:
        left = max(0, (self.planes.width - font.width_of(text, scale)) // 2)
        self.planes.text(left, top, text[: self.planes.width // (font.ADVANCE * scale)], scale, ink)

    def _write_clock(self, clock: str, date: str) -> None:
        if clock != self._clock_text:
            self._centre(self._clock_top, clock, font.fitting_scale(clock, self._text_width, 8 * self._unit), INK)
            self._clock_text = clock
        if date != self._date_text:
            scale = font.fitting_scale(date, self._text_width, 3 * self._unit)
            self._centre(self._date_top, date, scale, SOFT_INK)
            self._date_text = date

    def _move_bead(self, counter: int) -> None:
        """There and back in eight seconds."""
        track, size = self._track, self._track.height
        way = track.width - size
        period = self._rate * 8
        phase = counter % period * 2 * way // period
        bead = Box(track.left + (phase if phase <= way else 2 * way - phase), track.top, size, size)
        if self._bead is not None:
            self.planes.fill(self._bead, TRACK)
        self.planes.fill(bead, INK)
        self._bead = bead
