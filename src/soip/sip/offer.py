"""Offer and answer (RFC 3264) for what we carry: video in H.264 or H.265, audio in G.711, AAC and Opus.

Three verbs, and who uses them:

- `make_offer`     a recorder or player that calls; anyone answering an INVITE without an offer
- `answer_offer`   a camera or media server that is called; a caller whose INVITE had no offer
- `read_answer`    whoever made the offer

What a side can do is said by `Video` and `Audio` (`formats.py`); what came out of it by a `Stream` for each media part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from soip.sip import h264fmtp, h265fmtp, mediaway, sdes
from soip.sip.errors import OfferError
from soip.sip.formats import (
    AAC,
    H265,
    WARN_FORMAT,
    Audio,
    Capability,
    Choice,
    Video,
    choose_sound,
    choose_video,
    formats_of,
    parameter_sets_of,
    written,
)
from soip.sip.mediaway import UDP, Group, Way
from soip.sip.sdes import Crypto, Keying
from soip.sip.sdp import Media, Origin, SessionDescription, TimeRange, address_type

FEEDBACK = ("nack", "nack pli", "ccm fir")
"""RTCP feedback we send and understand (RFC 4585, RFC 5104)."""

_PLAIN = ("RTP/AVP", "RTP/AVPF")
SECURE = ("RTP/SAVP", "RTP/SAVPF")
"""Protocols of media parts that are SRTP, with keys in a=crypto (RFC 3711 §13, RFC 5124)."""
# Warning codes of RFC 3261 §20.43
_WARN_TRANSPORT = 302
_WARN_ADDRESS = 301
_WARN_MEDIA = 304
_WARN_MULTICAST = 330


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
        formats = formats_of(capability)
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
    choice = choose_video(media, capability) if isinstance(capability, Video) else choose_sound(media, capability)
    direction = _our_direction(offer, media, capability.sends, capability.receives)
    crypto, keying = _choose_keys(media, capability)
    group = _group(offer, media, capability, choice, direction)
    way = mediaway.to_group(mediaway.answer_to(media, capability.setup, capability.mux), group)
    port = mediaway.DISCARD_PORT if way.setup == "active" else group.port if group else capability.port
    part = Media.make(media.kind, port, media.protocol, [str(choice.payload_type)])
    if group is not None:
        part.add("c", group.connection)
    part.add_attribute("rtpmap", f"{choice.payload_type} {written(choice.rtpmap)}")
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
    offer: SessionDescription, media: Media, capability: Capability, choice: Choice, direction: str
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


def _our_direction(peer: SessionDescription, media: Media, sends: bool, receives: bool) -> str:
    """Our direction given the peer's (RFC 3264 §6.1). The address 0.0.0.0 is a hold of RFC 2543 (§8.4)."""
    theirs = peer.direction(media)
    held = peer.address(media) in ("0.0.0.0", "::")  # compared, not bound
    wanted = theirs in ("sendrecv", "recvonly") and not held
    return _direction(sends and wanted, receives and theirs in ("sendrecv", "sendonly"))


def _stream(
    peer: SessionDescription,
    media: Media,
    choice: Choice,
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
        parameter_sets=parameter_sets_of(choice.rtpmap, fmtp),
        feedback=media.feedback(choice.payload_type),
        ssrc=_ssrc(media),
        way=way,
        srtp=srtp,
    )


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
            raise OfferError("video is answered as H265 out of decoding order", WARN_FORMAT)
        mode = h264fmtp.packetization_mode(params)
        types = frozenset({number, *same})
        choice = Choice(number, entry, mode=0 if mode is None else mode)
        way = mediaway.to_group(mediaway.answered(offered, media), _answered_group(offer, offered, answer, media))
        return _stream(answer, media, choice, types, direction, offered.port, way, keying)
    raise OfferError(f"{media.kind} is answered with a format that was not offered", WARN_FORMAT)


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
