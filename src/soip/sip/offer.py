"""Offer and answer (RFC 3264) for what we carry: video in H.264 or H.265, audio in G.711, AAC and Opus.

Three verbs, and who uses them:

- `make_offer`     a recorder or player that calls; anyone answering an INVITE without an offer
- `answer_offer`   a camera or media server that is called; a caller whose INVITE had no offer
- `read_answer`    whoever made the offer

What a side can do is said by `Video` and `Audio`; what came out of it by a `Stream` for each media part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from soip.sip import h264fmtp, h265fmtp, mediaway, sdes
from soip.sip.errors import OfferError
from soip.sip.h264fmtp import ProfileLevel
from soip.sip.h265fmtp import ProfileTierLevel
from soip.sip.mediaway import UDP, Group, Way
from soip.sip.sdes import Crypto, Keying, Srtp
from soip.sip.sdp import Media, Origin, RtpMap, SessionDescription, TimeRange, address_type

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

FEEDBACK = ("nack", "nack pli", "ccm fir")
"""RTCP feedback we send and understand (RFC 4585, RFC 5104)."""

_PLAIN = ("RTP/AVP", "RTP/AVPF")
SECURE = ("RTP/SAVP", "RTP/SAVPF")
"""Protocols of media parts that are SRTP, with keys in a=crypto (RFC 3711 §13, RFC 5124)."""
_FIRST_DYNAMIC = 96
_FIRST_SOUND = 110
"""Dynamic types of audio: none that video of the same call has, some phones mix them up."""
# What a receiver of anything offers: strict peers take only a format of their own profile and mode, so each
# profile stands there, up to level 5.1. Constrained Baseline comes first since phones take the first one they
# know.
_RECEIVED = (("42e033", 1), ("640033", 1), ("4d0033", 1), ("42e033", 0))
# Of H.265 Main 10, which includes Main, and Main by itself; up to level 6.2.
_RECEIVED_H265 = (ProfileTierLevel(profile=1, level=186), ProfileTierLevel(profile=2, level=186))

# Warning codes of RFC 3261 §20.43
_WARN_TRANSPORT = 302
_WARN_ADDRESS = 301
_WARN_MEDIA = 304
_WARN_FORMAT = 305
_WARN_MULTICAST = 330

Groups = Callable[[str, RtpMap, int], Group | None]
"""Names the group to which a kind of media goes in a format and with a payload type, None where there is none."""


@dataclass(frozen=True, slots=True)
class Local:
    """Our side of a description: where media is received, and the o=, s= and t= lines.

    `version` rises with every change in a session; `attributes` are added to the session part.
    """

    address: str
    session_id: int
    version: int = 1
    name: str = "-"
    time: TimeRange | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> Origin:
        """The o= line."""
        return Origin("-", str(self.session_id), str(self.version), self.address)


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


@dataclass(frozen=True, slots=True)
class Stream:
    """One media part both sides agreed on.

    `payload_type` is what we send with; `receive_types` what may arrive. `direction` is ours. `remote` is
    where RTP goes, `remote_rtcp` where RTCP goes. `fmtp` are the peer's format parameters; among them
    `packetization_mode` (of H.264) and `parameter_sets`, NAL units. `feedback` is the RTCP feedback
    the peer named, `ssrc` the source it announced. `way` says what RTP goes over, `srtp` are the keys where it is SRTP.
    """

    kind: str
    encoding: str
    payload_type: int
    receive_types: frozenset[int]
    clock_rate: int
    direction: str
    local_port: int
    remote: tuple[str, int]
    remote_rtcp: tuple[str, int]
    channels: int = 1
    fmtp: Mapping[str, str] = field(default_factory=dict)
    packetization_mode: int = 0
    parameter_sets: tuple[bytes, ...] = ()
    feedback: frozenset[str] = frozenset()
    ssrc: int | None = None
    way: Way = UDP
    srtp: Keying | None = None

    @property
    def sends(self) -> bool:
        """Whether we send."""
        return self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        """Whether we receive."""
        return self.direction in ("sendrecv", "recvonly")


@dataclass(frozen=True, slots=True)
class Agreement:
    """What came out: a Stream for each media part of the offer, None where it is rejected, and for the
    answering side the answer to send."""

    streams: tuple[Stream | None, ...]
    answer: SessionDescription | None = None

    def of_kind(self, kind: str) -> Stream | None:
        """The first accepted stream of a kind."""
        return next((stream for stream in self.streams if stream is not None and stream.kind == kind), None)

    @property
    def video(self) -> Stream | None:
        return self.of_kind("video")

    @property
    def audio(self) -> Stream | None:
        return self.of_kind("audio")


def make_offer(local: Local, capabilities: Sequence[Capability]) -> SessionDescription:
    """An offer with one media part for each capability, in their order."""
    offer = _session(local, local.time)
    for capability in capabilities:
        formats = _offered_formats(capability)
        kind = "video" if isinstance(capability, Video) else "audio"
        protocol = mediaway.protocol(capability.transport, SECURE[0] if capability.srtp else _PLAIN[0])
        media = Media.make(kind, capability.port, protocol, [str(number) for number, _, _ in formats])
        for number, rtpmap, fmtp in formats:
            media.add_attribute("rtpmap", f"{number} {rtpmap}")
            if fmtp:
                media.add_attribute("fmtp", f"{number} {fmtp}")
        if kind == "video":
            _add_feedback(media, "*", FEEDBACK)
        for crypto in sdes.offers(capability.srtp) if capability.srtp else ():
            media.add_attribute("crypto", str(crypto))
        media.add_attribute(_direction(capability.sends, capability.receives))
        for name, value in mediaway.offered(capability.transport, capability.mux, capability.multicast):
            media.add_attribute(name, value)
        _add_label(media, capability)
        offer.media.append(media)
    return offer


def _offered_formats(capability: Capability) -> list[tuple[int, str, str]]:
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
        formats.append((dynamic, _written(rtpmap), fmtp))
        dynamic += 1
    return formats


def _written(rtpmap: RtpMap) -> str:
    """An rtpmap of ours. Names have no case (RFC 8866 §6.6), but some phones know these in lower case only."""
    return str(rtpmap).lower() if rtpmap.encoding in (AAC, OPUS) else str(rtpmap)


def _session(local: Local, time: TimeRange | None) -> SessionDescription:
    description = SessionDescription.make(local.origin, local.name, time)
    for name, value in local.attributes:
        description.add_attribute(name, value)
    return description


def _add_feedback(media: Media, payload_type: str, kinds: Sequence[str]) -> None:
    for kind in kinds:
        media.add_attribute("rtcp-fb", f"{payload_type} {kind}")


def _add_label(media: Media, capability: Capability) -> None:
    if isinstance(capability, Video) and capability.label:
        media.add_attribute("label", capability.label)


def _direction(sends: bool, receives: bool) -> str:
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


@dataclass(frozen=True, slots=True)
class _Choice:
    """One format of an offer, taken: its payload type, how it is written in the answer, how it is packed."""

    payload_type: int
    rtpmap: RtpMap
    fmtp: str = ""
    mode: int = 0


def answer_offer(offer: SessionDescription, local: Local, capabilities: Sequence[Capability]) -> Agreement:
    """Answer an offer: each media part takes a capability of its kind, the rest is rejected with port 0.

    The t= line is the offer's (RFC 3264 §6). Raises OfferError (488) when nothing is left that we could ever
    send or receive; a call on hold is not that.
    """
    answer = _session(local, None)
    answer.set("t", offer.first("t") or "0 0")
    left = list(capabilities)
    streams: list[Stream | None] = []
    refusals: list[OfferError] = []
    useful = False
    for media in offer.media:
        try:
            capability = _take(left, media)
            stream, part = _answer_media(offer, media, capability, local)
            left.remove(capability)
            useful = useful or capability.sends or capability.receives
        except OfferError as refusal:
            refusals.append(refusal)
            stream, part = None, Media.make(media.kind, 0, media.protocol, media.formats)
        streams.append(stream)
        answer.media.append(part)
    if not useful:
        if not refusals:
            raise OfferError("no video or audio that we have is offered", _WARN_MEDIA)
        raise OfferError("; ".join(dict.fromkeys([str(refusal) for refusal in refusals])), refusals[0].warn_code)
    return Agreement(tuple(streams), answer)


def _take(left: list[Capability], media: Media) -> Capability:
    """The capability for a media part, or the reason to reject it."""
    if media.port == 0:
        raise OfferError(f"{media.kind} is switched off", _WARN_MEDIA)
    if mediaway.profile_of(media) not in _PLAIN + SECURE:
        raise OfferError(f"{media.kind} over {media.protocol} is not supported", _WARN_TRANSPORT)
    kind = {"video": Video, "audio": Audio}.get(media.kind)
    for capability in left:
        if kind is not None and isinstance(capability, kind):
            if capability.transport != mediaway.transport_of(media):
                raise OfferError(f"{media.kind} over {media.protocol} is not supported", _WARN_TRANSPORT)
            return capability
    raise OfferError(f"no {media.kind} here", _WARN_MEDIA)


def _answer_media(
    offer: SessionDescription, media: Media, capability: Capability, local: Local
) -> tuple[Stream, Media]:
    choice = _choose_video(media, capability) if isinstance(capability, Video) else _choose_sound(media, capability)
    direction = _our_direction(offer, media, capability.sends, capability.receives)
    crypto, keying = _choose_keys(media, capability)
    group = _group(offer, media, capability, choice, direction)
    way = mediaway.to_group(mediaway.answer_to(media, capability.setup, capability.mux), group)
    port = mediaway.DISCARD_PORT if way.setup == "active" else group.port if group else capability.port
    part = Media.make(media.kind, port, media.protocol, [str(choice.payload_type)])
    if group is not None:
        part.add("c", group.connection)
    part.add_attribute("rtpmap", f"{choice.payload_type} {_written(choice.rtpmap)}")
    if choice.fmtp:
        part.add_attribute("fmtp", f"{choice.payload_type} {choice.fmtp}")
    if crypto is not None:
        part.add_attribute("crypto", str(crypto))
    # RFC 4585 has these lines in AVPF alone; who offers them in AVP, as most do, understands them there.
    named = media.feedback(choice.payload_type)
    if group is not None:
        named -= {"nack"}  # what one has lost is not sent to a whole group again
    _add_feedback(part, str(choice.payload_type), [kind for kind in FEEDBACK if kind in named])
    part.add_attribute(direction)
    for name, value in way.attributes():
        part.add_attribute(name, value)
    if group is not None and capability.sends:
        part.add_attribute("source-filter", group.source_filter)
        # Reports are no business of the group's: they go to the sender (RFC 3605).
        part.add_attribute("rtcp", f"{capability.port + 1} IN {address_type(local.address)} {local.address}")
    _add_label(part, capability)
    types = frozenset({choice.payload_type})
    stream = _stream(offer, media, choice, types, direction, capability.port, way, keying)
    if address_type(stream.remote[0]) != address_type(local.address):
        raise OfferError("the address is of another IP version", _WARN_ADDRESS)
    return stream, part


def _choose_keys(media: Media, capability: Capability) -> tuple[Crypto | None, Keying | None]:
    """Our a=crypto and the keys, nothing for plain RTP. Raises OfferError where the other is wanted."""
    srtp = capability.srtp
    if mediaway.profile_of(media) in SECURE:
        if mediaway.transport_of(media) != "udp":
            raise OfferError(f"{media.kind} over {media.protocol}: SRTP goes over UDP here", _WARN_TRANSPORT)
        if srtp is None:
            raise OfferError(f"{media.kind} over {media.protocol} (SRTP) is switched off here", _WARN_TRANSPORT)
        return sdes.choose(media.attributes("crypto"), srtp)
    if srtp is not None and srtp.required:
        raise OfferError(f"{media.kind} is SRTP only here: register by TLS and offer RTP/SAVP", _WARN_TRANSPORT)
    return None, None


def _group(
    offer: SessionDescription, media: Media, capability: Capability, choice: _Choice, direction: str
) -> Group | None:
    """The group that the stream goes to, None where it goes to the peer. Raises OfferError where an offer names one to
    who sends: where streams go to is not for everybody to say.
    """
    named = mediaway.named_group(offer, media)
    if named is not None and capability.multicast and not capability.sends:
        return named  # RFC 3264 §6.2: the answer has the address and the port of the offer
    if named is not None or _reports_to_group(media):
        raise OfferError(f"{media.kind} goes to no group that the offer names: offer an address", _WARN_MULTICAST)
    if capability.groups is None or direction != "sendonly" or not mediaway.asks_for_group(media):
        return None
    return capability.groups(media.kind, choice.rtpmap, choice.payload_type)


def _choose_video(media: Media, capability: Video) -> _Choice:
    """The best format of the encoding that we send; who receives takes H.264 before H.265, and PS if need be."""
    h264 = _choose_h264(media, capability) if capability.encoding == "H264" or not capability.sends else None
    h265 = _choose_h265(media, capability) if capability.encoding == "H265" or not capability.sends else None
    program = _choose_program(media) if _takes_program(capability) else None
    choice = h264 or h265 or program
    if choice is None:
        wanted = capability.encoding if capability.sends else "H264 or H265"
        profile = capability.parameters.get("profile-level-id") or capability.parameters.get("profile-id")
        of_profile = f" of profile {profile}" if profile else ""
        raise OfferError(f"video is {wanted}{of_profile}, which is not offered", _WARN_FORMAT)
    return choice


def _takes_program(capability: Video) -> bool:
    return capability.encoding == PROGRAM if capability.sends else capability.program


def _choose_program(media: Media) -> _Choice | None:
    """The first program stream that is offered."""
    offered = (number for number, entry in media.rtpmaps.items() if entry == _PROGRAM_MAP)
    return next((_Choice(number, _PROGRAM_MAP) for number in offered), None)


def _choose_h264(media: Media, capability: Video) -> _Choice | None:
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
    return _Choice(number, H264, h264fmtp.format_fmtp(profile, mode, asymmetric=asymmetric, sprop=sprop), mode)


def _choose_h265(media: Media, capability: Video) -> _Choice | None:
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
    return _Choice(number, H265, h265fmtp.format_fmtp(told, capability.parameters))


def _choose_sound(media: Media, capability: Audio) -> _Choice:
    """The offer's first format that we have; who sends prefers what needs not be made first."""
    fitting = [number for number in media.rtpmaps if _sounds(media, number, capability)]
    if not fitting:
        raise OfferError(f"audio is {' or '.join(capability.encodings)}, which is not offered", _WARN_FORMAT)
    native = capability.encodings[0] if capability.sends else ""
    number = next((one for one in fitting if media.rtpmaps[one].encoding == native), fitting[0])
    entry = media.rtpmaps[number]
    fmtp = ""
    if entry.encoding == AAC:
        theirs = ";".join(f"{name}={value}" for name, value in media.fmtp(number).items())
        fmtp = capability.aac.fmtp if capability.aac else theirs
    return _Choice(number, entry, fmtp)


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


_OPUS_MAP = RtpMap(OPUS, 48_000, 2)


def _our_direction(peer: SessionDescription, media: Media, sends: bool, receives: bool) -> str:
    """Our direction given the peer's (RFC 3264 §6.1). The address 0.0.0.0 is a hold of RFC 2543 (§8.4)."""
    theirs = peer.direction(media)
    held = peer.address(media) in ("0.0.0.0", "::")  # compared, not bound
    wanted = theirs in ("sendrecv", "recvonly") and not held
    return _direction(sends and wanted, receives and theirs in ("sendrecv", "sendonly"))


def _stream(
    peer: SessionDescription,
    media: Media,
    choice: _Choice,
    receive_types: frozenset[int],
    direction: str,
    local_port: int,
    way: Way,
    srtp: Keying | None,
) -> Stream:
    """The agreed stream, with all that the peer says of it. Raises OfferError when it names no address."""
    address = peer.address(media)
    if address is None:
        raise OfferError(f"{media.kind} has no connection address", _WARN_ADDRESS)
    rtcp_port, rtcp_address = media.rtcp or (min(media.port + 1, 65535), None)
    if way.mux:  # RFC 5761 §5.1.1: whatever a=rtcp says
        rtcp_port, rtcp_address = media.port, None
    fmtp = media.fmtp(choice.payload_type)
    return Stream(
        kind=media.kind,
        encoding=choice.rtpmap.encoding,
        payload_type=choice.payload_type,
        receive_types=receive_types,
        clock_rate=choice.rtpmap.clock_rate,
        channels=choice.rtpmap.channels,
        direction=direction,
        local_port=local_port,
        remote=(address, media.port),
        remote_rtcp=(rtcp_address or address, rtcp_port),
        fmtp=fmtp,
        packetization_mode=choice.mode,
        parameter_sets=_parameter_sets(choice.rtpmap, fmtp),
        feedback=media.feedback(choice.payload_type),
        ssrc=_ssrc(media),
        way=way,
        srtp=srtp,
    )


def _parameter_sets(rtpmap: RtpMap, fmtp: Mapping[str, str]) -> tuple[bytes, ...]:
    names = h265fmtp.SPROP if rtpmap == H265 else (_SPROP,)
    return tuple([nal for name in names for nal in h264fmtp.parameter_sets(fmtp, name)])


def _ssrc(media: Media) -> int | None:
    """The first source of a=ssrc (RFC 5576 §4.1)."""
    text = (media.attribute("ssrc") or "").partition(" ")[0]
    valid = text.isascii() and text.isdigit() and len(text) <= 10
    return int(text) & 0xFFFFFFFF if valid else None


def read_answer(offer: SessionDescription, answer: SessionDescription) -> Agreement:
    """Check an answer against our offer (RFC 3264 §7) and say what was agreed.

    Media parts correspond by position; missing ones at the end count as rejected. Formats correspond by
    encoding name: some cameras answer with payload types of their own. Raises OfferError when the answer is
    of other media than the offer, or rejects everything.
    """
    if len(answer.media) > len(offer.media):
        raise OfferError("the answer has more media than the offer")
    streams: list[Stream | None] = []
    for at, offered in enumerate(offer.media):
        media = answer.media[at] if at < len(answer.media) else None
        if media is not None and media.kind != offered.kind:
            raise OfferError(f"the answer has {media.kind} in the place of {offered.kind}", _WARN_MEDIA)
        taken = media is not None and media.port and offered.port
        streams.append(_read_media(offer, offered, answer, media) if taken and media is not None else None)
    if not any(streams):
        raise OfferError("the answer rejects all media", _WARN_MEDIA)
    return Agreement(tuple(streams))


def _read_media(offer: SessionDescription, offered: Media, answer: SessionDescription, media: Media) -> Stream:
    secure = mediaway.profile_of(offered) in SECURE
    if mediaway.profile_of(media) not in (SECURE if secure else _PLAIN):
        raise OfferError(f"{media.kind} is answered over {media.protocol}", _WARN_TRANSPORT)
    keying = sdes.agreed(offered.attributes("crypto"), media.attributes("crypto")) if secure else None
    ours = offered.rtpmaps
    # Where an answer has no rtpmap, a number means what we said it is.
    theirs = {**{n: ours[n] for n in ours if str(n) in media.formats}, **media.rtpmaps}
    for number in sorted(theirs, key=lambda n: media.formats.index(str(n))):
        entry = theirs[number]
        same = [mine for mine, known in ours.items() if known == entry]
        # The AAC of a camera has the rate it has, whichever was offered; what it is stands in its config.
        if not same and (entry.encoding != AAC or AAC not in {known.encoding for known in ours.values()}):
            continue
        sends, receives = _flags(offer.direction(offered))
        direction = _our_direction(answer, media, sends, receives)
        params = media.fmtp(number) or offered.fmtp(number)
        if entry == H265 and not h265fmtp.plain(params):
            raise OfferError("video is answered as H265 out of decoding order", _WARN_FORMAT)
        mode = h264fmtp.packetization_mode(params)
        types = frozenset({number, *same})
        choice = _Choice(number, entry, mode=0 if mode is None else mode)
        way = mediaway.to_group(mediaway.answered(offered, media), _answered_group(offer, offered, answer, media))
        return _stream(answer, media, choice, types, direction, offered.port, way, keying)
    raise OfferError(f"{media.kind} is answered with a format that was not offered", _WARN_FORMAT)


def _answered_group(
    offer: SessionDescription, offered: Media, answer: SessionDescription, media: Media
) -> Group | None:
    """The group of an answer: the one that we named, or the one that we asked for. Raises OfferError for another."""
    ours, theirs = mediaway.named_group(offer, offered), mediaway.named_group(answer, media)
    if theirs is None:
        known = not _reports_to_group(media)
    elif ours is None:
        known = mediaway.asks_for_group(offered)
    else:
        known = (ours.address, ours.port) == (theirs.address, theirs.port)  # RFC 3264 §6.2
    if not known:
        raise OfferError(f"{media.kind} is answered with a multicast group that was not asked for", _WARN_MULTICAST)
    return ours or theirs


def _reports_to_group(media: Media) -> bool:
    """Whether a=rtcp names a group."""
    return media.rtcp is not None and mediaway.is_group(media.rtcp[1] or "")


def _flags(direction: str) -> tuple[bool, bool]:
    """Whether a direction sends, and whether it receives."""
    return direction in ("sendrecv", "sendonly"), direction in ("sendrecv", "recvonly")
