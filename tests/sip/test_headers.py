"""Typed header values: RFC 3261 §20 and the lists, parameters and quotes of §25.1."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import grammar
from soip.sip import headers as h
from soip.sip.errors import SipBuildError, SipParseError
from soip.sip.headers import EventType
from soip.sip.message import Headers, Request, Response
from soip.sip.uri import NameAddr, Uri, _parse_name_addr


def of(name: str, *values: str) -> Headers:
    return Headers([(name, value) for value in values])


# --- grammar


def test_lists_are_split_outside_quotes_and_brackets() -> None:
    assert grammar.split_list('"a, b" <sip:x,y>;z="q,\\"r" , c') == ['"a, b" <sip:x,y>;z="q,\\"r"', "c"]
    assert grammar.split_list("one") == ["one"]


@pytest.mark.parametrize("text", ["", " ", ",", "a,", ",a", "a,,b", '"a, b', "<a, b", 'a, "b\\"', "a, b>c, <"])
def test_lists_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SipParseError):
        grammar.split_list(text)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\0"), min_size=1, max_size=8), min_size=1, max_size=5))
def test_quoted_elements_survive_a_list(texts: list[str]) -> None:
    quoted = [grammar.quote(text) for text in texts]
    assert grammar.split_list(", ".join(quoted)) == quoted
    assert [grammar.unquote(text) for text in quoted] == texts


def test_parameters() -> None:
    params = grammar.parse_params(' ; a = 1;b ;c="x;y" ;; D=[::1]:5060; ')
    assert params == (("a", "1"), ("b", None), ("c", '"x;y"'), ("D", "[::1]:5060"))
    assert grammar.find_param(params, "c") == "x;y"
    assert grammar.find_param(params, "d") == "[::1]:5060"
    assert grammar.find_param(params, "b") == ""
    assert grammar.find_param(params, "x") is None
    assert grammar.format_params(params[:3]) == ';a=1;b;c="x;y"'
    assert grammar.replace_param(params[:2], "A", "2") == (("a", "2"), ("b", None))
    assert grammar.replace_param((("a", "1"), ("a", "2")), "a", None) == (("a", None),)
    assert grammar.replace_param((), "x", "1") == (("x", "1"),)


@pytest.mark.parametrize("text", ["a", ";=1", ";a=1 b", ';a="1', ";a=<b>", ';a"b"', ";a,b", "; a b"])
def test_malformed_parameters_are_refused(text: str) -> None:
    with pytest.raises(SipParseError):
        grammar.parse_params(text)


def test_quotes() -> None:
    assert grammar.unquote('"') == '"'
    assert grammar.unquote('"a') == '"a'
    assert grammar.unquote('""') == ""
    with pytest.raises(SipBuildError):
        grammar.quote("a\nb")


# --- Via


def test_via() -> None:
    via = h.Via.parse("SIP/2.0/udp Pc33.Atlanta.com:5066;branch=z9hG4bK776;rport;ttl=1")
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "Pc33.Atlanta.com", 5066, "z9hG4bK776")
    assert via.sent_by == "pc33.atlanta.com:5066"
    assert (via.param("ttl"), via.param("rport"), via.param("maddr")) == ("1", "", None)
    assert str(via) == "SIP/2.0/UDP Pc33.Atlanta.com:5066;branch=z9hG4bK776;rport;ttl=1"


def test_via_ports_and_ipv6() -> None:
    assert h.Via.parse("SIP/2.0/UDP h").sent_by == "h:5060"
    assert h.Via.parse("SIP/2.0/TLS h").sent_by == "h:5061"
    via = h.Via.parse("SIP/2.0/TCP [2001:db8::9]:5070 ;received=[2001:db8::1]")  # RFC 5118 §4.5: both spellings
    assert (via.host, via.port, via.received) == ("2001:db8::9", 5070, "2001:db8::1")
    assert str(via).startswith("SIP/2.0/TCP [2001:db8::9]:5070;")
    assert h.Via.parse("SIP/2.0/UDP h;received=2001:db8::1").received == "2001:db8::1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/3.0/UDP h",
        "HTTP/2.0/UDP h",
        "SIP/2.0/UDP h:99999",
        "SIP/2.0/UDP h:1234567",
        "SIP/2.0/UDP h:port",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP h branch=1",
        "SIP/2.0/UDP h;branch=a b",
        "SIP/2.0UDP h",
    ],
)
def test_malformed_via(text: str) -> None:
    with pytest.raises(SipParseError):
        h.Via.parse(text)


def test_a_via_is_told_where_the_request_came_from() -> None:
    same = h.Via.parse("SIP/2.0/UDP 192.0.2.1;branch=z").with_source("192.0.2.1", 5060)
    assert str(same) == "SIP/2.0/UDP 192.0.2.1;branch=z"
    other = h.Via.parse("SIP/2.0/UDP host;branch=z").with_source("192.0.2.1", 5060)
    assert (other.received, other.rport) == ("192.0.2.1", None)
    # RFC 3581 §4: when rport was asked for, received stands there even if it is the same
    asked = h.Via.parse("SIP/2.0/UDP 192.0.2.1;rport;branch=z").with_source("192.0.2.1", 40000)
    assert (asked.received, asked.rport) == ("192.0.2.1", 40000)
    assert str(asked) == "SIP/2.0/UDP 192.0.2.1;rport=40000;branch=z;received=192.0.2.1"


@pytest.mark.parametrize("value", ["", "x", "99999", "-1"])
def test_a_nonsensical_rport_is_none(value: str) -> None:
    assert h.Via.parse(f"SIP/2.0/UDP h;rport={value}").rport is None


def test_vias_on_one_line_or_many() -> None:
    headers = of("Via", "SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b;branch=2", "SIP/2.0/TCP c;branch=3")
    assert [via.host for via in h.via_list(headers)] == ["a", "b", "c"]
    assert h.top_via(headers).host == "a"
    assert h.pop_first(headers, "Via") == "SIP/2.0/UDP a;branch=1"
    assert h.top_via(headers).host == "b"
    h.set_top_via(headers, h.Via("UDP", "d"))
    assert h.top_via(headers) == h.Via("UDP", "d")
    assert headers.get_all("Via") == ["SIP/2.0/UDP d", "SIP/2.0/TCP c;branch=3"]
    assert h.pop_first(headers, "Via") == "SIP/2.0/UDP d"
    assert h.pop_first(headers, "Via") == "SIP/2.0/TCP c;branch=3"
    assert h.pop_first(headers, "Via") is None
    with pytest.raises(SipParseError, match="missing Via"):
        h.top_via(headers)


def test_replacing_the_first_of_several_on_a_line_keeps_the_rest() -> None:
    headers = of("Via", 'SIP/2.0/UDP a, SIP/2.0/UDP b;x="c,d"', "SIP/2.0/UDP e")
    h.set_top_via(headers, h.Via("TCP", "z"))
    assert headers.get_all("Via") == ['SIP/2.0/TCP z, SIP/2.0/UDP b;x="c,d"', "SIP/2.0/UDP e"]
    with pytest.raises(ValueError, match="no Via"):
        Headers().replace_first("Via", "x")


_READERS: dict[str, Callable[[Headers], object]] = {
    "Via": h.top_via,
    "From": h.from_,
    "To": h.to,
    "CSeq": h.cseq,
    "Call-ID": h.call_id,
    "Contact": h.contacts,
    "Route": h.routes,
    "Authorization": h.authorizations,
}
_VALUES = {
    "Via": st.sampled_from(["SIP/2.0/UDP a;branch=1", "SIP/2.0/TCP b:5061, SIP/2.0/UDP c", "nonsense"]),
    "CSeq": st.sampled_from(["1 INVITE", "2 ACK", "x"]),
    "Authorization": st.sampled_from(['Digest username="a", realm="r"', "Bearer abc", "Digest ="]),
}
_ADDRESSES = st.sampled_from(["<sip:a@h>;tag=1", "sip:b@h;tag=2", '"x" <sip:c>, <sip:d>', "<"])


@given(
    st.lists(
        st.sampled_from(list(_READERS)).flatmap(
            lambda name: st.tuples(
                st.sampled_from(["add", "prepend", "set", "remove", "replace_first", "set_all", "pop", "read", "copy"]),
                st.just(name),
                _VALUES.get(name, _ADDRESSES),
            )
        ),
        max_size=20,
    )
)
def test_what_was_read_is_never_older_than_the_lines(steps: list[tuple[str, str, str]]) -> None:
    headers = Headers()
    for what, name, value in steps:
        if what == "remove":
            headers.remove(name)
        elif what == "set_all":
            headers.set_all(name, [value, value])
        elif what == "pop":
            with suppress(SipParseError):
                h.pop_first(headers, name)
        elif what == "copy":
            headers = headers.copy()
        elif what != "read" and (what != "replace_first" or name in headers):
            getattr(headers, what)(name, value)
        for each, reader in _READERS.items():
            again = Headers(headers.items())
            assert _outcome(reader, headers) == _outcome(reader, again), each


def _outcome(reader: Callable[[Headers], object], headers: Headers) -> object:
    try:
        return reader(headers)
    except SipParseError as error:
        return str(error)


# --- CSeq, From, To, contacts


def test_cseq() -> None:
    assert h.cseq(of("CSeq", "4711 INVITE")) == h.CSeq(4711, "INVITE")
    assert h.CSeq.parse("0009   invite") == h.CSeq(9, "invite")
    assert str(h.CSeq(1, "ACK")) == "1 ACK"
    assert h.CSeq.parse(f"{2**32 - 1} BYE").number == 2**32 - 1


@pytest.mark.parametrize("text", ["", "1", "INVITE", "1INVITE", "-1 INVITE", "4294967296 A", "1 IN VITE", "1 INVITE x"])
def test_malformed_cseq(text: str) -> None:
    with pytest.raises(SipParseError):
        h.cseq(of("CSeq", text))


def test_contacts_and_their_expiry() -> None:
    headers = Headers([("Contact", '"a, b" <sip:a@h>;expires=60, <sip:b@h>'), ("m", "<sip:c@h>;expires=x")])
    first, second, third = h.contacts(headers)
    assert h.contact_expires(first, headers, 3600) == 60
    assert h.contact_expires(second, headers, 3600) == 3600
    headers.add("Expires", "120")
    assert h.contact_expires(second, headers, 3600) == 120
    assert h.contact_expires(third, headers, 3600) == 3600  # malformed counts as the default (RFC 3261 §20.10)
    assert h.contacts(Headers()) == ()
    assert h.contacts(of("Contact", "")) == ()


def test_wildcard_contact() -> None:
    assert not h.is_wildcard(Headers())
    assert not h.is_wildcard(of("Contact", "<sip:a@h>"))
    assert h.is_wildcard(Headers([("Contact", "*"), ("Expires", "0")]))
    for lines in (
        [("Contact", "*")],
        [("Contact", "*"), ("Expires", "60")],
        [("m", "*"), ("m", "<sip:a>"), ("Expires", "0")],
    ):
        with pytest.raises(SipParseError):
            h.is_wildcard(Headers(lines))


def test_route_headers() -> None:
    headers = Headers([("Route", "<sip:p1;lr>,<sip:p2;lr>"), ("Record-Route", "<sip:r;lr>")])
    assert [str(route.uri) for route in h.routes(headers)] == ["sip:p1;lr", "sip:p2;lr"]
    assert [str(route.uri) for route in h.record_routes(headers)] == ["sip:r;lr"]


def test_asserted_identity() -> None:
    headers = of("P-Asserted-Identity", '"Cam" <sip:cam1@soip.local>, <tel:+1>')
    assert [str(name.uri) for name in h.asserted_identity(headers)] == ["sip:cam1@soip.local", "tel:+1"]


# --- numbers, tokens, types


def test_seconds() -> None:
    headers = Headers(
        [("Expires", "60"), ("Retry-After", "18000 (in a meeting);duration=3600"), ("Min-Expires", "0090")]
    )
    assert (h.expires(headers), h.retry_after(headers), h.min_expires(headers)) == (60, 18000, 90)
    assert h.expires(Headers()) is None
    assert h.delta_seconds("0") == 0
    assert h.delta_seconds("9" * 5000) == 2**32 - 1
    for text in ("", "x", "-1"):
        with pytest.raises(SipParseError):
            h.delta_seconds(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("70", 70), ("0068", 68), ("255", 255)])
def test_max_forwards(text: str, value: int) -> None:
    assert h.max_forwards(of("Max-Forwards", text)) == value


def test_malformed_max_forwards() -> None:
    assert h.max_forwards(Headers()) is None
    for text in ("256", "-1", "x", "", "7" * 5000):
        with pytest.raises(SipParseError):
            h.max_forwards(of("Max-Forwards", text))


def test_option_tags_and_content_type() -> None:
    headers = Headers([("Require", "Timer, path"), ("Require", "100rel"), ("Allow", "INVITE,ACK"), ("k", "")])
    assert h.option_tags(headers, "Require") == ["timer", "path", "100rel"]
    assert h.option_tags(headers, "Allow") == ["INVITE", "ACK"]
    assert h.option_tags(headers, "Supported") == []
    assert h.content_type(of("c", "Application/SDP ;charset=utf-8")) == "application/sdp"
    assert h.content_type(Headers()) == ""


def test_warning_and_reason() -> None:
    assert h.warning(399, "soip.local", 'No "video"') == '399 soip.local "No \\"video\\""'
    assert h.reason("SIP", 200) == "SIP;cause=200"
    assert h.reason("SIP", 200, "Call completed") == 'SIP;cause=200;text="Call completed"'


# --- authentication headers


def test_challenge() -> None:
    text = 'Digest realm="a, \\"b\\"", nonce="84a4", opaque="", stale=FALSE, algorithm=MD5, qop="auth,auth-int"'
    challenge = h.Challenge.parse(text)
    assert (challenge.scheme, challenge.realm, challenge.nonce, challenge.opaque) == ("Digest", 'a, "b"', "84a4", "")
    assert (challenge.stale, challenge.algorithm, challenge.qop) == (False, "MD5", ("auth", "auth-int"))
    assert str(challenge) == text


def test_challenge_defaults_and_sloppy_spelling() -> None:
    challenge = h.Challenge.parse("digest realm=x,nonce = y , stale=TRUE,,qop=auth")
    assert (challenge.realm, challenge.nonce, challenge.stale) == ("x", "y", True)
    assert (challenge.algorithm, challenge.qop) == ("MD5", ("auth",))


@pytest.mark.parametrize(
    "text", ["", "Digest", "Digest realm", 'Digest realm="x', 'Digest realm="x" nonce="y"', "=x y"]
)
def test_malformed_challenges(text: str) -> None:
    with pytest.raises(SipParseError):
        h.challenges(of("WWW-Authenticate", text))


def test_several_challenges() -> None:
    headers = of("Proxy-Authenticate", 'Digest realm="a", algorithm=SHA-256', 'Digest realm="a", algorithm=MD5')
    assert [c.algorithm for c in h.challenges(headers, "Proxy-Authenticate")] == ["SHA-256", "MD5"]
    assert h.challenges(headers) == []


def test_authorization() -> None:
    text = 'Digest username="cam1", realm="soip", nonce="n", uri="sip:soip.local", response="00", nc=00000001'
    (credentials,) = h.authorizations(of("Authorization", text))
    assert (credentials.username, credentials.realm, credentials.nonce) == ("cam1", "soip", "n")
    assert credentials.param("uri") == "sip:soip.local"
    assert credentials.param("cnonce") == ""
    assert str(credentials) == text


def test_bearer() -> None:
    credentials = h.Authorization.parse("bearer eyJ0eXAi.x-y_z==")
    assert (credentials.token, credentials.params) == ("eyJ0eXAi.x-y_z==", ())
    assert str(credentials) == "bearer eyJ0eXAi.x-y_z=="


# --- check

GOOD = [
    ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"),
    ("From", "<sip:a@b>;tag=1"),
    ("To", "<sip:a@b>"),
    ("Call-ID", "x"),
    ("CSeq", "1 INFO"),
]


def test_check_takes_what_is_good() -> None:
    h.check(Request("INFO", Uri("sip", "", "h"), Headers(GOOD)))
    h.check(Response(200, "OK", Headers(GOOD)))


@pytest.mark.parametrize("missing", range(len(GOOD)))
def test_check_refuses_what_is_missing(missing: int) -> None:
    lines = [line for at, line in enumerate(GOOD) if at != missing]
    request = Request("INFO", Uri("sip", "", "h"), Headers(lines))
    with pytest.raises(SipParseError, match="missing") as caught:
        h.check(request)
    assert (caught.value.method, caught.value.headers) == ("INFO", request.headers)
    with pytest.raises(SipParseError) as caught:
        h.check(Response(200, "OK", Headers(lines)))
    assert caught.value.headers is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("presence", EventType("presence")),
        (" presence ; id=a7", EventType("presence", "a7")),
        ("vnd.soip.alarm;x=1;ID=9", EventType("vnd.soip.alarm", "9")),
        ("Catalog;id=1", EventType("Catalog", "1")),
    ],
)
def test_event(value: str, expected: EventType) -> None:
    assert h.event(Headers([("Event", value)])) == expected
    assert h.event(Headers([("o", value)])) == expected
    assert h.event(Headers([("Event", str(expected))])) == expected


def test_no_event_and_malformed_ones() -> None:
    assert h.event(Headers()) is None
    for values in (["a b"], [""], [";id=1"], ["a", "b"], ['a;id="b c"'], ["a;=;=;;,"]):
        with pytest.raises(SipParseError):
            h.event(Headers([("Event", value) for value in values]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], True),
        (["application/pidf+xml"], True),
        (["text/plain, Application/PIDF+xml;q=0.3"], True),
        (["text/plain", "*/*;q=0.1"], True),
        (["application/*"], True),
        (["text/*"], False),
        (["application/pidf+xml;q=0"], False),
        (["application/pidf+xml;q=0.000"], False),
        ([""], False),
    ],
)
def test_accept(values: list[str], expected: bool) -> None:
    assert h.accepts(Headers([("Accept", value) for value in values]), "application/pidf+xml") is expected


# -- quick ways, and the plain ways they stand for


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["username", "nc", "Realm", "", "a b"]),
            st.sampled_from(["=", " = ", "", "=="]),
            st.sampled_from(['"x"', '"a\\"b, c"', "00000001", "", '"', "é"]),
            st.sampled_from([",", ", ", " ,", "", ",,", ";"]),
        ),
        max_size=6,
    ).map(lambda parts: "".join(piece for part in parts for piece in part))
    | st.text('a"=, \\\t', max_size=20)
)
def test_credentials_are_read_all_at_once_as_one_by_one(text: str) -> None:
    def told(read: Callable[[str], object]) -> object:
        try:
            return read(text)
        except SipParseError as error:
            return str(error)

    assert told(grammar.parse_auth_params) == told(grammar._parse_unusual_auth_params)


def test_of_a_parameter_that_stands_twice_the_first_counts() -> None:
    assert h.Authorization.parse('Digest realm="a", Realm="b"').realm == "a"


@given(st.text('<>";:@= abs1.', max_size=30) | st.sampled_from(['"A" <sip:a@b>;tag=1', "sip:a@b;x", "<sip:a@b>"]))
def test_an_address_is_read_again_as_the_first_time(text: str) -> None:
    def told(read: Callable[[str], NameAddr]) -> NameAddr | str:
        try:
            return read(text)
        except SipParseError as error:
            return str(error)

    plain = told(_parse_name_addr)
    assert told(NameAddr.parse) == plain
    assert told(NameAddr.parse) == plain


@given(
    st.lists(st.tuples(st.sampled_from(["Via", "v", "To", "X-Own"]), st.sampled_from(["a", "b", ""])), max_size=6),
    st.lists(
        st.tuples(
            st.sampled_from(["add", "prepend", "set", "replace_first", "remove"]),
            st.sampled_from(["Via", "to", "X-own"]),
        ),
        max_size=4,
    ),
)
def test_values_by_name_are_those_of_the_lines(lines: list[tuple[str, str]], changes: list[tuple[str, str]]) -> None:
    headers = Headers(lines)
    for what, name in changes:
        assert headers.get("Via") == next((v for n, v in headers.items() if n.lower() in ("via", "v")), None)
        if what == "remove":
            headers.remove(name)
        elif what != "replace_first" or name in headers:
            getattr(headers, what)(name, "changed")
        for each, names in (("Via", ("via", "v")), ("To", ("to", "t")), ("X-Own", ("x-own",))):
            plain = [value for n, value in headers.items() if n.lower() in names]
            assert headers.get_all(each) == plain
            assert headers.get(each) == (plain[0] if plain else None)
            assert headers.single(each.lower()) == (plain[0] if len(plain) == 1 else None)
            assert (each in headers) == bool(plain)


_PARAMS = st.lists(
    st.tuples(st.sampled_from(["rport", "RPort", "received", "branch", "x"]), st.sampled_from(["1", "", None])),
    max_size=5,
).map(tuple)


@given(_PARAMS, st.sampled_from(["192.0.2.9", "h"]), st.integers(1, 65535))
def test_a_via_is_told_its_source_at_once_as_one_by_one(params: grammar.Params, host: str, port: int) -> None:
    via = h.Via("UDP", "h", 5060, params)
    plain = via
    if via.param("rport") is not None:
        plain = via.with_param("rport", str(port)).with_param("received", host)
    elif host != "h":
        plain = via.with_param("received", host)
    assert via.with_source(host, port) == plain


# -- sessions, replaced calls, referrals


@pytest.mark.parametrize(
    ("value", "seconds", "refresher", "written"),
    [
        ("1800", 1800, "", "1800"),
        (" 90 ;refresher=UAC", 90, "uac", "90;refresher=uac"),
        ("4000;x=y;refresher=uas", 4000, "uas", "4000;refresher=uas"),
        ("99999999999999", 2**32 - 1, "", str(2**32 - 1)),
    ],
)
def test_session_expires(value: str, seconds: int, refresher: str, written: str) -> None:
    for name in ("Session-Expires", "x"):
        read = h.session_expires(Headers([(name, value)]))
        assert read == h.SessionExpires(seconds, refresher)
        assert str(read) == written
    assert h.session_expires(Headers()) is None


@pytest.mark.parametrize("value", ["", "x", "90.5", "-90", "90 90", "90;refresher=both", ";refresher=uac", "90, 91"])
def test_session_expires_malformed(value: str) -> None:
    with pytest.raises(SipParseError):
        h.session_expires(Headers([("Session-Expires", value)]))
    with pytest.raises(SipParseError):
        h.min_se(Headers([("Min-SE", value.replace("refresher=both", "=") or " ")]))


def test_min_se() -> None:
    assert h.min_se(Headers([("Min-SE", "120;x=y")])) == 120
    assert h.min_se(Headers()) is None
    with pytest.raises(SipParseError):
        h.min_se(Headers([("Min-SE", "120"), ("Min-SE", "120")]))


def test_replaces() -> None:
    read = h.replaces(Headers([("Replaces", "98732@sip.example.com;from-tag=r33th4x0r ;to-tag=ff87ff; early-only")]))
    assert read == h.Replaces("98732@sip.example.com", "ff87ff", "r33th4x0r", early_only=True)
    assert str(read) == "98732@sip.example.com;to-tag=ff87ff;from-tag=r33th4x0r;early-only"
    assert h.replaces(Headers([("Replaces", "12adf2f34456gs5;to-tag=12345;from-tag=54321;x=y")])) == h.Replaces(
        "12adf2f34456gs5", "12345", "54321"
    )
    assert h.replaces(Headers()) is None


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "a;to-tag=1",
        "a;from-tag=1",
        ";to-tag=1;from-tag=2",
        "a;to-tag=;from-tag=2",
        'a;to-tag="x y";from-tag=2',
        "a;TO-TAG=1;to-tag=1;from-tag=2",
    ],
)
def test_replaces_malformed(value: str) -> None:
    with pytest.raises(SipParseError):
        h.replaces(Headers([("Replaces", value)]))


def test_refer_to() -> None:
    read = h.refer_to(Headers([("r", "Bob <sip:bob@d;method=INVITE>;x=y")]))
    assert (read.uri.user, read.uri.param("method")) == ("bob", "INVITE")
    for lines in ([], [("Refer-To", "<sip:a@d>")] * 2, [("Refer-To", "")], [("Refer-To", "<sip:a@d>, <sip:b@d>")]):
        with pytest.raises(SipParseError):
            h.refer_to(Headers(lines))
