"""H.264 parameter sets: what an SPS says, and the forms in which sets travel in SDP.

The parse follows ITU-T H.264 §7.3.2.1.1 and Annex E.1 as far as this project needs: profile, size, and how
many pictures may be shown out of decoding order.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soip.rtp.bits import BitReader, frame_ticks, picture_size, unescape
from soip.rtp.errors import RtpParseError
from soip.rtp.h264 import TYPE_SPS

MAX_SETS = 32
"""Parameter sets taken from one SDP attribute: more than any device sends."""

# ITU-T H.264 §7.3.2.1.1: these profiles carry chroma format, bit depth and scaling lists.
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_BASELINE = 66
_EXTENDED_SAR = 255


@dataclass(frozen=True, slots=True)
class Sps:
    """What a sequence parameter set says."""

    profile_idc: int
    constraints: int
    level_idc: int
    width: int
    """Pixels after cropping."""
    height: int
    reorder_depth: int | None
    """Pictures that may precede one in decoding order and follow it in output order; None where not told."""
    ticks_per_frame: int | None
    """90 kHz ticks of one frame where the VUI tells a frame rate that makes sense."""

    @property
    def profile_level_id(self) -> str:
        """Six hex digits, as in SDP (RFC 6184 §8.1)."""
        return f"{self.profile_idc:02x}{self.constraints:02x}{self.level_idc:02x}"

    @property
    def parameters(self) -> Mapping[str, str]:
        """What SDP says of such a stream (RFC 6184 §8.1)."""
        return {"profile-level-id": self.profile_level_id}


def parse_sps(nal: bytes | bytearray | memoryview) -> Sps:
    """Parse a sequence parameter set NAL unit, its header byte included. Raises RtpParseError."""
    if not 4 <= len(nal) <= 4096 or nal[0] & 0x1F != TYPE_SPS:
        raise RtpParseError("not an H.264 SPS")
    profile, constraints, level = nal[1], nal[2], nal[3]
    reader = BitReader(unescape(nal)[4:])
    reader.ue()  # seq_parameter_set_id
    chroma = 1
    if profile in _HIGH_PROFILES:
        chroma = _high_profile_fields(reader)
    reader.ue()  # log2_max_frame_num_minus4
    order_type = _picture_order(reader)
    reader.ue()  # max_num_ref_frames
    reader.bits(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = _size(reader, chroma)
    ticks, depth = _vui(reader) if reader.bits(1) else (None, None)
    if profile == _BASELINE or order_type == 2:  # no B slices; output order is decoding order (§8.2.1.3)
        depth = 0
    return Sps(profile, constraints, level, width, height, depth, ticks)


def _high_profile_fields(reader: BitReader) -> int:
    chroma = reader.ue()
    if chroma == 3:
        reader.bits(1)  # separate_colour_plane_flag
    reader.ue()  # bit_depth_luma_minus8
    reader.ue()  # bit_depth_chroma_minus8
    reader.bits(1)  # qpprime_y_zero_transform_bypass_flag
    if reader.bits(1):  # seq_scaling_matrix_present_flag
        for number in range(12 if chroma == 3 else 8):
            if reader.bits(1):
                _skip_scaling_list(reader, 16 if number < 6 else 64)
    return chroma


def _skip_scaling_list(reader: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + reader.se()) % 256
        last = following or last


def _picture_order(reader: BitReader) -> int:
    order_type = reader.ue()
    if order_type == 0:
        reader.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_type == 1:
        reader.bits(1)  # delta_pic_order_always_zero_flag
        reader.se()  # offset_for_non_ref_pic
        reader.se()  # offset_for_top_to_bottom_field
        cycle = reader.ue()
        if cycle > 255:
            raise RtpParseError("num_ref_frames_in_pic_order_cnt_cycle exceeds 255")
        for _ in range(cycle):
            reader.se()
    elif order_type > 2:
        raise RtpParseError(f"pic_order_cnt_type {order_type}")
    return order_type


def _size(reader: BitReader, chroma: int) -> tuple[int, int]:
    """Read size and cropping (§7.4.2.1.1, equations 7-13 to 7-22)."""
    width = 16 * (reader.ue() + 1)
    map_units = reader.ue() + 1
    frames_only = reader.bits(1)
    height = 16 * map_units * (2 - frames_only)
    if not frames_only:
        reader.bits(1)  # mb_adaptive_frame_field_flag
    reader.bits(1)  # direct_8x8_inference_flag
    if reader.bits(1):
        unit_x = 2 if chroma in (1, 2) else 1
        unit_y = (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= unit_x * (reader.ue() + reader.ue())
        height -= unit_y * (reader.ue() + reader.ue())
    return picture_size(width, height)


def _vui(reader: BitReader) -> tuple[int | None, int | None]:
    """Read the VUI (§E.1.1): 90 kHz ticks per frame and max_num_reorder_frames."""
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
    ticks = None
    if reader.bits(1):  # timing_info_present_flag
        units, scale = reader.bits(32), reader.bits(32)
        reader.bits(1)
        ticks = frame_ticks(2 * units, scale)  # two fields make a frame (§E.2.1)
    nal_hrd = reader.bits(1)
    if nal_hrd:
        _skip_hrd(reader)
    vcl_hrd = reader.bits(1)
    if vcl_hrd:
        _skip_hrd(reader)
    if nal_hrd or vcl_hrd:
        reader.bits(1)  # low_delay_hrd_flag
    reader.bits(1)  # pic_struct_present_flag
    if not reader.bits(1):  # bitstream_restriction_flag
        return ticks, None
    reader.bits(1)  # motion_vectors_over_pic_boundaries_flag
    for _ in range(4):
        reader.ue()
    depth = reader.ue()
    return ticks, depth if depth <= 16 else None  # §E.2.1: at most max_dec_frame_buffering, itself at most 16


def _skip_hrd(reader: BitReader) -> None:
    count = reader.ue() + 1
    if count > 32:  # §E.2.2
        raise RtpParseError("cpb_cnt_minus1 exceeds 31")
    reader.bits(8)
    for _ in range(count):
        reader.ue()
        reader.ue()
        reader.bits(1)
    reader.bits(20)


def parse_sprop(value: str) -> list[bytes]:
    """Return the NAL units of a ``sprop-parameter-sets`` value (RFC 6184 §8.1). Raises RtpParseError."""
    texts = value.split(",", MAX_SETS)[:MAX_SETS]
    try:
        return [nal for text in texts if (nal := b64decode(text.strip(), validate=True))]
    except (Base64Error, ValueError) as error:
        raise RtpParseError(f"sprop-parameter-sets: {error}") from None


def build_sprop(nals: Sequence[bytes]) -> str:
    """Return the ``sprop-parameter-sets`` value for parameter sets."""
    return ",".join(b64encode(nal).decode("ascii") for nal in nals)
