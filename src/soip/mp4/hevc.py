"""H.265 in MP4: the configuration record and the name of a codec (ISO/IEC 14496-15 §8.3.3.1, Annex E)."""

from collections.abc import Sequence
from itertools import chain

from .bits import Bits

_GENERAL = 12
"""Bytes of profile, compatibility flags, constraint flags and level, as in a parameter set and in a record."""
_ALL_OF_A_KIND = 0x80
_VPS = 32


def configuration(groups: Sequence[Sequence[bytes]]) -> bytes:
    """HEVCDecoderConfigurationRecord of VPS, SPS and PPS, with NAL unit lengths of four bytes. Raises ValueError.

    All parameter sets stand in it, as `hvc1` says; the same ones before keyframes are passed over by players.
    """
    sps = groups[1][0]
    bits = Bits(sps[2:512])
    bits.take(4)  # sps_video_parameter_set_id
    layers = bits.take(3) + 1
    nested = bits.take(1)
    general = bits.take(8 * _GENERAL).to_bytes(_GENERAL, "big")
    chroma, luma_depth, chroma_depth = _chroma_and_depths(bits, layers)
    parts = [
        b"\x01",
        general,
        # No segmentation, parallelism or frame rate is told: 0 stands for unknown.
        bytes((0xF0, 0, 0xFC, 0xFC | chroma, 0xF8 | luma_depth, 0xF8 | chroma_depth, 0, 0)),
        bytes((layers << 3 | nested << 2 | 3, len(groups))),
    ]
    for kind, group in enumerate(groups, _VPS):
        parts.append(bytes((_ALL_OF_A_KIND | kind,)) + len(group).to_bytes(2, "big"))
        parts += chain.from_iterable((len(one).to_bytes(2, "big"), one) for one in group)
    return b"".join(parts)


def name(record: bytes) -> str:
    """The codec's name by the front of its record, for example hvc1.1.6.L93.B0. Raises ValueError."""
    if len(record) < 1 + _GENERAL:
        raise ValueError("the configuration record is cut")
    space, tier, profile = record[1] >> 6, record[1] >> 5 & 1, record[1] & 31
    # The flags stand in reverse order of bits, as a number without leading zeros.
    flags = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = record[6:12].rstrip(b"\0")
    parts = [
        "hvc1",
        f"{('', 'A', 'B', 'C')[space]}{profile}",
        f"{flags:X}",
        f"{'LH'[tier]}{record[12]}",
        *[f"{byte:X}" for byte in constraints],
    ]
    return ".".join(parts)


def _chroma_and_depths(bits: Bits, layers: int) -> tuple[int, int, int]:
    """chroma_format_idc and both bit depths minus 8, from behind the general level on (ITU-T H.265 §7.3.2.2.1)."""
    present = [(bits.take(1), bits.take(1)) for _ in range(layers - 1)]
    if present:
        bits.take(2 * (8 - len(present)))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.exp_golomb()  # sps_seq_parameter_set_id
    chroma = bits.exp_golomb()
    if chroma == 3:
        bits.take(1)  # separate_colour_plane_flag
    bits.exp_golomb()
    bits.exp_golomb()  # width and height
    if bits.take(1):  # conformance_window_flag
        for _ in range(4):
            bits.exp_golomb()
    luma_depth, chroma_depth = bits.exp_golomb(), bits.exp_golomb()
    if chroma > 3 or luma_depth > 7 or chroma_depth > 7:
        raise ValueError("the sequence parameter set names no such chroma format or bit depth")
    return chroma, luma_depth, chroma_depth
