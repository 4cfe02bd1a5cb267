"""Where a URI leads: which servers, by which transport, in which order (RFC 3263).

Sans-IO. `places(uri, transports, draw)` is a generator: it yields a `Question` to the DNS and is sent the records that
came back, `()` where there are none; what it returns are the places to try one after the other. Their host names become
addresses only when their turn comes (`Place.host` may be a literal).

    transport        named in the URI; else UDP for a literal or where a port is named; else the NAPTR records' choice;
                     else the first of ours for which there are SRV records; else UDP. For sips always TLS
    port and host    named in the URI; else the SRV records', by priority and by weight; else the transport's own port

Whatever the DNS holds, at most `MAX_PLACES` come out, by at most `MAX_SERVICES` questions for SRV records.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import accumulate, groupby

from soip.sip.errors import UriError
from soip.sip.flow import Address
from soip.sip.headers import Via
from soip.sip.uri import Uri

SIP_PORT = 5060
TLS_PORT = 5061
MAX_PLACES = 16
MAX_SERVICES = 6

_SERVICES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
_NAPTR = {"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}


@dataclass(frozen=True, slots=True)
class Naptr:
    """A record of type NAPTR (RFC 3403): of those with `flags` "s", `replacement` is where SRV records are."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    """A record of type SRV (RFC 2782). A target "" says that the service is not offered."""

    priority: int
    weight: int
    port: int
    target: str


Record = Naptr | Srv


@dataclass(frozen=True, slots=True)
class Question:
    """What the DNS is asked: the records of one type, "NAPTR" or "SRV", of one name."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Place:
    """One server to try: `host` is a name or a literal. `name` is what the certificate of a TLS server must bear: what
    was asked for, never what the DNS made of it (RFC 5922 §7.1).
    """

    transport: str
    host: str
    port: int
    name: str = ""


Draw = Callable[[int], int]
"""A number from 0 to the one given, both included, by chance."""

Search = Generator[Question, Sequence[Record], list[Place]]


def places(uri: Uri, transports: Sequence[str], draw: Draw) -> Search:
    """The servers for a URI (RFC 3263 §4). `transports` are those we speak, of `udp`, `tcp` and `tls`, the liked ones
    first.

    Raises UriError for a URI that leads nowhere: another scheme, or a transport we do not speak.
    """
    secure = uri.scheme == "sips"
    host = uri.param("maddr") or uri.host
    named = _named(uri, secure)
    usable = [transport for transport in transports if transport == "tls" or not secure]
    if not uri.is_sip or not host or (named and named not in usable) or not usable:
        raise UriError(f"{uri} cannot be reached: we speak {', '.join(usable) or 'nothing'} there")
    plain = "tls" if secure else "udp"
    if is_literal(host) or uri.port is not None:
        transport = named or plain
        if transport not in usable:
            raise UriError(f"{uri} cannot be reached: we do not speak {transport}")
        return [Place(transport, host, uri.port or default_port(transport), uri.host)]
    services = [(named, f"{_SERVICES[named]}.{host}")] if named else (yield from _services(host, usable))
    found: list[Place] = []
    for transport, service in services[:MAX_SERVICES]:
        records = yield Question(service, "SRV")
        found += [Place(transport, s.target, s.port, uri.host) for s in ordered(_srvs(records), draw)]
    if found:
        return found[:MAX_PLACES]
    transport = named or (plain if plain in usable else usable[0])
    return [Place(transport, host, default_port(transport), uri.host)]


def places_back(via: Via, draw: Draw) -> Search:
    """Where a response goes whose way back has gone: the sender of the request, as it calls itself (RFC 3263 §5)."""
    transport = via.transport.lower()
    if transport not in _SERVICES:
        return []
    if is_literal(via.host) or via.port is not None:
        return [Place(transport, via.host, via.port or default_port(transport), via.host)]
    records = yield Question(f"{_SERVICES[transport]}.{via.host}", "SRV")
    found = [Place(transport, s.target, s.port, via.host) for s in ordered(_srvs(records), draw)]
    return found[:MAX_PLACES] or [Place(transport, via.host, default_port(transport), via.host)]


def via_address(via: Via, remote: Address) -> Place | None:
    """Where a response over a stream goes whose connection has ended: the request's true source, at the port that its
    sender says it listens on (RFC 3261 §18.2.2). None for a transport that is not dialled.
    """
    transport = via.transport.lower()
    if transport not in ("tcp", "tls"):
        return None
    return Place(transport, remote[0], via.port or default_port(transport), via.host)


def is_literal(host: str) -> bool:
    """Whether a host, as a URI or Via gives it, is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def default_port(transport: str) -> int:
    """The port of a transport where none is named (RFC 3261 §19.1.2)."""
    return TLS_PORT if transport == "tls" else SIP_PORT


def ordered(records: Iterable[Srv], draw: Draw) -> list[Srv]:
    """SRV records in the order in which they are to be tried: the lowest priority first, and among equals by chance,
    in proportion to their weights (RFC 2782).
    """
    result = []
    for _, group in groupby(sorted(records, key=lambda record: record.priority), key=lambda record: record.priority):
        # Those of weight 0 stand first, so that they are drawn at all, and seldom.
        waiting = sorted(group, key=lambda record: record.weight)
        while waiting:
            marks = list(accumulate(record.weight for record in waiting))
            at = bisect_left(marks, draw(marks[-1]))
            result.append(waiting.pop(at))
    return result


def _named(uri: Uri, secure: bool) -> str:
    """The transport a URI names, "" where it leaves it to us. In sips `tcp` means TLS over TCP (RFC 5630 §3.1.3)."""
    named = (uri.param("transport") or "").lower()
    return "tls" if secure and named == "tcp" else named


def _services(host: str, usable: Sequence[str]) -> Generator[Question, Sequence[Record], list[tuple[str, str]]]:
    """The names under which SRV records are found, with their transports (§4.1)."""
    records = yield Question(host, "NAPTR")
    chosen = sorted((r for r in records if isinstance(r, Naptr)), key=lambda record: (record.order, record.preference))
    services = [
        (transport, record.replacement)
        for record in chosen
        if record.flags.lower() == "s" and (transport := _NAPTR.get(record.service.lower(), "")) in usable
    ]
    # A name of whose NAPTR records we can use none is treated as one without: it may have SRV records still.
    return services or [(transport, f"{_SERVICES[transport]}.{host}") for transport in usable]


def _srvs(records: Sequence[Record]) -> list[Srv]:
    return [record for record in records if isinstance(record, Srv) and record.target and record.port]
