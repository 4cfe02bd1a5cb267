"""Kamailio in front: cameras register through it, and are called through it (RFC 3327)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from soip.sip import headers as h
from tests.interop.kamailio import free_port, kamailio
from tests.signalling.conftest import ServerHouse, furnished, house
from tests.signalling.peer import DOMAIN, Peer, open_peer

pytestmark = pytest.mark.interop

__all__ = ["furnished", "house"]

CAM1 = f"sip:cam1@{DOMAIN}"

EDGE = """\
debug=0
log_stderror=yes
children=2
disable_tcp=yes
listen=udp:127.0.0.1:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "path.so"
request_route {{
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  if (has_totag()) {{
    if (!loose_route() && !is_method("ACK")) {{ sl_send_reply("404", "Not here"); exit; }}
    t_relay();
    exit;
  }}
  t_check_trans();
  if (is_method("REGISTER")) add_path();
  else record_route();
  if ($sp == {server_port}) loose_route();
  else $du = "sip:127.0.0.1:{server_port}";
  t_relay();
}}
"""


@asynccontextmanager
async def edge(house: ServerHouse, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """A Kamailio that passes everything on to the SIP server, and what comes from there to the camera."""
    port = free_port()
    async with kamailio(EDGE.format(port=port, server_port=house.address[1]), folder, port):
        yield ("127.0.0.1", port)


async def behind(address: tuple[str, int], house: ServerHouse) -> Peer:
    """A camera that has registered through the edge."""
    camera = await open_peer("cam1", "secret1", address)
    house.peers.append(camera)
    assert (await camera.register(headers=(("Supported", "path"),))).status == 200
    return camera


async def test_a_camera_behind_an_edge_is_called_through_it(house: ServerHouse, tmp_path: Path) -> None:
    async with edge(house, tmp_path) as address:
        camera = await behind(address, house)
        (bound,) = house.role.bindings("cam1")
        assert [f":{address[1]}" in hop for hop in bound.path] == [True]
        worker = await house.worker()
        invite = await worker.call(CAM1)
        arrived = await camera.arrives("INVITE")
        assert h.top_via(arrived.headers).port == address[1]
        assert len(h.via_list(arrived.headers)) == 3, "media worker, server, edge"
        answer = camera.reply(arrived, 200)
        accepted = await worker.response(invite)
        assert accepted.status == 200
        worker.send(worker.ack(invite, accepted))
        await camera.arrives("ACK")
        info = worker.within("INFO", invite, accepted)
        worker.send(info)
        camera.reply(await camera.arrives("INFO"), 200)
        assert (await worker.response(info)).status == 200
        bye = camera.back("BYE", arrived, answer)
        camera.send(bye)
        worker.reply(await worker.arrives("BYE"), 200)
        assert (await camera.response(bye)).status == 200


async def test_the_way_through_an_edge_outlives_a_restart(house: ServerHouse, tmp_path: Path) -> None:
    async with edge(house, tmp_path) as address:
        camera = await behind(address, house)
        await house.stop()
        await house.start()
        worker = await house.worker()
        await worker.call(CAM1)
        assert len(h.via_list((await camera.arrives("INVITE")).headers)) == 3
