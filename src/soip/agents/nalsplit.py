"""NAL units out of a container's H.264 packets, in either of the two forms they come in.

MP4 and Matroska keep a length before each unit and the parameter sets in the track's configuration record
(ISO/IEC 14496-15 §5.3.3.1); MPEG-TS, AVI and RTSP carry a byte stream with start codes (ITU-T H.264 annex B).
Damaged input gives fewer units, never an exception: a camera shows what it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from soip.rtp.h264 import TYPE_AUD, is_keyframe, split_annex_b
from soip.rtp.h264_sets import find_sets

_VERSION = b"\x01"


class Splitter:
    """`extradata` is the track's configuration as FFmpeg hands it out; `parameter_sets` the SPS and PPS in force."""

    def __init__(self, extradata: bytes) -> None:
        self._length_size = 0
        if extradata[:1] == _VERSION and len(extradata) > 6:
            self._length_size = (extradata[4] & 3) + 1
            self.parameter_sets = _sets_of(_configured(extradata))
        else:
            self.parameter_sets = _sets_of(split_annex_b(extradata))

    def split(self, data: bytes, keyframe: bool) -> tuple[bytes, ...]:
        """The packet's NAL units; a keyframe gets the parameter sets it lacks, as RFC 6184 §8.4 advises."""
        nals = tuple(_by_length(data, self._length_size) if self._length_size else split_annex_b(data))
        sets = _sets_of(nals)
        if sets:
            self.parameter_sets = sets
        elif keyframe and is_keyframe(nals):
            head = 1 if nals[0][0] & 31 == TYPE_AUD else 0  # a delimiter stays first (ITU-T H.264 §7.4.1.2.3)
            return nals[:head] + self.parameter_sets + nals[head:]
        return nals


def _by_length(data: bytes, length_size: int) -> Iterator[bytes]:
    offset = 0
    while offset + length_size < len(data):
        size = int.from_bytes(data[offset : offset + length_size], "big")
        offset += length_size
        if size:
            yield data[offset : offset + size]
        offset += size


def _configured(record: bytes) -> Iterator[bytes]:
    """The units of a configuration record: a count and the SPS, a count and the PPS, each after 16 bits of length."""
    offset, count = 6, record[5] & 31
    for _ in range(2):
        for _ in range(count):
            size = int.from_bytes(record[offset : offset + 2], "big")
            yield record[offset + 2 : offset + 2 + size]
            offset += 2 + size
        count = record[offset] if offset < len(record) else 0
        offset += 1


def _sets_of(nals: Iterable[bytes]) -> tuple[bytes, ...]:
    sps, pps = find_sets(nals)
    return (*sps, *pps)
