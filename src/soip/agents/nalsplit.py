"""NAL units out of a container's packets of H.264 or H.265, in either of the two forms they come in.

MP4 and Matroska keep a length before each unit and the parameter sets in the track's configuration record
(ISO/IEC 14496-15 §5.3.3.1, §8.3.3.1); MPEG-TS, AVI and RTSP carry a byte stream with start codes (annex B of ITU-T
H.264 and of H.265). Damaged input gives fewer units, never an exception: a camera shows what it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from soip.rtp.h264 import H264
from soip.rtp.nal import Coding, split_annex_b

_VERSION = b"\x01"


class Splitter:
    """`extradata` is the track's configuration as FFmpeg hands it out; `parameter_sets` those in force."""

    def __init__(self, extradata: bytes, coding: Coding = H264) -> None:
        self._coding = coding
        self._length_size = 0
        configured, least, lengths = (_avc, 7, 4) if coding is H264 else (_hevc, 23, 21)
        if extradata[:1] == _VERSION and len(extradata) >= least:
            self._length_size = (extradata[lengths] & 3) + 1
            self.parameter_sets = self._sets_of(configured(extradata))
        else:
            self.parameter_sets = self._sets_of(split_annex_b(extradata))

    def split(self, data: bytes, keyframe: bool) -> tuple[bytes, ...]:
        """The packet's NAL units; a keyframe gets the parameter sets it lacks, as RFC 6184 §8.4 advises."""
        coding = self._coding
        nals = tuple(_by_length(data, self._length_size) if self._length_size else split_annex_b(data))
        sets = self._sets_of(nals)
        if sets:
            self.parameter_sets = sets
        elif keyframe and coding.is_keyframe(nals):
            head = 1 if coding.kind(nals[0]) == coding.delimiter else 0  # it stays first (ITU-T H.264 §7.4.1.2.3)
            return nals[:head] + self.parameter_sets + nals[head:]
        return nals

    def _sets_of(self, nals: Iterable[bytes]) -> tuple[bytes, ...]:
        return tuple(chain(*self._coding.find_sets(nals)))


def _by_length(data: bytes, length_size: int) -> Iterator[bytes]:
    offset = 0
    while offset + length_size < len(data):
        size = int.from_bytes(data[offset : offset + length_size], "big")
        offset += length_size
        if size:
            yield data[offset : offset + size]
        offset += size


def _avc(record: bytes) -> Iterator[bytes]:
    """The units of a configuration record: a count and the SPS, a count and the PPS, each after 16 bits of length."""
    offset, count = 6, record[5] & 31
    for _ in range(2):
        for _ in range(count):
            size = int.from_bytes(record[offset : offset + 2], "big")
            yield record[offset + 2 : offset + 2 + size]
            offset += 2 + size
        count = record[offset] if offset < len(record) else 0
        offset += 1


def _hevc(record: bytes) -> Iterator[bytes]:
    """The units of a configuration record of H.265: arrays of one type each, of units after 16 bits of length."""
    offset = 23
    for _ in range(record[22]):
        count = int.from_bytes(record[offset + 1 : offset + 3], "big")
        offset += 3
        for _ in range(count):
            if offset >= len(record):
                return
            size = int.from_bytes(record[offset : offset + 2], "big")
            yield record[offset + 2 : offset + 2 + size]
            offset += 2 + size
