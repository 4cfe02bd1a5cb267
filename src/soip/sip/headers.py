"""Typed views of header values, made when asked for (RFC 3261 §20 and the RFCs named below).

Each accessor is a function of `Headers` and raises SipParseError (400) when the header is malformed or, where
the header is mandatory, missing or repeated. None means absent where a header may be absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from soip.sip import grammar
from soip.sip.errors import SipParseError
from soip.sip.grammar import Params
from soip.sip.message import Headers, Message, Request
from soip.sip.uri import NameAddr, format_host

T = TypeVar("T")

MAGIC_COOKIE = "z9hG4bK"
"""Begin of every branch made by RFC 3261 (§8.1.1.7); others are matched the way of RFC 2543."""

_MAX_EXPIRES = 2**32 - 1

_VIA = re.compile(
    r"[sS][iI][pP][ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+([A-Za-z0-9\-.!%*_+`'~]++)[ \t]++"
    r"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._\-]++)(?>(?:[ \t]*+:[ \t]*+([0-9]{1,5}+))?)[ \t]*+"
)
_CSEQ = re.compile(r"([0-9]{1,10}+)[ \t]++([A-Za-z0-9\-.!%*_+`'~]++)")
_QVALUE = re.compile(r"0(?>(?:\.[0-9]{0,3})?)|1(?>(?:\.0{0,3})?)")
_DELTA = re.compile(r"([0-9]++)[ \t]*+")
_SCHEME = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]++)[ \t]++(.++)", re.DOTALL)


class Via(NamedTuple):
    """One hop of a response's way back (RFC 3261 §20.42). `transport` is upper case, an IPv6 `host` bare."""

    transport: str
    host: str
    port: int | None = None
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> Via:
        """Read one Via element. Raises SipParseError."""
        match = _VIA.match(text)
        if match is None:
            raise SipParseError("malformed Via")
        transport, host, port = match.groups()
        if port is not None and int(port) > 65535:
            raise SipParseError("port out of range in Via", match.start(3))
        if host[0] == "[":
            host = grammar.address_in(host)
        params = grammar.parse_params(text, match.end())
        return cls(transport.upper(), host, None if port is None else int(port), params)

    def __str__(self) -> str:
        sent_by = format_host(self.host, self.port)
        return f"SIP/2.0/{self.transport} {sent_by}{grammar.format_params(self.params)}"

    def param(self, name: str) -> str | None:
        """Value of a parameter (name in lower case); "" when bare, None when absent."""
        return grammar.find_param(self.params, name)

    @property
    def branch(self) -> str:
        """The transaction id of this hop, "" when missing."""
        return grammar.find_param(self.params, "branch") or ""

    @property
    def sent_by(self) -> str:
        """Host (lower case) and port, the default port written out: part of the server transaction's key."""
        port = self.port or (5061 if self.transport in ("TLS", "WSS") else 5060)
        return format_host(self.host.lower(), port)

    @property
    def received(self) -> str | None:
        """The address a server saw the request come from, without brackets (RFC 3261 §18.2.1)."""
        value = grammar.find_param(self.params, "received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | None:
        """The port a server saw; None when absent or still empty (RFC 3581)."""
        value = grammar.find_param(self.params, "rport")
        return int(value) if value and value.isascii() and value.isdigit() and int(value) < 65536 else None

    def with_param(self, name: str, value: str | None) -> Via:
        """A copy with one parameter set; None makes a bare one."""
        return self._replace(params=grammar.replace_param(self.params, name, value))

    def with_source(self, host: str, port: int) -> Via:
        """A copy told where the request came from: `received` where the address differs from sent-by or rport
        was asked for (RFC 3261 §18.2.1, RFC 3581 §4)."""
        changes = {"received": host}
        if grammar.find_param(self.params, "rport") is not None:
            changes["rport"] = str(port)
        elif self.host == host or self.host.lower() == host.lower():
            return self
        return Via(self.transport, self.host, self.port, grammar.replace_params(self.params, changes))


class CSeq(NamedTuple):
    """Order of requests in a dialog (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Read a CSeq value; numbers of 32 bits are taken. Raises SipParseError."""
        match = _CSEQ.fullmatch(text)
        if match is None or int(match[1]) >= 2**32:
            raise SipParseError("malformed CSeq")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class Challenge:
    """A WWW-Authenticate or Proxy-Authenticate value (RFC 3261 §20.44, RFC 7616 §3.3)."""

    scheme: str
    params: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Challenge:
        """Read one challenge. Raises SipParseError."""
        return cls(*_parse_auth(text))

    def __str__(self) -> str:
        return f"{self.scheme} {', '.join([f'{name}={value}' for name, value in self.params])}"

    def param(self, name: str) -> str:
        """Value of a parameter (name in lower case), unquoted; "" when absent."""
        return _auth_param(self.params, name)

    @property
    def realm(self) -> str:
        return _auth_param(self.params, "realm")

    @property
    def nonce(self) -> str:
        return _auth_param(self.params, "nonce")

    @property
    def opaque(self) -> str:
        return _auth_param(self.params, "opaque")

    @property
    def algorithm(self) -> str:
        """As written; MD5 when absent (RFC 7616 §3.3)."""
        return _auth_param(self.params, "algorithm") or "MD5"

    @property
    def qop(self) -> tuple[str, ...]:
        """The qualities offered, in lower case; none for a challenge of RFC 2069."""
        value = _auth_param(self.params, "qop").lower()
        return tuple([part.strip() for part in value.split(",") if part.strip()])

    @property
    def stale(self) -> bool:
        return _auth_param(self.params, "stale").lower() == "true"


@dataclass(frozen=True, slots=True)
class Authorization:
    """An Authorization or Proxy-Authorization value (RFC 3261 §20.7, RFC 7616 §3.4).

    `token` is the credential of schemes without parameters, such as Bearer (RFC 8898).
    """

    scheme: str
    params: tuple[tuple[str, str], ...] = ()
    token: str = ""
    _values: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Backwards: of a name that stands twice the first counts.
        self._values.update({name.lower(): grammar.unquote(value) for name, value in reversed(self.params)})

    @classmethod
    def parse(cls, text: str) -> Authorization:
        """Read credentials of any scheme. Raises SipParseError."""
        match = _SCHEME.fullmatch(text)
        if match is not None and match[1].lower() == "bearer":
            return cls(match[1], token=match[2].strip())
        return cls(*_parse_auth(text))

    def __str__(self) -> str:
        rest = self.token or ", ".join([f"{name}={value}" for name, value in self.params])
        return f"{self.scheme} {rest}"

    def param(self, name: str) -> str:
        """Value of a parameter (name in lower case), unquoted; "" when absent."""
        return self._values.get(name, "")

    @property
    def username(self) -> str:
        return self._values.get("username", "")

    @property
    def realm(self) -> str:
        return self._values.get("realm", "")

    @property
    def nonce(self) -> str:
        return self._values.get("nonce", "")


def _parse_auth(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise SipParseError("malformed authentication header")
    return match[1], grammar.parse_auth_params(match[2])


def _auth_param(params: tuple[tuple[str, str], ...], name: str) -> str:
    for key, value in params:
        if key == name or key.lower() == name:
            return grammar.unquote(value)
    return ""


def _single(headers: Headers, name: str) -> str:
    """The value of a header that must stand exactly once (RFC 4475 §3.3.8 shows the opposite)."""
    value = headers.single(name.lower())
    if not value:
        raise SipParseError(f"missing {name}" if not any(headers.get_all(name)) else f"repeated {name}")
    return value


def _once(headers: Headers, key: str, parse: Callable[[Headers], T]) -> T:
    """What `parse` reads of the header `key`, read once until that header changes. What every request is asked for ten
    times over is looked for before this is called.
    """
    found: T | None = headers.read.get(key)
    if found is None:
        found = headers.read[key] = parse(headers)
    return found


def _elements(headers: Headers, name: str) -> list[str]:
    values = headers.get_all(name)
    if len(values) == 1 and "," not in values[0]:
        return values if values[0] else []
    return [item for value in values if value for item in grammar.split_list(value)]


def via_list(headers: Headers) -> list[Via]:
    """All Via elements from the top, however they are spread over lines."""
    return [Via.parse(item) for item in _elements(headers, "Via")]


def top_via(headers: Headers) -> Via:
    """The topmost Via: the one hop a transaction looks at."""
    return headers.read.get("via") or _once(headers, "via", _read_top_via)


def _read_top_via(headers: Headers) -> Via:
    value = headers.get("Via")
    if not value:
        raise SipParseError("missing Via")
    return Via.parse(grammar.split_list(value)[0] if "," in value else value)


def set_top_via(headers: Headers, via: Via) -> None:
    """Put another element in the place of the topmost Via: one that was told its source."""
    first, value = headers.get("Via") or "", str(via)
    if "," in first:
        value = ", ".join([value, *grammar.split_list(first)[1:]])
    headers.replace_first("Via", value)
    headers.read["via"] = via


def pop_first(headers: Headers, name: str) -> str | None:
    """Remove the first element of a list header (Via, Route, Path) and return it; None when there is none."""
    values = headers.get_all(name)
    if not values:
        return None
    first, *rest = grammar.split_list(values[0])
    headers.set_all(name, ([", ".join(rest)] if rest else []) + values[1:])
    return first


def cseq(headers: Headers) -> CSeq:
    """The CSeq header."""
    return headers.read.get("cseq") or _once(headers, "cseq", _read_cseq)


def call_id(headers: Headers) -> str:
    """The Call-ID header."""
    return headers.read.get("call-id") or _once(headers, "call-id", _read_call_id)


def from_(headers: Headers) -> NameAddr:
    """The From header."""
    return headers.read.get("from") or _once(headers, "from", _read_from)


def to(headers: Headers) -> NameAddr:
    """The To header."""
    return headers.read.get("to") or _once(headers, "to", _read_to)


def _read_cseq(headers: Headers) -> CSeq:
    return CSeq.parse(_single(headers, "CSeq"))


def _read_call_id(headers: Headers) -> str:
    return _single(headers, "Call-ID")


def _read_from(headers: Headers) -> NameAddr:
    return NameAddr.parse(_single(headers, "From"))


def _read_to(headers: Headers) -> NameAddr:
    return NameAddr.parse(_single(headers, "To"))


def name_addrs(headers: Headers, name: str) -> list[NameAddr]:
    """All elements of Route, Record-Route, Path, Service-Route, P-Asserted-Identity and their like."""
    return [NameAddr.parse(item) for item in _elements(headers, name)]


def routes(headers: Headers) -> tuple[NameAddr, ...]:
    """The Route set of a request, first hop first."""
    return _once(headers, "route", lambda headers: tuple(name_addrs(headers, "Route")))


def record_routes(headers: Headers) -> list[NameAddr]:
    """The Record-Route elements in the order of the message."""
    return name_addrs(headers, "Record-Route")


def asserted_identity(headers: Headers) -> list[NameAddr]:
    """P-Asserted-Identity (RFC 3325 §9.1): who the proxy says is calling."""
    return name_addrs(headers, "P-Asserted-Identity")


def contacts(headers: Headers) -> tuple[NameAddr, ...]:
    """All Contact elements. For the "*" of a REGISTER see `is_wildcard`, which comes first."""
    return _once(headers, "contact", lambda headers: tuple(name_addrs(headers, "Contact")))


def is_wildcard(headers: Headers) -> bool:
    """Whether Contact is "*": all bindings are to go (RFC 3261 §10.2.2). Raises SipParseError for "*" beside
    another contact or with an Expires other than 0 (§10.3 step 6)."""
    values = [value.strip() for value in headers.get_all("Contact")]
    if "*" not in values:
        return False
    if len(values) > 1 or expires(headers) != 0:
        raise SipParseError('Contact "*" goes alone and with Expires: 0')
    return True


def delta_seconds(text: str) -> int:
    """Seconds, at most 2^32-1: larger numbers count as that (RFC 3261 §20.19). Raises SipParseError."""
    match = _DELTA.match(text)
    if match is None:
        raise SipParseError("malformed number of seconds")
    digits = match[1].lstrip("0")
    return _MAX_EXPIRES if len(digits) > 10 else min(int(digits or "0"), _MAX_EXPIRES)


def _seconds(headers: Headers, name: str) -> int | None:
    value = headers.get(name)
    return None if value is None else delta_seconds(value)


def expires(headers: Headers) -> int | None:
    """The Expires header in seconds."""
    return _seconds(headers, "Expires")


def min_expires(headers: Headers) -> int | None:
    """The Min-Expires header in seconds, of a 423."""
    return _seconds(headers, "Min-Expires")


def retry_after(headers: Headers) -> int | None:
    """The Retry-After header in seconds; its comment and parameters are for people."""
    return _seconds(headers, "Retry-After")


def contact_expires(contact: NameAddr, headers: Headers, default: int) -> int:
    """Seconds a binding is asked for: the contact's own `expires`, else Expires, else `default`. Malformed
    values count as the default (RFC 3261 §20.10, §20.19)."""
    value = contact.param("expires")
    if value is None:
        value = headers.get("Expires")
    if value is None:
        return default
    return delta_seconds(value) if value[:1].isascii() and value[:1].isdigit() else default


def contact_q(contact: NameAddr) -> float:
    """How much a contact is preferred, 0 to 1 (RFC 3261 §20.10); 1 where it does not say, or says something else."""
    match = _QVALUE.fullmatch(contact.param("q") or "")
    return 1.0 if match is None else float(match[0])


def max_forwards(headers: Headers) -> int | None:
    """Max-Forwards, 0 to 255 (RFC 3261 §20.22)."""
    return _small(headers, "Max-Forwards", 255)


def max_breadth(headers: Headers) -> int | None:
    """Max-Breadth, how many branches there may be at once, 0 to 2**32 - 1 (RFC 5393 §5.3)."""
    return _small(headers, "Max-Breadth", 0xFFFFFFFF)


def _small(headers: Headers, name: str, most: int) -> int | None:
    if name not in headers:
        return None
    value = _single(headers, name)
    if not (value.isascii() and value.isdigit()) or len(value) > 10 or int(value) > most:
        raise SipParseError(f"malformed {name}")
    return int(value)


def option_tags(headers: Headers, name: str) -> list[str]:
    """Elements of Require, Proxy-Require, Supported, Allow: tokens, made lower case except for methods."""
    if name not in headers:
        return []
    items = _elements(headers, name)
    return items if name.lower() == "allow" else [item.lower() for item in items]


def content_type(headers: Headers) -> str:
    """Type and subtype of the body in lower case, without parameters; "" when absent."""
    value = headers.get("Content-Type")
    return "" if value is None else value.partition(";")[0].strip().lower()


def challenges(headers: Headers, name: str = "WWW-Authenticate") -> list[Challenge]:
    """The challenges of a 401, or with `name="Proxy-Authenticate"` of a 407; one for each line."""
    return [Challenge.parse(value) for value in headers.get_all(name)]


def authorizations(headers: Headers, name: str = "Authorization") -> tuple[Authorization, ...]:
    """The credentials of a request, or with `name="Proxy-Authorization"` those for proxies."""
    return _once(
        headers,
        name.lower(),
        lambda headers: tuple([Authorization.parse(value) for value in headers.get_all(name)]),
    )


@dataclass(frozen=True, slots=True)
class EventType:
    """An Event value (RFC 6665 §8.2.1): the package, and the id that tells subscriptions of one dialog apart."""

    package: str
    id: str = ""

    def __str__(self) -> str:
        return f"{self.package};id={self.id}" if self.id else self.package


def event(headers: Headers) -> EventType | None:
    """The Event header; its parameters other than `id` mean nothing to us. None when absent."""
    if "Event" not in headers:
        return None
    package, semicolon, rest = _single(headers, "Event").partition(";")
    identity = grammar.find_param(grammar.parse_params(semicolon + rest), "id") or ""
    if not grammar.is_token(package.strip()) or (identity and not grammar.is_token(identity)):
        raise SipParseError("malformed Event")
    return EventType(package.strip(), identity)


def accepts(headers: Headers, kind: str) -> bool:
    """Whether a body of this type may be sent: Accept names it, or is absent (RFC 3261 §20.1, each package's default).

    `kind` is in lower case. A range with `q=0` is one that is not wanted.
    """
    if "Accept" not in headers:
        return True
    for item in _elements(headers, "Accept"):
        name, semicolon, rest = item.partition(";")
        quality = grammar.find_param(grammar.parse_params(semicolon + rest), "q") or "1"
        wanted = quality.strip("0.") != ""
        if wanted and name.strip().lower() in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
            return True
    return False


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """A Session-Expires value (RFC 4028 §4): how long a session lasts that nobody refreshes, and who is to refresh it.

    `refresher` is "uac" or "uas", as seen by the request's transaction; "" when it is left to the peer.
    """

    seconds: int
    refresher: str = ""

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher}" if self.refresher else str(self.seconds)


def session_expires(headers: Headers) -> SessionExpires | None:
    """The Session-Expires header, None when absent. A refresher that is neither side is malformed."""
    if "Session-Expires" not in headers:
        return None
    seconds, params = _session_interval(headers, "Session-Expires")
    refresher = (grammar.find_param(params, "refresher") or "").lower()
    if refresher not in ("", "uac", "uas"):
        raise SipParseError("malformed refresher in Session-Expires")
    return SessionExpires(seconds, refresher)


def min_se(headers: Headers) -> int | None:
    """The Min-SE header in seconds (RFC 4028 §5), None when absent."""
    return _session_interval(headers, "Min-SE")[0] if "Min-SE" in headers else None


def _session_interval(headers: Headers, name: str) -> tuple[int, Params]:
    seconds, semicolon, rest = _single(headers, name).partition(";")
    if not _DELTA.fullmatch(seconds):
        raise SipParseError(f"malformed {name}")
    return delta_seconds(seconds), grammar.parse_params(semicolon + rest)


@dataclass(frozen=True, slots=True)
class Replaces:
    """A Replaces value (RFC 3891 §6.1): the dialog whose place a new call takes. The tags are named as its receiver
    sees them: `to_tag` is the receiver's own. `early_only`: not when it has been answered.
    """

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


def replaces(headers: Headers) -> Replaces | None:
    """The Replaces header, None when absent; it stands once, with each tag once (RFC 3891 §3, §6.1)."""
    if "Replaces" not in headers:
        return None
    identity, semicolon, rest = _single(headers, "Replaces").partition(";")
    params = grammar.parse_params(semicolon + rest)
    names = [name.lower() for name, _ in params]
    to_tag, from_tag = grammar.find_param(params, "to-tag"), grammar.find_param(params, "from-tag")
    once = all(names.count(name) == 1 for name in ("to-tag", "from-tag")) and names.count("early-only") <= 1
    tokens = grammar.is_token(to_tag or "") and grammar.is_token(from_tag or "")
    if not (identity.strip() and to_tag and from_tag and once and tokens):
        raise SipParseError("malformed Replaces")
    return Replaces(identity.strip(), to_tag, from_tag, "early-only" in names)


def refer_to(headers: Headers) -> NameAddr:
    """The Refer-To header of a REFER; it stands exactly once (RFC 3515 §2.4.2)."""
    return NameAddr.parse(_single(headers, "Refer-To"))


def warning(code: int, agent: str, text: str) -> str:
    """A Warning value (RFC 3261 §20.43): what a person should know about this answer."""
    return f"{code} {agent} {grammar.quote(''.join(c if c.isprintable() else '?' for c in text))}"


def reason(protocol: str, cause: int, text: str = "") -> str:
    """A Reason value (RFC 3326), such as `SIP;cause=200;text="Call completed elsewhere"`."""
    return f"{protocol};cause={cause}" + (f";text={grammar.quote(text)}" if text else "")


def check(message: Message) -> None:
    """Raise SipParseError unless the headers every message must have are there and fit (RFC 3261 §8.1.1,
    §16.3).

    What a transaction needs: Via, From, To, Call-ID, CSeq once and well-formed, and for a request the method
    in CSeq and a sane Max-Forwards. The error carries what an answer needs.
    """
    headers = message.headers
    try:
        top_via(headers)
        from_(headers)
        to(headers)
        call_id(headers)
        sequence = cseq(headers)
        if isinstance(message, Request):
            if sequence.method != message.method:
                raise SipParseError("CSeq of another method")
            max_forwards(headers)
    except SipParseError as error:
        if isinstance(message, Request):
            error.method, error.headers = message.method, headers
        raise
