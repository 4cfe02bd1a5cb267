"""How RTP goes from one side to the other, as session descriptions agree on it.

- over UDP: ports of RTP and RTCP, or both on one (a=rtcp-mux, RFC 5761 §5.1.1);
- over TCP: ``TCP/RTP/AVP`` (RFC 4571), and who connects to whom (a=setup, a=connection, RFC 4145);
- by multicast: the sender names the group, where a receiver asked for one (a=soip-multicast, `docs/design/wire.md`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from soip.sip.errors import OfferError
from soip.sip.sdp import Media, SessionDescription, address_type

DISCARD_PORT = 9
"""What stands for a port that nobody connects to (RFC 4145 §4.1)."""
_TCP = "TCP/"
_ANSWERS = {"active": ("passive",), "passive": ("active",), "actpass": ("active", "passive"), "holdconn": ("holdconn",)}
"""What may be answered to a=setup (RFC 4145 §4.1), holdconn aside, which always may."""
_ASKS = "soip-multicast"
"""The attribute of an offer that may be answered with a group. Who does not know it answers as if it were not there
(RFC 8866 §5.13).
"""
_TTL = re.compile(r"[^/]*/([0-9]{1,3})(?:/[0-9]*)?[ \t]*")
_SOURCE_FILTER = re.compile(r"incl[ \t]+IN[ \t]+(?:IP4|IP6|\*)[ \t]+(\S+)[ \t]+(\S+)(?:[ \t]+\S+)*")


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group to which a stream is sent: RTP to `port`, RTCP to the one above. `ttl` is told of in IPv4 alone
    (RFC 8866 §5.7); `source` is the address it comes from, "" where that was not told (RFC 4570).
    """

    address: str
    port: int
    ttl: int = 1
    source: str = ""

    @property
    def connection(self) -> str:
        """The c= line."""
        kind = address_type(self.address)
        return f"IN {kind} {self.address}" + (f"/{self.ttl}" if kind == "IP4" else "")

    @property
    def source_filter(self) -> str:
        """The value of a=source-filter, which begins with a blank (RFC 4570 §3)."""
        return f" incl IN {address_type(self.address)} {self.address} {self.source}"


@dataclass(frozen=True, slots=True)
class Way:
    """What was agreed on. `setup` is our part over TCP: "active" connects, "passive" is connected to, "holdconn" waits.

    `fresh`: a connection is to be made, also where there is one. `mux`: RTCP goes where RTP goes. `group`: RTP goes
    there, and not to the other side's address.
    """

    transport: str = "udp"
    setup: str = ""
    fresh: bool = True
    mux: bool = False
    group: Group | None = None

    def attributes(self) -> Iterable[tuple[str, str]]:
        """The lines of an answer that say so."""
        if self.transport == "tcp":
            yield "setup", self.setup
            yield "connection", "new" if self.fresh else "existing"
        if self.mux:
            yield "rtcp-mux", ""


UDP = Way()


def transport_of(media: Media) -> str:
    """What a media part is to go over: "tcp" or "udp"."""
    return "tcp" if media.protocol.startswith(_TCP) else "udp"


def profile_of(media: Media) -> str:
    """The RTP profile of a media part: its protocol without what it goes over."""
    return media.protocol.removeprefix(_TCP)


def protocol(transport: str, profile: str = "RTP/AVP") -> str:
    """The protocol of an m= line."""
    return _TCP + profile if transport == "tcp" else profile


def offered(transport: str, mux: bool, multicast: bool) -> Iterable[tuple[str, str]]:
    """The lines of an offer: over TCP the other side chooses who connects; with `multicast` it may name a group."""
    yield from Way(transport, "actpass", True, mux).attributes()
    if multicast:
        yield _ASKS, ""


def is_group(host: str) -> bool:
    """Whether an address of a description is that of a multicast group, also one of IPv4 written in IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_multicast


def asks_for_group(media: Media) -> bool:
    """Whether a media part may be answered with a group: RTP by UDP alone may."""
    return media.attribute(_ASKS) is not None and media.protocol.startswith("RTP/AVP")


def named_group(description: SessionDescription, media: Media) -> Group | None:
    """The group that a media part names by its c= line, None where that is no group. Raises OfferError for one without
    room for RTCP.
    """
    address = description.address(media)
    if address is None or not is_group(address):
        return None
    if media.port > 65_534:
        raise OfferError(f"{media.kind} has no port for RTCP", 330)
    # Behind an address of IPv6 stands how many there are.
    ttl = None if ":" in address else _TTL.fullmatch((media if media.connection else description).first("c") or "")
    return Group(address, media.port, min(int(ttl[1]), 255) if ttl else 1, _source(description, media, address))


def _source(description: SessionDescription, media: Media, group: str) -> str:
    """The only source of a group, "" where none is told that is an address."""
    for value in media.attributes("source-filter") or description.attributes("source-filter"):
        match = _SOURCE_FILTER.fullmatch(value)
        try:
            if match is not None and match[1] in ("*", group) and not is_group(match[2]):
                return str(ipaddress.ip_address(match[2]))
        except ValueError:
            continue
    return ""


def answer_to(media: Media, prefers: str, mux: bool) -> Way:
    """The way that answers an offered media part. `prefers` is the part we take where we may choose.

    Raises OfferError.
    """
    mux = mux and media.attribute("rtcp-mux") is not None
    if transport_of(media) == "udp":
        return Way(mux=mux)
    setup = (media.attribute("setup") or "active").lower()  # RFC 4145 §4: the default of an offer
    choices = _ANSWERS.get(setup)
    if choices is None:
        raise OfferError(f"a=setup:{setup} is none that could be offered", 302)
    return Way("tcp", prefers if prefers in choices else choices[0], _fresh(media), mux)


def to_group(way: Way, group: Group | None) -> Way:
    """The same to a group, where RTCP has a port of its own."""
    return way if group is None else Way(way.transport, group=group)


def answered(ours: Media, media: Media) -> Way:
    """The way that an answer to our media part agrees on. Raises OfferError."""
    if transport_of(media) != transport_of(ours):
        raise OfferError(f"{media.kind} is answered over {media.protocol}", 302)
    mux = ours.attribute("rtcp-mux") is not None and media.attribute("rtcp-mux") is not None
    if transport_of(media) == "udp":
        return Way(mux=mux)
    setup = (media.attribute("setup") or "passive").lower()  # RFC 4145 §4: the default of an answer
    if setup not in ("holdconn", *_ANSWERS[(ours.attribute("setup") or "active").lower()]):
        raise OfferError(f"a=setup:{setup} does not answer ours", 302)
    part = {"active": "passive", "passive": "active"}.get(setup, setup)
    return Way("tcp", part, _fresh(media), mux)


def _fresh(media: Media) -> bool:
    """RFC 4145 §5: new unless it says existing."""
    return (media.attribute("connection") or "new").lower() != "existing"
