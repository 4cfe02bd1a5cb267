"""Calls to and from other SIP servers, by the routes of the settings, over real sockets."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from soip.config import HostPort, SipRoute
from soip.directory.settings import SIP_ROUTES
from soip.net.resolver import Resolver
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.signalling import trunk as module
from soip.sip import headers as h
from soip.sip.message import Request
from soip.sip.timers import Timers
from tests.net.dnsserver import Zone, dns_server
from tests.signalling.conftest import ServerHouse, running
from tests.signalling.far import PASSWORD, USER, WITHIN, Far, far
from tests.signalling.peer import DOMAIN, Peer, eventually
from tests.signalling.test_tls import certify, trust

CARL = "sip:carl@pbx.example"
BOB = f"sip:bob@{DOMAIN}"


@asynccontextmanager
async def site(furnished: Path, data: Path, *routes: SipRoute, **settings: Any) -> AsyncIterator[ServerHouse]:
    """A house with routes, each of which has been found up."""
    async with running(furnished, data, sip_routes=routes, **settings) as house:
        yield house


def route(to: Far | str, **more: Any) -> SipRoute:
    """The route `pbx`, over UDP where a server is given."""
    hop = to if isinstance(to, str) else f"sip:127.0.0.1:{to.port}"
    return SipRoute(**{"name": "pbx", "to": hop, "domains": ("pbx.example",), **more})


def state(house: ServerHouse, name: str = "pbx") -> str:
    """What is known of a route."""
    assert house.role.trunks is not None
    found = house.role.trunks.get(name)
    assert found is not None
    return found.state.name


async def becomes(house: ServerHouse, name: str) -> None:
    """Wait until the route is in a state."""

    async def holds() -> bool:
        return state(house) == name

    await eventually(holds, within=WITHIN)


async def talk(bob: Peer, there: Far) -> tuple[Request, Any, Any, Any]:
    """Bob calls carl, who takes the call."""
    invite = await bob.call(CARL)
    incoming = await there.arrives("INVITE")
    answer = there.accept(incoming)
    accepted = await bob.response(invite)
    assert accepted.status == 200
    bob.send(bob.ack(invite, accepted))
    assert (await asyncio.wait_for(there.acks.get(), WITHIN)).method == "ACK"
    return invite, accepted, incoming.request, answer


async def test_a_call_to_another_domain(furnished: Path, tmp_path: Path) -> None:
    async with far() as there, site(furnished, tmp_path, route(there)) as house:
        bob = await house.peer("bob")
        invite, accepted, arrived, _ = await talk(bob, there)
        assert str(arrived.uri) == CARL
        assert "P-Asserted-Identity" not in arrived.headers, "the other side is not trusted with it"
        assert "Proxy-Authorization" not in arrived.headers
        assert "P-Asserted-Identity" not in accepted.headers, "nobody here knows who that is"
        bye = bob.within("BYE", invite, accepted)
        bob.send(bye)
        (await there.arrives("BYE")).reply(200)
        assert (await bob.response(bye)).status == 200
        (trace,) = house.role._ladder.traces
        assert {party.label for party in trace.parties} == {"", "bob", "pbx"}, "the ladder names the route"


async def test_the_other_side_hangs_up(furnished: Path, tmp_path: Path) -> None:
    async with far() as there, site(furnished, tmp_path, route(there)) as house:
        bob = await house.peer("bob")
        _, _, arrived, answer = await talk(bob, there)
        ending = there.endpoint.request(there.back("BYE", arrived, answer), Target("udp", *house.address))
        task = asyncio.ensure_future(ending)
        bob.reply(await bob.arrives("BYE"), 200)
        assert (await asyncio.wait_for(task, WITHIN)).status == 200


async def test_only_who_saw_the_token_from_there_is_in_the_dialog(furnished: Path, tmp_path: Path) -> None:
    """The same BYE from an address that is none of the route's is challenged."""
    async with far() as there, site(furnished, tmp_path, route(there)) as house:
        bob = await house.peer("bob")
        _, _, arrived, answer = await talk(bob, there)
        other = SipEndpoint("127.0.0.7", 0)
        await other.start()
        try:
            response = await other.request(there.back("BYE", arrived, answer), Target("udp", *house.address))
        finally:
            await other.close()
        assert response.status == 407
        assert bob.inbox.empty()


async def test_who_is_trusted_is_told_who_calls(furnished: Path, tmp_path: Path) -> None:
    async with far() as there, site(furnished, tmp_path, route(there, assert_identity=True)) as house:
        bob = await house.peer("bob")
        await bob.call(CARL, headers=(("P-Asserted-Identity", "<sip:boss@soip.test>"), ("Max-Breadth", "9")))
        incoming = await there.arrives("INVITE")
        assert incoming.request.headers.get_all("P-Asserted-Identity") == [f"<{BOB}>"]
        assert incoming.request.headers.get("Max-Breadth") == "9"
        incoming.reply(486)


async def test_a_number_leaves_for_the_pbx(furnished: Path, tmp_path: Path) -> None:
    async with far() as there, site(furnished, tmp_path, route(there, domains=(), numbers=("0*",))) as house:
        bob = await house.peer("bob")
        invite = await bob.call(f"sip:0123@{DOMAIN}")
        incoming = await there.arrives("INVITE")
        assert str(incoming.request.uri) == "sip:0123@127.0.0.1"
        incoming.reply(404)
        assert (await bob.response(invite)).status == 404


async def test_what_is_refused_goes_nowhere(furnished: Path, tmp_path: Path) -> None:
    async with far() as there, site(furnished, tmp_path, route(there)) as house:
        ann, bob = await house.peer("ann"), await house.peer("bob")
        refused = await ann.ask(ann.request("MESSAGE", CARL))
        assert refused.status == 403
        assert "may not use the route pbx" in (refused.headers.get("Warning") or "")
        refused = await bob.ask(bob.request("MESSAGE", "sip:carl@nowhere.example"))
        assert refused.status == 404
        assert "no route leads there" in (refused.headers.get("Warning") or "")
        assert there.arrived.empty()


async def test_a_challenge_of_the_other_side_is_answered_by_us(furnished: Path, tmp_path: Path) -> None:
    mine = {"username": USER, "password": PASSWORD}
    async with far(asks=("INVITE", "BYE")) as there, site(furnished, tmp_path, route(there, **mine)) as house:
        bob = await house.peer("bob")
        invite, accepted, arrived, _ = await talk(bob, there)
        assert h.cseq(arrived.headers) == h.cseq(invite.headers), "the caller's dialog goes by it"
        assert len(h.record_routes(arrived.headers)) == 1
        bye = bob.within("BYE", invite, accepted)
        bob.send(bye)
        (await there.arrives("BYE")).reply(200)
        assert (await bob.response(bye)).status == 200


async def test_a_question_of_our_own_that_is_challenged_has_a_higher_cseq(furnished: Path, tmp_path: Path) -> None:
    account = {"username": USER, "password": PASSWORD}
    async with far(asks=("OPTIONS",)) as there, site(furnished, tmp_path, route(there, **account)) as house:
        await asyncio.wait_for(there.options.wait(), WITHIN)
        await becomes(house, "up")
    first, taken = there.challenged[0], there.asked[0]
    assert h.call_id(taken.headers) == h.call_id(first.headers)
    assert h.cseq(taken.headers).number == h.cseq(first.headers).number + 1, "RFC 3261 §22.2"


@pytest.mark.parametrize("mine", [{}, {"username": USER, "password": "wrong"}, {"realm": "elsewhere"}])
async def test_a_challenge_we_cannot_answer_goes_to_the_caller(
    furnished: Path, tmp_path: Path, mine: dict[str, str]
) -> None:
    if "realm" in mine:
        mine = {"username": USER, "password": PASSWORD, **mine}
    async with far(asks=("INVITE",)) as there, site(furnished, tmp_path, route(there, **mine)) as house:
        bob = await house.peer("bob")
        invite = await bob.call(CARL)
        response = await bob.response(invite)
        assert response.status == 407
        assert "pbx.example" in (response.headers.get("Proxy-Authenticate") or "")
        assert there.arrived.empty()


async def test_the_caller_gives_up(furnished: Path, tmp_path: Path) -> None:
    async with far() as there, site(furnished, tmp_path, route(there)) as house:
        bob = await house.peer("bob")
        invite = await bob.call(CARL)
        incoming = await there.arrives("INVITE")
        cancelled = asyncio.Event()
        incoming.on_cancel(cancelled.set)
        incoming.reply(180)
        assert (await bob.response(invite, provisional=True)).status == 180
        cancel = Request("CANCEL", invite.uri, invite.headers.copy())
        cancel.headers.set("CSeq", f"{h.cseq(invite.headers).number} CANCEL")
        bob.send(cancel)
        await asyncio.wait_for(cancelled.wait(), WITHIN)
        incoming.reply(487)
        statuses = {(await bob.receive()).status for _ in range(2)}  # type: ignore[union-attr]  # responses both
        assert statuses == {200, 487}


@asynccontextmanager
async def named(monkeypatch: pytest.MonkeyPatch, zone: Zone) -> AsyncIterator[None]:
    """The server asks a DNS server with this zone."""
    async with dns_server(zone) as server:
        monkeypatch.setattr("soip.net.resolver.TRY_SECONDS", 10.0)
        monkeypatch.setattr("soip.net.resolver.WITHIN_SECONDS", 20.0)
        resolver = functools.partial(Resolver, ["127.0.0.1"], server.address[1])
        monkeypatch.setattr("soip.signalling.role.Resolver", resolver)
        yield


def two_hops(first: int, second: int, transport: str = "tcp") -> Zone:
    """SRV records of two servers, the second for when the first fails."""
    service = f"_sip._{transport}.pbx.example"
    return {
        (service, "SRV"): [f"10 1 {first} one.pbx.example.", f"20 1 {second} two.pbx.example."],
        ("one.pbx.example", "A"): ["127.0.0.1"],
        ("two.pbx.example", "A"): ["127.0.0.1"],
    }


async def test_a_hop_that_is_overloaded_is_left_for_the_next(
    furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with far() as one, far() as two, named(monkeypatch, two_hops(one.port, two.port)):
        one.refuses = lambda request: 503
        async with site(furnished, tmp_path, route("sip:pbx.example;transport=tcp")) as house:
            bob = await house.peer("bob")
            _, _, arrived, _ = await talk(bob, two)
            assert h.top_via(arrived.headers).transport == "TCP"
            one.refuses = lambda request: pytest.fail("it is tried last for a while")
            await talk(bob, two)


async def test_a_hop_that_is_not_there_is_left_for_the_next(
    furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        far() as one,
        far() as two,
        named(monkeypatch, two_hops(one.port, two.port)),
        site(furnished, tmp_path, route("sip:pbx.example;transport=tcp")) as house,
    ):
        bob = await house.peer("bob")
        await talk(bob, one)
        await one.endpoint.close()
        await talk(bob, two)
        assert state(house) == "up"


async def test_a_silent_hop_is_left_for_the_next(
    furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over UDP only time tells: timer F of the OPTIONS, ten times shorter here (64 · T1)."""
    monkeypatch.setattr(ServerHouse, "timers", Timers(t1=0.05, t2=0.2, t4=0.1, c=60.0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with (
            far() as two,
            named(monkeypatch, two_hops(silent.getsockname()[1], two.port, "udp")),
            site(furnished, tmp_path, route("sip:pbx.example;transport=udp")) as house,
        ):
            await asyncio.wait_for(two.options.wait(), WITHIN)
            assert silent.recv(4096).startswith(b"OPTIONS"), "it was asked first"
            await talk(await house.peer("bob"), two)


async def test_when_all_hops_are_overloaded_their_answer_is_the_answer(furnished: Path, tmp_path: Path) -> None:
    async with far() as there, site(furnished, tmp_path, route(there)) as house:
        there.refuses = lambda request: 503
        bob = await house.peer("bob")
        assert (await bob.ask(bob.request("MESSAGE", CARL))).status == 503
        there.refuses = lambda request: 0
        asking = asyncio.ensure_future(bob.ask(bob.request("MESSAGE", CARL)))
        (await there.arrives("MESSAGE")).reply(202)
        assert (await asking).status == 202


async def test_where_nobody_is_callers_are_told_at_once(
    furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.2)
    async with far() as there:
        port = there.port
    with structlog.testing.capture_logs() as logs:
        async with site(furnished, tmp_path, route(f"sip:127.0.0.1:{port};transport=tcp")) as house:
            await becomes(house, "down")
            bob = await house.peer("bob")
            refused = await bob.ask(bob.request("MESSAGE", CARL))
            assert refused.status == 503
            assert "nobody answers on the route pbx" in (refused.headers.get("Warning") or "")
            assert refused.headers.get("Retry-After") == "30"
            back = Far()
            back.endpoint = SipEndpoint("127.0.0.1", port)
            await back.endpoint.start()
            back.endpoint.serve(back)
            await becomes(house, "up")
            asking = asyncio.ensure_future(bob.ask(bob.request("MESSAGE", CARL)))
            (await back.arrives("MESSAGE")).reply(200)
            assert (await asking).status == 200

            async def published() -> bool:
                return '"up"' in (await house.directory.settings.get(SIP_ROUTES) or "")

            await eventually(published, within=WITHIN)
            await back.endpoint.close()
    told = [(each["before"], each["state"]) for each in logs if each["event"] == "route"]
    assert told[:2] == [("unknown", "down"), ("down", "up")], "a line for each change, and no more"


# -- calls from there


class Known:
    """A house whose route `pbx` lets callers in as ann, who prove by certificate to be the PBX."""

    def __init__(self, house: ServerHouse, there: Far, folder: Path, authority: Any) -> None:
        self.house = house
        self.there = there
        self._folder = folder
        self._authority = authority

    async def pbx(self, name: str = "pbx.example") -> Peer:
        """A connection of the PBX to us."""
        from soip.net.certificates import now

        context = trust(self.house)
        pair = self._folder / "peer.pem", self._folder / "peer.key"
        self._authority.issue([name], now(), server=False).save(*pair)
        context.load_cert_chain(*pair)
        return await self.house.peer("pbx", transport="tls", trust=context)


@pytest.fixture
async def known(furnished: Path, tmp_path: Path) -> AsyncIterator[Known]:
    authority = certify(tmp_path / "tls")
    async with far() as there:
        routes = [route(there, account="ann")]
        async with site(furnished, tmp_path, *routes, sip_tls=HostPort("127.0.0.1", 0)) as house:
            yield Known(house, there, tmp_path, authority)


CARL_CALLS = ("P-Asserted-Identity", f"<{CARL}>")


async def test_a_call_from_another_domain_to_a_user(known: Known) -> None:
    pbx, bob = await known.pbx(), await known.house.peer("bob")
    await bob.register()
    invite = pbx.invite(BOB, headers=(CARL_CALLS,))
    pbx.send(invite)
    arrived = await bob.arrives("INVITE")
    assert arrived.headers.get_all("P-Asserted-Identity") == [f"<{CARL}>"], "people want to know who calls"
    answer = bob.reply(arrived, 200)
    accepted = await pbx.response(invite)
    pbx.send(pbx.ack(invite, accepted))
    await bob.arrives("ACK")
    info = pbx.within("INFO", invite, accepted)
    pbx.send(info)
    bob.reply(await bob.arrives("INFO"), 200)
    assert (await pbx.response(info)).status == 200
    bye = bob.back("BYE", arrived, answer)
    bob.send(bye)
    (await known.there.arrives("BYE")).reply(200)
    assert (await bob.response(bye)).status == 200, "back by the route, whatever connection the call came over"


async def test_a_call_from_another_domain_to_a_camera(known: Known) -> None:
    pbx, worker = await known.pbx(), await known.house.worker()
    invite = pbx.invite(f"sip:cam1@{DOMAIN}", headers=(CARL_CALLS,))
    pbx.send(invite)
    arrived = await worker.arrives("INVITE")
    assert arrived.headers.get_all("P-Asserted-Identity") == [f"<sip:ann@{DOMAIN}>"], "whose rights count"
    worker.reply(arrived, 486)
    assert (await pbx.response(invite)).status == 486
    # Ann is a viewer: she has no control of cameras, and so nobody has who calls as her.
    refused = await pbx.ask(pbx.request("MESSAGE", f"sip:cam1@{DOMAIN}", headers=(CARL_CALLS,)), challenged=False)
    assert refused.status == 403


@pytest.mark.parametrize("asserted", ["<sip:boss@elsewhere.example>", f"<{BOB}>", "<tel:+4912345>", ""])
async def test_another_server_names_its_own_people_only(known: Known, asserted: str) -> None:
    pbx, bob = await known.pbx(), await known.house.peer("bob")
    await bob.register()
    header = (("P-Asserted-Identity", asserted),) if asserted else ()
    asking = asyncio.ensure_future(pbx.ask(pbx.request("MESSAGE", BOB, headers=header), challenged=False))
    arrived = await bob.arrives("MESSAGE")
    assert arrived.headers.get_all("P-Asserted-Identity") == [f"<sip:ann@{DOMAIN}>"]
    bob.reply(arrived, 200)
    assert (await asking).status == 200


async def test_another_name_lets_nobody_in(known: Known) -> None:
    pbx = await known.pbx("other.example")
    assert (await pbx.ask(pbx.request("MESSAGE", BOB, headers=(CARL_CALLS,)), challenged=False)).status == 407


async def test_a_call_from_there_goes_to_no_other_server(known: Known) -> None:
    pbx = await known.pbx()
    refused = await pbx.ask(pbx.request("MESSAGE", CARL, headers=(CARL_CALLS,)), challenged=False)
    assert refused.status == 403
    assert known.there.arrived.empty()


async def test_nobody_registers_by_a_certificate(known: Known) -> None:
    pbx = await known.pbx()
    register = pbx.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:ann@{DOMAIN}>")
    assert (await pbx.ask(register, challenged=False)).status == 401


# -- our registration there


REGISTERED = {"username": USER, "password": PASSWORD, "register": True, "account": "ann", "target": "bob"}


def taken(incoming: Any, seconds: int = 300) -> None:
    """Grant a registration."""
    contact = incoming.request.headers.get("Contact")
    incoming.reply(200, headers=(("Contact", f"{contact};expires={seconds}"),))


async def test_we_are_registered_there_and_called_over_that_connection(furnished: Path, tmp_path: Path) -> None:
    async with far(asks=("REGISTER",)) as there:
        hop = f"sip:127.0.0.1:{there.port};transport=tcp"
        async with site(furnished, tmp_path, route(hop, **REGISTERED)) as house:
            incoming = await there.arrives("REGISTER")
            assert str(incoming.request.uri) == "sip:pbx.example"
            assert h.to(incoming.request.headers).uri == h.from_(incoming.request.headers).uri
            (contact,) = h.contacts(incoming.request.headers)
            assert contact.uri.user == "pbx"
            assert contact.uri.param("transport") == "tcp"
            taken(incoming)
            await becomes(house, "up")
            bob = await house.peer("bob")
            await bob.register()
            asking = asyncio.ensure_future(there.asks("MESSAGE", str(contact.uri), incoming.flow, CARL_CALLS))
            arrived = await bob.arrives("MESSAGE")
            assert arrived.headers.get_all("P-Asserted-Identity") == [f"<{CARL}>"]
            bob.reply(arrived, 200)
            assert (await asyncio.wait_for(asking, WITHIN)).status == 200
            # From anywhere else the same request is a stranger's.
            stranger = await house.peer("pbx", transport="tcp")
            request = stranger.request("MESSAGE", str(contact.uri), headers=(CARL_CALLS,))
            assert (await stranger.ask(request, challenged=False)).status == 407
            leaving = asyncio.ensure_future(house.stop())
            incoming = await there.arrives("REGISTER")
            assert incoming.request.headers.get("Expires") == "0"
            incoming.reply(200)
            await asyncio.wait_for(leaving, WITHIN)


async def test_a_broken_connection_is_made_anew(furnished: Path, tmp_path: Path) -> None:
    async with far(asks=("REGISTER",)) as there:
        hop = f"sip:127.0.0.1:{there.port};transport=tcp"
        async with site(furnished, tmp_path, route(hop, **REGISTERED)) as house:
            first = await there.arrives("REGISTER")
            taken(first)
            await becomes(house, "up")
            there.endpoint.disconnect(first.flow)
            again = await there.arrives("REGISTER")
            assert again.flow != first.flow
            assert h.call_id(again.request.headers) == h.call_id(first.request.headers)
            assert h.cseq(again.request.headers).number > h.cseq(first.request.headers).number
            taken(again)
            there.refuses = lambda request: 404  # the last one, when the house closes


async def test_a_registration_that_is_refused_is_told(furnished: Path, tmp_path: Path) -> None:
    async with far(asks=("REGISTER",)) as there:
        wrong = {**REGISTERED, "password": "wrong"}
        async with site(furnished, tmp_path, route(there, **wrong)) as house:
            await becomes(house, "refused")
            bob = await house.peer("bob")
            asking = asyncio.ensure_future(bob.ask(bob.request("MESSAGE", CARL)))
            (await there.arrives("MESSAGE")).reply(200)
            assert (await asking).status == 200, "calls may go nevertheless"


async def test_the_registration_fails_when_nobody_is_there_and_comes_back(furnished: Path, tmp_path: Path) -> None:
    async with far() as there:
        port = there.port
    async with site(furnished, tmp_path, route(f"sip:127.0.0.1:{port};transport=tcp", **REGISTERED)) as house:
        await becomes(house, "down")
        back = Far(asks=("REGISTER",))
        back.endpoint = SipEndpoint("127.0.0.1", port)
        await back.endpoint.start()
        back.endpoint.serve(back)
        taken(await back.arrives("REGISTER"))
        await becomes(house, "up")
        back.refuses = lambda request: 404
        await house.stop()
        await back.endpoint.close()
