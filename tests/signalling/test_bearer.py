"""People in browsers: they register by a token of the web server, over a WebSocket, and are called there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.config import HostPort
from soip.directory.settings import SIP_TOKEN_KEY, SIP_WEBSOCKET
from soip.policy import siptoken
from soip.sip import headers as h
from soip.sip.message import Request, Response
from tests.signalling.conftest import ServerHouse, running
from tests.signalling.peer import DOMAIN, Peer, eventually
from tests.signalling.test_tls import certify, trust

BOB = f"sip:bob@{DOMAIN}"


async def token(house: ServerHouse, user: str, lives: float = 60.0) -> str:
    """What the web server gives a user who has signed in."""
    return siptoken.issue(await house.directory.settings.secret(SIP_TOKEN_KEY), user, time.time() + lives)


def register(peer: Peer, credentials: str, *, header: str = "Authorization", to: str = "") -> Request:
    lines = (("Contact", f"<{peer.contact}>"), ("Expires", "600"), (header, credentials))
    return peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:{to or peer.id}@{DOMAIN}>", headers=lines)


async def page(house: ServerHouse, user: str) -> Peer:
    """A page in which this user is registered."""
    peer = await house.peer(user, transport="ws")
    bearer = f"Bearer {await token(house, user)}"
    assert (await peer.ask(register(peer, bearer), challenged=False)).status == 200
    return peer


def challenges(response: Response) -> list[tuple[str, str]]:
    """Scheme and error of each challenge."""
    name = "Proxy-Authenticate" if response.status == 407 else "WWW-Authenticate"
    return [(each.scheme, each.param("error")) for each in h.challenges(response.headers, name)]


async def test_where_browsers_are_taken_is_published(house: ServerHouse) -> None:
    version = await house.directory.settings.version()
    first = HostPort.parse(await house.directory.settings.get(SIP_WEBSOCKET))
    assert (first.host, first.port) == house.role.endpoint.address_towards("127.0.0.1", "ws")
    await house.stop()
    await house.start()
    second = HostPort.parse(await house.directory.settings.get(SIP_WEBSOCKET))
    assert (second.host, second.port) == house.role.endpoint.address_towards("127.0.0.1", "ws")
    assert await house.directory.settings.version() == version, "nothing was configured anew"


async def test_a_page_registers_calls_and_is_called(house: ServerHouse) -> None:
    ann, bob = await page(house, "ann"), await house.peer("bob")
    assert (await bob.register()).status == 200
    invite = await bob.call(f"sip:ann@{DOMAIN}")
    arrived = await ann.arrives("INVITE")
    assert h.top_via(arrived.headers).transport == "WS"
    routes = [route.uri.param("transport") for route in h.record_routes(arrived.headers)]
    assert routes == ["ws", None]
    answered = ann.reply(arrived, 200)
    response = await bob.response(invite)
    bob.send(bob.ack(invite, response))
    await ann.arrives("ACK")
    bye = ann.back("BYE", arrived, answered)
    ann.send(bye)
    bob.reply(await bob.arrives("BYE"), 200)
    assert (await ann.response(bye)).status == 200


@pytest.mark.parametrize("header", ["Authorization", "Proxy-Authorization"])
async def test_a_token_is_good_in_either_field_and_goes_no_further(house: ServerHouse, header: str) -> None:
    ann, bob = await page(house, "ann"), await house.peer("bob")
    assert (await bob.register()).status == 200
    lines = ((header, f"bearer  {await token(house, 'ann')}"), ("Proxy-Authorization", 'Digest realm="other", a="b"'))
    message = ann.request("MESSAGE", BOB, headers=lines, body=b"hello")
    asking = asyncio.ensure_future(ann.ask(message, challenged=False))
    arrived = await bob.arrives("MESSAGE")
    assert arrived.headers.get("P-Asserted-Identity") == f"<sip:ann@{DOMAIN}>"
    assert arrived.headers.get_all("Authorization") == []
    assert arrived.headers.get_all("Proxy-Authorization") == ['Digest realm="other", a="b"'], "not ours to take"
    bob.reply(arrived, 200)
    assert (await asking).status == 200


async def test_pages_are_told_of_tokens_and_phones_are_not(house: ServerHouse) -> None:
    for transport, expected in (("ws", [("Digest", ""), ("Bearer", "")]), ("udp", [("Digest", "")])):
        ann = await house.peer("ann", transport=transport)
        asked = await ann.ask(ann.request("MESSAGE", BOB), challenged=False)
        assert (asked.status, challenges(asked)) == (407, expected)
        assert (await ann.register()).status == 200, "a password is as good in a page"


async def test_an_expired_or_forged_token_is_asked_for_again(house: ServerHouse) -> None:
    ann = await house.peer("ann", transport="ws")
    good = await token(house, "ann")
    forged = siptoken.issue(b"another key", "ann", time.time() + 60)
    for bad in (await token(house, "ann", -1), forged, good[:-2], "x" * 2000):
        asked = await ann.ask(register(ann, f"Bearer {bad}"), challenged=False)
        assert (asked.status, challenges(asked)) == (401, [("Digest", ""), ("Bearer", "invalid_token")]), bad
    assert (await ann.ask(register(ann, f"Bearer {good}"), challenged=False)).status == 200


async def test_a_token_is_for_its_user_alone(house: ServerHouse) -> None:
    ann = await house.peer("ann", transport="ws")
    bearer = f"Bearer {await token(house, 'ann')}"
    assert (await ann.ask(register(ann, bearer, to="bob"), challenged=False)).status == 403
    for identity in ("cam1", house.media.id, house.media.instance(0), "nobody"):
        bearer = f"Bearer {await token(house, identity)}"
        asked = await ann.ask(register(ann, bearer, to=identity), challenged=False)
        assert (asked.status, challenges(asked)[-1]) == (401, ("Bearer", "invalid_token")), identity


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_in_the_clear_a_token_counts_for_nothing(house: ServerHouse, transport: str) -> None:
    ann = await house.peer("ann", transport=transport)
    asked = await ann.ask(register(ann, f"Bearer {await token(house, 'ann')}"), challenged=False)
    assert (asked.status, challenges(asked)) == (401, [("Digest", "")])


@pytest.fixture
async def secure(furnished: Path, tmp_path: Path) -> AsyncIterator[ServerHouse]:
    certify(tmp_path / "tls")
    async with running(furnished, tmp_path, sip_tls=HostPort("127.0.0.1", 0)) as house:
        yield house


async def test_over_tls_it_counts(secure: ServerHouse) -> None:
    ann = await secure.peer("ann", transport="tls", trust=trust(secure))
    bad = await ann.ask(register(ann, "Bearer x"), challenged=False)
    assert challenges(bad) == [("Digest", ""), ("Bearer", "invalid_token")]
    assert (await ann.ask(register(ann, f"Bearer {await token(secure, 'ann')}"), challenged=False)).status == 200


async def test_a_user_without_a_sip_secret(house: ServerHouse) -> None:
    await house.directory.users.add("eve", password="x", role="viewer", realm=DOMAIN, sip_password=None)
    eve = await page(house, "eve")
    bob = await house.peer("bob")
    asking = asyncio.ensure_future(bob.ask(bob.request("MESSAGE", f"sip:eve@{DOMAIN}")))
    eve.reply(await eve.arrives("MESSAGE"), 200)
    assert (await asking).status == 200
    phone = await house.peer("eve", password="anything")
    assert (await phone.register()).status == 403, "as for an id that is not there"


async def test_who_is_removed_is_out(house: ServerHouse) -> None:
    await house.directory.users.add("eve", password="x", role="viewer", realm=DOMAIN, sip_password=None)
    eve, bob = await page(house, "eve"), await house.peer("bob")
    kept = await token(house, "eve")
    await house.directory.users.remove("eve")

    async def gone() -> bool:
        return (await bob.ask(bob.request("MESSAGE", f"sip:eve@{DOMAIN}"))).status == 404

    asking = asyncio.ensure_future(eventually(gone))
    while not asking.done():
        while not eve.inbox.empty():
            message = eve.inbox.get_nowait()
            if isinstance(message, Request):
                eve.reply(message, 200)
        await asyncio.sleep(0.02)
    await asking
    asked = await eve.ask(register(eve, f"Bearer {kept}"), challenged=False)
    assert challenges(asked)[-1] == ("Bearer", "invalid_token")


async def test_a_page_that_is_closed_is_not_registered(house: ServerHouse) -> None:
    ann, bob = await page(house, "ann"), await house.peer("bob")
    ann.close()

    async def gone() -> bool:
        return (await bob.ask(bob.request("MESSAGE", f"sip:ann@{DOMAIN}"))).status == 480

    await eventually(gone)
