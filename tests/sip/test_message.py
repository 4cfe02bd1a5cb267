"""Messages: RFC 3261 §7, the torture tests of RFC 4475, limits, and what is kept as received."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import headers as h
from soip.sip.errors import SipBuildError, SipParseError
from soip.sip.message import (
    MAX_HEADERS,
    MAX_LINE,
    MAX_MESSAGE,
    Headers,
    Request,
    Response,
    content_length,
    find_head,
    header_key,
    parse_message,
)
from soip.sip.reply import REASONS, error_response, make_response
from soip.sip.uri import Uri
from tests.fuzz import seeds, sip_message
from tests.sip.samples import MESSAGE, REGISTER, RESPONSE, SAMPLES, WSINV, wire


def request(data: bytes) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def refused(data: bytes) -> SipParseError:
    with pytest.raises(SipParseError) as caught:
        parse_message(data)
    return caught.value


HEAD = """OPTIONS sip:user@example.com SIP/2.0
Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw
Max-Forwards: 70
From: <sip:caller@example.net>;tag=1
To: sip:user@example.com
Call-ID: abc@host
CSeq: 8 OPTIONS
"""


def options(extra: str = "", body: str = "") -> bytes:
    """A good request with lines added to its head."""
    return wire(HEAD + (f"{extra}\n" if extra else "") + "\n" + body)


@pytest.mark.parametrize("data", [REGISTER, RESPONSE, MESSAGE])
def test_a_message_is_written_as_it_came(data: bytes) -> None:
    assert parse_message(data).to_bytes() == data


def test_a_request() -> None:
    message = request(REGISTER)
    assert (message.method, str(message.uri), message.body) == ("REGISTER", "sip:soip.local", b"")
    assert message.headers.get("call-id") == "843817637684230@998sdasdh09"
    assert len(message.headers) == 13


def test_a_response() -> None:
    message = parse_message(RESPONSE)
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (200, "OK")


def test_compact_forms_are_the_same_headers_and_keep_their_spelling() -> None:
    message = request(MESSAGE)
    assert message.headers.get("Via") == "SIP/2.0/TCP [2001:db8::9:1];branch=z9hG4bKchdj"
    assert message.headers.get("CONTENT-TYPE") == "Application/MANSCDP+xml"
    assert message.body == b"hello"
    assert next(message.headers.items())[0] == "v"
    assert header_key("L") == header_key("content-LENGTH") == "content-length"


# --- RFC 4475 §3.1.1: valid messages


def test_torture_short_tortuous_invite() -> None:
    message = request(WSINV)
    h.check(message)
    assert h.max_forwards(message.headers) == 68
    assert h.cseq(message.headers) == h.CSeq(9, "INVITE")
    assert h.from_(message.headers).display == 'J Rosenberg \\"'
    assert h.from_(message.headers).tag == "98asjd8"
    assert h.to(message.headers).tag == "1918181833n"
    assert [via.transport for via in h.via_list(message.headers)] == ["UDP", "TCP", "UDP"]
    assert [via.branch for via in h.via_list(message.headers)] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert h.contacts(message.headers)[0].param("newparam") == "newvalue"
    assert h.contacts(message.headers)[0].param("q") == "0.33"
    assert message.headers.get("UnknownHeaderWithUnusualValue") == ";;,,;;,;"
    assert len(message.body) == 150


def test_torture_wide_range_of_valid_characters() -> None:
    message = request(
        b"!interesting-Method0123456789_*+`.%indeed'~ "
        b"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com"
        b" SIP/2.0\r\n"
        b"Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\r\n"
        b'To: "BEL:\\\x07 NUL:\\\x01 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn\'t+it@example.com>\r\n'
        b"From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>"
        b";fromParam''~+*_!.-%=\"\xd1\x80\xd0\xb0\xd0\xb1\xd0\xbe\xd1\x82\xd0\xb0\";tag=_token~1'+`*%!-.\r\n"
        b"Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\r\n"
        b"CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\r\n"
        b"Max-Forwards: 255\r\n"
        b"extensionHeader-!.%*+_`'~:\xef\xbb\xbf\xe5\xa4\xa7\xe5\x81\x9c\xe9\x9b\xbb\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    h.check(message)
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert h.from_(message.headers).param("fromparam''~+*_!.-%") == "работа"
    assert h.call_id(message.headers).startswith("intmeth.word%ZK")


def test_torture_escaped_and_null_characters_in_uris() -> None:
    message = request(options().replace(b"sip:user@example.com SIP", b"sip:null-%00-null@example.com SIP"))
    assert message.uri.user == "null-\0-null"
    assert b"sip:null-%00-null@example.com SIP/2.0" in message.to_bytes()


def test_torture_no_space_between_display_name_and_bracket() -> None:
    message = request(options().replace(b"From: <sip", b"From: caller<sip"))
    assert h.from_(message.headers).display == "caller"


def test_torture_long_values() -> None:
    name = "I have a user name of extreme proportion" + "n" * 3000
    vias = "\n".join(f"Via: SIP/2.0/TCP sip{n}.example.com;branch=z9hG4bK{'very' * 50}long{n}" for n in range(34))
    message = request(options(f'{vias}\nContact: "{name}" <sip:{"u" * 500}@example.com>'))
    assert h.contacts(message.headers)[0].display == name
    assert len(h.via_list(message.headers)) == 35


def test_torture_extra_trailing_octets_are_dropped() -> None:
    message = request(options("Content-Length: 0", "INVITE sip:joe@example.com SIP/2.0\nt: x\n\n"))
    assert (message.method, message.body) == ("OPTIONS", b"")


def test_torture_semicolon_separated_parameters_in_the_user_part() -> None:
    data = options().replace(b"sip:user@example.com SIP", b"sip:user;par=u%40example.net@example.com SIP")
    assert request(data).uri.user == "user;par=u@example.net"


def test_torture_varied_and_unknown_transports() -> None:
    message = request(
        options("Via: SIP/2.0/SCTP t2;branch=a\nVia: SIP/2.0/TLS t3;branch=b\nVia: SIP/2.0/UNKNOWN t4;branch=c")
    )
    assert [via.transport for via in h.via_list(message.headers)] == ["UDP", "SCTP", "TLS", "UNKNOWN"]


def test_torture_binary_body() -> None:
    body = bytes(range(256))
    data = options("Content-Type: multipart/mixed;boundary=7a9cbec02ceef655\nContent-Length: 256")
    assert request(data + body).body == body


def test_torture_unusual_and_empty_reason_phrases() -> None:
    head = "Via: SIP/2.0/UDP h;branch=z\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>\nCall-ID: x\nCSeq: 35 INVITE\n\n"
    reason = "= 2**3 * 5**2 но сто девяносто девять - простое"
    unusual = parse_message(wire(f"SIP/2.0 200 {reason}\n{head}"))
    assert isinstance(unusual, Response)
    assert unusual.reason == reason
    for line in ("SIP/2.0 100 ", "SIP/2.0 100"):
        empty = parse_message(wire(f"{line}\n{head}"))
        assert isinstance(empty, Response)
        assert (empty.status, empty.reason) == (100, "")


# --- RFC 4475 §3.1.2: invalid messages


def test_torture_extraneous_separators() -> None:
    message = request(options('Contact: "Joe" <sip:joe@example.org>;;;;').replace(b";branch=z9hG4bKkdjuw", b";;,;,,"))
    with pytest.raises(SipParseError):
        h.via_list(message.headers)


def test_torture_content_length_larger_than_the_message() -> None:
    error = refused(options("Content-Length: 9999", "short"))
    assert (error.status, error.method) == (400, "OPTIONS")


@pytest.mark.parametrize("value", ["-999", "5;x", "1.0", "0x10", "", "99999999999999999999", "٣"])
def test_torture_malformed_content_length(value: str) -> None:
    assert refused(options(f"Content-Length: {value}")).status == 400


def test_torture_overlarge_scalars() -> None:
    message = request(options("Expires: 10000000000000000000000000\nContact: <sip:a@b>;expires=280297596632815"))
    assert h.expires(message.headers) == 2**32 - 1
    assert h.contact_expires(h.contacts(message.headers)[0], message.headers, 60) == 2**32 - 1
    with pytest.raises(SipParseError):
        h.check(request(options().replace(b"CSeq: 8 ", b"CSeq: 36893488147419103232 ")))
    with pytest.raises(SipParseError):
        h.check(request(options().replace(b"Max-Forwards: 70", b"Max-Forwards: 300")))


def test_torture_unterminated_quote() -> None:
    message = request(options().replace(b"To: sip:user", b'To: "Mr. J. User <sip:j.user'))
    with pytest.raises(SipParseError):
        h.check(message)


@pytest.mark.parametrize(
    "line",
    [
        b"OPTIONS <sip:user@example.com> SIP/2.0",  # enclosing brackets
        b"OPTIONS sip:user@example.com; lr SIP/2.0",  # space within the Request-URI
        b"OPTIONS  sip:user@example.com  SIP/2.0",  # several spaces
        b"OPTIONS sip:user@example.com",
        b"OPTIONS",
        b"",
        b"OPT\xc3\xa9IONS sip:user@example.com SIP/2.0",
        b"OPTIONS sip:us er@example.com SIP/2.0",
        b"OPTIONS sip:user@example.com\tSIP/2.0",
        b"OPTIONS sip:user@example.com HTTP-1",
        b"(bad) sip:user@example.com SIP/2.0",
    ],
)
def test_torture_malformed_request_lines(line: bytes) -> None:
    rest = options().split(b"\r\n", 1)[1]
    assert refused(line + b"\r\n" + rest).status == 400


def test_torture_trailing_spaces_on_the_request_line_are_taken() -> None:
    assert request(options().replace(b" SIP/2.0\r\nVia", b" SIP/2.0  \r\nVia")).method == "OPTIONS"


def test_torture_unknown_version() -> None:
    error = refused(options().replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia"))
    assert error.status == 505
    answer = error_response(error)
    assert answer is not None
    assert (answer.status, answer.reason) == (505, "Version Not Supported")


def test_torture_methods_that_do_not_match() -> None:
    with pytest.raises(SipParseError, match="CSeq of another method"):
        h.check(request(options().replace(b"8 OPTIONS", b"8 INVITE")))


@pytest.mark.parametrize(
    "line", ["SIP/2.0 4294967301 better not", "SIP/2.0 20 x", "SIP/2.0 700 x", "SIP/2.0", "SIP/3.0 200 OK", "SIP/2.0 x"]
)
def test_torture_malformed_status_lines(line: str) -> None:
    error = refused(wire(f"{line}\nVia: SIP/2.0/UDP h;branch=z\n\n"))
    assert error_response(error) is None


# --- RFC 4475 §3.2, §3.3: transaction and application layer


def test_torture_missing_headers() -> None:
    message = request(wire("INVITE sip:user@example.com SIP/2.0\nCSeq: 193942 INVITE\nVia: SIP/2.0/UDP h;branch=z\n\n"))
    with pytest.raises(SipParseError) as caught:
        h.check(message)
    assert caught.value.request_line_ok
    assert error_response(caught.value) is None  # nothing to copy From, To and Call-ID from


def test_torture_unknown_uri_scheme() -> None:
    message = request(options().replace(b"sip:user@example.com SIP", b"nobodyKnowsThisScheme:totallyopaque SIP"))
    assert (message.uri.is_sip, message.uri.scheme) == (False, "nobodyknowsthisscheme")


@pytest.mark.parametrize(
    "line", ["From: <sip:x@y>;tag=9", "To: sip:z@y", "Call-ID: 1", "CSeq: 9 OPTIONS", "Max-Forwards: 5"]
)
def test_torture_single_headers_that_are_repeated(line: str) -> None:
    with pytest.raises(SipParseError, match="repeated"):
        h.check(request(options(line)))


def test_torture_conflicting_content_lengths() -> None:
    assert refused(options("Content-Length: 13\nContent-Length: 5", "There's no way")).status == 400
    same = request(options("Content-Length: 2\nl: 02", "hi"))
    assert content_length(same.headers) == 2
    assert same.to_bytes().count(b"ength: ") == 1  # strict out: one line


def test_torture_unknown_authorization_scheme() -> None:
    message = request(options("Authorization: NoOneKnowsThisScheme opaque-data=here"))
    assert h.authorizations(message.headers)[0].scheme == "NoOneKnowsThisScheme"


def test_torture_rfc_2543_request() -> None:
    message = request(
        wire("""
INVITE sip:UserB@example.com SIP/2.0
Via: SIP/2.0/UDP iftgw.example.com
From: <sip:+13035551111@ift.client.example.net;user=phone>
To: sip:+16505552222@ss1.example.net;user=phone
Call-ID: inv2543.1717@ift.client.example.com
CSeq: 56 INVITE
Content-Type: application/sdp

v=0
""")
    )
    h.check(message)
    assert h.top_via(message.headers).branch == ""
    assert h.from_(message.headers).tag == ""
    assert message.body == b"v=0\r\n"


# --- our own rules


def test_bare_line_feeds_are_taken_and_leave_as_crlf() -> None:
    loose = REGISTER.replace(b"\r\n", b"\n")
    assert parse_message(loose).to_bytes() == REGISTER
    mixed = REGISTER.replace(b"\r\n", b"\n", 3)
    assert parse_message(mixed).to_bytes() == REGISTER


def test_the_head_ends_at_the_first_empty_line_of_either_kind() -> None:
    assert find_head(b"a\r\nb\n\nc\r\n\r\n") == (4, 6)
    assert find_head(b"a\n\r\nb\r\n\r\n") == (1, 4)
    assert find_head(b"a\r\n\nb") == (1, 4)
    assert find_head(b"a\r\nb") == (-1, -1)
    assert find_head(bytearray(b"xx\r\n\r\nyy")) == (2, 6)


@pytest.mark.parametrize("byte", [b"\r", b"\0"])
def test_what_others_might_take_for_a_line_break_is_refused(byte: bytes) -> None:
    error = refused(options(f"Subject: a{byte.decode()}Via: b"))
    assert error.headers is None


def test_a_folded_header_becomes_one_line() -> None:
    message = request(options("Subject: I know\n  you're there,\n\tpick up"))
    assert message.headers.get("Subject") == "I know you're there, pick up"
    assert b"I know you're there, pick up\r\n" in message.to_bytes()


def test_a_fold_cannot_continue_the_start_line() -> None:
    refused(b"OPTIONS sip:a@b SIP/2.0\r\n folded\r\nVia: x\r\n\r\n")


def test_line_breaks_before_a_message_are_passed_over() -> None:
    assert parse_message(b"\r\n\r\n" + REGISTER).to_bytes() == REGISTER


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"\0\0\0\0", b"\xff" * 30, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"]
)
def test_what_is_no_sip_is_refused(data: bytes) -> None:
    assert error_response(refused(data)) is None


def test_a_cut_off_datagram_is_refused_but_can_be_answered() -> None:
    error = refused(REGISTER.rstrip())
    assert error.what == "no empty line after the headers"
    answer = error_response(error, "t1")
    assert answer is not None
    assert answer.status == 400
    assert h.to(answer.headers).tag == "t1"


def test_bytes_that_are_no_utf8_pass_through() -> None:
    data = options("Subject: caf\udce9 \udcff")
    assert b"Subject: caf\xe9 \xff\r\n" in parse_message(data).to_bytes()


@pytest.mark.parametrize("line", ["no colon", ": no name", "bad name: x", "b@d: x", "Via", "é: x"])
def test_a_malformed_header_line_is_refused_and_answered_with_the_others(line: str) -> None:
    error = refused(options(line))
    assert error.offset > 0
    answer = error_response(error)
    assert answer is not None
    assert answer.reason.startswith("Bad Request - ")
    assert answer.headers.get("Call-ID") == "abc@host"


def test_limits() -> None:
    assert refused(b"x" * (MAX_MESSAGE + 1)).status == 513
    many = "\n".join([f"X-{n}: {n}" for n in range(MAX_HEADERS)])
    assert refused(options(many)).status == 513
    assert refused(options("X: " + "y" * MAX_LINE)).status == 513
    assert refused(options("X: y" + "\n y" * MAX_LINE)).status == 513  # a fold does not get around it
    long_line = refused(b"OPTIONS sip:" + b"a" * 9000 + b" SIP/2.0\r\n\r\n")
    assert long_line.status == 414


def test_reading_takes_linear_time() -> None:
    """Input made to send a careless expression back and forth is read as fast as any other of its size."""
    size = 60_000
    for middle in ("X:" + " " * size, "X: " + '"\\' * 4000, "X:" + "\n " * 20_000, "X" * 8000 + " " * 8000, ";" * 8000):
        begin = process_time()
        for data in (
            options(middle),
            options("Contact: " + middle[2:8000]),
            options("Via: SIP/2.0/UDP " + middle[2:8000]),
        ):
            sip_message.fuzz(data[:MAX_MESSAGE])
        assert process_time() - begin < 1.0


def test_content_length_is_always_what_was_written() -> None:
    message = request(REGISTER)
    message.body = b"abc"
    assert b"Content-Length: 3\r\n" in message.to_bytes()
    message.headers.remove("Content-Length")
    assert message.to_bytes().endswith(b"\r\nContent-Length: 3\r\n\r\nabc")


def test_headers_as_a_multimap() -> None:
    headers = Headers([("Via", "1"), ("To", "x"), ("v", "2")])
    assert headers.get_all("VIA") == ["1", "2"]
    headers.prepend("Via", "0")
    headers.prepend("Route", "r")
    assert list(headers.items()) == [("Route", "r"), ("Via", "0"), ("Via", "1"), ("To", "x"), ("v", "2")]
    headers.set("via", "9")
    assert list(headers.items()) == [("Route", "r"), ("via", "9"), ("To", "x")]
    headers.set("Expires", "60")
    headers.set_all("Route", ["a", "b"])
    headers.set_all("Path", ["p"])
    assert [name for name, _ in headers.items()] == ["Route", "Route", "via", "To", "Expires", "Path"]
    headers.set_all("Route", [])
    headers.remove("nothing")
    assert "route" not in headers
    assert "t" in headers
    assert headers.get("Route") is None
    copy = headers.copy()
    copy.remove("To")
    assert "To" in headers
    assert copy != headers
    assert repr(copy) == "Headers([('via', '9'), ('Expires', '60'), ('Path', 'p')])"


@pytest.mark.parametrize(
    ("name", "value"),
    [("Subject", "a\r\nVia: b"), ("Subject", "a\nb"), ("Subject", "\0"), ("a b", "x"), ("", "x"), ("a:", "x")],
)
def test_a_header_that_would_break_the_message_is_refused(name: str, value: str) -> None:
    headers = Headers()
    for put in (headers.add, headers.set, headers.prepend):
        with pytest.raises(SipBuildError):
            put(name, value)
    assert len(headers) == 0


def test_start_lines_that_would_break_the_message_are_refused() -> None:
    uri = Uri("sip", "a", "b")
    for message in (Request("IN VITE", uri), Response(99), Response(700), Response(200, "O\r\nK")):
        with pytest.raises(SipBuildError):
            message.to_bytes()


def test_copies_share_nothing_that_changes() -> None:
    first = request(REGISTER)
    second = first.copy()
    second.headers.remove("Via")
    assert first.to_bytes() == REGISTER
    response = Response(200, "OK", Headers([("To", "x")]))
    response.copy().headers.set("To", "y")
    assert response.headers.get("To") == "x"


def test_a_response_to_a_request_copies_what_it_must() -> None:
    source = request(WSINV)
    response = make_response(source, 404, to_tag="srv")
    assert (response.status, response.reason) == (404, "Not Found")
    assert response.headers.get_all("Via") == source.headers.get_all("Via")
    assert response.headers.get("CSeq") == source.headers.get("CSeq")
    assert h.to(response.headers).tag == "1918181833n"  # it had one
    assert "Max-Forwards" not in response.headers
    parse_message(response.to_bytes())


def test_tags_and_bodies_of_responses() -> None:
    source = request(options("Timestamp: 54"))
    assert h.to(make_response(source, 200, to_tag="srv").headers).tag == "srv"
    trying = make_response(source, 100, to_tag="srv")
    assert h.to(trying.headers).tag == ""
    assert trying.headers.get("Timestamp") == "54"
    ok = make_response(source, 200, "Fine", body=b"v=0\r\n", content_type="application/sdp")
    assert ok.reason == "Fine"
    assert h.content_type(ok.headers) == "application/sdp"
    assert make_response(source, 299).reason == "Unknown"
    assert REASONS[488] == "Not Acceptable Here"
    tagged_uri = request(options().replace(b"To: sip:user@example.com", b"To: <sip:user@example.com;tag=no>"))
    assert h.to(make_response(tagged_uri, 200, to_tag="yes").headers).tag == "yes"


def test_an_ack_is_never_answered() -> None:
    error = refused(options("bad line").replace(b"OPTIONS", b"ACK"))
    assert error.method == "ACK"
    assert error_response(error) is None


NAME = st.from_regex(r"[A-Za-z0-9!%*_+`'~.-]{1,12}", fullmatch=True)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=30)


@given(st.lists(st.tuples(NAME, VALUE), max_size=10), st.binary(max_size=50), st.integers(100, 699), VALUE)
def test_what_is_built_is_read_back(lines: list[tuple[str, str]], body: bytes, status: int, reason: str) -> None:
    headers = Headers([line for line in lines if header_key(line[0]) != "content-length"])
    for message in (Request("INFO", Uri("sip", "a", "b"), headers, body), Response(status, reason, headers, body)):
        again = parse_message(message.to_bytes())
        assert again.to_bytes() == message.to_bytes()
        assert again.body == body
        assert list(again.headers.items())[:-1] == list(headers.items())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    sip_message.fuzz(data)
    sip_message.fuzz(b"OPTIONS sip:a@b SIP/2.0\r\n" + data + b"\r\n\r\n")


def test_a_seeded_handful_of_the_fuzz_target() -> None:
    seeds.run(sip_message.fuzz, SAMPLES)
