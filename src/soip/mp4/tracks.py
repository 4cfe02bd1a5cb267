"""Tracks: what a decoder must know before the first sample (ISO/IEC 14496-15 §5, §8; -14 §5.6; Opus in ISOBMFF)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from . import hevc
from .bits import Bits
from .boxes import box, box_at, children, full_box, need
from .errors import BoxError
from .times import VIDEO_TIMESCALE

# Profiles whose avcC carries chroma format and bit depths (ISO/IEC 14496-15 §5.3.3.1.2).
_HIGH_PROFILES = (100, 110, 122, 144)

OPUS_TIMESCALE = 48_000
_KINDS = {"H264": 2, "H265": 3}
"""Kinds of parameter sets."""
_ENCODINGS = {"avc1": "H264", "hvc1": "H265"}

_VISUAL = struct.Struct(">6xH16xHHIIIH32sHh")
_AUDIO = struct.Struct(">6xH8xHHII")


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a file or of a live stream. Two tracks are equal when a decoder need not be told of a change.

    `entry` is the sample entry box; `codec` its name for `codecs=` (RFC 6381), for example avc1.42E01E or
    hvc1.1.6.L93.90.
    """

    track_id: int
    handler: Literal["vide", "soun"]
    timescale: int
    codec: str
    entry: bytes
    width: int = 0
    height: int = 0

    @property
    def encoding(self) -> str:
        """H264 or H265, as SDP calls it; "" for what is no video."""
        return _ENCODINGS.get(self.codec[:4], "")


def video_track(
    encoding: str, groups: Sequence[Sequence[bytes]], width: int, height: int, *, track_id: int = 1
) -> Track:
    """A track of H264 or H265: its parameter sets by kind (SPS, PPS; VPS, SPS, PPS) as NAL units without start codes,
    picture size in pixels, 90 kHz.

    Raises ValueError for parameter sets that cannot be such.
    """
    if len(groups) != _KINDS[encoding] or not all(groups) or any(not 2 < len(one) <= 0xFFFF for one in chain(*groups)):
        raise ValueError(f"{encoding} needs parameter sets of {_KINDS[encoding]} kinds")
    if not (0 < width < 1 << 16 and 0 < height < 1 << 16) or any(len(group) > 255 for group in groups):
        raise ValueError(f"no such picture: {width}x{height}, {[len(group) for group in groups]} parameter sets")
    visual = _VISUAL.pack(1, width, height, 0x480000, 0x480000, 0, 1, b"", 0x18, -1)
    if encoding == "H265":
        record = hevc.configuration(groups)
        codec, entry = hevc.name(record), box(b"hvc1", visual, box(b"hvcC", record))
    else:
        record = _avc_configuration(*groups)
        codec, entry = avc_name(record), box(b"avc1", visual, box(b"avcC", record))
    return Track(track_id, "vide", VIDEO_TIMESCALE, codec, entry, width, height)


def avc_name(record: bytes) -> str:
    """The codec's name by the front of its configuration record, for example avc1.42E01E (RFC 6381 §3.3)."""
    return f"avc1.{record[1:4].hex().upper()}"


def audio_track(config: bytes, sample_rate: int, channels: int, *, track_id: int = 2) -> Track:
    """An AAC track from its AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1); the timescale is the sample rate."""
    if not 2 <= len(config) <= 64 or not 0 < sample_rate < 1 << 16 or not 0 < channels < 256:
        raise ValueError("not an AudioSpecificConfig, or no such sample rate or number of channels")
    object_type = config[0] >> 3
    sound = _AUDIO.pack(1, channels, 16, 0, sample_rate << 16)
    return Track(
        track_id=track_id,
        handler="soun",
        timescale=sample_rate,
        codec=f"mp4a.40.{object_type}",
        entry=box(b"mp4a", sound, _elementary_stream(config)),
    )


def opus_track(channels: int = 2, *, track_id: int = 2) -> Track:
    """An Opus track (Encapsulation of Opus in ISO Base Media File Format, §4.3); the timescale is 48 kHz.

    Nothing is skipped at its beginning: it begins in the middle of a stream that was decoded before.
    """
    if channels not in (1, 2):
        raise ValueError(f"no Opus of {channels} channels without a mapping")
    # Version, channels, PreSkip, InputSampleRate, OutputGain, ChannelMappingFamily (§4.3.2), all big-endian.
    specific = box(b"dOps", struct.pack(">BBHIhB", 0, channels, 0, OPUS_TIMESCALE, 0, 0))
    sound = _AUDIO.pack(1, channels, 16, 0, OPUS_TIMESCALE << 16)
    return Track(track_id, "soun", OPUS_TIMESCALE, "opus", box(b"Opus", sound, specific))


def audio_config(track: Track) -> bytes:
    """The AudioSpecificConfig of an AAC track, read from its entry. Raises BoxError where there is none."""
    entry = box_at(track.entry, 0, len(track.entry))
    if entry.kind != b"mp4a":
        raise BoxError("not an AAC track", 0)
    esds = need(children(track.entry, entry, 28), b"esds", entry)
    # The descriptors are our own writer's: none before the configuration has an optional field.
    found = track.entry[esds.body + 24 : esds.end]
    if len(found) < 4 or found[0] != 0x05 or not 2 <= found[1] <= len(found) - 2:
        raise BoxError("esds without AudioSpecificConfig", esds.start)
    return found[2 : 2 + found[1]]


def mime(tracks: Sequence[Track]) -> str:
    """The media type a browser's MediaSource asks for."""
    return f'video/mp4; codecs="{",".join(track.codec for track in tracks)}"'


def _avc_configuration(sps: Sequence[bytes], pps: Sequence[bytes]) -> bytes:
    """AVCDecoderConfigurationRecord, with NAL unit lengths of four bytes (ISO/IEC 14496-15 §5.3.3.1).

    Raises ValueError.
    """
    if len(sps) > 31 or len(sps[0]) < 4:
        raise ValueError(f"no such sequence parameter sets: {len(sps)}")
    parts = [b"\x01", sps[0][1:4], b"\xff", bytes((0xE0 | len(sps),))]
    for one in sps:
        parts += (len(one).to_bytes(2, "big"), one)
    parts.append(bytes((len(pps),)))
    for one in pps:
        parts += (len(one).to_bytes(2, "big"), one)
    if sps[0][1] in _HIGH_PROFILES:
        chroma, luma_depth, chroma_depth = _chroma_and_depths(sps[0])
        parts.append(bytes((0xFC | chroma, 0xF8 | luma_depth, 0xF8 | chroma_depth, 0)))
    return b"".join(parts)


def _chroma_and_depths(sps: bytes) -> tuple[int, int, int]:
    """chroma_format_idc and both bit depths minus 8 of a high-profile SPS (ITU-T H.264 §7.3.2.1.1)."""
    bits = Bits(sps[4:20])
    bits.exp_golomb()  # seq_parameter_set_id
    chroma = bits.exp_golomb()
    if chroma == 3:
        bits.take(1)  # separate_colour_plane_flag
    luma_depth, chroma_depth = bits.exp_golomb(), bits.exp_golomb()
    if chroma > 3 or luma_depth > 6 or chroma_depth > 6:
        raise ValueError("the sequence parameter set names no such chroma format or bit depth")
    return chroma, luma_depth, chroma_depth


def _elementary_stream(config: bytes) -> bytes:
    """The `esds` box: descriptors of ISO/IEC 14496-1 §7.2.6, none longer than 127 bytes."""
    specific = _descriptor(0x05, config)
    decoder = _descriptor(0x04, struct.pack(">BBxH8x", 0x40, 0x15, 0), specific)
    return full_box(b"esds", 0, 0, _descriptor(0x03, struct.pack(">HB", 0, 0), decoder, _descriptor(0x06, b"\x02")))


def _descriptor(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((tag, len(body))) + body
