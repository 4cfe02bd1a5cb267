"""AAC: what a decoder must know of it (ISO/IEC 14496-3 §1.6.2.1), and its RTP payload (RFC 3640), parse and build.

An access unit is one frame of AAC. A payload begins with the lengths of the access units in it; several short ones
share a packet, a long one may take several. Of RFC 3640 the modes AAC-hbr and AAC-lbr are here (§3.3.5, §3.3.6),
without interleaving: it trades delay for robustness, and no camera does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soip.rtp.errors import RtpBuildError, RtpParseError

ENCODING = "MPEG4-GENERIC"
"""As rtpmap names it (RFC 3640 §4.1)."""

LOW_COMPLEXITY = 2
RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
"""By samplingFrequencyIndex (ISO/IEC 14496-3 §1.6.3.4)."""
MAX_RATE = 64_000
"""Higher ones do not fit the sample entry of an MP4 track."""
MAX_CONFIG = 64
"""Bytes of an AudioSpecificConfig; those of cameras have two to seven."""
MAX_UNITS = 64
"""Access units in one packet."""

_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)
"""By channelConfiguration (§1.6.3.5); 0, a description of its own, is not taken."""
_SBR, _PS = 5, 29
_GENERAL = (1, 2, 3, 4)
"""Object types with 1024 or 960 samples a frame: Main, LC, SSR, LTP (§1.5.1.1)."""
_FOREIGN = ("ctsdeltalength", "dtsdeltalength", "randomaccessindication", "streamstateindication")
_FOREIGN_SIZE = ("auxiliarydatasizelength",)


class _Bits:
    """Reads bits from the highest on. Raises RtpParseError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise RtpParseError("AudioSpecificConfig is cut off")
        return self._value >> self._left & (1 << count) - 1


@dataclass(frozen=True, slots=True)
class AacConfig:
    """An AudioSpecificConfig. `sample_rate` and `channels` are those of the core, before SBR and PS add to them;
    `frame_samples` of that rate are in each access unit.
    """

    config: bytes
    object_type: int
    sample_rate: int
    channels: int
    frame_samples: int


def parse_config(data: bytes) -> AacConfig:
    """Read an AudioSpecificConfig. Raises RtpParseError, also for AAC that is not ours (LD, ELD, xHE)."""
    if len(data) > MAX_CONFIG:
        raise RtpParseError(f"AudioSpecificConfig of {len(data)} bytes")
    bits = _Bits(data)
    first = kind = bits.take(5)
    rate = _rate(bits)
    channels = bits.take(4)
    if kind in (_SBR, _PS):  # what follows is how the core is coded
        _rate(bits)
        kind = bits.take(5)
    if kind not in _GENERAL:
        raise RtpParseError(f"audio object type {kind}")
    if not 0 < channels < len(_CHANNELS):
        raise RtpParseError(f"channel configuration {channels}")
    short = bits.take(1)
    return AacConfig(bytes(data), first, rate, _CHANNELS[channels], 960 if short else 1024)


def build_config(sample_rate: int, channels: int) -> bytes:
    """The AudioSpecificConfig of AAC-LC. Raises RtpBuildError for a rate or number of channels there is none for."""
    if sample_rate not in RATES or channels not in _CHANNELS[1:]:
        raise RtpBuildError(f"no AAC of {channels} channels at {sample_rate} Hz")
    word = LOW_COMPLEXITY << 11 | RATES.index(sample_rate) << 7 | _CHANNELS.index(channels) << 3
    return word.to_bytes(2, "big")


def _rate(bits: _Bits) -> int:
    index = bits.take(4)
    if index < len(RATES):
        rate = RATES[index]
    elif index == 15:
        rate = bits.take(24)
    else:
        raise RtpParseError(f"sampling frequency index {index}")
    if not RATES[-1] <= rate <= MAX_RATE:
        raise RtpParseError(f"sampling frequency {rate}")
    return rate


@dataclass(frozen=True, slots=True)
class Mode:
    """Bits of the fields of an AU header (RFC 3640 §3.2.1.1): AU-size, AU-Index, AU-Index-delta."""

    name: str
    size: int
    index: int
    delta: int


HBR = Mode("AAC-hbr", 13, 3, 3)
LBR = Mode("AAC-lbr", 6, 2, 2)


def parse_fmtp(params: Mapping[str, str]) -> tuple[AacConfig, Mode]:
    """The configuration and the mode that fmtp tells (RFC 3640 §4.1; names in lower case, lengths by the mode where
    they are missing). Raises RtpParseError.
    """
    text = params.get("config", "")
    if len(text) > 2 * MAX_CONFIG:
        raise RtpParseError("config of mpeg4-generic is too long")
    try:
        config = parse_config(bytes.fromhex(text))
    except ValueError:
        raise RtpParseError("config of mpeg4-generic is not hexadecimal") from None
    named = {mode.name.lower(): mode for mode in (HBR, LBR)}
    base = named.get(params.get("mode", HBR.name).lower())
    if base is None:
        raise RtpParseError(f"mode {params['mode'][:32]!r} of mpeg4-generic")
    if any(params.get(name, "0") != "0" for name in (*_FOREIGN, *_FOREIGN_SIZE)):
        raise RtpParseError("mpeg4-generic with fields that AAC has no use for")
    mode = Mode(
        base.name,
        _length(params, "sizelength", base.size, 1, 13),
        _length(params, "indexlength", base.index, 0, 8),
        _length(params, "indexdeltalength", base.delta, 0, 8),
    )
    return config, mode


def format_fmtp(config: bytes, mode: Mode = HBR) -> str:
    """The format parameters of a stream."""
    # streamType 5 is audio; profile-level-id 254 means that none is specified (ISO/IEC 14496-3 §1.5.2.4).
    return (
        f"streamtype=5;profile-level-id=254;mode={mode.name};sizelength={mode.size};indexlength={mode.index};"
        f"indexdeltalength={mode.delta};config={config.hex()}"
    )


def _length(params: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = params.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) < 4 and least <= int(text) <= most):
        raise RtpParseError(f"{name} of mpeg4-generic: {text[:32]!r}")
    return int(text)


def aggregate(units: Sequence[bytes], mode: Mode = HBR) -> bytes:
    """One payload of whole access units that follow each other. Raises RtpBuildError for what no header can say."""
    if not 0 < len(units) <= MAX_UNITS:
        raise RtpBuildError(f"{len(units)} access units in one packet")
    return _headers([len(unit) for unit in units], mode) + b"".join(units)


def packetise(unit: bytes, limit: int, mode: Mode = HBR) -> list[bytes]:
    """The payloads of one access unit, each of at most ``limit`` bytes; only the last packet has the marker (§3.1)."""
    header = _headers([len(unit)], mode)
    room = limit - len(header)
    if room < 1 or (len(unit) > room and mode.name == LBR.name):  # §3.3.5: no fragments in AAC-lbr
        raise RtpBuildError(f"an access unit of {len(unit)} bytes in packets of {limit}")
    return [header + unit[at : at + room] for at in range(0, len(unit), room)]


def _headers(sizes: Sequence[int], mode: Mode) -> bytes:
    """AU-headers-length and AU headers, filled up to a byte (§3.2.1). Index and delta are 0: nothing is interleaved."""
    value = bits = 0
    for number, size in enumerate(sizes):
        if not 0 < size < 1 << mode.size:
            raise RtpBuildError(f"an access unit of {size} bytes in mode {mode.name}")
        rest = mode.delta if number else mode.index
        value = (value << mode.size | size) << rest
        bits += mode.size + rest
    padding = -bits % 8
    return bits.to_bytes(2, "big") + (value << padding).to_bytes((bits + padding) // 8, "big")


class Depacketiser:
    """Access units of one stream's payloads. What is malformed, incomplete or interleaved is dropped and counted."""

    def __init__(self, config: AacConfig, mode: Mode, clock_rate: int) -> None:
        self.step = config.frame_samples * clock_rate // config.sample_rate
        """Ticks from one access unit to the next."""
        self.malformed = 0
        """Payloads dropped."""
        self._mode = mode
        self._parts: list[bytes] = []
        self._missing = 0
        self._ticks = 0

    def unpack(self, payload: bytes, ticks: int, marker: int, lost: int) -> list[bytes]:
        """The access units that a payload completes: `step` ticks apart, the first at `ticks`."""
        sizes, at = self._sizes(payload)
        if not sizes:
            self._drop()
            return []
        if len(sizes) == 1 and (sizes[0] > len(payload) - at or self._goes_on(ticks, lost)):
            return self._fragment(sizes[0], payload[at:], ticks, lost)
        if self._missing:
            self._abandon()
        if sum(sizes) > len(payload) - at:
            self._drop()
            return []
        units: list[bytes] = []
        for size in sizes:
            units.append(payload[at : at + size])
            at += size
        return units

    def restart(self) -> None:
        """Another source begins."""
        self._parts, self._missing = [], 0

    def _sizes(self, payload: bytes) -> tuple[list[int], int]:
        """The sizes of the access units, none when the headers are no good; and where their bytes begin."""
        mode = self._mode
        length = int.from_bytes(payload[:2], "big")
        at = 2 + (length + 7) // 8
        if len(payload) < 3 or at >= len(payload):
            return [], 0
        bits = int.from_bytes(payload[2:at], "big")
        left = 8 * (at - 2)
        end = left - length
        sizes: list[int] = []
        while left > end:
            rest = mode.delta if sizes else mode.index
            left -= mode.size + rest
            size = bits >> left + rest & (1 << mode.size) - 1 if left >= end else 0
            # An AU-Index that counts on is no harm; a delta says that units between these two come later (§3.2.1.1).
            if not size or len(sizes) == MAX_UNITS or (sizes and bits >> left & (1 << rest) - 1):
                return [], 0
            sizes.append(size)
        return sizes, at

    def _goes_on(self, ticks: int, lost: int) -> bool:
        return bool(self._missing) and not lost and ticks == self._ticks

    def _fragment(self, size: int, data: bytes, ticks: int, lost: int) -> list[bytes]:
        """A part of one access unit; all of them have its whole size and its timestamp (§3.2.3)."""
        if not self._goes_on(ticks, lost):
            if self._missing:
                self._abandon()
            self._missing, self._ticks = size, ticks
        if len(data) > self._missing or sum(map(len, self._parts)) + self._missing != size:
            self._drop()
            return []
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing:
            return []
        unit = b"".join(self._parts)
        self._parts = []
        return [unit]

    def _drop(self) -> None:
        self.malformed += 1
        self.restart()

    def _abandon(self) -> None:
        """An access unit of which a part is missing; what follows is good."""
        self._drop()
