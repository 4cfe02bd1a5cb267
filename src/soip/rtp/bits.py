"""Bits of parameter sets, and what of them is believed: H.264 and H.265 write them alike."""

from __future__ import annotations

from soip.rtp.errors import RtpParseError

MAX_SIDE = 16_384
"""Pixels of a picture's side; a larger one is taken for nonsense."""
MAX_FRAME = 180_000
"""90 kHz ticks, 2 s, of a frame; a slower rate is taken for nonsense: decoding times are counted by it."""


class BitReader:
    """Bits of an RBSP, most significant first, with Exp-Golomb codes (ITU-T H.264 §9.1, H.265 §9.2)."""

    def __init__(self, rbsp: bytes) -> None:
        self._value = int.from_bytes(rbsp, "big")
        self._left = 8 * len(rbsp)

    def bits(self, count: int) -> int:
        """Read ``count`` bits. Raises RtpParseError at the end of the data."""
        if count > self._left:
            raise RtpParseError("the parameter set ends early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb code of at most 32 bits."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
            if zeros > 31:
                raise RtpParseError("an Exp-Golomb code in the parameter set is too long")
        return (1 << zeros) - 1 + self.bits(zeros)

    def se(self) -> int:
        """Read a signed Exp-Golomb code."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def unescape(nal: bytes | bytearray | memoryview) -> bytes:
    """Remove the emulation prevention bytes of a NAL unit (ITU-T H.264 §7.4.1, H.265 §7.4.2)."""
    return bytes(nal).replace(b"\x00\x00\x03", b"\x00\x00")


def picture_size(width: int, height: int) -> tuple[int, int]:
    """The size, if a picture can have it. Raises RtpParseError."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise RtpParseError(f"picture size {width}×{height}")
    return width, height


def frame_ticks(units: int, scale: int) -> int | None:
    """90 kHz ticks of a frame of ``units`` ``scale``-ths of a second; None for what makes no sense."""
    ticks = 90_000 * units // scale if scale else 0
    return ticks if 0 < ticks <= MAX_FRAME else None
