"""What a connection may cost before anybody is known: bytes, time, and how many there may be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from soip import asgi

SHORT_S = 0.3
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Client:
    """A connection of somebody who need not be a browser."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        """Sends as far as the server takes it."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The next answer: status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split()[1]), await self.reader.readexactly(size)

    async def closed(self) -> None:
        """Waits until the server hangs up."""
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """An application that answers at once, late, or over a WebSocket; its port."""

    async def quick(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def late(_request: Request) -> Response:
        await asyncio.sleep(asgi.REQUEST_S + SHORT_S)
        return PlainTextResponse("late")

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    routes = [Route("/", quick, methods=["GET", "POST"]), Route("/late", late), WebSocketRoute("/echo", echo)]
    with asgi.listen("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(asgi.serve(asgi.configure(Starlette(routes=routes)), listener))
        try:
            yield listener.getsockname()[1]
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "REQUEST_S", SHORT_S)


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX-Endless: "], ids=["address", "field"])
async def test_a_head_without_end_is_refused(begin: bytes) -> None:
    async with served() as port, connected(port) as client:
        await client.say(begin)
        sent = 0
        answering = asyncio.create_task(client.answer())
        while not answering.done():
            assert sent <= 8 * asgi.MOST_HEAD, "taken without end"
            await client.say(b"x" * 4096)
            sent += 4096
            await asyncio.sleep(0)  # the answer may be there
        with suppress(ConnectionError, asyncio.IncompleteReadError):  # it may get lost in what was still being sent
            status, body = await answering
            assert status == 431
            assert json.loads(body)["error"] == "too_large"
        await client.closed()


async def test_many_small_fields_are_a_head_too() -> None:
    async with served() as port, connected(port) as client:
        await client.say(b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            for _ in range(40):
                await client.say(b"X-Small: y\r\n" * 400)
            assert (await client.answer())[0] == 431
        await client.closed()


async def test_a_large_head_in_pieces_passes() -> None:
    async with served() as port, connected(port) as client:
        for piece in (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-Large: " + b"y" * 50_000 + b"\r\n", b"\r\n"):
            await client.say(piece)
        assert await client.answer() == (200, b"0")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab",
    ],
    ids=["nothing", "line", "fields", "emptiness", "body"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(hurried: None, said: bytes) -> None:
    async with served() as port, connected(port) as client:
        await client.say(said)
        await client.closed()


async def test_a_trickle_is_not_more_time(hurried: None) -> None:
    async with served() as port, connected(port) as client:
        await client.say(b"GET / HTTP/1.1\r\nX-Slow: ")
        ending = asyncio.create_task(client.closed())
        while not ending.done():
            await client.say(b"x")
            await asyncio.wait([ending], timeout=SHORT_S / 10)
        await ending


async def test_empty_lines_do_not_keep_a_connection(hurried: None) -> None:
    async with served() as port, connected(port) as client:
        await client.say(GET)
        assert await client.answer() == (200, b"0")
        ending = asyncio.create_task(client.closed())
        while not ending.done():
            await client.say(b"\r\n")
            await asyncio.wait([ending], timeout=SHORT_S / 10)
        await ending


async def test_an_answer_may_take_its_time_and_the_next_request_comes_on_the_same_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asgi, "REQUEST_S", 2.0)  # between two requests a machine may stall
    async with served() as port, connected(port) as client:
        await client.say(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.answer() == (200, b"late")
        await client.say(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        assert await client.answer() == (200, b"late")
        assert await client.answer() == (200, b"0")


async def test_a_web_socket_outlives_the_time_of_a_request(hurried: None) -> None:
    async with served() as port, connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as socket:
        await asyncio.sleep(2 * SHORT_S)
        await socket.send("still here")
        assert await socket.recv() == "still here"


async def test_connections_beyond_the_limit_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MOST_CONNECTIONS", 3)
    async with served() as port, connected(port) as one, connected(port) as two:
        for client in (one, two):
            await client.say(GET)
            assert await client.answer() == (200, b"0")
        async with connected(port) as third, connected(port) as fourth:
            await fourth.closed()
            await third.say(GET)
            status = await third.reader.readuntil(b"\r\n")
            assert b" 503 " in status
        await one.say(GET)
        assert (await one.answer())[0] in {200, 503}
