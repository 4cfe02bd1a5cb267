"""H.264 over RTP (RFC 6184): the numbers of `nal` for it.

Received are single NAL units, STAP-A and FU-A (packetization modes 0 and 1). The interleaved types (STAP-B, MTAP, FU-B)
need mode 2, which is never negotiated.
"""

from __future__ import annotations

from soip.rtp.nal import KEYFRAME, PICTURE, SET, Coding

TYPE_SLICE, TYPE_IDR, TYPE_SEI, TYPE_SPS, TYPE_PPS, TYPE_AUD = 1, 5, 6, 7, 8, 9
TYPE_STAP_A, TYPE_FU_A = 24, 28


def _role(kind: int) -> int:
    """What a NAL unit of that type does (ITU-T H.264 table 7-1)."""
    if kind in (TYPE_SPS, TYPE_PPS):
        return SET
    if TYPE_SLICE <= kind <= TYPE_IDR:
        return PICTURE | (KEYFRAME if kind == TYPE_IDR else 0)
    return 0


H264 = Coding(
    name="H264",
    header=1,
    shift=0,
    mask=0x1F,
    kept=0xE0,
    layer=0,
    aggregate=TYPE_STAP_A,
    fragment=TYPE_FU_A,
    types=range(1, TYPE_STAP_A),
    roles=bytes(map(_role, range(32))),
    sets=(TYPE_SPS, TYPE_PPS),
    delimiter=TYPE_AUD,
)
