"""SIP for pages: the token, and the way through `/sip` to a real SIP server on the same directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close
from websockets.typing import Origin, Subprotocol

from soip.config import HostPort, Settings
from soip.directory.settings import SIP_WEBSOCKET
from soip.policy import siptoken
from soip.signalling.role import Role
from soip.sip import headers as h
from soip.sip.message import Headers, Request, Response, parse_message
from soip.sip.uri import Uri
from tests.web.system import REALM, System


@asynccontextmanager
async def sip_server(system: System) -> AsyncIterator[Role]:
    """The SIP server of this system."""
    settings = Settings(data=system.folder, sip=HostPort("127.0.0.1", 0), domain=REALM, media_workers=1)
    async with system.directory.write_behind(interval_s=0.5) as later:
        role = Role(settings, system.directory, later)
        task = asyncio.ensure_future(role.serve())
        await role.ready
        try:
            yield role
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def socket(system: System, origin: str = "", **more: str) -> AsyncIterator[ClientConnection]:
    """What a page of ours opens."""
    fields = {name.replace("_", "-"): value for name, value in more.items()}
    async with connect(
        system.base.replace("http", "ws") + "/sip",
        subprotocols=[Subprotocol("sip")],
        origin=Origin(origin or system.base),
        additional_headers=fields,
        proxy=None,
    ) as opened:
        yield opened


def register(user: str, token: str) -> Request:
    lines = [
        ("Via", "SIP/2.0/WS page.invalid;branch=z9hG4bKpage"),
        ("Max-Forwards", "70"),
        ("From", f"<sip:{user}@{REALM}>;tag=1"),
        ("To", f"<sip:{user}@{REALM}>"),
        ("Call-ID", "page"),
        ("CSeq", "1 REGISTER"),
        ("Contact", "<sip:page@page.invalid;transport=ws>"),
        ("Authorization", f"Bearer {token}"),
    ]
    return Request("REGISTER", Uri.parse(f"sip:{REALM}"), Headers(lines))


async def exchange(opened: ClientConnection, request: Request) -> Response:
    await opened.send(request.to_bytes(), text=True)
    data = await opened.recv()
    answer = parse_message(data.encode() if isinstance(data, str) else data)
    assert isinstance(answer, Response)
    return answer


async def test_who_has_signed_in_is_given_a_token(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.signed_in("kim") as client:
        given = (await client.post("/api/sip-token")).json()
    assert (given["uri"], given["url"], given["lifetime"]) == (f"sip:kim@{REALM}", "/sip", 300)
    assert siptoken.verify(system.state.sip_key, given["token"], time.time() + 299) == "kim"
    assert system.state.sip_key != system.state.media_key


async def test_nobody_else_is(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.client() as client:
        answer = await client.post("/api/sip-token")
        assert (answer.status_code, answer.json()["error"]) == (401, "not_signed_in")
    async with system.signed_in("kim") as client:
        answer = await client.post("/api/sip-token", headers={"Origin": "http://evil.example"})
        assert (answer.status_code, answer.json()["error"]) == (403, "foreign_page")
        assert (await client.get("/api/sip-token")).status_code == 404


async def test_a_page_registers_with_its_token(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with sip_server(system) as role, system.signed_in("kim") as client:
        token = (await client.post("/api/sip-token")).json()["token"]
        async with socket(system, X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https") as page:
            assert page.subprotocol == "sip"
            answer = await exchange(page, register("kim", token))
            assert answer.status == 200
            assert h.top_via(answer.headers).received == "192.0.2.7", "the browser's address, not the web server's"
            (binding,) = role._location.bindings("kim", time.monotonic())
            assert binding.flow.transport == "wss", "as the reverse proxy was asked"
        async with asyncio.timeout(60):
            while role._location.bindings("kim", time.monotonic()):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)


async def test_messages_pass_untouched_up_to_their_limit(system: System) -> None:
    async with sip_server(system) as role, socket(system) as page:
        await page.send(b"\r\n\r\n", text=False)
        assert await page.recv() == "\r\n"
        await page.send("x" * 65_536, text=True)
        assert role.endpoint.counters["messages that could not be read"] == 0
        await page.send("y" * 65_537, text=True)
        with suppress(ConnectionClosed):
            while True:
                await page.recv()
        assert page.close_code == 1009


async def test_pages_of_others_are_refused_by_the_sip_server(system: System) -> None:
    async with sip_server(system):
        for origin in ("http://evil.example", "null", system.base + "0"):
            assert (await closed(system, origin)).code == 4403, origin


async def test_without_a_sip_server_the_page_is_told_to_try_again(system: System) -> None:
    assert (await closed(system)).code == 4503, "none has ever run"
    await system.directory.settings.publish(SIP_WEBSOCKET, "127.0.0.1:1")
    assert (await closed(system)).code == 4503, "the one that ran is away"


async def test_without_the_subprotocol_nothing_is_carried(system: System) -> None:
    async with sip_server(system), connect(system.base.replace("http", "ws") + "/sip", proxy=None) as page:
        with pytest.raises(ConnectionClosed) as refused:
            await page.recv()
    assert refused.value.rcvd is not None
    assert refused.value.rcvd.code == 4400


async def test_a_sip_server_that_ends_ends_its_pages(system: System) -> None:
    async with sip_server(system):
        opening = socket(system)
        page = await opening.__aenter__()
    with pytest.raises(ConnectionClosed) as ended:
        await page.recv()
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1001
    await opening.__aexit__(None, None, None)


async def closed(system: System, origin: str = "") -> Close:
    """How the socket of a page of this origin ends."""
    async with socket(system, origin) as page:
        with pytest.raises(ConnectionClosed) as ended:
            await page.recv()
    assert ended.value.rcvd is not None
    return ended.value.rcvd
