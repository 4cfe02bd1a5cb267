"""URIs, name-addrs and user parts: RFC 3261 §19.1, with cases of RFC 4475 and RFC 5118."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.errors import SipBuildError, SipParseError, UriError
from soip.sip.uri import NameAddr, Uri, equivalent, format_host, join_user, split_user

TEXTS = [
    "sip:alice@atlanta.com",
    "sip:alice:secretword@atlanta.com;transport=tcp",
    "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
    "sip:+1-212-555-1212:1234@gateway.com;user=phone",
    "sips:1212@gateway.com",
    "sip:alice@192.0.2.4",
    "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
    "sip:alice;day=tuesday@atlanta.com",
    "sip:cam1;start=20261120T100000Z;stop=20261120T101000Z@soip.local",
    "sip:[2001:db8::10]:5070",
    "sip:user@[2001:db8::10:5070];lr",
    "SIP:UPPER@Example.COM:5060",
    "sip:null-%00-null@example.com",
    "sip:sip%3Auser%40example.com@company.com;other-param=summit",
    "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    "sip:user;par=u%40example.net@example.com",
    "sip:caf%C3%A9@example.com",
    "sip:latin1-%e9@example.com",
    "tel:+358-555-1234567;postd=pp22",
    "urn:service:sos",
    "nobodyKnowsThisScheme:totallyopaquecontent",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_parsed_uri_is_written_as_it_came(text: str) -> None:
    assert str(Uri.parse(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_a_uri_made_of_the_same_parts_means_the_same(text: str) -> None:
    uri = Uri.parse(text)
    made = Uri(uri.scheme, uri.user, uri.host, uri.port, uri.params, uri.headers, uri.password, uri.opaque)
    assert Uri.parse(str(made)) == uri


def test_components() -> None:
    uri = Uri.parse("sips:alice:pa%3Ass@Atlanta.COM:5061;transport=TCP;lr?subject=a%20b&x=")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == (
        "sips",
        "alice",
        "pa:ss",
        "atlanta.com",
        5061,
    )
    assert uri.param("transport") == "TCP"
    assert uri.param("lr") == ""
    assert uri.param("maddr") is None
    assert uri.headers == (("subject", "a b"), ("x", ""))
    assert uri.is_sip


def test_names_of_parameters_match_in_any_case() -> None:
    assert Uri.parse("sip:a;Transport=tcp").param("transport") == "tcp"


def test_an_ipv6_host_loses_its_brackets_and_gets_them_back() -> None:
    uri = Uri.parse("sip:u@[2001:DB8::1]:5070")
    assert (uri.host, uri.port) == ("2001:db8::1", 5070)
    assert str(Uri("sip", "u", "2001:db8::1", 5070)) == "sip:u@[2001:db8::1]:5070"
    assert format_host("192.0.2.1", 5060) == "192.0.2.1:5060"
    assert format_host("::1") == "[::1]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip:@",
        "sip:@host",
        "alice@host",
        "sip:a b@host",
        "sip:alice@host:port",
        "sip:alice@host:99999",
        "sip:alice@host:123456",
        "sip:2001:db8::10",  # RFC 5118 §4.2: an IPv6 address needs brackets
        "sip:[2001:db8::10",
        "sip:[]",
        "sip:alice@@host",
        "sip:alice@host\r\nVia: x",
        "sip:al\0ice@host",
        "<sip:alice@host>",
        "sip:%4@host",
        "sip:%zz@host",
        "tel:",
        "1tel:5",
    ],
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(UriError):
        Uri.parse(text)


def test_a_long_uri_is_refused_with_414() -> None:
    with pytest.raises(UriError) as caught:
        Uri.parse("sip:" + "a" * 5000 + "@host")
    assert caught.value.status == 414


def test_what_cannot_stand_unescaped_is_escaped() -> None:
    uri = Uri("sip", "a b@c:d", "host", params=(("x;y", "1=2"),), headers=(("to", "a&b"),))
    assert str(uri) == "sip:a%20b%40c%3Ad@host;x%3By=1%3D2?to=a%26b"
    assert Uri.parse(str(uri)) == uri


@pytest.mark.parametrize("host", ["", "a b", "host\r\nVia: x", "a@b", "a;b"])
def test_a_bad_host_cannot_be_written(host: str) -> None:
    with pytest.raises(SipBuildError):
        str(Uri("sip", "a", host))


def test_changes_make_a_copy_that_is_written_anew() -> None:
    uri = Uri.parse("sip:a@h;x=1")
    assert str(uri.with_params(lr=None)) == "sip:a@h;x=1;lr"
    assert str(uri.with_params({"X": "2"})) == "sip:a@h;x=2"
    assert str(uri.without_params("x")) == "sip:a@h"
    assert str(uri.with_user("b")) == "sip:b@h;x=1"
    assert str(uri.address_only()) == "sip:a@h"
    assert str(uri) == "sip:a@h;x=1"


@pytest.mark.parametrize(
    ("one", "other"),
    [  # the examples of RFC 3261 §19.1.4
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1", "tel:+1"),
    ],
)
def test_equivalent(one: str, other: str) -> None:
    assert equivalent(Uri.parse(one), Uri.parse(other))
    assert equivalent(Uri.parse(other), Uri.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "tel:a"),
    ],
)
def test_not_equivalent(one: str, other: str) -> None:
    assert not equivalent(Uri.parse(one), Uri.parse(other))
    assert not equivalent(Uri.parse(other), Uri.parse(one))


def test_name_addr_forms() -> None:
    quoted = NameAddr.parse('"Mr. \\"W\\", Watson" <sip:watson@host;lr>;q=0.7; expires=3600')
    assert quoted.display == 'Mr. "W", Watson'
    assert str(quoted.uri) == "sip:watson@host;lr"
    assert quoted.param("q") == "0.7"
    assert quoted.param("expires") == "3600"
    tokens = NameAddr.parse("Bell Alexander <sip:bell@host>;tag=43")
    assert (tokens.display, tokens.tag) == ("Bell Alexander", "43")
    bare = NameAddr.parse("sip:bell@host;tag=43")
    assert (bare.display, str(bare.uri), bare.tag) == ("", "sip:bell@host", "43")
    spaced = NameAddr.parse("sip:bell@host ;   tag    = 19n")
    assert (str(spaced.uri), spaced.tag) == ("sip:bell@host", "19n")
    assert NameAddr.parse("<sip:a@b>").tag == ""


def test_a_display_name_without_quotes_may_hold_what_phones_put_there() -> None:
    assert NameAddr.parse("Bell, Alexander <sip:a@b>").display == "Bell, Alexander"
    assert NameAddr.parse("카메라 1 <sip:a@b>").display == "카메라 1"


def test_spaces_inside_the_brackets_are_taken() -> None:
    assert str(NameAddr.parse('"Watson, Thomas" < sip:t.watson@example.org >').uri) == "sip:t.watson@example.org"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<",
        "<>",
        "<sip:a@b",
        "sip:a@b>",
        '"Mr. J. User <sip:j.user@example.com>',  # RFC 4475 §3.1.2.6: the quote does not close
        '"a" "b" <sip:a@b>',
        "sip:user@example.com?Route=%3Csip:sip.example.com%3E",  # §3.1.2.13: "?" needs brackets
        "<sip:a@b> trailing",
        "<sip:a@b>;tag=a b",
        "<sip:a@b>;=x",
        "<sip:a@b><sip:c@d>",
    ],
)
def test_what_is_no_name_addr_is_refused(text: str) -> None:
    with pytest.raises(UriError):
        NameAddr.parse(text)


def test_a_name_addr_is_written_with_quotes_and_brackets() -> None:
    name = NameAddr('A "B" \\', Uri("sip", "a", "b"), (("tag", "1"), ("lr", None)))
    assert str(name) == '"A \\"B\\" \\\\" <sip:a@b>;tag=1;lr'
    assert NameAddr.parse(str(name)) == name
    assert str(name.with_params(tag="2")) == '"A \\"B\\" \\\\" <sip:a@b>;tag=2;lr'
    with pytest.raises(SipBuildError):
        str(NameAddr("a\r\nb", Uri("sip", "a", "b")))


def test_a_quoted_parameter_is_read_without_quotes_and_kept_with_them() -> None:
    name = NameAddr.parse('<sip:a@b>;+sip.instance="<urn:uuid:1>";x="a;b,\\"c"')
    assert name.param("+sip.instance") == "<urn:uuid:1>"
    assert name.param("x") == 'a;b,"c'
    assert str(name) == '<sip:a@b>;+sip.instance="<urn:uuid:1>";x="a;b,\\"c"'


def test_split_user() -> None:
    assert split_user("cam1") == ("cam1", {})
    assert split_user("cam1;start=1;STOP=2;flag") == ("cam1", {"start": "1", "stop": "2", "flag": ""})
    assert join_user("cam1", {"start": "1"}) == "cam1;start=1"
    # A phone may escape the separators; the user part is unescaped before.
    assert split_user(Uri.parse("sip:cam1%3Bstart%3D1@h").user) == ("cam1", {"start": "1"})


@pytest.mark.parametrize("user", ["cam1;", "cam1;=1", "cam1;a=1;a=2", "cam1;a b=1"])
def test_a_malformed_user_part_is_refused(user: str) -> None:
    with pytest.raises(UriError):
        split_user(user)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
HOST = st.sampled_from(["example.com", "192.0.2.1", "2001:db8::1", "a_b-c.d"])
PARAMS = st.lists(st.tuples(TEXT.filter(bool), st.none() | TEXT), max_size=3).map(tuple)
FIELDS = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=3).map(tuple)


@given(
    st.sampled_from(["sip", "sips"]),
    TEXT,
    HOST,
    st.none() | st.integers(0, 65535),
    PARAMS,
    FIELDS,
    TEXT,
)
def test_any_parts_can_be_written_and_read_back(
    scheme: str,
    user: str,
    host: str,
    port: int | None,
    params: tuple[tuple[str, str | None], ...],
    fields: tuple[tuple[str, str], ...],
    password: str,
) -> None:
    uri = Uri(scheme, user, host, port, params, fields, password if user else "")
    assert Uri.parse(str(uri)) == uri


@given(st.text(max_size=60))
def test_any_text_is_a_uri_or_an_error(text: str) -> None:
    for parse in (Uri.parse, NameAddr.parse):
        try:
            value: Uri | NameAddr = parse(text)
        except SipParseError:
            continue
        assert type(value).parse(str(value)) == value
