"""The server on IPv6: the messages of RFC 5118, and a camera that is called."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.config import HostPort
from soip.sip import headers as h
from soip.sip.message import Response, parse_message
from tests.signalling.conftest import ServerHouse, running
from tests.sip import torture_ipv6 as corpus


@pytest.fixture
async def house(furnished: Path, tmp_path: Path) -> AsyncIterator[ServerHouse]:
    async with running(furnished, tmp_path, sip=HostPort("::1", 0)) as house:
        yield house


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("REFERENCE", 401),
        ("BARE_ADDRESS", 400),
        ("AMBIGUOUS_PORT", 401),
        ("PORT", 401),
        ("RECEIVED_WITH_BRACKETS", 407),
        ("RECEIVED", 401),
        ("SDP", 407),
        ("MIXED_VIAS", 407),
        ("MIXED_SDP", 407),
        ("MAPPED", 407),
        ("THREE_COLONS", 407),
        ("TWO_COLONS", 407),
    ],
)
async def test_the_server_answers_each(house: ServerHouse, name: str, status: int) -> None:
    data: bytes = getattr(corpus, name)
    # The answer is to come back here: the addresses of the messages are nobody's.
    data = data.replace(b";branch=", b";rport;branch=", 1).replace(b"received=", b"x=")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        peer.bind(("::1", 0))
        port = peer.getsockname()[1]
        await loop.sock_sendto(peer, data, house.address)
        answer = parse_message(await asyncio.wait_for(loop.sock_recv(peer, 65_536), 20))
    assert isinstance(answer, Response)
    assert answer.status == status
    via = h.top_via(answer.headers)
    if status != 400:  # what cannot be read is answered with the Via as it came
        assert (via.received, via.rport) == ("::1", port)


async def test_a_camera_registers_and_is_called_over_ipv6(house: ServerHouse) -> None:
    for transport in ("udp", "tcp"):
        camera = await house.peer("cam1", transport=transport, host="::1")
        assert (await camera.register()).status == 200
        worker = await house.peer(house.media.instance(0), house.media.secret, "tcp", host="::1")
        worker.username = house.media.id
        assert (await worker.register(contact=f"<sip:{worker.id}@soip.test;gr>")).status == 200
        await worker.call("sip:cam1@soip.test")
        arrived = await camera.arrives("INVITE")
        assert arrived.uri.host == "::1"
        assert {route.uri.host for route in h.record_routes(arrived.headers)} == {"::1"}
        camera.close()
