"""H.265 parameter sets: what an SPS says.

The parse follows ITU-T H.265 §7.3.2.2 and Annex E.2 as far as this project needs: profile, tier and level, size, how
many pictures may be shown out of decoding order, and the frame rate if it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from soip.rtp.bits import BitReader, frame_ticks, picture_size, unescape
from soip.rtp.errors import RtpParseError
from soip.rtp.h265 import TYPE_SPS

MAX_REORDER = 16
"""More pictures than a decoder holds (§A.4.2) are taken for nonsense."""
_MAX_REFERENCES = 16
_MAX_REFERENCE_SETS = 64
_EXTENDED_SAR = 255


@dataclass(frozen=True, slots=True)
class Sps:
    """What a sequence parameter set says."""

    profile_space: int
    tier: int
    profile_idc: int
    level_idc: int
    """Thirty times the level: 93 is 3.1."""
    width: int
    """Pixels after cropping."""
    height: int
    reorder_depth: int | None
    """Pictures that may precede one in decoding order and follow it in output order."""
    ticks_per_frame: int | None
    """90 kHz ticks of one picture where the VUI tells a rate that makes sense."""

    @property
    def parameters(self) -> Mapping[str, str]:
        """What SDP says of such a stream (RFC 7798 §7.1)."""
        space = {"profile-space": str(self.profile_space)} if self.profile_space else {}
        return {
            **space,
            "profile-id": str(self.profile_idc),
            "tier-flag": str(self.tier),
            "level-id": str(self.level_idc),
        }


def parse_sps(nal: bytes | bytearray | memoryview) -> Sps:
    """Parse a sequence parameter set NAL unit, its two header bytes included. Raises RtpParseError."""
    if not 4 <= len(nal) <= 4096 or nal[0] >> 1 & 0x3F != TYPE_SPS:
        raise RtpParseError("not an H.265 SPS")
    reader = BitReader(unescape(nal)[2:])
    reader.bits(4)  # sps_video_parameter_set_id
    layers = reader.bits(3) + 1
    if layers > 7:  # §7.4.3.2.1
        raise RtpParseError("sps_max_sub_layers_minus1 exceeds 6")
    reader.bits(1)  # sps_temporal_id_nesting_flag
    space, tier, profile, level = _profile_tier_level(reader, layers)
    reader.ue()  # sps_seq_parameter_set_id
    width, height = _size(reader)
    reader.ue()  # bit_depth_luma_minus8
    reader.ue()  # bit_depth_chroma_minus8
    order_bits = reader.ue() + 4
    if order_bits > 16:  # §7.4.3.2.1
        raise RtpParseError("log2_max_pic_order_cnt_lsb_minus4 exceeds 12")
    depth = 0
    for _ in range(layers if reader.bits(1) else 1):  # the last one is that of all sub-layers
        reader.ue()  # sps_max_dec_pic_buffering_minus1
        depth = reader.ue()
        reader.ue()  # sps_max_latency_increase_plus1
    try:
        ticks = _timing(reader, order_bits)
    except RtpParseError:  # some encoders write nonsense there, and everything else is known already
        ticks = None
    return Sps(space, tier, profile, level, width, height, depth if depth <= MAX_REORDER else None, ticks)


def _profile_tier_level(reader: BitReader, layers: int) -> tuple[int, int, int, int]:
    """Read profile_tier_level (§7.3.3): profile space, tier, profile and level of all sub-layers."""
    space, tier, profile = reader.bits(2), reader.bits(1), reader.bits(5)
    reader.bits(32 + 48)  # compatibility flags, constraint flags
    level = reader.bits(8)
    present = [(reader.bits(1), reader.bits(1)) for _ in range(layers - 1)]
    if present:
        reader.bits(2 * (8 - len(present)))  # reserved_zero_2bits
    for of_profile, of_level in present:
        reader.bits(88 * of_profile + 8 * of_level)
    return space, tier, profile, level


def _size(reader: BitReader) -> tuple[int, int]:
    """Read size and cropping (§7.4.3.2.1, equations D-28 and D-29)."""
    chroma = reader.ue()
    if chroma > 3:
        raise RtpParseError(f"chroma_format_idc {chroma}")
    if chroma == 3:
        reader.bits(1)  # separate_colour_plane_flag
    width, height = reader.ue(), reader.ue()
    if reader.bits(1):  # conformance_window_flag
        width -= (2 if chroma in (1, 2) else 1) * (reader.ue() + reader.ue())
        height -= (2 if chroma == 1 else 1) * (reader.ue() + reader.ue())
    return picture_size(width, height)


def _timing(reader: BitReader, order_bits: int) -> int | None:
    """Read on to the VUI's timing (§E.2.1); return 90 kHz ticks per picture."""
    for _ in range(6):  # sizes of coding and transform blocks
        reader.ue()
    if reader.bits(1) and reader.bits(1):  # scaling_list_enabled_flag, sps_scaling_list_data_present_flag
        _skip_scaling_lists(reader)
    reader.bits(2)  # amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if reader.bits(1):  # pcm_enabled_flag
        reader.bits(8)
        reader.ue()
        reader.ue()
        reader.bits(1)
    _skip_reference_sets(reader)
    if reader.bits(1):  # long_term_ref_pics_present_flag
        count = reader.ue()
        if count > 32:  # §7.4.3.2.1
            raise RtpParseError("num_long_term_ref_pics_sps exceeds 32")
        reader.bits(count * (order_bits + 1))
    reader.bits(2)  # sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    return _vui(reader) if reader.bits(1) else None


def _skip_scaling_lists(reader: BitReader) -> None:
    """Pass over scaling_list_data (§7.3.4)."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not reader.bits(1):  # scaling_list_pred_mode_flag
                reader.ue()
                continue
            for _ in range(min(64, 16 << 2 * size) + (size > 1)):
                reader.se()


def _skip_reference_sets(reader: BitReader) -> None:
    """Pass over the short-term reference picture sets (§7.3.7). How long one is depends on the one before."""
    count = reader.ue()
    if count > _MAX_REFERENCE_SETS:
        raise RtpParseError("num_short_term_ref_pic_sets exceeds 64")
    before: list[int] = []
    for number in range(count):
        # inter_ref_pic_set_prediction_flag
        before = _predicted(reader, before) if number and reader.bits(1) else _explicit(reader)
        if len(before) > _MAX_REFERENCES:
            raise RtpParseError("a reference picture set exceeds the decoded picture buffer")


def _explicit(reader: BitReader) -> list[int]:
    """Read a set that is told by itself: distances in order of output, those of earlier pictures first, nearest
    first.
    """
    counts = reader.ue(), reader.ue()
    if max(counts) > _MAX_REFERENCES:
        raise RtpParseError("a reference picture set exceeds the decoded picture buffer")
    distances: list[int] = []
    for count, sign in zip(counts, (-1, 1), strict=True):
        at = 0
        for _ in range(count):
            at += sign * (reader.ue() + 1)
            reader.bits(1)  # used_by_curr_pic_flag
            distances.append(at)
    return distances


def _predicted(reader: BitReader, before: list[int]) -> list[int]:
    """Read a set that is told by its difference to the one before (equations 7-61 and 7-62)."""
    negative = reader.bits(1)
    step = reader.ue() + 1
    if negative:
        step = -step
    # use_delta_flag is read only where used_by_curr_pic_flag is not set, and else taken for set.
    taken = [distance + step for distance in [*before, 0] if reader.bits(1) or reader.bits(1)]
    earlier = sorted({distance for distance in taken if distance < 0}, reverse=True)
    return [*earlier, *sorted({distance for distance in taken if distance > 0})]


def _vui(reader: BitReader) -> int | None:
    if reader.bits(1) and reader.bits(8) == _EXTENDED_SAR:
        reader.bits(32)
    if reader.bits(1):  # overscan_info_present_flag
        reader.bits(1)
    if reader.bits(1):  # video_signal_type_present_flag
        reader.bits(4)
        if reader.bits(1):
            reader.bits(24)
    if reader.bits(1):  # chroma_loc_info_present_flag
        reader.ue()
        reader.ue()
    reader.bits(3)  # neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    if reader.bits(1):  # default_display_window_flag
        for _ in range(4):
            reader.ue()
    return frame_ticks(reader.bits(32), reader.bits(32)) if reader.bits(1) else None
