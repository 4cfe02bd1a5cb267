"""The SDP parameters of H.265 that decide whether two sides fit (RFC 7798 §7.1, §7.2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPROP = ("sprop-vps", "sprop-sps", "sprop-pps")
"""Parameters that carry parameter sets, in the order in which a decoder needs them."""

# What a decoder of a profile can decode beside its own, by profile_idc (ITU-T H.265 §A.3): Main, Main 10, the format
# range extensions.
_DECODES: dict[int, frozenset[int]] = {
    1: frozenset({1, 3}),
    2: frozenset({1, 2, 3}),
    3: frozenset({3}),
    4: frozenset({1, 2, 3, 4}),
}


@dataclass(frozen=True, slots=True)
class ProfileTierLevel:
    """Profile, tier and level (thirty times the level: 93 is 3.1), with the defaults of RFC 7798 §7.1."""

    space: int = 0
    profile: int = 1
    tier: int = 0
    level: int = 93

    @classmethod
    def parse(cls, params: Mapping[str, str]) -> ProfileTierLevel:
        """What is left out or cannot be read has its default value."""
        return cls(
            _number(params, "profile-space", 3, 0),
            _number(params, "profile-id", 31, 1),
            _number(params, "tier-flag", 1, 0),
            _number(params, "level-id", 255, 93),
        )

    def params(self) -> list[str]:
        """As they stand in a=fmtp."""
        space = [f"profile-space={self.space}"] if self.space else []
        return [*space, f"profile-id={self.profile}", f"tier-flag={self.tier}", f"level-id={self.level}"]


def _number(params: Mapping[str, str], name: str, most: int, default: int) -> int:
    text = params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= most else default


def fit(stream: ProfileTierLevel, decoder: ProfileTierLevel) -> int | None:
    """How well a decoder suits a stream: 0 the same profile, 1 a profile that includes it, None not at all.

    Tiers and levels do not decide: viewers write the defaults out of habit and decode more.
    """
    if stream.space != decoder.space:
        return None
    if stream.profile == decoder.profile:
        return 0
    return 1 if stream.profile in _DECODES.get(decoder.profile, frozenset()) else None


def plain(params: Mapping[str, str]) -> bool:
    """Whether the stream comes in one piece and in decoding order (RFC 7798 §7.1: tx-mode, sprop-max-don-diff)."""
    in_order = params.get("sprop-max-don-diff", "0").strip("0") == ""
    return in_order and params.get("tx-mode", "SRST").upper() == "SRST"


def format_fmtp(told: ProfileTierLevel, params: Mapping[str, str]) -> str:
    """The parameters of one format, as they follow the payload type in a=fmtp; of `params` the parameter sets."""
    return ";".join([*told.params(), *[f"{name}={params[name]}" for name in SPROP if params.get(name)]])
