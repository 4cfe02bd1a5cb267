"""Where a URI leads, question by question (RFC 3263), and that no DNS can make it lead on for ever."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.errors import UriError
from soip.sip.headers import Via
from soip.sip.locate import (
    MAX_PLACES,
    MAX_SERVICES,
    Naptr,
    Place,
    Question,
    Record,
    Search,
    Srv,
    is_literal,
    ordered,
    places,
    places_back,
    via_address,
)
from soip.sip.uri import Uri

ALL = ("udp", "tcp", "tls")
Zone = Mapping[tuple[str, str], Sequence[Record]]


def follow(search: Search, zone: Zone) -> tuple[list[Place], list[Question]]:
    """What a search ends in where the DNS holds this, and what it asked."""
    asked: list[Question] = []
    try:
        question = next(search)
        while True:
            asked.append(question)
            question = search.send(zone.get((question.name, question.kind), ()))
    except StopIteration as done:
        return done.value, asked


def found(uri: str, zone: Zone | None = None, transports: Sequence[str] = ALL) -> list[str]:
    """The places of a URI, as text."""
    result, _ = follow(places(Uri.parse(uri), transports, lambda _: 0), zone or {})
    return [f"{place.transport} {place.host} {place.port}" for place in result]


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sip:192.0.2.1", "udp 192.0.2.1 5060"),
        ("sip:a@192.0.2.1:5070", "udp 192.0.2.1 5070"),
        ("sip:192.0.2.1;transport=TCP", "tcp 192.0.2.1 5060"),
        ("sip:192.0.2.1;transport=tls", "tls 192.0.2.1 5061"),
        ("sips:192.0.2.1", "tls 192.0.2.1 5061"),
        ("sips:192.0.2.1;transport=tcp", "tls 192.0.2.1 5061"),
        ("sip:[2001:db8::1]:5080", "udp 2001:db8::1 5080"),
        ("sip:a.example:5080", "udp a.example 5080"),
        ("sips:a.example:5080", "tls a.example 5080"),
        ("sip:a.example:5080;transport=tcp", "tcp a.example 5080"),
        ("sip:a.example;maddr=192.0.2.9", "udp 192.0.2.9 5060"),
        ("sip:a.example;maddr=b.example;transport=tcp", "tcp b.example 5060"),
    ],
)
def test_what_needs_no_service_records(uri: str, place: str) -> None:
    assert found(uri) == [place]
    if is_literal(Uri.parse(uri).host) or Uri.parse(uri).port:
        assert follow(places(Uri.parse(uri), ALL, lambda _: 0), {})[1] == [], "and asks nothing"


@pytest.mark.parametrize(
    ("uri", "transports"),
    [
        ("tel:+4912345", ALL),
        ("sip:a.example;transport=sctp", ALL),
        ("sip:a.example;transport=ws", ALL),
        ("sips:a.example;transport=udp", ALL),
        ("sips:a.example", ("udp", "tcp")),
        ("sip:192.0.2.1", ("tcp",)),
        ("sip:a.example;transport=tls", ("udp", "tcp")),
    ],
)
def test_what_leads_nowhere(uri: str, transports: tuple[str, ...]) -> None:
    with pytest.raises(UriError, match="cannot be reached"):
        found(uri, transports=transports)


def naptr(order: int, preference: int, service: str, replacement: str, flags: str = "s") -> Naptr:
    return Naptr(order, preference, flags, service, replacement)


EXAMPLE: Zone = {  # that of RFC 3263 §4.1 and §4.2
    ("example.com", "NAPTR"): [
        naptr(100, 50, "SIP+D2U", "_sip._udp.example.com"),
        naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
        naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com"),
    ],
    ("_sip._tcp.example.com", "SRV"): [Srv(0, 1, 5060, "server1.example.com"), Srv(0, 2, 5060, "server2.example.com")],
}


def test_the_example_of_the_standard() -> None:
    result, asked = follow(places(Uri.parse("sip:user@example.com"), ("udp", "tcp"), lambda _: 0), EXAMPLE)
    assert [question.name for question in asked] == ["example.com", "_sip._tcp.example.com", "_sip._udp.example.com"]
    assert [(place.transport, place.host) for place in result] == [
        ("tcp", "server1.example.com"),
        ("tcp", "server2.example.com"),
    ]
    assert {place.name for place in result} == {"example.com"}, "the DNS does not say whom to believe"


def test_sips_takes_nothing_but_tls() -> None:
    assert found("sips:example.com", EXAMPLE) == ["tls example.com 5061"]
    zone = {**EXAMPLE, ("_sips._tcp.example.com", "SRV"): [Srv(0, 0, 5071, "secure.example.com")]}
    assert found("sips:example.com", zone) == ["tls secure.example.com 5071"]


def test_without_naptr_our_own_order_counts() -> None:
    zone = {
        ("_sip._udp.a.example", "SRV"): [Srv(0, 0, 5080, "u.a.example")],
        ("_sip._tcp.a.example", "SRV"): [Srv(0, 0, 5090, "t.a.example")],
    }
    assert found("sip:a.example", zone) == ["udp u.a.example 5080", "tcp t.a.example 5090"]
    assert found("sip:a.example", zone, ("tcp", "udp"))[0] == "tcp t.a.example 5090"
    assert found("sip:a.example", zone, ("tls",)) == ["tls a.example 5061"]


@pytest.mark.parametrize(
    "record",
    [
        naptr(1, 1, "SIP+D2S", "_sip._sctp.a.example"),
        naptr(1, 1, "E2U+sip", "x.example"),
        naptr(1, 1, "SIP+D2T", "t.example", flags="a"),
        naptr(1, 1, "", ""),
    ],
)
def test_naptr_records_we_cannot_use_are_none(record: Naptr) -> None:
    zone: Zone = {("a.example", "NAPTR"): [record], ("_sip._tcp.a.example", "SRV"): [Srv(0, 0, 1, "t.example")]}
    assert found("sip:a.example", zone) == ["tcp t.example 1"]


def test_priorities_come_before_weights() -> None:
    records = [Srv(20, 100, 1, "c"), Srv(10, 0, 1, "a"), Srv(10, 5, 1, "b"), Srv(30, 0, 1, "d")]
    for _ in range(50):
        names = [record.target for record in ordered(records, lambda most: random.randint(0, most))]
        assert sorted(names[:2]) == ["a", "b"]
        assert names[2:] == ["c", "d"]


def test_weights_share_the_load() -> None:
    """RFC 2782: in proportion, and weight 0 seldom."""
    rng = random.Random(3)
    records = [Srv(0, 75, 1, "much"), Srv(0, 25, 1, "little"), Srv(0, 0, 1, "none")]
    first = Counter(ordered(records, lambda most: rng.randint(0, most))[0].target for _ in range(4000))
    assert 2800 < first["much"] < 3150
    assert 850 < first["little"] < 1150
    assert 0 < first["none"] < 100


@given(st.lists(st.builds(Srv, st.integers(0, 3), st.integers(0, 65535), st.just(1), st.text(max_size=3)), max_size=20))
def test_each_record_has_its_turn(records: list[Srv]) -> None:
    result = ordered(records, lambda most: most // 2)
    assert Counter(result) == Counter(records)
    assert [r.priority for r in result] == sorted(r.priority for r in records)


SERVICES = st.sampled_from(["SIP+D2U", "sip+d2t", "SIPS+D2T", "SIP+D2S", "x"])
NAPTRS = st.builds(
    Naptr, st.integers(0, 9), st.integers(0, 9), st.sampled_from(["s", "S", "a", ""]), SERVICES, st.just("s.example")
)
SRVS = st.builds(Srv, st.integers(0, 9), st.integers(0, 9), st.integers(0, 65535), st.sampled_from(["", "h.example"]))


@given(st.sampled_from(["sip:a.example", "sips:a.example", "sip:a.example;transport=tcp"]), st.data())
def test_whatever_the_dns_holds_it_ends(uri: str, data: st.DataObject) -> None:
    search = places(Uri.parse(uri), ALL, lambda most: most)
    questions = 0
    try:
        question = next(search)
        while True:
            questions += 1
            records = NAPTRS if question.kind == "NAPTR" else SRVS
            question = search.send(data.draw(st.lists(records, max_size=30)))
    except StopIteration as done:
        result: list[Place] = done.value
    assert questions <= 1 + MAX_SERVICES
    assert 1 <= len(result) <= MAX_PLACES
    assert all(place.host and 0 < place.port < 65536 for place in result)
    if uri.startswith("sips"):
        assert {place.transport for place in result} == {"tls"}


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        ("SIP/2.0/TCP 192.0.2.1:5070;branch=x", [Place("tcp", "192.0.2.1", 5070, "192.0.2.1")]),
        ("SIP/2.0/UDP [2001:db8::1];branch=x", [Place("udp", "2001:db8::1", 5060, "2001:db8::1")]),
        ("SIP/2.0/TLS a.example:5070;branch=x", [Place("tls", "a.example", 5070, "a.example")]),
        ("SIP/2.0/TLS a.example;branch=x", [Place("tls", "s.example", 7, "a.example")]),
        ("SIP/2.0/TCP a.example;branch=x", [Place("tcp", "a.example", 5060, "a.example")]),
        ("SIP/2.0/WS page.invalid;branch=x", []),
    ],
)
def test_the_way_back_of_a_response(via: str, expected: list[Place]) -> None:
    zone = {("_sips._tcp.a.example", "SRV"): [Srv(0, 0, 7, "s.example")]}
    assert follow(places_back(Via.parse(via), lambda _: 0), zone)[0] == expected


def test_a_response_goes_to_the_true_source_first() -> None:
    remote = ("198.51.100.7", 40000)
    assert via_address(Via.parse("SIP/2.0/TCP a.example:5070"), remote) == Place("tcp", remote[0], 5070, "a.example")
    assert via_address(Via.parse("SIP/2.0/TLS a.example"), remote) == Place("tls", remote[0], 5061, "a.example")
    for transport in ("UDP", "WS", "WSS"):
        assert via_address(Via.parse(f"SIP/2.0/{transport} a.example"), remote) is None
