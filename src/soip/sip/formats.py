"""Formats of media: what we can do, how it is offered, and which of the offered ones is taken.

H.264 and H.265 are told apart further by profile and level (`h264fmtp`, `h265fmtp`); G.711 has static payload types,
everything else dynamic ones. `offer.py` makes descriptions of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from soip.sip import h264fmtp, h265fmtp
from soip.sip.errors import OfferError
from soip.sip.h264fmtp import ProfileLevel
from soip.sip.h265fmtp import ProfileTierLevel
from soip.sip.mediaway import Group
from soip.sip.sdes import Srtp
from soip.sip.sdp import Media, RtpMap

G711 = {"PCMU": 0, "PCMA": 8}
"""Encodings of our audio and their static payload types (RFC 3551 §6)."""

AAC, OPUS = "MPEG4-GENERIC", "OPUS"
"""Encoding names of RFC 3640 §4.1 and RFC 7587 §7."""

ANY_SOUND = (AAC, OPUS, "PCMU", "PCMA")
"""What a recorder takes, the best first."""

H264 = RtpMap("H264", 90000)
H265 = RtpMap("H265", 90000)

_SPROP = "sprop-parameter-sets"

PROGRAM = "PS"
"""Encoding name of an MPEG-2 program stream, in which pictures and sound share one RTP stream (GB/T 28181 annex C)."""

_PROGRAM_MAP = RtpMap(PROGRAM, 90000)
_OPUS_MAP = RtpMap(OPUS, 48_000, 2)

_FIRST_DYNAMIC = 96
_FIRST_SOUND = 110
"""Dynamic types of audio: none that video of the same call has, some phones mix them up."""
# What a receiver of anything offers: strict peers take only a format of their own profile and mode, so each
# profile stands there, up to level 5.1. Constrained Baseline comes first since phones take the first one they
# know.
_RECEIVED = (("42e033", 1), ("640033", 1), ("4d0033", 1), ("42e033", 0))
# Of H.265 Main 10, which includes Main, and Main by itself; up to level 6.2.
_RECEIVED_H265 = (ProfileTierLevel(profile=1, level=186), ProfileTierLevel(profile=2, level=186))

WARN_FORMAT = 305
"""The warning code (RFC 3261 §20.43) of a format that is not to be had."""

Groups = Callable[[str, RtpMap, int], Group | None]
"""Names the group to which a kind of media goes in a format and with a payload type, None where there is none."""


@dataclass(frozen=True, slots=True)
class Video:
    """What we can do with video, at an RTP port (RTCP is the next one, or the same with `mux`).

    `encoding` is that of the stream we send, H264, H265 or PS, and `parameters` what its a=fmtp says of profile, level
    and parameter sets, as far as known. Who receives takes H.264 and H.265, and with `program` PS. `transport` is "udp"
    or "tcp"; `setup` the part we take where an offer lets us choose (RFC 4145). With `srtp` it is offered as SRTP, over
    UDP, and answered as what was offered. Who receives asks for `multicast`; who sends answers that out of `groups`.
    `label` names what is sent (RFC 4574).
    """

    port: int
    encoding: str = "H264"
    parameters: Mapping[str, str] = field(default_factory=dict)
    sends: bool = False
    receives: bool = False
    program: bool = False
    transport: str = "udp"
    setup: str = "passive"
    mux: bool = False
    srtp: Srtp | None = None
    multicast: bool = False
    groups: Groups | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Aac:
    """One stream of AAC (RFC 3640 §4.1): its clock in Hz, channels and format parameters."""

    clock_rate: int
    channels: int
    fmtp: str

    @property
    def rtpmap(self) -> RtpMap:
        return RtpMap(AAC, self.clock_rate, self.channels)


# What a receiver offers, since rtpmap must name a rate: AAC-LC in the one most cameras have. One that has another says
# so in its answer, and is understood; to offer them all would not fit the datagram of an INVITE.
_AAC_RECEIVED = Aac(
    16_000,
    1,
    "streamtype=5;profile-level-id=254;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408",
)


@dataclass(frozen=True, slots=True)
class Audio:
    """What we can do with audio, at an RTP port. With neither flag it is answered inactive.

    Who sends has the first of `encodings` already, and makes the others of it; its AAC is `aac`.
    """

    port: int
    encodings: tuple[str, ...] = ("PCMU", "PCMA")
    sends: bool = False
    receives: bool = False
    aac: Aac | None = None
    transport: str = "udp"
    setup: str = "passive"
    mux: bool = False
    srtp: Srtp | None = None
    multicast: bool = False
    groups: Groups | None = None


Capability = Video | Audio


def formats_of(capability: Capability) -> list[tuple[int, str, str]]:
    """Payload type, rtpmap and fmtp of everything a capability offers."""
    if isinstance(capability, Audio):
        return _offered_sound(capability)
    formats = _offered_h264(capability) if capability.encoding == "H264" or not capability.sends else []
    if capability.encoding == "H265" or not capability.sends:
        formats += _offered_h265(capability)
    if _takes_program(capability):
        formats.append((_PROGRAM_MAP, ""))  # the last: who can send pictures by themselves does
    return [(_FIRST_DYNAMIC + n, str(rtpmap), fmtp) for n, (rtpmap, fmtp) in enumerate(formats)]


def _offered_h264(capability: Video) -> list[tuple[RtpMap, str]]:
    own = ProfileLevel.parse(capability.parameters.get("profile-level-id", ""))
    choices: Sequence[tuple[ProfileLevel | None, int]]
    if capability.sends:
        choices = [(own, 1), (own, 0)]
    else:
        choices = [(ProfileLevel.parse(text), mode) for text, mode in _RECEIVED]
    sprop = capability.parameters.get(_SPROP, "")
    return [(H264, h264fmtp.format_fmtp(profile, mode, asymmetric=True, sprop=sprop)) for profile, mode in choices]


def _offered_h265(capability: Video) -> list[tuple[RtpMap, str]]:
    told = [ProfileTierLevel.parse(capability.parameters)] if capability.sends else _RECEIVED_H265
    return [(H265, h265fmtp.format_fmtp(one, capability.parameters)) for one in told]


def _offered_sound(capability: Audio) -> list[tuple[int, str, str]]:
    formats: list[tuple[int, str, str]] = []
    dynamic = _FIRST_SOUND
    for name in capability.encodings:
        if name in G711:
            formats.append((G711[name], f"{name}/8000", ""))
            continue
        aac = capability.aac or _AAC_RECEIVED
        rtpmap, fmtp = (aac.rtpmap, aac.fmtp) if name == AAC else (_OPUS_MAP, "")
        formats.append((dynamic, written(rtpmap), fmtp))
        dynamic += 1
    return formats


def written(rtpmap: RtpMap) -> str:
    """An rtpmap of ours. Names have no case (RFC 8866 §6.6), but some phones know these in lower case only."""
    return str(rtpmap).lower() if rtpmap.encoding in (AAC, OPUS) else str(rtpmap)


@dataclass(frozen=True, slots=True)
class Choice:
    """One format of an offer, taken: its payload type, how it is written in the answer, how it is packed."""

    payload_type: int
    rtpmap: RtpMap
    fmtp: str = ""
    mode: int = 0


def choose_video(media: Media, capability: Video) -> Choice:
    """The best format of the encoding that we send; who receives takes H.264 before H.265, and PS if need be."""
    h264 = _choose_h264(media, capability) if capability.encoding == "H264" or not capability.sends else None
    h265 = _choose_h265(media, capability) if capability.encoding == "H265" or not capability.sends else None
    program = _choose_program(media) if _takes_program(capability) else None
    choice = h264 or h265 or program
    if choice is None:
        wanted = capability.encoding if capability.sends else "H264 or H265"
        profile = capability.parameters.get("profile-level-id") or capability.parameters.get("profile-id")
        of_profile = f" of profile {profile}" if profile else ""
        raise OfferError(f"video is {wanted}{of_profile}, which is not offered", WARN_FORMAT)
    return choice


def _takes_program(capability: Video) -> bool:
    return capability.encoding == PROGRAM if capability.sends else capability.program


def _choose_program(media: Media) -> Choice | None:
    """The first program stream that is offered."""
    offered = (number for number, entry in media.rtpmaps.items() if entry == _PROGRAM_MAP)
    return next((Choice(number, _PROGRAM_MAP) for number in offered), None)


def _choose_h264(media: Media, capability: Video) -> Choice | None:
    """The best H.264 format: packetization-mode 1 before 0 (pictures do not fit into single units), then the
    same profile before one that includes it, then the offer's order."""
    own = ProfileLevel.parse(capability.parameters.get("profile-level-id", ""))
    ranked: list[tuple[int, int, int]] = []
    for number, entry in media.rtpmaps.items():
        params = media.fmtp(number)
        mode = h264fmtp.packetization_mode(params)
        if entry != H264 or mode is None:
            continue
        score = h264fmtp.fit(own, ProfileLevel.parse(params.get("profile-level-id", "")))
        if score is not None:
            ranked.append((1 - mode, score, number))
    if not ranked:
        return None
    inverse_mode, _, number = min(ranked, key=lambda rank: rank[:2])
    params = media.fmtp(number)
    profile = h264fmtp.agreed_profile(own, params)
    asymmetric = params.get("level-asymmetry-allowed") == "1"
    mode = 1 - inverse_mode
    sprop = capability.parameters.get(_SPROP, "")
    return Choice(number, H264, h264fmtp.format_fmtp(profile, mode, asymmetric=asymmetric, sprop=sprop), mode)


def _choose_h265(media: Media, capability: Video) -> Choice | None:
    """The best H.265 format: the same profile before one that includes it, then the offer's order. All but the level
    stays as offered (RFC 7798 §7.2.2).
    """
    own = ProfileTierLevel.parse(capability.parameters) if capability.sends and capability.parameters else None
    ranked: list[tuple[int, int, ProfileTierLevel]] = []
    for number, entry in media.rtpmaps.items():
        params = media.fmtp(number)
        offered = ProfileTierLevel.parse(params)
        score = h265fmtp.fit(own, offered) if own is not None else 0
        if entry == H265 and score is not None and h265fmtp.plain(params):
            ranked.append((score, number, offered))
    if not ranked:
        return None
    _, number, offered = min(ranked, key=lambda rank: rank[0])
    told = replace(offered, level=min(own.level, offered.level)) if own is not None else offered
    return Choice(number, H265, h265fmtp.format_fmtp(told, capability.parameters))


def choose_sound(media: Media, capability: Audio) -> Choice:
    """The offer's first format that we have; who sends prefers what needs not be made first."""
    fitting = [number for number in media.rtpmaps if _sounds(media, number, capability)]
    if not fitting:
        raise OfferError(f"audio is {' or '.join(capability.encodings)}, which is not offered", WARN_FORMAT)
    native = capability.encodings[0] if capability.sends else ""
    number = next((one for one in fitting if media.rtpmaps[one].encoding == native), fitting[0])
    entry = media.rtpmaps[number]
    fmtp = ""
    if entry.encoding == AAC:
        theirs = ";".join(f"{name}={value}" for name, value in media.fmtp(number).items())
        fmtp = capability.aac.fmtp if capability.aac else theirs
    return Choice(number, entry, fmtp)


def _sounds(media: Media, number: int, capability: Audio) -> bool:
    """Whether an offered format is one of ours."""
    entry, params = media.rtpmaps[number], media.fmtp(number)
    if entry.encoding not in capability.encodings:
        return False
    if entry.encoding == AAC:
        if capability.aac is None:
            return "config" in params  # who sends has told what
        return entry == capability.aac.rtpmap and params.get("mode", "").lower() == "aac-hbr"
    return entry == (_OPUS_MAP if entry.encoding == OPUS else RtpMap(entry.encoding, 8000))


def parameter_sets_of(rtpmap: RtpMap, fmtp: Mapping[str, str]) -> tuple[bytes, ...]:
    names = h265fmtp.SPROP if rtpmap == H265 else (_SPROP,)
    return tuple([nal for name in names for nal in h264fmtp.parameter_sets(fmtp, name)])
