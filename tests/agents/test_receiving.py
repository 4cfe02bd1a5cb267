"""The player's way in, over real sockets: what is missing is asked for where that was agreed on."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import pytest

from soip.agents.receiving import VideoLeg
from soip.agents.station import Server, Station
from soip.rtp import rtcp
from soip.rtp.nal import AccessUnit
from soip.sip.offer import Stream
from tests.agents.site import PORTS
from tests.rtp.wire import PAYLOAD_TYPE, SSRC, Sender


@pytest.mark.parametrize("agreed", [True, False])
async def test_a_missing_packet_is_asked_for_where_that_was_agreed_on(agreed: bool) -> None:
    station = Station(PORTS)
    await station.start(Server("127.0.0.1", 5060))
    units: list[AccessUnit] = []
    all_there = asyncio.Event()

    def take(unit: AccessUnit) -> None:
        units.append(unit)
        if len(units) == 4:
            all_there.set()

    with ExitStack() as stack:
        media, control = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        for sock in (media, control):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        pair = station.open_way()
        there = media.getsockname(), control.getsockname()
        feedback = frozenset({"nack"} if agreed else ())
        stream = Stream("video", "H264", PAYLOAD_TYPE, frozenset(), 90_000, "recvonly", 0, *there, feedback=feedback)
        leg = VideoLeg(station, pair, stream, take)
        sender = Sender()
        datagrams = [sender.unit([b"\x65\x88" + bytes([number])], number * 3000)[0] for number in range(4)]
        for number in (0, 1, 3):
            media.sendto(datagrams[number], ("127.0.0.1", pair.port))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            if agreed:
                packets = rtcp.parse(await loop.sock_recv(control, 2048))
                assert rtcp.Nack(packets[0].ssrc, SSRC, (2,)) in packets  # type: ignore[union-attr]  # a report
            media.sendto(datagrams[2], ("127.0.0.1", pair.port))
            await all_there.wait()
        leg.close()
        if not agreed:
            asked = rtcp.parse(await loop.sock_recv(control, 2048))
            assert not any(isinstance(packet, rtcp.Nack) for packet in asked)
    await station.close()
    assert [unit.timestamp & 0xFFFFFFFF for unit in units] == [0, 3000, 6000, 9000]
