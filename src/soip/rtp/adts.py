"""AAC in ADTS (ISO/IEC 14496-3 §1.A.2.2): access units out of a stream in which each has a header of its own."""

from __future__ import annotations

from dataclasses import dataclass

from soip.rtp.aac import RATES
from soip.rtp.errors import RtpBuildError
from soip.rtp.nal import CLOCK_RATE

FRAME_SAMPLES = 1024
_HEADER, _CRC = 7, 2


@dataclass(frozen=True, slots=True)
class Frame:
    """An access unit without its header; `ticks` is 90 kHz, `config` its AudioSpecificConfig."""

    payload: bytes
    ticks: int
    config: bytes


@dataclass(frozen=True, slots=True)
class _Header:
    size: int
    """Bytes of the frame, this header included."""
    head: int
    """Bytes of this header."""
    config: bytes
    ticks: int
    """How long the frame is, in 90 kHz."""


def begins(data: bytes) -> bool:
    """Tell whether these bytes begin with a frame, and another one follows it if there is more."""
    header = _parse(data)
    return header is not None and (len(data) <= header.size or data[header.size] == 0xFF)


def _parse(data: bytes | bytearray, at: int = 0) -> _Header | None:
    """The header there; None if it is none, or of more than one access unit (which nobody sends)."""
    if len(data) < at + _HEADER or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    word = int.from_bytes(data[at : at + _HEADER], "big")
    profile, rate, channels = word >> 38 & 3, word >> 34 & 15, word >> 30 & 7
    size, blocks = word >> 13 & 0x1FFF, word & 3
    head = _HEADER if word >> 40 & 1 else _HEADER + _CRC
    if rate >= len(RATES) or not channels or blocks or size <= head:
        return None
    config = (profile + 1) << 11 | rate << 7 | channels << 3
    return _Header(size, head, config.to_bytes(2, "big"), FRAME_SAMPLES * CLOCK_RATE // RATES[rate])


def header(config: bytes, size: int) -> bytes:
    """The header, without a CRC, of an access unit of that many bytes and with that AudioSpecificConfig, of AAC Main,
    LC, SSR or LTP. Raises RtpBuildError for one that is too long.
    """
    whole = _HEADER + size
    if whole >= 1 << 13:
        raise RtpBuildError(f"an access unit of {size} bytes in ADTS")
    word = int.from_bytes(config[:2], "big")
    kind, rate, channels = word >> 11, word >> 7 & 15, word >> 3 & 15
    # Buffer fullness 0x7FF says that the rate varies.
    bits = 0xFFF1 << 40 | kind - 1 << 38 | rate << 34 | channels << 30 | whole << 13 | 0x7FF << 2
    return bits.to_bytes(_HEADER, "big")


class Reader:
    """Bytes in any cut → access units. Less than one frame, 8191 bytes, is ever kept."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._next = 0

    def read(self, data: bytes, ticks: int) -> list[Frame]:
        """The access units that these bytes complete; the first one that begins in them does so at `ticks`."""
        frames: list[Frame] = []
        buffer, old = self._rest, len(self._rest)
        buffer += data
        moment, at = self._next if old else ticks, 0
        while True:
            at = buffer.find(0xFF, at)
            if at < 0 or len(buffer) - at < _HEADER:
                break
            if old and at >= old:
                moment, old = ticks, 0
            header = _parse(buffer, at)
            if header is None:
                at += 1
                continue
            if len(buffer) - at < header.size:
                break
            payload = bytes(memoryview(buffer)[at + header.head : at + header.size])
            frames.append(Frame(payload, moment, header.config))
            moment += header.ticks
            at += header.size
        del buffer[: at if at >= 0 else len(buffer)]
        self._next = moment
        return frames

    def restart(self) -> None:
        """Bytes are missing here."""
        self._rest.clear()
