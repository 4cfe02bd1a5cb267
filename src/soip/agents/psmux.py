"""Pictures and sound as one MPEG-2 program stream (ITU-T H.222.0 §2.5), the way surveillance devices send it
(GB/T 28181 annex C). Each picture is a pack of its own; before a keyframe stand a system header and the map of the
streams.
"""

from __future__ import annotations

from collections.abc import Sequence

from soip.rtp import aac, adts
from soip.rtp.nal import PACKET_SIZE, PayloadRun
from soip.rtp.packet import HEADER_SIZE
from soip.rtp.sound import SoundFormat

VIDEO, SOUND = 0xE0, 0xC0
"""Stream ids."""
TYPES = {"H264": 0x1B, "H265": 0x24, "PCMA": 0x90, "PCMU": 0x91, aac.ENCODING: 0x0F}
"""stream_type (H.222.0 table 2-34, GB/T 28181 annex C) by encoding: all that a program stream takes."""
MAX_PACKET = 65_535
"""PES_packet_length at most: the bytes behind it."""

_START = b"\x00\x00\x00\x01"
_POLYNOMIAL = 0x04C11DB7


class Muxer:
    """One program stream of the `video` encoding, and of `sound` if there is any. `ticks` are 90 kHz; their lowest 33
    bits go on the wire. `stuffing` bytes fill up each pack header.
    """

    def __init__(self, video: str = "H264", sound: SoundFormat | None = None, stuffing: int = 0) -> None:
        self._streams = [(TYPES[video], VIDEO), *([(TYPES[sound.encoding], SOUND)] if sound else [])]
        self._config = sound.config if sound else None
        self._stuffing = stuffing

    def picture(self, nals: Sequence[bytes], ticks: int, keyframe: bool) -> bytes:
        """An access unit in decoding order; with what a reader must know before it, if reading can begin here."""
        head = pack_header(ticks, self._stuffing)
        if keyframe:
            head += system_header([number for _, number in self._streams]) + program_map(self._streams)
        return head + packets(VIDEO, b"".join([_START + nal for nal in nals]), ticks)

    def sound(self, payload: bytes, ticks: int) -> bytes:
        """A frame of sound, without a pack header, as it comes between pictures; AAC gets the header of ADTS."""
        if self._config is not None:
            payload = adts.header(self._config.config, len(payload)) + payload
        return packets(SOUND, payload, ticks)


def payload_run(part: bytes) -> PayloadRun:
    """What was multiplexed, cut into payloads wherever they are full."""
    room, view = PACKET_SIZE - HEADER_SIZE, memoryview(part)
    parts: list[bytes | bytearray | memoryview] = []
    for at in range(0, len(part), room):
        parts += (b"", b"", view[at : at + room])
    return PayloadRun(parts, len(parts) // 3, len(part))


def pack_header(ticks: int, stuffing: int = 0) -> bytes:
    """§2.5.3.3, with the system clock at the presentation: there is no buffer to model, everything leaves at once."""
    base = ticks & 0x1_FFFF_FFFF
    clock = 1 << 46 | base >> 30 << 43 | 1 << 42 | (base >> 15 & 0x7FFF) << 27 | 1 << 26 | (base & 0x7FFF) << 11
    rate = 0x3FFFFF << 2 | 3  # as much as can be said
    fields = (clock | 1 << 10 | 1).to_bytes(6, "big") + rate.to_bytes(3, "big")
    return b"\x00\x00\x01\xba" + fields + bytes((0xF8 | stuffing,)) + b"\xff" * stuffing


def system_header(streams: Sequence[int]) -> bytes:
    """§2.5.3.5: one bound of sound, one of video, and a buffer for each stream."""
    rate = (1 << 23 | 0x3FFFFF << 1 | 1).to_bytes(3, "big")
    buffers = b"".join([bytes((number,)) + (0xE000 | 0x1FFF).to_bytes(2, "big") for number in streams])
    content = rate + bytes((1 << 2, 0xE1, 0x7F)) + buffers
    return b"\x00\x00\x01\xbb" + len(content).to_bytes(2, "big") + content


def program_map(streams: Sequence[tuple[int, int]], version: int = 0) -> bytes:
    """§2.5.4 for streams given as stream_type and stream id, without descriptors."""
    entries = b"".join([bytes((kind, number, 0, 0)) for kind, number in streams])
    content = bytes((0xE0 | version & 31, 0xFF, 0, 0)) + len(entries).to_bytes(2, "big") + entries
    whole = b"\x00\x00\x01\xbc" + (len(content) + 4).to_bytes(2, "big") + content
    return whole + _crc(whole).to_bytes(4, "big")


def packets(number: int, content: bytes, ticks: int) -> bytes:
    """§2.4.3.6: as many PES packets as the content needs; the first carries the PTS."""
    parts = []
    header = b"\x80\x05" + _time(ticks)  # a PTS alone, five bytes
    at = 0
    while at < len(content) or not at:
        room = MAX_PACKET - 1 - len(header)
        piece = content[at : at + room]
        # '10' and nothing else said: no scrambling, priority, alignment or copyright.
        rest = b"\x80" + header + piece
        parts.append(b"\x00\x00\x01" + bytes((number,)) + len(rest).to_bytes(2, "big") + rest)
        header = b"\x00\x00"
        at += room
    return b"".join(parts)


def _time(ticks: int) -> bytes:
    """A PTS alone: '0010' and 33 bits in five bytes, with marker bits."""
    base = ticks & 0x1_FFFF_FFFF
    high, middle, low = base >> 30, base >> 15 & 0x7FFF, base & 0x7FFF
    return bytes((0x21 | high << 1,)) + (middle << 1 | 1).to_bytes(2, "big") + (low << 1 | 1).to_bytes(2, "big")


def _crc(data: bytes) -> int:
    """CRC_32 (annex A): over the whole map, so that the same sum over it and its CRC is 0."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (_POLYNOMIAL if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value
