"""Who may say whose request it is: peers with a certificate of our CA and a name we were told, and nobody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from soip.config import HostPort
from soip.net.certificates import Authority, now
from soip.sip import headers as h
from soip.sip.message import Request
from tests.signalling.conftest import ServerHouse, running
from tests.signalling.peer import DOMAIN, Peer
from tests.signalling.test_tls import certify, trust

BOB = f"sip:bob@{DOMAIN}"
ASSERTED = ("P-Asserted-Identity", f"<sip:ann@{DOMAIN}>")


class Houses:
    """A house with peers, and the CA that certifies them."""

    def __init__(self, house: ServerHouse, authority: Authority, folder: Path) -> None:
        self.house = house
        self._authority = authority
        self._folder = folder

    def shows(self, *names: str) -> ssl.SSLContext:
        """What a peer that has a certificate for these names believes and shows; without any, it shows none."""
        context = trust(self.house)
        if names:
            pair = self._folder / "peer.pem", self._folder / "peer.key"
            self._authority.issue(names, now(), server=False).save(*pair)
            context.load_cert_chain(*pair)
        return context

    async def pbx(self, *names: str) -> Peer:
        """Another server's connection."""
        return await self.house.peer("pbx", transport="tls", trust=self.shows(*names))

    async def bob(self) -> Peer:
        bob = await self.house.peer("bob")
        assert (await bob.register()).status == 200
        return bob


@pytest.fixture
async def houses(furnished: Path, tmp_path: Path) -> AsyncIterator[Houses]:
    authority = certify(tmp_path / "tls")
    peers = ("pbx.example", "other.example")
    async with running(furnished, tmp_path, sip_tls=HostPort("127.0.0.1", 0), sip_peers=peers) as house:
        yield Houses(house, authority, tmp_path)


def vouched(pbx: Peer, *headers: tuple[str, str], method: str = "MESSAGE", uri: str = BOB) -> Request:
    return pbx.request(method, uri, headers=headers or (ASSERTED,), body=b"hello")


async def test_a_peer_speaks_for_a_user(houses: Houses) -> None:
    pbx, bob = await houses.pbx("pbx.example"), await houses.bob()
    invite = pbx.invite(BOB, headers=(ASSERTED,))
    pbx.send(invite)
    arrived = await bob.arrives("INVITE")
    assert arrived.headers.get_all("P-Asserted-Identity") == [f"<sip:ann@{DOMAIN}>"]
    bob.reply(arrived, 200)
    response = await pbx.response(invite)
    pbx.send(pbx.ack(invite, response))
    await bob.arrives("ACK")
    bye = pbx.within("BYE", invite, response)
    pbx.send(bye)
    bob.reply(await bob.arrives("BYE"), 200)
    assert (await pbx.response(bye)).status == 200


async def test_what_the_user_may_not_the_peer_may_not_either(houses: Houses) -> None:
    """Ann is a viewer: she has no control of cameras."""
    pbx = await houses.pbx("pbx.example")
    assert (await pbx.ask(vouched(pbx, uri=f"sip:cam1@{DOMAIN}"))).status == 403


@pytest.mark.parametrize("names", [(), ("stranger.example",), ("x.pbx.example",)])
async def test_without_the_name_the_header_counts_for_nothing(houses: Houses, names: tuple[str, ...]) -> None:
    pbx, bob = await houses.pbx(*names), await houses.bob()
    assert (await pbx.ask(vouched(pbx), challenged=False)).status == 407
    # And with a password it is replaced by who that is.
    pbx.username, pbx.password = "ann", "ann-sip"
    asking = asyncio.ensure_future(pbx.ask(vouched(pbx, ("P-Asserted-Identity", f"<sip:boss@{DOMAIN}>"))))
    arrived = await bob.arrives("MESSAGE")
    assert arrived.headers.get_all("P-Asserted-Identity") == [f"<sip:ann@{DOMAIN}>"]
    bob.reply(arrived, 200)
    assert (await asking).status == 200


async def test_the_same_header_over_udp_and_tcp_counts_for_nothing(houses: Houses) -> None:
    for transport in ("udp", "tcp"):
        pbx = await houses.house.peer("pbx", transport=transport)
        assert (await pbx.ask(vouched(pbx), challenged=False)).status == 407


@pytest.mark.parametrize(
    "asserted",
    [
        "<sip:ann@elsewhere.example>",
        "<sip:nobody@soip.test>",
        "<sip:cam1@soip.test>",
        "<sip:soip.test>",
        "<tel:+4912345>",
        "",
    ],
)
async def test_only_our_own_users_can_be_asserted(houses: Houses, asserted: str) -> None:
    pbx = await houses.pbx("pbx.example")
    header = (("P-Asserted-Identity", asserted),) if asserted else (("X-Nothing", "x"),)
    assert (await pbx.ask(vouched(pbx, *header), challenged=False)).status == 407


async def test_a_media_server_cannot_be_asserted(houses: Houses) -> None:
    pbx = await houses.pbx("pbx.example")
    for identity in (houses.house.media.id, houses.house.media.instance(0)):
        header = ("P-Asserted-Identity", f"<sip:{identity}@{DOMAIN}>")
        assert (await pbx.ask(vouched(pbx, header), challenged=False)).status == 407


async def test_a_number_beside_the_address_is_passed_over(houses: Houses) -> None:
    pbx, bob = await houses.pbx("other.example", "second.example"), await houses.bob()
    asking = asyncio.ensure_future(pbx.ask(vouched(pbx, ("P-Asserted-Identity", f"<tel:+4912345>, {ASSERTED[1]}"))))
    arrived = await bob.arrives("MESSAGE")
    assert h.top_via(arrived.headers).transport == "UDP"
    assert arrived.headers.get_all("P-Asserted-Identity") == [ASSERTED[1]]
    bob.reply(arrived, 200)
    assert (await asking).status == 200


async def test_nobody_registers_for_somebody_else(houses: Houses) -> None:
    """To speak for ann is not to be called in her place."""
    pbx = await houses.pbx("pbx.example")
    lines = (("Contact", f"<{pbx.contact}>"), ASSERTED)
    register = pbx.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:ann@{DOMAIN}>", headers=lines)
    assert (await pbx.ask(register, challenged=False)).status == 401
    options = pbx.request("OPTIONS", f"sip:{DOMAIN}", headers=(ASSERTED,))
    assert (await pbx.ask(options, challenged=False)).status == 401


async def test_a_malformed_assertion_is_answered(houses: Houses) -> None:
    pbx = await houses.pbx("pbx.example")
    assert (await pbx.ask(vouched(pbx, ("P-Asserted-Identity", '"<sip')), challenged=False)).status == 400
