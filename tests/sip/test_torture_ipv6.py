"""RFC 5118: each message is read or refused as it says, by the parser. `signalling/test_ipv6.py` has a server."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from soip.sip import headers as h
from soip.sip.errors import SipBuildError, SipParseError, UriError
from soip.sip.headers import Via
from soip.sip.message import Request, Response, parse_message
from soip.sip.reply import error_response, make_response
from soip.sip.sdp import SessionDescription
from soip.sip.stream import StreamParser
from soip.sip.uri import Uri, format_host
from tests.sip import torture_ipv6 as corpus


def read(data: bytes) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    h.check(message)
    return message


def top(message: Request) -> Via:
    return h.top_via(message.headers)


@pytest.mark.parametrize("name", sorted(corpus.VALID))
def test_what_is_valid_is_read_whole_and_byte_by_byte_and_written_back(name: str) -> None:
    data = corpus.VALID[name]
    message = read(data)
    assert message.to_bytes() == data, "a proxy changes nothing"
    parser = StreamParser()
    (streamed,) = [item for at in range(len(data)) for item in parser.feed(data[at : at + 1])]
    assert streamed == message
    answer = make_response(message, 200, to_tag="t")
    assert isinstance(parse_message(answer.to_bytes()), Response)
    assert answer.headers.get_all("Via") == message.headers.get_all("Via")


def test_an_address_in_brackets() -> None:
    message = read(corpus.REFERENCE)
    assert (message.uri.host, message.uri.port) == ("2001:db8::10", None)
    assert (top(message).host, top(message).port) == ("2001:db8::9:1", None)
    assert h.contacts(message.headers)[0].uri.host == "2001:db8::1"


def test_an_address_without_brackets_is_a_bad_request() -> None:
    with pytest.raises(SipParseError) as caught:
        read(corpus.BARE_ADDRESS)
    answer = error_response(caught.value, "t")
    assert answer is not None
    assert answer.status == 400
    assert answer.headers.get("Via") == "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111"


def test_a_port_inside_the_brackets_is_part_of_the_address() -> None:
    uri = read(corpus.AMBIGUOUS_PORT).uri
    assert (uri.host, uri.port) == ("2001:db8::10:5070", None)


def test_a_port_after_the_brackets() -> None:
    uri = read(corpus.PORT).uri
    assert (uri.host, uri.port) == ("2001:db8::10", 5070)


@pytest.mark.parametrize("data", [corpus.RECEIVED, corpus.RECEIVED_WITH_BRACKETS])
def test_received_with_and_without_brackets(data: bytes) -> None:
    assert top(read(data)).received == "2001:db8::9:255"


def test_addresses_of_the_sdp_have_no_brackets() -> None:
    sdp = SessionDescription.parse(read(corpus.SDP).body)
    assert [sdp.address(media) for media in sdp.media] == ["2001:db8::20", "2001:db8::20"]


def test_both_kinds_of_addresses_in_the_vias() -> None:
    vias = h.via_list(read(corpus.MIXED_VIAS).headers)
    assert [(via.transport, via.host, via.port, via.received) for via in vias] == [
        ("UDP", "2001:db8::9:1", 6050, None),
        ("UDP", "192.0.2.1", None, None),
        ("TCP", "2001:db8::9:255", None, "192.0.2.200"),
    ]


def test_both_kinds_of_addresses_in_the_sdp() -> None:
    sdp = SessionDescription.parse(read(corpus.MIXED_SDP).body)
    assert [sdp.address(media) for media in sdp.media] == ["192.0.2.1", "2001:db8::1"]


def test_mapped_addresses() -> None:
    message = read(corpus.MAPPED)
    assert [(via.host, via.port) for via in h.via_list(message.headers)] == [
        ("::ffff:192.0.2.10", 19823),
        ("::ffff:192.0.2.2", None),
    ]
    assert h.contacts(message.headers)[0].uri.host == "::ffff:192.0.2.2"
    sdp = SessionDescription.parse(message.body)
    assert sdp.address(sdp.media[0]) == "::ffff:192.0.2.2"


@pytest.mark.parametrize("data", [corpus.THREE_COLONS, corpus.TWO_COLONS])
def test_a_colon_too_many_is_passed_over(data: bytes) -> None:
    message = read(data)
    assert message.uri.host == h.to(message.headers).uri.host == "2001:db8::192.0.2.1"
    assert ip_address(message.uri.host) == ip_address("2001:db8::c000:201")


@pytest.mark.parametrize("text", ["[2001:db8:::192.0.2.1]", "[:::192.0.2.1]:5060"])
def test_a_colon_too_many_in_a_via(text: str) -> None:
    assert ip_address(Via.parse(f"SIP/2.0/UDP {text};branch=z9hG4bK1").host)


@pytest.mark.parametrize(
    "host", ["[2001:db8::1", "2001:db8::1]", "[]", "[2001:db8::1]x", "[fe80::1%eth0]", "[2001:db8::g]", "[[::1]]"]
)
def test_brackets_that_hold_no_address(host: str) -> None:
    with pytest.raises(UriError):
        Uri.parse(f"sip:user@{host}")
    with pytest.raises(SipParseError):
        read(corpus.REFERENCE.replace(b"[2001:db8::10]", host.encode()))


def test_what_is_made_of_parts_has_brackets() -> None:
    assert str(Uri("sip", "u", "2001:db8::1", 5070)) == "sip:u@[2001:db8::1]:5070"
    assert format_host("::1", 5060) == "[::1]:5060"
    with pytest.raises(SipBuildError):
        str(Uri("sip", "u", "2001:db8::1]"))
