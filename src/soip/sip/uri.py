"""SIP URIs and name-addrs (RFC 3261 §19.1, §20.10), and the parameters we dial in a user part.

A parsed URI keeps the text it came as, and `str()` gives that text back: a proxy that passes a URI on must
not re-spell it, and a digest is computed over the characters sent. A URI made from parts is written by the
grammar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from soip.sip import grammar
from soip.sip.errors import SipBuildError, SipParseError, UriError
from soip.sip.grammar import Params

MAX_LENGTH = 2048
"""Characters of one URI. A user part with a range needs under 200; anything much longer is an attack."""

_SIP = re.compile(
    r"(?P<scheme>[sS][iI][pP][sS]?):"
    r"(?:(?P<user>[^@:\x00-\x20\x7f<>\"]++)(?>(?::(?P<password>[^@:\x00-\x20\x7f<>\"]*+))?)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._\-]++)"
    r"(?>(?::(?P<port>[0-9]{1,5}+))?)"
    r"(?P<params>(?>(?:;[^;?@\x00-\x20\x7f<>\"]*+)*))"
    r"(?>(?:\?(?P<headers>[^@\x00-\x20\x7f<>\"]*+))?)"
)
_OTHER = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):([^\x00-\x20\x7f<>\"]++)")
_HOST = re.compile(r"[0-9A-Fa-f:.]++|[A-Za-z0-9._\-]++")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# What may stand unescaped, beside letters and digits (RFC 3261 §25.1: unreserved, then per component).
_MARK = "-_.!~*'()"
_USER_SAFE = _MARK + "&=+$,;?/"
_PASSWORD_SAFE = _MARK + "&=+$,"
_PARAM_SAFE = _MARK + "[]/:&+$"
_HEADER_SAFE = _MARK + "[]/?:+$"


def _unescape(text: str) -> str:
    # surrogateescape keeps bytes that are not UTF-8, so that they are written back as they came
    return unquote(text, errors="surrogateescape") if "%" in text else text


def _escape(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Uri:
    """A SIP or SIPS URI, or (with only `scheme` and `opaque` set) a URI of another scheme.

    `user`, `password` and the values of `params` and `headers` are unescaped; `host` is lower case and
    without the brackets of an IPv6 address. Equality is by component; see `equivalent` for RFC 3261 §19.1.4.
    """

    scheme: str = "sip"
    user: str = ""
    host: str = ""
    port: int | None = None
    params: Params = ()
    headers: tuple[tuple[str, str], ...] = ()
    password: str = ""
    opaque: str = ""
    _text: str = field(default="", repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Read a URI, without angle brackets. Raises UriError (RFC 3261 §19.1.1)."""
        if len(text) > MAX_LENGTH:
            raise UriError("URI too long", MAX_LENGTH, 414)
        return _parse(text)

    def __str__(self) -> str:
        return self._text or self._build()

    def _build(self) -> str:
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        if not _HOST.fullmatch(self.host):
            raise SipBuildError(f"not a host: {self.host!r}")
        parts = [self.scheme, ":"]
        if self.user:
            parts.append(_escape(self.user, _USER_SAFE))
            if self.password:
                parts += [":", _escape(self.password, _PASSWORD_SAFE)]
            parts.append("@")
        parts.append(format_host(self.host, self.port))
        for name, value in self.params:
            parts += [";", _escape(name, _PARAM_SAFE)]
            if value is not None:
                parts += ["=", _escape(value, _PARAM_SAFE)]
        fields = [f"{_escape(k, _HEADER_SAFE)}={_escape(v, _HEADER_SAFE)}" for k, v in self.headers]
        if fields:
            parts += ["?", "&".join(fields)]
        return "".join(parts)

    @property
    def is_sip(self) -> bool:
        """Whether the scheme is sip or sips; the others are only carried."""
        return not self.opaque

    def param(self, name: str) -> str | None:
        """Value of a parameter (name in lower case); "" when it has none, None when it is absent."""
        return grammar.find_param(self.params, name)

    def with_params(self, changes: Mapping[str, str | None] | None = None, **more: str | None) -> Uri:
        """A copy with parameters set; the value None makes a bare parameter, as in ";lr"."""
        params = self.params
        for name, value in {**(changes or {}), **more}.items():
            params = grammar.replace_param(params, name, value)
        return replace(self, params=params, _text="")

    def without_params(self, *names: str) -> Uri:
        """A copy without the named parameters (lower case)."""
        params = tuple([p for p in self.params if p[0].lower() not in names])
        return replace(self, params=params, _text="")

    def with_user(self, user: str) -> Uri:
        """A copy with another user part."""
        return replace(self, user=user, _text="")

    def address_only(self) -> Uri:
        """Scheme, user and host: the address of record this URI belongs to (RFC 3261 §10.3 step 5)."""
        return Uri(self.scheme, self.user, self.host, opaque=self.opaque)


def format_host(host: str, port: int | None = None) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"


@lru_cache(maxsize=4096)
def _parse(text: str) -> Uri:
    match = _SIP.fullmatch(text)
    if match is None:
        return _parse_other(text)
    if "%" in text and (bad := _BAD_ESCAPE.search(text)):
        raise UriError("malformed escape in URI", bad.start())
    scheme, user, password, host, port, params, headers = match.groups()
    number = None if port is None else int(port)
    if number is not None and number > 65535:
        raise UriError("port out of range", match.start("port"))
    if host[0] == "[":
        host = grammar.address_in(host)
    return Uri(
        scheme.lower(),
        _unescape(user or ""),
        host.lower(),
        number,
        _parse_params(params) if params else (),
        _parse_headers(headers) if headers else (),
        _unescape(password or ""),
        _text=text,
    )


def _parse_other(text: str) -> Uri:
    match = _OTHER.fullmatch(text)
    if match is None:
        raise UriError("not a URI")
    scheme = match[1].lower()
    if scheme in ("sip", "sips"):
        raise UriError("malformed SIP URI", len(scheme) + 1)
    return Uri(scheme, opaque=match[2], _text=text)


def _parse_params(text: str) -> Params:
    params: list[tuple[str, str | None]] = []
    for part in text[1:].split(";"):
        name, equals, value = part.partition("=")
        if name:
            params.append((_unescape(name), _unescape(value) if equals else None))
    return tuple(params)


def _parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split("&") if part]
    return tuple([(_unescape(name), _unescape(value)) for name, _, value in pairs])


def equivalent(a: Uri, b: Uri) -> bool:
    """Whether two URIs are equal by RFC 3261 §19.1.4 (used to match contacts, never to authorise)."""
    if not a.is_sip or not b.is_sip:
        return (a.scheme, a.opaque) == (b.scheme, b.opaque)
    if (a.scheme, a.user, a.password, a.host, a.port) != (b.scheme, b.user, b.password, b.host, b.port):
        return False
    mine = {name.lower(): (value or "").lower() for name, value in a.params}
    theirs = {name.lower(): (value or "").lower() for name, value in b.params}
    # These count even when only one side has them; any other parameter only where both do.
    for name in ("user", "ttl", "method", "maddr", "transport"):
        if (name in mine) != (name in theirs):
            return False
    if any(theirs[name] != value for name, value in mine.items() if name in theirs):
        return False
    return _header_key(a) == _header_key(b)


def _header_key(uri: Uri) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in uri.headers)


_NAME_ADDR = re.compile(
    r"[ \t]*+(?P<display>\"(?>(?:[^\"\\\x00]|\\[^\r\n])*)\"|[^<\"]*+)[ \t]*+<(?P<uri>[^<>]*+)>(?P<params>.*+)",
    re.DOTALL,
)


class NameAddr(NamedTuple):
    """A URI with a display name and header parameters: From, To, Contact, Route (RFC 3261 §20.10).

    `display` is the name without quotes and escapes, "" when there is none. Parameter values stay as
    received.
    """

    display: str
    uri: Uri
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Read `"Name" <uri>;params`, `Name <uri>` or `uri;params`. Raises UriError."""
        try:
            kept = text[-1:] == ">" and len(text) <= _KEPT_LENGTH
            return _kept_name_addr(text) if kept else _parse_name_addr(text)
        except UriError:
            raise
        except SipParseError as error:
            raise UriError(error.what, error.offset) from error

    def __str__(self) -> str:
        display = grammar.quote(self.display) + " " if self.display else ""
        return f"{display}<{self.uri}>{grammar.format_params(self.params)}"

    def param(self, name: str) -> str | None:
        """Value of a header parameter (name in lower case), unquoted; "" when bare, None when absent."""
        return grammar.find_param(self.params, name)

    @property
    def tag(self) -> str:
        """The tag of a From or To, "" when there is none (RFC 3261 §19.3)."""
        return grammar.find_param(self.params, "tag") or ""

    def with_params(self, changes: Mapping[str, str | None] | None = None, **more: str | None) -> NameAddr:
        """A copy with header parameters set; None makes a bare parameter."""
        params = self.params
        for name, value in {**(changes or {}), **more}.items():
            params = grammar.replace_param(params, name, value)
        return self._replace(params=params)


_KEPT_LENGTH = 256


@lru_cache(maxsize=4096)
def _kept_name_addr(text: str) -> NameAddr:
    """A device sends its address twice to register, once for the challenge and once with the answer. A From has a tag
    and never comes again.
    """
    return _parse_name_addr(text)


def _parse_name_addr(text: str) -> NameAddr:
    match = _NAME_ADDR.fullmatch(text)
    if match is not None:
        # The display name of a list of tokens may hold commas or non-ASCII letters: phones do not quote them.
        display = grammar.unquote(match["display"].strip(" \t"))
        uri = Uri.parse(match["uri"].strip(" \t"))
        return NameAddr(display, uri, grammar.parse_params(text, match.start("params")))
    if "<" in text or '"' in text:
        raise UriError("quote or bracket does not close")
    bare = text.strip(" \t")
    # Without brackets, everything from the first ";" belongs to the header, and a "?" may not appear
    # (§20.10).
    address, semicolon, _ = bare.partition(";")
    if "?" in address:
        raise UriError("a URI with headers needs angle brackets", address.index("?"))
    params = grammar.parse_params(bare, len(address)) if semicolon else ()
    return NameAddr("", Uri.parse(address.rstrip(" \t")), params)


_USER_PARAM = re.compile(r"[A-Za-z0-9._-]{1,64}+")


def split_user(user: str) -> tuple[str, dict[str, str]]:
    """A user part `cam1;start=…;stop=…` as the id and its parameters (names in lower case).

    The form anyone can dial: a phone takes the whole user part as a name. Raises UriError when a parameter is
    empty or stands twice; the id is not judged here.
    """
    if ";" not in user:
        return user, {}
    identity, *rest = user.split(";")
    params: dict[str, str] = {}
    for part in rest:
        name, _, value = part.partition("=")
        name = name.strip().lower()
        if not _USER_PARAM.fullmatch(name) or name in params:
            raise UriError("malformed or repeated parameter in the user part", len(identity))
        params[name] = value.strip()
    return identity, params


def join_user(identity: str, params: Mapping[str, str]) -> str:
    """The user part that `split_user` reads."""
    return identity + "".join([f";{name}={value}" for name, value in params.items()])
