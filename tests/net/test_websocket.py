"""SIP over WebSocket: the wire on bytes alone, and sockets with browsers that are slow, strange, or somebody else's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from soip.net import streams
from soip.net.errors import FlowError, PortBusyError
from soip.net.limits import Limits
from soip.net.sip import SipEndpoint
from soip.net.websocket import BAD_WEBSOCKET, FOREIGN_PAGE, WebSocketWire, listener
from soip.sip import headers as h
from soip.sip.errors import SipParseError
from soip.sip.message import MAX_MESSAGE, Request, Response, parse_message
from soip.sip.stream import Keepalive, StreamItem
from tests.fuzz.net_websocket import fuzz
from tests.fuzz.seeds import run
from tests.net.browser import Socket, open_socket, opening, text
from tests.net.helpers import PATIENT_S, Recorder, request, until

LOCAL = "127.0.0.1"


def message(number: int = 1, body: bytes = b"") -> bytes:
    made = request(body=body)
    made.headers.prepend("Via", f"SIP/2.0/WS abc.invalid;branch=z9hG4bK{number}")
    return made.to_bytes()


# -- the wire alone


def opened(*more: tuple[str, str], peer: str = LOCAL, origins: frozenset[str] = frozenset()) -> WebSocketWire:
    wire = WebSocketWire(peer, origins)
    assert wire.feed(opening(*more)) == []
    return wire


def answer(wire: WebSocketWire) -> bytes:
    return wire.output().split(b"\r\n", 1)[0]


def test_a_handshake_takes_the_subprotocol_and_no_extension() -> None:
    wire = opened(("Sec-WebSocket-Extensions", "permessage-deflate"))
    head = wire.output()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Protocol: sip\r\n" in head
    assert b"Extensions" not in head
    assert (wire.ready, wire.partial, wire.transport, wire.source) == (True, False, "ws", "")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (opening(without="Sec-WebSocket-Protocol"), b"400"),
        (opening(("Sec-WebSocket-Protocol", "chat"), without="Sec-WebSocket-Protocol"), b"400"),
        (opening(without="Upgrade"), b"426"),
        (opening(without="Sec-WebSocket-Key"), b"400"),
        (opening().replace(b"GET", b"POST"), b"405"),
        (opening().replace(b"HTTP/1.1", b"HTTP/1.0"), b""),
        (message(), b""),
        (b"GET /sip HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /" + b"x" * 20_000, b""),
    ],
)
def test_what_is_no_handshake_of_sip_is_refused(request_: bytes, status: bytes) -> None:
    wire = WebSocketWire(LOCAL, frozenset())
    assert wire.feed(request_ + text(message())) == [], "nothing after it is read"
    assert (wire.ready, wire.ended, wire.fault) == (False, True, BAD_WEBSOCKET)
    assert status in answer(wire)
    assert wire.feed(opening()) == []
    assert not wire.ready


@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=4), st.integers(1, 9000), st.booleans())
def test_each_frame_is_a_message_however_the_bytes_are_cut(sizes: list[int], piece: int, binary: bool) -> None:
    wire = opened()
    wire.output()
    sent = [message(number, b"x" * size) for number, size in enumerate(sizes)]
    data = b"".join(text(each, opcode=Opcode.BINARY if binary else Opcode.TEXT) for each in sent)
    items: list[StreamItem] = []
    for at in range(0, len(data), piece):
        items += wire.feed(data[at : at + piece])
    assert [item.to_bytes() for item in items if isinstance(item, Request)] == sent
    assert not wire.partial


def test_fragments_are_one_message() -> None:
    wire, whole = opened(), message(1, b"y" * 900)
    assert wire.feed(text(whole[:100], fin=False)) == []
    assert wire.partial
    for at in range(100, len(whole), 100):
        assert wire.feed(text(b"", fin=False, opcode=Opcode.CONT)) == []
        assert wire.feed(text(whole[at : at + 100], fin=False, opcode=Opcode.CONT)) == []
    (item,) = wire.feed(text(b"", opcode=Opcode.CONT))
    assert isinstance(item, Request)
    assert item.to_bytes() == whole


def test_a_frame_needs_no_content_length_and_one_that_lies_is_answered() -> None:
    wire = opened()
    plain = message(1, b"hello").replace(b"Content-Length: 5\r\n", b"")
    (item,) = wire.feed(text(plain))
    assert isinstance(item, Request)
    assert item.body == b"hello"
    (error,) = wire.feed(text(message(1, b"hello").replace(b"Content-Length: 5", b"Content-Length: 9")))
    assert isinstance(error, SipParseError)
    assert not wire.ended, "the next frame is whole again"


def test_keepalives() -> None:
    wire = opened()
    assert wire.feed(text(b"\r\n\r\n")) == [Keepalive.PING]
    assert wire.feed(text(b"\r\n") + text(b"")) == []
    wire.output()
    assert wire.feed(text(b"are you there?", opcode=Opcode.PING)) == []
    assert wire.output() == Frame(Opcode.PONG, b"are you there?").serialize(mask=False)
    assert wire.probe() == Frame(Opcode.PING, b"").serialize(mask=False)
    assert wire.feed(text(b"", opcode=Opcode.PONG)) == []


def test_what_is_no_utf8_leaves_in_a_binary_frame() -> None:
    wire = opened()
    wire.output()
    for data, opcode in ((message(), Opcode.TEXT), (message(1, b"\xff\xfe"), Opcode.BINARY)):
        assert wire.frame(data) == Frame(opcode, data).serialize(mask=False)


@pytest.mark.parametrize(
    "data",
    [
        text(b"x" * (MAX_MESSAGE + 1)),
        text(b"x" * 60_000, fin=False) + text(b"x" * 60_000, opcode=Opcode.CONT),
        text(message(), opcode=Opcode.CONT),
        Frame(Opcode.TEXT, message()).serialize(mask=False),
        b"\xff\xff",
        b"\x89\xfe\x00\x7e" + bytes(4 + 126),
    ],
    ids=["too long", "too long in parts", "a lone part", "not masked", "reserved bits", "a long ping"],
)
def test_what_breaks_the_rules_ends_it(data: bytes) -> None:
    wire = opened()
    wire.output()
    assert wire.feed(data) == []
    assert (wire.ended, wire.fault) == (True, BAD_WEBSOCKET)
    assert wire.output()[:1] == b"\x88", "a close frame says why"
    with pytest.raises(FlowError, match="WebSocket has ended"):
        wire.frame(message())


def test_goodbye_is_no_fault_either_way() -> None:
    wire = opened()
    wire.output()
    assert wire.feed(text(Close(1000, "").serialize(), opcode=Opcode.CLOSE)) == []
    assert (wire.ended, wire.fault) == (True, "")
    assert wire.output()[:1] == b"\x88"
    assert wire.farewell() == b""
    wire = opened()
    wire.output()
    assert wire.farewell() == Frame(Opcode.CLOSE, Close(1001, "").serialize()).serialize(mask=False)


# -- whose page, whose address


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://soip.test", "soip.test", True),
        ("https://SOIP.test:8443", "soip.test:8443", True),
        ("https://phone.example", "soip.test", True),
        ("http://phone.example", "soip.test", False),
        ("http://soip.test:8080", "soip.test", False),
        ("http://evil.example", "soip.test", False),
        ("http://soip.test.evil.example", "soip.test", False),
        ("null", "soip.test", False),
        ("", "soip.test", False),
        ("null", "", False),
        ("http://[", "soip.test", False),
    ],
)
def test_only_pages_of_the_same_host_or_of_known_ones_connect(origin: str, host: str, allowed: bool) -> None:
    wire = WebSocketWire("192.0.2.7", frozenset({"https://phone.example"}))
    wire.feed(opening(("Origin", origin), host=host))
    assert wire.ready == allowed
    assert wire.fault == ("" if allowed else FOREIGN_PAGE)
    assert answer(wire) == (b"HTTP/1.1 101 Switching Protocols" if allowed else b"HTTP/1.1 403 Forbidden")


def test_two_origins_are_none_of_ours() -> None:
    assert not opened(("Origin", "http://soip.test"), ("Origin", "http://evil.example")).ready


def test_what_the_web_role_says_is_believed_on_loopback_only() -> None:
    said = (
        ("X-Forwarded-For", "192.0.2.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "console.example"),
        ("Origin", "https://console.example"),
    )
    near = opened(*said)
    assert (near.ready, near.source, near.transport) == (True, "192.0.2.9", "wss")
    assert opened(*said, peer="::1").source == "192.0.2.9"
    far = opened(*said, peer="192.0.2.7")
    assert (far.ready, far.source, far.transport) == (False, "", "ws")
    assert opened(*said[:2], peer="192.0.2.7").source == ""


@pytest.mark.parametrize("value", ["", "unknown", "192.0.2.1, 192.0.2.2", "192.0.2.1:80", "x" * 1000])
def test_an_address_that_is_none_is_passed_over(value: str) -> None:
    assert opened(("X-Forwarded-For", value)).source == ""


def test_a_handful_of_the_fuzzer() -> None:
    run(
        fuzz,
        [opening(), text(message()), text(b"\r\n\r\n") + text(b"x", fin=False), text(b"", opcode=Opcode.CLOSE)],
        60,
    )


# -- sockets


@asynccontextmanager
async def serving(handler: Recorder | None = None, *, limits: Limits | None = None) -> AsyncIterator[SipEndpoint]:
    """An endpoint with a WebSocket port."""
    made = SipEndpoint(LOCAL, 0, listeners=[listener(LOCAL, 0, frozenset(), "SOIP_SIP_WS")], limits=limits)
    await made.start()
    made.serve(handler or Recorder())
    try:
        yield made
    finally:
        await made.close()


def place(to: SipEndpoint) -> tuple[str, int]:
    return to.address_towards(LOCAL, "ws")


async def browser(to: SipEndpoint, address: str = "", *more: tuple[str, str]) -> Socket:
    """An open WebSocket; `address`: of the browser, as the web role tells it."""
    said = (("X-Forwarded-For", address),) if address else ()
    socket = await open_socket(place(to), (*said, *more))
    assert socket.answer.startswith(b"HTTP/1.1 101"), socket.answer
    return socket


def parsed(frame: Frame) -> Request | Response:
    return parse_message(bytes(frame.data))


async def test_requests_both_ways() -> None:
    recorder = Recorder()
    async with serving(recorder) as server:
        page = await browser(server, "192.0.2.9")
        page.send(message())
        response = parsed(await page.frame())
        assert isinstance(response, Response)
        assert response.status == 200
        assert h.top_via(response.headers).received == "192.0.2.9"
        flow = recorder.requests[0].flow
        assert (flow.transport, flow.remote[0], flow.connection > 0) == ("ws", "192.0.2.9", True)
        asking = asyncio.ensure_future(server.request(request(), flow))
        asked = parsed(await page.frame())
        assert isinstance(asked, Request)
        assert h.top_via(asked.headers).transport == "WS"
        reply = asked.to_bytes().replace(b"MESSAGE sip:bob@test SIP/2.0", b"SIP/2.0 200 OK")
        page.send(reply)
        assert (await asking).status == 200
        page.send(b"\r\n\r\n")
        assert bytes((await page.frame()).data) == b"\r\n"
        page.close()
        await until(lambda: recorder.closed == [flow])


async def test_a_secure_page_is_told_apart() -> None:
    recorder = Recorder()
    async with serving(recorder) as server:
        page = await browser(server, "192.0.2.9", ("X-Forwarded-Proto", "https"))
        page.send(message())
        await page.frame()
        assert recorder.requests[0].flow.transport == "wss"
        page.close()


async def test_a_message_that_cannot_be_read_is_answered_and_the_next_one_taken() -> None:
    async with serving() as server:
        page = await browser(server)
        page.send(message().replace(b"CSeq: 1 MESSAGE", b"CSeq: x"))
        bad = parsed(await page.frame())
        page.send(message())
        good = parsed(await page.frame())
        assert isinstance(bad, Response)
        assert isinstance(good, Response)
        assert (bad.status, good.status) == (400, 200)
        page.close()


async def test_limits_count_each_browser_by_its_own_address() -> None:
    async with serving(limits=Limits(connections_per_source=2, grace_seconds=3600)) as server:
        pages = [await browser(server, "192.0.2.1") for _ in range(2)]
        with pytest.raises(EOFError):  # noqa: PT012  # at once, or after its 101 has come
            pages.append(await browser(server, "192.0.2.1"))
            await pages[-1].frame()
        assert server.counters["connections refused"] == 1
        pages += [await browser(server, "192.0.2.2") for _ in range(2)]
        pages[0].close()
        await until(lambda: len(server._transport.streams) == 3)
        pages.append(await browser(server, "192.0.2.1"))
        counted = {source: len(own) for source, own in server._transport.streams._strangers_of.items()}
        assert counted == {"192.0.2.1": 2, "192.0.2.2": 2}
        for page in pages:
            page.close()
        await until(lambda: len(server._transport.streams) == 0)
        assert not server._transport.streams._strangers_of


@pytest.mark.parametrize("begun", [b"", opening()[:60], opening() + text(message())[:30]])
async def test_slow_loris(begun: bytes) -> None:
    async with serving(limits=Limits(message_seconds=0.3)) as server:
        reader, writer = await asyncio.open_connection(*place(server))
        writer.write(begun)

        async def drip() -> None:
            while True:
                writer.write(b"X" if begun else b"")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            async with asyncio.timeout(PATIENT_S):
                await reader.readexactly(10_000)
        dripping.cancel()
        assert server.counters["connections closed for slowness"] == 1
        writer.close()


async def test_a_page_may_be_silent_for_a_while_but_not_for_ever() -> None:
    async with serving(limits=Limits(message_seconds=0.2, idle_seconds=2.5)) as server:
        page = await browser(server)
        await asyncio.sleep(0.5)
        assert len(server._transport.streams) == 1
        assert (await page.frame()).opcode is Opcode.CLOSE
        assert server.counters["connections closed for idling"] == 1
        page.close()


async def test_a_browser_is_asked_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_SECONDS", 0.2)
    async with serving(limits=Limits(message_seconds=0.3)) as server:
        page, deaf = await browser(server), await browser(server)
        for _ in range(4):
            ping = await page.frame()
            assert ping.opcode is Opcode.PING
            page.send(bytes(ping.data), opcode=Opcode.PONG)
        await until(lambda: server.counters["connections closed for not answering"] == 1)
        assert len(server._transport.streams) == 1
        for each in (page, deaf):
            each.close()


async def test_pings_without_end_that_nobody_reads_the_answers_of() -> None:
    async with serving(limits=Limits(send_buffer=100_000)) as server:
        page = await browser(server)
        flood = text(b"x" * 125, opcode=Opcode.PING) * 1000

        async def pour() -> None:
            while True:
                page.writer.write(flood)
                await page.writer.drain()

        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await asyncio.wait_for(pour(), PATIENT_S)
        assert server.counters["connections closed for not reading"] == 1
        page.close()


async def test_what_a_stranger_does_is_told_in_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "soip.net"), caplog.at_level(logging.DEBUG, "websockets"):
        async with serving() as server:
            for number in range(1, 4):
                page = await browser(server)
                page.send(b"x" * 70_000)
                assert (await page.frame()).opcode is Opcode.CLOSE
                await until(lambda number=number: server.counters[BAD_WEBSOCKET] == number)  # type: ignore[misc]
                page.close()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert said == [f"{BAD_WEBSOCKET}: 1, most of 127.0.0.1: 1"]


async def test_a_busy_port_is_named_with_its_setting() -> None:
    async with serving() as server:
        twin = SipEndpoint(LOCAL, 0, listeners=[listener(*place(server), frozenset(), "SOIP_SIP_WS")])
        with pytest.raises(PortBusyError, match=r"in use by another program.*SOIP_SIP_WS"):
            await twin.start()
        await twin.close()


def test_the_loop_may_be_uvloop() -> None:
    async def exchange() -> None:
        recorder = Recorder()
        async with serving(recorder) as server:
            page = await browser(server, "192.0.2.9")
            page.send(message(1, b"x" * 50_000))
            assert isinstance(parsed(await page.frame()), Response)
            page.send(Close(1000, "").serialize(), opcode=Opcode.CLOSE)
            assert (await page.frame()).opcode is Opcode.CLOSE
            await until(lambda: len(recorder.closed) == 1)
            page.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(exchange())
