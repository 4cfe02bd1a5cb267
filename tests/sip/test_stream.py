"""SIP over streams: framing, keepalives, and what happens when either is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.errors import SipParseError
from soip.sip.message import MAX_MESSAGE, Request, parse_message
from soip.sip.reply import error_response
from soip.sip.stream import Keepalive, StreamItem, StreamParser
from tests.fuzz import seeds, sip_stream
from tests.sip.samples import MESSAGE, REGISTER, RESPONSE, SAMPLES, wire

PING, PONG = Keepalive.PING, Keepalive.PONG


def feed(*pieces: bytes, opened: bool = False) -> list[StreamItem]:
    parser = StreamParser(opened=opened)
    return [item for piece in pieces for item in parser.feed(piece)]


def test_messages_one_after_the_other() -> None:
    items = feed(REGISTER + MESSAGE + RESPONSE)
    assert items == [parse_message(REGISTER), parse_message(MESSAGE), parse_message(RESPONSE)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_messages_in_any_pieces(size: int) -> None:
    data = b"\r\n\r\n" + MESSAGE + b"\r\n\r\n" + REGISTER + b"\r\n" + RESPONSE
    items = feed(*[data[at : at + size] for at in range(0, len(data), size)])
    assert items == [PING, parse_message(MESSAGE), PING, parse_message(REGISTER), parse_message(RESPONSE)]


def test_a_body_is_waited_for() -> None:
    parser = StreamParser()
    assert parser.feed(MESSAGE[:-1]) == []
    (message,) = parser.feed(MESSAGE[-1:])
    assert isinstance(message, Request)
    assert message.body == b"hello"


def test_a_body_may_look_like_a_keepalive_or_a_message() -> None:
    body = b"\r\n\r\n" + REGISTER
    data = MESSAGE.replace(b"l: 5", b"l: %d" % len(body)).removesuffix(b"hello") + body
    (message,) = feed(data)
    assert isinstance(message, Request)
    assert message.body == body


def test_keepalives_on_a_connection_a_peer_opened() -> None:
    assert feed(b"\r\n\r\n") == [PING]
    assert feed(b"\r\n" * 1000) == [PING], "who sends a million gets one answer"
    assert feed(b"\r\n\r\n", b"\r\n\r\n") == [PING, PING]
    assert feed(b"\r", b"\n", b"\r", b"\n") == [PING]
    assert feed(b"\r\n") == []  # half a ping, or a line break before a message
    assert feed(b"\r\n", REGISTER) == [parse_message(REGISTER)]


def test_keepalives_on_a_connection_we_opened() -> None:
    assert feed(b"\r\n", opened=True) == [PONG]
    assert feed(b"\r\n", b"\r\n", opened=True) == [PONG, PONG]
    assert feed(b"\r\n\r\n", opened=True) == [PONG], "two answers that came together, and no ping"
    assert feed(b"\r\n" + REGISTER, opened=True) == [PONG, parse_message(REGISTER)]


def test_line_breaks_alone_are_no_message_that_has_begun() -> None:
    parser = StreamParser()
    for piece, partial in ((b"\r\n", False), (b"\r", False), (b"\n", False), (b"I", True), (MESSAGE[1:-1], True)):
        parser.feed(piece)
        assert parser.partial == partial
    parser = StreamParser()
    parser.feed(MESSAGE[:-1])
    assert parser.partial, "its body is waited for"
    parser.feed(MESSAGE[-1:])
    assert not parser.partial


def test_an_unreadable_message_with_a_known_end_does_not_end_the_stream() -> None:
    bad = MESSAGE.replace(b"Max-Forwards: 70", b"no header at all")
    parser = StreamParser()
    error, message = parser.feed(bad + REGISTER)
    assert isinstance(error, SipParseError)
    answer = error_response(error)
    assert answer is not None
    assert answer.status == 400
    assert message == parse_message(REGISTER)
    assert parser.broken is None


@pytest.mark.parametrize(
    "data",
    [
        MESSAGE.replace(b"l: 5\r\n", b""),
        MESSAGE.replace(b"l: 5", b"l: five"),
        MESSAGE.replace(b"l: 5", b"l: 5\r\nContent-Length: 6"),
        MESSAGE.replace(b"l: 5", b"l: 70000"),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"\n\n",
        b"\rxyz\r\n\r\n",
    ],
)
def test_when_the_framing_is_lost_the_stream_is_broken(data: bytes) -> None:
    parser = StreamParser()
    first, error = parser.feed(REGISTER + data)
    assert first == parse_message(REGISTER)
    assert isinstance(error, SipParseError)
    assert parser.broken is error
    assert parser.feed(REGISTER) == []


def test_a_request_without_content_length_can_still_be_answered() -> None:
    (error,) = feed(MESSAGE.replace(b"l: 5\r\n", b""))
    assert isinstance(error, SipParseError)
    answer = error_response(error)
    assert answer is not None
    assert answer.reason == "Bad Request - no Content-Length on a stream"


def test_memory_is_bounded() -> None:
    parser = StreamParser()
    for _ in range(MAX_MESSAGE // 1024 + 1):
        items = parser.feed(b"x" * 1024)
    assert parser.broken is not None
    assert parser.broken.status == 513
    assert items == [parser.broken]


def test_a_message_too_long_in_all_is_refused_before_its_body_comes() -> None:
    head = wire("INFO sip:a SIP/2.0\nVia: x\n") + b"X: " + b"y" * 8000 + b"\r\n"
    parser = StreamParser()
    assert len(parser.feed(head + b"l: 60000\r\n\r\n")) == 1
    assert parser.broken is not None


def test_a_head_too_long_is_refused_even_in_one_piece() -> None:
    head = b"INFO sip:a SIP/2.0\r\n" + b"".join([b"X: " + b"y" * 4000 + b"\r\n" for _ in range(17)])
    parser = StreamParser()
    parser.feed(head + b"l: 0\r\n\r\n")
    assert parser.broken is not None
    assert parser.broken.what == "head too long"


def test_a_head_byte_by_byte_takes_linear_time() -> None:
    """16 kB of head in single bytes: searched from the start each time, this would take minutes."""
    data = REGISTER.replace(b"Expires: 3600", b"\r\n".join([b"X: " + b"y" * 1000] * 16))
    parser = StreamParser()
    items = [item for n in range(len(data)) for item in parser.feed(data[n : n + 1])]
    assert items == [parse_message(data)]


@given(st.lists(st.sampled_from([*SAMPLES, b"\r\n\r\n", b"\r\n", b"junk\r\n\r\n"]), max_size=4), st.binary(max_size=20))
def test_pieces_do_not_matter(parts: list[bytes], tail: bytes) -> None:
    sip_stream.fuzz(b"".join(parts) + tail)


def test_a_seeded_handful_of_the_fuzz_target() -> None:
    seeds.run(sip_stream.fuzz, [b"\r\n\r\n" + MESSAGE + MESSAGE, RESPONSE], rounds=150)
