"""How RTP goes from one side to the other, as session descriptions agree on it.

- over UDP: ports of RTP and RTCP, or both on one (a=rtcp-mux, RFC 5761 §5.1.1);
- over TCP: ``TCP/RTP/AVP`` (RFC 4571), and who connects to whom (a=setup, a=connection, RFC 4145).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from soip.sip.errors import OfferError
from soip.sip.sdp import Media

DISCARD_PORT = 9
"""What stands for a port that nobody connects to (RFC 4145 §4.1)."""
_TCP = "TCP/"
_ANSWERS = {"active": ("passive",), "passive": ("active",), "actpass": ("active", "passive"), "holdconn": ("holdconn",)}
"""What may be answered to a=setup (RFC 4145 §4.1), holdconn aside, which always may."""


@dataclass(frozen=True, slots=True)
class Way:
    """What was agreed on. `setup` is our part over TCP: "active" connects, "passive" is connected to, "holdconn" waits.

    `fresh`: a connection is to be made, also where there is one. `mux`: RTCP goes where RTP goes.
    """

    transport: str = "udp"
    setup: str = ""
    fresh: bool = True
    mux: bool = False

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


def offered(transport: str, mux: bool) -> Iterable[tuple[str, str]]:
    """The lines of an offer: over TCP the other side chooses who connects."""
    return Way(transport, "actpass", True, mux).attributes()


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
