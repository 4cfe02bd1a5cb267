"""Fuzz target: H.264 packets and track configurations of media files somebody else made."""

from __future__ import annotations

from soip.agents.nalsplit import Splitter


def fuzz(data: bytes) -> None:
    """Any configuration and packet give non-empty NAL units, no longer together than the input; nothing raises."""
    cut = data[0] % (len(data) + 1) if data else 0
    splitter = Splitter(data[:cut])
    known = sum(map(len, splitter.parameter_sets))
    assert known <= cut
    for keyframe in (False, True):
        nals = splitter.split(data[cut:], keyframe)
        assert all(nals)
        assert sum(map(len, nals)) <= len(data) - cut + known
        assert all(nal[0] & 31 in (7, 8) for nal in splitter.parameter_sets)
