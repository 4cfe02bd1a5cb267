"""The SIP server over TLS: cameras and people behind it, dialogs between it and other transports."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.config import HostPort, Settings
from soip.net.certificates import Authority, now
from soip.net.errors import TlsError
from soip.net.tls import client_context
from soip.signalling import role
from soip.sip import headers as h
from soip.sip.message import Request
from tests.signalling.conftest import ServerHouse, running
from tests.signalling.peer import DOMAIN, Peer, eventually
from tests.signalling.test_events import ask

CAM1 = f"sip:cam1@{DOMAIN}"


def certify(folder: Path) -> Authority:
    """What `soip tls init` makes, for 127.0.0.1."""
    authority = Authority.make("the house's CA", now())
    authority.save(folder / "ca.pem", folder / "ca.key")
    authority.issue([DOMAIN, "127.0.0.1"], now(), server=True).save(folder / "server.pem", folder / "server.key")
    return authority


@pytest.fixture
async def secure(furnished: Path, tmp_path: Path) -> AsyncIterator[ServerHouse]:
    """A house that listens with TLS too."""
    certify(tmp_path / "tls")
    async with running(furnished, tmp_path, sip_tls=HostPort("127.0.0.1", 0)) as house:
        yield house


def trust(house: ServerHouse) -> ssl.SSLContext:
    return client_context(house.settings.ca_file)


async def over_tls(house: ServerHouse, identity: str) -> Peer:
    """A registered peer behind TLS."""
    peer = await house.peer(identity, transport="tls", trust=trust(house))
    assert (await peer.register()).status == 200
    return peer


def sides(request: Request) -> list[str]:
    """The transports of our Record-Route elements, the topmost first; "" for UDP."""
    return [route.uri.param("transport") or "" for route in h.record_routes(request.headers)]


async def test_a_camera_behind_tls_is_called_and_hangs_up(secure: ServerHouse) -> None:
    camera, worker = await over_tls(secure, "cam1"), await secure.worker()
    invite = await worker.call(CAM1)
    arrived = await camera.arrives("INVITE")
    via = h.top_via(arrived.headers)
    assert (via.transport, via.port) == ("TLS", camera.server[1])
    assert sides(arrived) == ["tls", "tcp"], "each end sees the way it has (RFC 5658)"
    assert h.record_routes(arrived.headers)[0].uri.port == camera.server[1]
    ok = camera.reply(arrived, 200)
    response = await worker.response(invite)
    assert response.status == 200
    worker.send(worker.ack(invite, response))
    await camera.arrives("ACK")
    bye = worker.within("BYE", invite, response)
    worker.send(bye)
    camera.reply(await camera.arrives("BYE"), 200)
    assert (await worker.response(bye)).status == 200
    back = camera.back("INFO", arrived, ok)
    camera.send(back)
    worker.reply(await worker.arrives("INFO"), 200)
    assert (await camera.response(back)).status == 200


async def test_people_write_to_each_other_over_different_transports(secure: ServerHouse) -> None:
    ann, bob = await over_tls(secure, "ann"), await secure.peer("bob")
    assert (await bob.register()).status == 200
    for sender, receiver, transport in ((ann, bob, "UDP"), (bob, ann, "TLS")):
        sending = asyncio.ensure_future(
            sender.ask(sender.request("MESSAGE", f"sip:{receiver.id}@{DOMAIN}", body=b"hi"))
        )
        arrived = await receiver.arrives("MESSAGE")
        assert h.top_via(arrived.headers).transport == transport
        assert arrived.headers.get("P-Asserted-Identity") == f"<sip:{sender.id}@{DOMAIN}>"
        receiver.reply(arrived, 200)
        assert (await sending).status == 200


async def test_a_dialog_within_tls_names_it_once(secure: ServerHouse) -> None:
    ann, bob = await over_tls(secure, "ann"), await over_tls(secure, "bob")
    await ann.call(f"sip:bob@{DOMAIN}")
    assert sides(await bob.arrives("INVITE")) == ["tls"]


@pytest.mark.parametrize("transport", ["tls", "ws"])
async def test_who_subscribes_is_told_where_this_server_is_reached(secure: ServerHouse, transport: str) -> None:
    ann = await secure.peer("ann", transport=transport, trust=trust(secure) if transport == "tls" else None)
    watch = await ask(ann, CAM1, "presence")
    contact = h.contacts(watch.answer.headers)[0].uri
    place = secure.role.endpoint.address_towards("127.0.0.1", transport)
    assert (contact.host, contact.port, contact.param("transport")) == (*place, transport)
    await watch.notified()
    assert (await watch.again(0)).status == 200


async def test_a_registration_ends_with_its_connection(secure: ServerHouse) -> None:
    ann, bob = await over_tls(secure, "ann"), await over_tls(secure, "bob")
    bob.close()

    async def gone() -> bool:
        return (await ann.ask(ann.request("MESSAGE", f"sip:bob@{DOMAIN}"))).status == 480

    await eventually(gone)


async def test_a_connection_does_not_outlive_a_restart(secure: ServerHouse) -> None:
    camera = await over_tls(secure, "cam1")
    await secure.stop()
    await asyncio.wait_for(camera.closed.wait(), 5)
    await secure.start()
    worker = await secure.worker()
    assert (await worker.ask(worker.request("OPTIONS", CAM1))).status == 480
    camera = await over_tls(secure, "cam1")
    await worker.call(CAM1)
    await camera.arrives("INVITE")


async def test_a_certificate_that_is_missing_ends_the_start(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, sip=HostPort("127.0.0.1", 0), sip_tls=HostPort("127.0.0.1", 0))
    with pytest.raises(TlsError, match=r"tls/server\.pem.*'soip tls init' makes both"):
        await role.run(settings)
