"""H.265 over RTP (RFC 7798): the numbers of `nal` for it.

Received are single NAL units, aggregation packets (AP) and fragments (FU), without the decoding order numbers that only
an ``sprop-max-don-diff`` above 0 brings, which is never agreed on. PACI packets carry extensions that nobody needs to
negotiate and nobody sends; they count as malformed. Of several layers the base layer alone is taken.
"""

from __future__ import annotations

from soip.rtp.nal import KEYFRAME, LEADING, PICTURE, SET, Coding

TYPE_RASL_N, TYPE_RASL_R, TYPE_BLA_W_LP, TYPE_IDR_W_RADL, TYPE_IDR_N_LP, TYPE_CRA = 8, 9, 16, 19, 20, 21
TYPE_VPS, TYPE_SPS, TYPE_PPS, TYPE_AUD, TYPE_SEI = 32, 33, 34, 35, 39
TYPE_AP, TYPE_FU, TYPE_PACI = 48, 49, 50


def _role(kind: int) -> int:
    """What a NAL unit of that type does (ITU-T H.265 table 7-1)."""
    if kind in (TYPE_VPS, TYPE_SPS, TYPE_PPS):
        return SET
    if kind in (TYPE_RASL_N, TYPE_RASL_R):
        return PICTURE | LEADING
    if TYPE_BLA_W_LP <= kind <= TYPE_CRA:
        return PICTURE | KEYFRAME
    return PICTURE if kind < TYPE_VPS else 0


H265 = Coding(
    name="H265",
    header=2,
    shift=1,
    mask=0x3F,
    kept=0x81FF,
    layer=0x01F8,
    aggregate=TYPE_AP,
    fragment=TYPE_FU,
    types=range(TYPE_AP),
    roles=bytes(map(_role, range(64))),
    sets=(TYPE_VPS, TYPE_SPS, TYPE_PPS),
    delimiter=TYPE_AUD,
)
