"""Where an agent finds its server, with a real DNS server."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from soip.agents.errors import AgentError
from soip.agents.station import Server, Station
from soip.net.resolver import Resolver
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.uri import Uri
from tests.agents.site import PORTS, proxy
from tests.net.dnsserver import Zone, dns_server
from tests.net.proxy import REALM


@asynccontextmanager
async def asking(monkeypatch: pytest.MonkeyPatch, zone: Zone) -> AsyncIterator[None]:
    """Agents ask a DNS server with this zone."""
    async with dns_server(zone) as server:
        monkeypatch.setattr("soip.net.resolver.TRY_SECONDS", 10.0)
        monkeypatch.setattr("soip.net.resolver.WITHIN_SECONDS", 20.0)
        resolver = functools.partial(Resolver, ["127.0.0.1"], server.address[1])
        monkeypatch.setattr("soip.agents.station.Resolver", resolver)
        yield


async def found(server: Server) -> Target:
    station = Station(PORTS)
    await station.start(server)
    await station.close()
    return station.outbound


SITE: Zone = {
    ("_sip._udp.site.example", "SRV"): ["20 1 5070 spare.site.example.", "10 1 5062 one.site.example."],
    ("_sip._tcp.site.example", "SRV"): ["10 1 5066 lost.site.example.", "20 1 5064 one.site.example."],
    ("_sips._tcp.site.example", "SRV"): ["10 1 5061 one.site.example."],
    ("one.site.example", "A"): ["127.0.0.1"],
    ("spare.site.example", "A"): ["127.0.0.2"],
    ("plain.example", "A"): ["127.0.0.3"],
    ("six.example", "AAAA"): ["::1"],
}


@pytest.mark.parametrize(
    ("domain", "transport", "address"),
    [
        ("site.example", "udp", ("127.0.0.1", 5062)),
        ("site.example", "tls", ("127.0.0.1", 5061)),
        ("plain.example", "udp", ("127.0.0.3", 5060)),
        ("plain.example", "tls", ("127.0.0.3", 5061)),
        ("six.example", "tcp", ("::1", 5060)),
        ("127.0.0.9", "udp", ("127.0.0.9", 5060)),
    ],
)
async def test_a_domain_leads_to_its_server(
    monkeypatch: pytest.MonkeyPatch, domain: str, transport: str, address: tuple[str, int]
) -> None:
    async with asking(monkeypatch, SITE):
        target = await found(Server(domain, 0, transport))
    assert target == Target(transport, *address, name=domain), "certified is what was asked for (RFC 5922 §7.1)"


async def test_a_server_without_an_address_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(monkeypatch, SITE):
        target = await found(Server("site.example", 0, "tcp"))
    assert (target.host, target.port) == ("127.0.0.1", 5064)


async def test_a_domain_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(monkeypatch, {}):
        with pytest.raises(AgentError, match=r"nowhere\.invalid.*--server"):
            await found(Server("nowhere.invalid", 0))


async def test_with_a_port_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soip.agents.station.Resolver", lambda: pytest.fail("there is nothing to ask"))
    assert await found(Server("127.0.0.1", 5099, "tcp")) == Target("tcp", "127.0.0.1", 5099, name="127.0.0.1")
    assert await found(Server("[::1]", 5099)) == Target("udp", "::1", 5099, name="::1")


async def test_an_agent_registers_with_the_server_of_its_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(cam1="secret") as server:
        host, port = server.endpoint.address
        zone: Zone = {
            ("_sip._udp.site.example", "SRV"): [f"10 1 {port} one.site.example."],
            ("one.site.example", "A"): [host],
        }
        station = Station(PORTS)
        async with asking(monkeypatch, zone):
            await station.start(Server("site.example", 0))
        agent = UserAgent(station.endpoint, Uri("sip", "cam1", REALM), Credentials("cam1", "secret"), station.outbound)
        await agent.start()
        await agent.register(60)
        assert "cam1" in server.bindings
        await agent.close()
        await station.close()
