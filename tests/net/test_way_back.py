"""A final response whose connection has ended finds another way (RFC 3261 §18.2.2, RFC 3263 §5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import pytest

from soip.net import sip as module
from soip.net.exchange import IncomingRequest
from soip.net.resolver import Resolver
from soip.net.sip import SipEndpoint
from soip.sip.message import Response
from tests.net.dnsserver import dns_server
from tests.net.helpers import Recorder, request, until

WITHIN = 30.0


@dataclass
class Listener:
    """Where the sender of a request says it listens, and what has come there."""

    port: int
    heads: asyncio.Queue[bytes]


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    heads: asyncio.Queue[bytes] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        heads.put_nowait(await reader.readuntil(b"\r\n\r\n"))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield Listener(server.sockets[0].getsockname()[1], heads)
    server.close()
    for writer in writers:
        writer.close()


@asynccontextmanager
async def answering(resolver: Resolver | None) -> AsyncIterator[tuple[SipEndpoint, asyncio.Queue[IncomingRequest]]]:
    """An endpoint whose requests wait in a queue until somebody answers them."""
    arrived: asyncio.Queue[IncomingRequest] = asyncio.Queue()

    async def keep(incoming: IncomingRequest) -> None:
        arrived.put_nowait(incoming)

    made = SipEndpoint("127.0.0.1", 0, resolver=resolver)
    await made.start()
    made.serve(Recorder(keep))
    try:
        yield made, arrived
    finally:
        await made.close()


async def ask_and_hang_up(
    bob: SipEndpoint, arrived: asyncio.Queue[IncomingRequest], via: str, method: str = "MESSAGE"
) -> IncomingRequest:
    """A request over a connection that then ends, noticed by both."""
    _, writer = await asyncio.open_connection(*bob.address)
    with closing(writer):
        asked = request(method)
        asked.headers.prepend("Via", f"SIP/2.0/{via};branch=z9hG4bK-{id(asked)}")
        writer.write(asked.to_bytes())
        incoming = await asyncio.wait_for(arrived.get(), WITHIN)
    await until(lambda: not bob.is_open(incoming.flow), WITHIN)
    return incoming


@pytest.mark.parametrize("method", ["MESSAGE", "INVITE"])
async def test_to_where_the_sender_listens(method: str) -> None:
    async with listening() as there, answering(Resolver()) as (bob, arrived):
        incoming = await ask_and_hang_up(bob, arrived, f"TCP elsewhere.invalid:{there.port}", method)
        incoming.reply(202)
        head = await asyncio.wait_for(there.heads.get(), WITHIN)
        assert head.startswith(b"SIP/2.0 202")
        assert b"elsewhere.invalid" in head


async def test_else_to_whom_the_dns_names() -> None:
    async with listening() as there, answering(None) as (bob, arrived):
        zone = {
            ("_sip._tcp.way.test", "SRV"): [f"1 1 {there.port} host.way.test."],
            ("host.way.test", "A"): ["127.0.0.1"],
        }
        async with dns_server(zone) as server:
            bob._resolver = Resolver(["127.0.0.1"], server.address[1])
            incoming = await ask_and_hang_up(bob, arrived, "TCP way.test")
            incoming.reply(200)
            assert (await asyncio.wait_for(there.heads.get(), WITHIN)).startswith(b"SIP/2.0 200")
            assert server.asked["_sip._tcp.way.test", "SRV"] == 1


async def test_provisional_ones_are_let_go() -> None:
    async with listening() as there, answering(Resolver()) as (bob, arrived):
        incoming = await ask_and_hang_up(bob, arrived, f"TCP x.invalid:{there.port}", "INVITE")
        incoming.reply(180)
        incoming.reply(486)
        assert (await asyncio.wait_for(there.heads.get(), WITHIN)).startswith(b"SIP/2.0 486")
        assert there.heads.empty()


async def test_no_stranger_has_us_call_whom_he_names() -> None:
    """A response without a transaction is sent back or not at all."""
    async with listening() as there, answering(Resolver()) as (bob, arrived):
        incoming = await ask_and_hang_up(bob, arrived, f"TCP 127.0.0.1:{there.port}")
        incoming.drop(Response(401))
        assert not bob._returning


async def test_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETURNING", 0)
    async with listening() as there, answering(Resolver()) as (bob, arrived):
        incoming = await ask_and_hang_up(bob, arrived, f"TCP 127.0.0.1:{there.port}")
        incoming.reply(200)
        assert not bob._returning


async def test_where_there_is_none_it_ends() -> None:
    async with answering(Resolver()) as (bob, arrived):
        for via in ("TCP localhost:9", "TLS 127.0.0.1:9", "TCP 127.0.0.1:9"):
            incoming = await ask_and_hang_up(bob, arrived, via)
            incoming.reply(200)
        await until(lambda: not bob._returning, WITHIN)
