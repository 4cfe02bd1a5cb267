"""Attacks over real sockets on a server in a process of its own: service to others goes on, memory stays bounded, the
log says who. The table of them all stands in SECURITY.md.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from soip.sip import headers as h
from soip.sip.message import MAX_MESSAGE, Request, Response
from tests.net.browser import opening
from tests.signalling.conftest import ServerHouse
from tests.signalling.fortress import Fortress, holding
from tests.signalling.peer import DOMAIN, Peer

CAM1 = f"sip:cam1@{DOMAIN}"
MEGABYTE = 1 << 20
KEEPALIVE = b'<?xml version="1.0"?><Notify><CmdType>Keepalive</CmdType><SN>1</SN></Notify>'
NOTICE = (("Content-Type", "Application/MANSCDP+xml"),)


@pytest.fixture
async def fortress(furnished: Path, tmp_path: Path) -> AsyncIterator[Fortress]:
    async with holding(furnished, tmp_path) as fortress:
        yield fortress


@pytest.fixture
async def narrow(furnished: Path, tmp_path: Path) -> AsyncIterator[Fortress]:
    """A server that may have 256 files open."""
    async with holding(furnished, tmp_path, files=256) as fortress:
        yield fortress


async def left_open(fortress: Fortress, transport: str) -> asyncio.StreamWriter | None:
    """A connection that shakes hands and then says nothing; None when it was not let in."""
    trust = fortress.trust if transport == "tls" else None
    writer = None
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*fortress.address(transport), ssl=trust)
            if transport == "ws":
                writer.write(opening())
                await reader.readuntil(b"\r\n\r\n")
            return writer
    except (OSError, EOFError, TimeoutError):
        if writer is not None:
            writer.close()
        return None


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws"])
async def test_more_connections_than_descriptors(narrow: Fortress, transport: str) -> None:
    before = await narrow.let_in("cam1", "tcp")
    memory = narrow.resident
    left = []
    for _ in range(20):
        left += await asyncio.gather(*(left_open(narrow, transport) for _ in range(25)))
    assert sum(writer is not None for writer in left) > 100, "it is full"
    for identity, way in (("cam2", "tcp"), ("cam3", "tls"), ("cam3", "udp")):
        await narrow.let_in(identity, way)
    assert (await before.register()).status == 200, "who was there before still is, over its connection"
    assert not before.closed.is_set()
    assert narrow.open_files < 256
    assert narrow.resident - memory < 32 * MEGABYTE
    assert any("most of 127.0.0.1" in line["event"] for line in narrow.said("strangers' connections closed"))
    assert len(narrow.said("strangers' connections closed") + narrow.said("connections refused")) < 10
    for writer in left:
        if writer is not None:
            writer.close()


async def pour(fortress: Fortress, total: int) -> bytes:
    """One header line of so many bytes over TCP; what was answered before the connection was closed."""
    reader, writer = await asyncio.open_connection(*fortress.address("tcp"))
    piece = b"a" * 65_536
    try:
        writer.write(f"REGISTER sip:{DOMAIN} SIP/2.0\r\nSubject: ".encode())
        for _ in range(total // len(piece)):
            writer.write(piece)
            await writer.drain()
        return await reader.read(65_536)
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_header_of_ten_megabytes_over_tcp(fortress: Fortress) -> None:
    camera = await fortress.let_in("cam1", "tcp")
    memory = fortress.resident
    for _ in range(5):
        await asyncio.wait_for(asyncio.gather(*(pour(fortress, 10 * MEGABYTE) for _ in range(10))), 120)
        assert (await camera.register()).status == 200
    assert fortress.resident - memory < 32 * MEGABYTE, "of half a gigabyte that was sent"
    assert [line["event"] for line in fortress.said("connections closed for bad framing")][:1] == [
        "connections closed for bad framing: 1, most of 127.0.0.1: 1"
    ]


async def test_a_header_as_long_as_a_datagram_can_be(fortress: Fortress) -> None:
    camera, stranger = await fortress.let_in("cam1"), await fortress.peer("x", host="127.0.0.2")
    memory = fortress.resident
    for _ in range(200):
        request = stranger.request("OPTIONS", CAM1)
        room = 65_507 - len(request.to_bytes()) - len("Subject: \r\n")
        request.headers.add("Subject", "a" * room)
        answer = await stranger.ask(request, challenged=False)
        assert answer.status == 513
    assert (await camera.register()).status == 200
    assert fortress.resident - memory < 32 * MEGABYTE
    (line,) = fortress.said("messages that could not be read")
    assert line["event"].endswith("1, most of 127.0.0.2: 1")


def nested(depth: int) -> bytes:
    """A multipart body in a multipart body, so many times."""
    inner = b"--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n"
    return inner * depth + b"--b--\r\n" * depth


async def test_multipart_bodies_in_multipart_bodies(house: ServerHouse) -> None:
    """They are nobody's concern here: what goes on, goes on as it came, and the server itself takes none."""
    worker, ann, camera = await house.worker(), await house.peer("ann", transport="tcp"), await house.peer("cam1")
    assert (await camera.register()).status == 200
    body = nested((MAX_MESSAGE - 3000) // len(nested(1)))
    kind = (("Content-Type", "multipart/mixed;boundary=b"),)
    told = camera.request("MESSAGE", f"sip:{DOMAIN}", headers=kind, body=body)
    assert len(told.to_bytes()) > 60_000
    assert (await camera.ask(told, challenged=False)).status == 415
    disguised = camera.request("MESSAGE", f"sip:{DOMAIN}", headers=NOTICE, body=body)
    assert (await camera.ask(disguised, challenged=False)).status == 488
    sent = await ann.call(CAM1, body=body, headers=kind)
    arrived = await worker.arrives("INVITE")
    assert arrived.body == body
    worker.reply(arrived, 415)
    assert (await ann.response(sent)).status == 415
    assert (await camera.register()).status == 200


async def test_slow_loris(fortress: Fortress) -> None:
    """Two hundred that drip their message byte by byte, and two hundred that say nothing at all."""
    camera = await fortress.let_in("cam1", "tcp")
    memory = fortress.resident
    opened = [await asyncio.open_connection(*fortress.address("tcp")) for _ in range(400)]

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.ensure_future(reader.read())
        while not ended.done():
            writer.write(b"X")
            await asyncio.wait([ended], timeout=0.5)
        with suppress(ConnectionError):
            await ended

    async def wait(reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read()

    slow = [drip(*pair) for pair in opened[:200]] + [wait(reader) for reader, _ in opened[200:]]
    ending = asyncio.gather(*slow)
    assert (await camera.register()).status == 200, "in the middle of it"
    await fortress.let_in("cam2", "tcp")
    await asyncio.wait_for(ending, 90)
    assert (await camera.register()).status == 200
    assert fortress.resident - memory < 32 * MEGABYTE
    (line,) = fortress.said("connections closed for slowness")
    assert "most of 127.0.0.1" in line["event"]
    for _, writer in opened:
        writer.close()


async def bound(camera: Peer) -> list[str]:
    """What the server says is bound, to who may ask."""
    query = camera.request("REGISTER", f"sip:{DOMAIN}", to=f"<{CAM1}>")
    return [str(contact.uri) for contact in h.contacts((await camera.ask(query)).headers)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"], ids=["same address", "another address"])
async def test_a_register_that_was_overheard_is_good_for_nobody_else(house: ServerHouse, host: str) -> None:
    camera, thief = await house.peer("cam1"), await house.peer("cam1", "nothing", host=host)
    request = camera.request("REGISTER", f"sip:{DOMAIN}", to=f"<{CAM1}>", headers=(("Contact", f"<{camera.contact}>"),))
    camera.send(request)
    answered = camera.answer_to(request, await camera.response(request))
    camera.send(answered)
    assert (await camera.response(answered)).status == 200
    stolen = answered.copy()
    stolen.headers.set("Via", thief.request("REGISTER", f"sip:{DOMAIN}").headers.get("Via") or "")
    stolen.headers.set("Contact", f"<{thief.contact}>")
    refused = await thief.ask(stolen, challenged=False)
    assert (refused.status, h.challenges(refused.headers)[0].stale) == (401, True)
    assert await bound(camera) == [camera.contact]


async def test_nobody_unregisters_a_camera_without_its_password(house: ServerHouse) -> None:
    """Not even over its own flow, as a forged datagram comes."""
    camera, thief = await house.peer("cam1"), await house.peer("cam1", "nothing", host="127.0.0.2")
    assert (await camera.register()).status == 200
    for peer in (camera, thief):
        for contact in ("*", f"<{camera.contact}>", f"<{camera.contact}>;expires=0"):
            lines = (("Contact", contact), ("Expires", "0"))
            request = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<{CAM1}>", headers=lines)
            assert (await peer.ask(request, challenged=False)).status == 401
    assert (await thief.register(contact="*", expires=0)).status == 403
    assert await bound(camera) == [camera.contact]


async def test_a_keepalive_from_another_address_moves_nothing(house: ServerHouse) -> None:
    camera, thief, worker = await house.peer("cam1"), await house.peer("cam1", host="127.0.0.2"), await house.worker()
    thief.password = "nothing"
    assert (await camera.register()).status == 200
    for method, lines, body in (
        ("MESSAGE", NOTICE, KEEPALIVE),
        ("OPTIONS", (), b""),
        ("REGISTER", (("Contact", f"<{thief.contact}>"),), b""),
    ):
        request = thief.request(method, f"sip:{DOMAIN}", to=f"<{CAM1}>", headers=lines, body=body)
        assert (await thief.ask(request, challenged=False)).status == 401, method
    await worker.call(CAM1)
    assert (await camera.arrives("INVITE")).uri.host == "127.0.0.1"
    assert thief.inbox.empty()
    keepalive = camera.request("MESSAGE", f"sip:{DOMAIN}", headers=NOTICE, body=KEEPALIVE)
    assert (await camera.ask(keepalive, challenged=False)).status == 200


async def test_a_flood_from_one_source(fortress: Fortress) -> None:
    """Requests as fast as one socket gives them, of made-up ids, unanswered in the end; cameras register meanwhile."""
    camera, tcp = await fortress.let_in("cam1"), await fortress.let_in("cam2", "tcp")
    memory = fortress.resident
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
        flooder.bind(("127.0.0.9", 0))
        stranger = Peer("x", "", "udp", fortress.address("udp"))
        stranger.local = flooder.getsockname()
        for batch in range(2000):
            for number in range(500):
                stranger.id = f"guess{number}"
                flooder.sendto(stranger.request("OPTIONS", CAM1).to_bytes(), fortress.address("udp"))
            await asyncio.sleep(0.02)  # or the kernel loses nearly all of it
            if batch % 20 == 10:
                if batch > 60 and fortress.said("a flood of requests"):
                    break
                for peer in (camera, tcp):
                    # A datagram may be lost where so many are: it is sent again, as every SIP device does.
                    assert await registers(peer), "in the middle of it"
    assert await registers(camera)
    assert fortress.resident - memory < 48 * MEGABYTE
    assert fortress.said("a flood of requests")[0]["source"].startswith("udp:127.0.0.9:")
    assert fortress.text.count("\n") < 200, "the log is no flood itself"


async def registers(peer: Peer, within: float = 60.0) -> bool:
    """REGISTER with its repeats, whatever is lost of it."""

    async def answer(request: Request) -> Response:
        for _ in range(100):
            peer.send(request)
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while True:
                        response = await peer.receive(60)
                        if isinstance(response, Response) and h.cseq(response.headers) == h.cseq(request.headers):
                            return response
        raise AssertionError("no answer")

    lines = (("Contact", f"<{peer.contact}>"),)
    request = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:{peer.id}@{DOMAIN}>", headers=lines)
    async with asyncio.timeout(within):
        response = await answer(request)
        if response.status == 401:
            response = await answer(peer.answer_to(request, response))
        return response.status == 200
