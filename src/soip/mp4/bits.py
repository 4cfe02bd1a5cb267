"""Bits of parameter sets, as far as configuration records repeat what they say."""


class Bits:
    """The bits of a NAL unit's payload, most significant first, without its emulation prevention bytes."""

    def __init__(self, payload: bytes) -> None:
        plain = payload.replace(b"\0\0\x03", b"\0\0")
        self._value, self._left = int.from_bytes(plain, "big"), 8 * len(plain)

    def take(self, count: int) -> int:
        """The next bits. Raises ValueError at the end."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the sequence parameter set is cut")
        return self._value >> self._left & ((1 << count) - 1)

    def exp_golomb(self) -> int:
        """An unsigned Exp-Golomb code (ITU-T H.264 §9.1, H.265 §9.2). Raises ValueError at the end."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
