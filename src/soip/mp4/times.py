"""Media ticks, UTC and NTP timestamps: integers only, so that nothing drifts."""

VIDEO_TIMESCALE = 90_000

_NTP_EPOCH_TO_UNIX = 2_208_988_800
_MAC_EPOCH_TO_UNIX = 2_082_844_800
_ERA = 1 << 32


def ticks_of(utc_us: int, timescale: int = VIDEO_TIMESCALE) -> int:
    """The media time that stands closest for a UTC instant."""
    return (utc_us * timescale + 500_000) // 1_000_000


def us_of(ticks: int, timescale: int = VIDEO_TIMESCALE) -> int:
    """Microseconds of a media time or of a duration."""
    return (ticks * 1_000_000 + timescale // 2) // timescale


def ntp_of(utc_us: int) -> int:
    """A 64-bit NTP timestamp (RFC 5905 §6), as `prft` carries it. Exact: `utc_of(ntp_of(t)) == t`."""
    seconds, rest = divmod(utc_us, 1_000_000)
    fraction = ((rest << 32) + 500_000) // 1_000_000
    return ((seconds + _NTP_EPOCH_TO_UNIX) % _ERA) << 32 | fraction


def utc_of(ntp: int) -> int:
    """UTC microseconds of a 64-bit NTP timestamp; the era is the one between 1968 and 2104 (RFC 4330 §3)."""
    seconds, fraction = ntp >> 32, ntp & 0xFFFF_FFFF
    if seconds < _ERA // 2:
        seconds += _ERA
    return (seconds - _NTP_EPOCH_TO_UNIX) * 1_000_000 + ((fraction * 1_000_000 + (1 << 31)) >> 32)


def mac_seconds_of(utc_us: int) -> int:
    """Seconds since 1904, as `mvhd`, `tkhd` and `mdhd` count (ISO/IEC 14496-12 §8.2.2.3)."""
    return utc_us // 1_000_000 + _MAC_EPOCH_TO_UNIX
