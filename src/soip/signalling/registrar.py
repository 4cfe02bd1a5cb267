"""The registrar: one authenticated REGISTER in, one answer out, the location table changed (RFC 3261 §10.3).

Order of the checks is that of §10.3: required extensions, whose address it is, "*", each contact, the order
within a Call-ID, and only then all changes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern

from soip.config import Lifetime, Settings
from soip.directory.rows import Account, AccountKind
from soip.signalling.accounts import AccountTable
from soip.signalling.answers import Answer, bad_extension, busy
from soip.signalling.errors import StaleRegisterError, TooManyBindingsError
from soip.signalling.flows import FlowKey, way_back
from soip.signalling.location import Binding, Location
from soip.sip import headers
from soip.sip.errors import SipParseError
from soip.sip.flow import Flow
from soip.sip.message import Request
from soip.sip.uri import NameAddr, split_user

MAX_CONTACT = 1024
MAX_PATH = 8
RETRY_SECONDS = 60
FLOW_TIMER = 120
"""How often a device that keeps its flow open should say so, in seconds: most translators forget UDP after 180."""
SUPPORTED = ("path", "outbound")


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long the registrations of each kind of device last. A page's ends with its connection anyway, and is not to
    outlast its session for long.
    """

    camera: Lifetime
    phone: Lifetime
    media: Lifetime
    browser: Lifetime

    @classmethod
    def of(cls, settings: Settings) -> Lifetimes:
        """Those the operator wants."""
        return cls(
            settings.sip_expires_camera,
            settings.sip_expires_phone,
            settings.sip_expires_media,
            settings.sip_expires_browser,
        )

    def for_(self, account: Account, flow: Flow) -> Lifetime:
        """That of a device: what it is, is told by its account, and of a person's by the way it comes."""
        if account.kind is AccountKind.MEDIA_SERVER:
            return self.media
        if account.kind is AccountKind.USER:
            return self.browser if flow.transport in ("ws", "wss") else self.phone
        return self.camera

    @property
    def longest(self) -> int:
        """What no registration lasts longer than."""
        return max(self.camera.high, self.phone.high, self.media.high, self.browser.high)


class Registrar:
    """REGISTERs of authenticated accounts against one location table."""

    def __init__(self, accounts: AccountTable, location: Location, lifetimes: Lifetimes) -> None:
        self._accounts = accounts
        self._location = location
        self._lifetimes = lifetimes

    def register(self, request: Request, account: Account, flow: Flow, now: float) -> Answer:
        """Take one REGISTER of `account` that came over `flow`. Raises SipParseError for malformed headers."""
        # `gruu` would change what a binding means, so it is not passed over.
        if required := [tag for tag in headers.option_tags(request.headers, "Require") if tag not in SUPPORTED]:
            return bad_extension(required)
        outbound = _wants_outbound(request)
        if outbound and not _keeps_flow(request):
            return Answer(439, "the proxy that you reached does not keep flows")
        aor = self.address_of(request)
        owner = self._accounts.owner_of(aor)
        if owner is None or owner.id != account.id:
            return Answer(403, f"{account.id} may not register {aor or 'an address without a user part'}")
        try:
            refused = self._change(request, account, aor, flow, now)
        except StaleRegisterError:
            # §10.3 step 7 has the update fail and names no status; 500 is what §12.2.2 says of an old CSeq.
            return Answer(500, "an older REGISTER came after a newer one", (("Retry-After", "1"),))
        except TooManyBindingsError as error:
            return busy(str(error), RETRY_SECONDS)
        # RFC 3327 §5.3: what was taken of the path is told, so that the device knows who is on its way.
        lines = [*self._contacts(aor, now), *(("Path", hop) for hop in _path(request))]
        if outbound:
            lines += [("Require", "outbound"), ("Flow-Timer", str(FLOW_TIMER))]
        return refused or Answer(200, headers=tuple(lines))

    @staticmethod
    def address_of(request: Request) -> str:
        """The id in To, which is what is registered; its host part is the device's own affair."""
        return split_user(headers.to(request.headers).uri.user)[0]

    def _change(self, request: Request, account: Account, aor: str, flow: Flow, now: float) -> Answer | None:
        call_id = headers.call_id(request.headers)
        cseq = headers.cseq(request.headers).number
        if headers.is_wildcard(request.headers):
            self._location.clear(aor, call_id, cseq, now)
            return None
        life = self._lifetimes.for_(account, flow)
        added: list[Binding] = []
        removed: list[Binding] = []
        for contact in headers.contacts(request.headers):
            expires = min(headers.contact_expires(contact, request.headers, life.high), life.high)
            if 0 < expires < life.low:
                return Answer(423, f"register for {life.low} s or longer", (("Min-Expires", str(life.low)),))
            binding = _binding(request, contact, flow, aor, account.id, now, now + expires)
            (added if expires else removed).append(binding)
        if gone := [binding.key for binding in removed]:  # all that is asked, or nothing
            self._location.check_order(aor, [*gone, *(b.key for b in added)], call_id, cseq, now)
            self._location.unregister(aor, gone, call_id, cseq, now)
        self._location.register(added, now)
        return None

    def _contacts(self, aor: str, now: float) -> tuple[tuple[str, str], ...]:
        return tuple(
            ("Contact", f"<{b.contact}>;expires={max(1, round(b.expires_at - now))}{_preference(b.q)}")
            for b in self._location.bindings(aor, now)
        )


def _preference(q: float) -> str:
    return "" if q == 1 else f";q={q:g}"


def _wants_outbound(request: Request) -> bool:
    """Whether this is one of several flows of a device (RFC 5626 §4.2): without the option its number says nothing."""
    if "outbound" not in headers.option_tags(request.headers, "Supported") or headers.is_wildcard(request.headers):
        return False
    contacts = headers.contacts(request.headers)
    return any(contact.param("reg-id") and contact.param("+sip.instance") for contact in contacts)


def _keeps_flow(request: Request) -> bool:
    """Whether the first hop, if that is not this server, says that it keeps the flow to the device (RFC 5626 §6)."""
    if len(headers.via_list(request.headers)) == 1:
        return True
    path = headers.name_addrs(request.headers, "Path")
    return bool(path) and path[-1].uri.param("ob") is not None


def _path(request: Request) -> tuple[str, ...]:
    """The proxies that a request to the device has to pass (RFC 3327 §5.3). Raises SipParseError."""
    if "Path" not in request.headers:  # as most
        return ()
    path = headers.name_addrs(request.headers, "Path")
    if len(path) > MAX_PATH or any(not hop.uri.is_sip or len(str(hop)) > MAX_CONTACT for hop in path):
        raise SipParseError(f"a path has at most {MAX_PATH} hops, each a sip URI")
    return tuple([str(hop) for hop in path])


def _binding(
    request: Request, contact: NameAddr, flow: Flow, aor: str, account: str, now: float, expires_at: float
) -> Binding:
    uri = str(contact.uri)
    if not contact.uri.is_sip or contact.uri.headers or len(uri) > MAX_CONTACT:
        raise SipParseError("a contact must be a sip URI without headers")  # RFC 3261 §19.1.1, table 1
    reg_id = contact.param("reg-id") or "0"
    if reg_id != "0" and not _wants_outbound(request):
        reg_id = "0"
    key, target = FlowKey.of(flow), way_back(request, flow)
    # What is the same in thousands of bindings is kept once.
    return Binding(
        aor=account if aor == account else aor,
        account=account,
        contact=uri,
        flow=key,
        target=key if target == key else target,
        call_id=headers.call_id(request.headers),
        cseq=headers.cseq(request.headers).number,
        expires_at=expires_at,
        instance=(contact.param("+sip.instance") or "")[:200],
        reg_id=int(reg_id) if reg_id.isascii() and reg_id.isdigit() and len(reg_id) < 10 else 0,
        user_agent=intern((request.headers.get("User-Agent") or "")[:200]),
        path=_path(request),
        q=headers.contact_q(contact),
        registered_at=now,
    )
