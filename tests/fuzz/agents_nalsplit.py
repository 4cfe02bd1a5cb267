"""Fuzz target: packets of H.264 and H.265, and track configurations of media files somebody else made."""

from __future__ import annotations

from soip.agents.nalsplit import Splitter
from soip.rtp.h264 import H264
from soip.rtp.h265 import H265
from soip.rtp.nal import Coding


def fuzz(data: bytes) -> None:
    """Any configuration and packet give non-empty NAL units, no longer together than the input; nothing raises."""
    for coding in (H264, H265):
        _hold(data, coding)


def _hold(data: bytes, coding: Coding) -> None:
    cut = data[0] % (len(data) + 1) if data else 0
    splitter = Splitter(data[:cut], coding)
    known = sum(map(len, splitter.parameter_sets))
    assert known <= cut
    for keyframe in (False, True):
        nals = splitter.split(data[cut:], keyframe)
        assert all(nals)
        assert sum(map(len, nals)) <= len(data) - cut + known
        assert all(coding.kind(nal) in coding.sets for nal in splitter.parameter_sets)
