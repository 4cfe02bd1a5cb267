"""Which codings of video we know, and what a decoder needs before the first picture of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from soip.rtp import h264_sets, h265_sets
from soip.rtp.h264 import H264
from soip.rtp.h264_sets import build_sprop
from soip.rtp.h265 import H265
from soip.rtp.nal import Coding, Nal

CODINGS: Mapping[str, Coding] = {coding.name: coding for coding in (H264, H265)}
"""By the name in SDP."""

Info = h264_sets.Sps | h265_sets.Sps
"""What a sequence parameter set says: of both ``width``, ``height``, ``reorder_depth`` and ``ticks_per_frame``."""

_PARSE: Mapping[str, Callable[[bytes], Info]] = {"H264": h264_sets.parse_sps, "H265": h265_sets.parse_sps}
_SPROP: Mapping[str, tuple[str, ...]] = {
    "H264": ("sprop-parameter-sets",),
    "H265": ("sprop-vps", "sprop-sps", "sprop-pps"),
}


@dataclass(frozen=True, slots=True)
class Codec:
    """What a decoder needs before the first picture. Two are equal when a file may hold pictures of both."""

    coding: Coding
    groups: tuple[tuple[bytes, ...], ...]
    """Parameter sets by kind, in the order of ``coding.sets``; none is empty."""
    info: Info = field(compare=False)

    @property
    def encoding(self) -> str:
        """The name in SDP."""
        return self.coding.name

    @property
    def sets(self) -> list[bytes]:
        """All parameter sets, in the order in which a decoder needs them."""
        return [one for group in self.groups for one in group]

    @property
    def parameters(self) -> dict[str, str]:
        """The format's parameters as SDP has them (RFC 6184 §8.1, RFC 7798 §7.1)."""
        names = _SPROP[self.encoding]
        texts = [build_sprop(group) for group in (self.groups if len(names) > 1 else [self.sets])]
        return {**self.info.parameters, **dict(zip(names, texts, strict=True))}

    def complete(self, nals: Sequence[Nal]) -> list[Nal] | None:
        """The NAL units of a keyframe with the parameter sets that they lack, behind a delimiter; None if they lack
        none. Every keyframe is then a place where anyone can begin to decode (RFC 6184 §8.4, RFC 7798 §7.1).
        """
        coding = self.coding
        there = {coding.kind(nal) for nal in nals}
        missing = [one for one in self.sets if coding.kind(one) not in there]
        if not missing:
            return None
        first = int(coding.kind(nals[0]) == coding.delimiter)
        return [*nals[:first], *missing, *nals[first:]]


def learn(coding: Coding, nals: Iterable[Nal], known: Codec | None = None) -> Codec | None:
    """The codec by the parameter sets among ``nals``; kinds of them that are not there are taken from ``known``. None
    while one is missing. Raises RtpParseError for sets that cannot be read.
    """
    if known is not None and known.coding is not coding:
        known = None
    found = coding.find_sets(nals)
    *first, last = (group or (known.groups[at] if known else ()) for at, group in enumerate(found))
    groups = (*(group[:1] for group in first), last)
    if known is not None and groups == known.groups:
        return known
    if not all(groups):
        return None
    return Codec(coding, groups, _PARSE[coding.name](groups[-2][0]))
