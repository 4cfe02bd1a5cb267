"""The SDP parameters of H.264 that decide whether two sides fit (RFC 6184 §8.1, §8.2.2)."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass

_PROFILE_LEVEL_ID = re.compile(r"[0-9A-Fa-f]{6}")
_MAX_SPROP = 4096

# What a decoder of a profile can decode beside its own, by profile_idc. Baseline counts as Constrained
# Baseline: devices write one and mean the other, and nobody uses the tools that set them apart (FMO, ASO).
_DECODES: dict[int, frozenset[int]] = {
    66: frozenset({66}),
    77: frozenset({66, 77}),
    88: frozenset({66, 77, 88}),
    100: frozenset({66, 77, 100}),
    110: frozenset({66, 77, 100, 110}),
    122: frozenset({66, 77, 100, 110, 122}),
    244: frozenset({66, 77, 100, 110, 122, 244}),
}


@dataclass(frozen=True, slots=True)
class ProfileLevel:
    """A profile-level-id: profile_idc, the byte of constraint flags, level_idc (level 3.1 is 31)."""

    profile: int
    constraints: int
    level: int

    @classmethod
    def parse(cls, text: str) -> ProfileLevel | None:
        """Six hex digits; None for anything else, which is read as "any profile": devices leave it out."""
        if not _PROFILE_LEVEL_ID.fullmatch(text):
            return None
        profile, constraints, level = bytes.fromhex(text)
        return cls(profile, constraints, level)

    def __str__(self) -> str:
        return f"{self.profile:02x}{self.constraints:02x}{self.level:02x}"

    @property
    def family(self) -> int:
        """The profile_idc of RFC 6184 table 5: flags can make Main or Extended into Constrained Baseline."""
        if (self.profile == 77 and self.constraints & 0x80) or (self.profile == 88 and self.constraints & 0x40):
            return 66
        return self.profile


def fit(stream: ProfileLevel | None, decoder: ProfileLevel | None) -> int | None:
    """How well a decoder suits a stream: 0 the same profile, 1 a profile that includes it, None not at all.

    Levels do not decide: viewers write 3.1 out of habit and decode more. None on either side fits anything.
    """
    if stream is None or decoder is None:
        return 1
    if stream.family == decoder.family:
        return 0
    return 1 if stream.family in _DECODES.get(decoder.family, frozenset()) else None


def packetization_mode(params: Mapping[str, str]) -> int | None:
    """0 (the default) or 1; None for the interleaved mode 2 and for nonsense."""
    return {"0": 0, "1": 1}.get(params.get("packetization-mode", "0"))


def agreed_profile(stream: ProfileLevel | None, params: Mapping[str, str]) -> ProfileLevel | None:
    """What an answer says to an offered format: its profile, with our level where the offer lets levels
    differ, else the lower one (RFC 6184 §8.2.2)."""
    offered = ProfileLevel.parse(params.get("profile-level-id", ""))
    if offered is None or stream is None:
        return stream or offered
    asymmetric = params.get("level-asymmetry-allowed") == "1"
    level = stream.level if asymmetric else min(stream.level, offered.level)
    return ProfileLevel(offered.profile, offered.constraints, level)


def parameter_sets(params: Mapping[str, str], name: str = "sprop-parameter-sets") -> tuple[bytes, ...]:
    """The NAL units of a parameter that carries such; unreadable ones are left out, for they also come in band."""
    text = params.get(name, "")
    if len(text) > _MAX_SPROP:
        return ()
    units = []
    for part in text.split(","):
        try:
            unit = b64decode(part.strip(), validate=True)
        except (Base64Error, ValueError):
            continue
        if unit:
            units.append(unit)
    return tuple(units)


def format_fmtp(profile: ProfileLevel | None, mode: int, *, asymmetric: bool = False, sprop: str = "") -> str:
    """The parameters of one format, as they follow the payload type in a=fmtp."""
    params = [f"profile-level-id={profile}"] if profile is not None else []
    if asymmetric:
        params.append("level-asymmetry-allowed=1")
    params.append(f"packetization-mode={mode}")
    if sprop:
        params.append(f"sprop-parameter-sets={sprop}")
    return ";".join(params)
