"""Dialogs: what two user agents remember of each other between requests (RFC 3261 §12).

A dialog is named by Call-ID and two tags. It remembers the way (the route set: the proxies that
record-routed), the target (the peer's Contact), and the order of requests each way (CSeq). A proxy needs none
of this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from soip.sip import headers as h
from soip.sip.errors import DialogError, SipParseError
from soip.sip.message import Headers, Request, Response
from soip.sip.uri import NameAddr, Uri

MAX_ROUTES = 16
"""Longer route sets are refused: each of our requests would carry them."""

_REFRESHES = ("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY")


@dataclass(frozen=True, slots=True)
class DialogId:
    """The name of a dialog, as seen from our side."""

    call_id: str
    local_tag: str
    remote_tag: str

    @classmethod
    def of_request(cls, request: Request) -> DialogId:
        """The dialog a received request belongs to (§12.2.2): we are its To."""
        headers = request.headers
        return cls(h.call_id(headers), h.to(headers).tag, h.from_(headers).tag)

    @classmethod
    def of_response(cls, response: Response) -> DialogId:
        """The dialog a received response belongs to: we are its From."""
        headers = response.headers
        return cls(h.call_id(headers), h.from_(headers).tag, h.to(headers).tag)


@dataclass(slots=True)
class Dialog:
    """One dialog, early or confirmed. `local` and `remote` are From and To values with their tags, as first
    seen.
    """

    id: DialogId
    local: str
    remote: str
    target: Uri
    route_set: tuple[NameAddr, ...]
    contact: NameAddr
    local_cseq: int
    remote_cseq: int | None = None
    confirmed: bool = False
    initiated: bool = False
    """Whether we made it: its Call-ID is ours then."""

    @classmethod
    def uac(cls, request: Request, response: Response) -> Dialog:
        """The dialog a response to our INVITE makes (§12.1.2). Raises DialogError when it makes none: no tag,
        no usable Contact, or routes that cannot be read.
        """
        dialog_id = DialogId.of_response(response)
        if not dialog_id.remote_tag:
            raise DialogError("response without a To tag")
        return cls(
            id=dialog_id,
            local=request.headers.get("From") or "",
            remote=response.headers.get("To") or "",
            target=_target(response.headers),
            route_set=tuple(reversed(_record_routes(response.headers))),
            contact=_contact(request.headers),
            local_cseq=h.cseq(request.headers).number,
            confirmed=response.status >= 200,
            initiated=True,
        )

    @classmethod
    def uas(cls, request: Request, tag: str, contact: NameAddr) -> Dialog:
        """The dialog our response with this To tag makes (§12.1.1); `contact` is what that response says of
        us.

        Raises DialogError (400) for an INVITE without a usable Contact.
        """
        headers = request.headers
        remote = h.from_(headers)
        return cls(
            id=DialogId(h.call_id(headers), tag, remote.tag),
            local=f"{headers.get('To') or ''};tag={tag}",
            remote=headers.get("From") or "",
            target=_target(headers),
            route_set=tuple(_record_routes(headers)),
            contact=contact,
            # §12.1.1: empty until we send a request; any start is good as long as it rises
            local_cseq=0,
            remote_cseq=h.cseq(headers).number,
            confirmed=True,
        )

    def request(self, method: str) -> Request:
        """A request in this dialog, its CSeq the next one (§12.2.1.1); not for ACK and CANCEL."""
        self.local_cseq += 1
        return self._build(method, self.local_cseq)

    def ack(self, cseq: int) -> Request:
        """The ACK for a 2xx to the INVITE of that CSeq (§13.2.2.4)."""
        return self._build("ACK", cseq)

    def _build(self, method: str, cseq: int) -> Request:
        headers = Headers()
        uri, route = self._way()
        for hop in route:
            headers.add("Route", str(hop))
        headers.add("Max-Forwards", "70")
        headers.add("From", self.local)
        headers.add("To", self.remote)
        headers.add("Call-ID", self.id.call_id)
        headers.add("CSeq", f"{cseq} {method}")
        if method in _REFRESHES:
            headers.add("Contact", str(self.contact))
        return Request(method, uri, headers)

    def _way(self) -> tuple[Uri, tuple[NameAddr, ...]]:
        if not self.route_set or self.route_set[0].uri.param("lr") is not None:
            return self.target, self.route_set
        # §12.2.1.1: a strict router of RFC 2543 wants to be the Request-URI itself, the target last in the
        # routes
        first, *rest = self.route_set
        uri = first.uri.without_params("method")
        return replace(uri, headers=(), _text=""), (*rest, NameAddr("", self.target))

    @property
    def next_hop(self) -> Uri:
        """Where requests go next: the first proxy, or the target (§8.1.2)."""
        return self.route_set[0].uri if self.route_set else self.target

    def check(self, request: Request) -> None:
        """Take a received request's place in the order (§12.2.2), and its new Contact if it brings one.

        Raises DialogError (500) for one that is older than the last; ACK and CANCEL are not to be checked.
        """
        number = h.cseq(request.headers).number
        if self.remote_cseq is not None and number <= self.remote_cseq:
            raise DialogError(f"CSeq {number} after {self.remote_cseq}")
        self.remote_cseq = number
        self._refresh(request.method, request.headers)

    def glare_pause(self, chance: float) -> float:
        """Seconds to wait after a 491 before offering again (§14.1), `chance` in [0, 1): the two sides wait
        differently, so that one of them comes first. Multiples of 10 ms.
        """
        return round(2.1 + 1.9 * chance, 2) if self.initiated else round(2.0 * chance, 2)

    def update(self, response: Response, method: str) -> None:
        """A 2xx to a request of ours may move the target (§12.2.1.2)."""
        if 200 <= response.status < 300:
            self._refresh(method, response.headers)

    def _refresh(self, method: str, headers: Headers) -> None:
        if method in _REFRESHES and "Contact" in headers:
            self.target = _target(headers)


def _target(headers: Headers) -> Uri:
    try:
        contacts = h.contacts(headers)
    except SipParseError as error:
        raise DialogError(f"Contact: {error.what}", 400) from error
    if len(contacts) != 1 or not contacts[0].uri.is_sip:
        raise DialogError("needs exactly one SIP Contact", 400)  # §8.1.1.8
    return contacts[0].uri


def _contact(headers: Headers) -> NameAddr:
    return h.contacts(headers)[0]


def _record_routes(headers: Headers) -> list[NameAddr]:
    try:
        routes = h.record_routes(headers)
    except SipParseError as error:
        raise DialogError(f"Record-Route: {error.what}", 400) from error
    if len(routes) > MAX_ROUTES:
        raise DialogError("too many Record-Routes", 400)
    return routes
