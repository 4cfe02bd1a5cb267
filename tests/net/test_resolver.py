"""The DNS is asked as little as its answers allow, for so long, and so many questions at once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import dns.rcode
import pytest

from soip.net import resolver as module
from soip.net.errors import FlowError
from soip.net.resolver import Resolver, draw
from soip.net.target import Target
from soip.sip.errors import UriError
from soip.sip.headers import Via
from soip.sip.locate import Place, places, places_back
from soip.sip.uri import Uri
from tests.net.dnsserver import DnsServer, Zone, dns_server

ZONE: Zone = {
    ("pbx.test", "NAPTR"): [
        '20 10 "s" "SIP+D2U" "" _sip._udp.pbx.test.',
        '10 10 "s" "SIP+D2T" "" _sip._tcp.pbx.test.',
        '5 10 "s" "SIP+D2S" "" _sip._sctp.pbx.test.',
        '1 10 "u" "E2U+sip" "!^.*$!sip:x@y.test!" .',
    ],
    ("_sip._tcp.pbx.test", "SRV"): ["20 0 5070 backup.pbx.test.", "10 0 5060 main.pbx.test."],
    ("_sip._udp.pbx.test", "SRV"): ["10 0 5080 main.pbx.test."],
    ("main.pbx.test", "A"): ["127.0.0.2", "127.0.0.3"],
    ("main.pbx.test", "AAAA"): ["::1"],
    ("backup.pbx.test", "A"): ["127.0.0.4"],
    ("closed.test", "NAPTR"): ['1 1 "s" "SIP+D2U" "" _sip._udp.closed.test.'],
    ("_sip._udp.closed.test", "SRV"): ["0 0 0 ."],
    ("plain.test", "A"): ["127.0.0.5"],
}
SPOKEN = ("udp", "tcp")


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_server(dict(ZONE)) as server:
        yield server


@pytest.fixture
async def resolver(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Resolver]:
    monkeypatch.setattr(module, "TRY_SECONDS", 10.0)
    monkeypatch.setattr(module, "WITHIN_SECONDS", 20.0)
    made = Resolver(["127.0.0.1"], server.address[1])
    yield made
    await made.close()


async def located(resolver: Resolver, uri: str, family: int = socket.AF_INET) -> list[Target]:
    """All targets of a URI in the order in which they are tried."""
    found: list[Target] = []
    for place in await resolver.places(places(Uri.parse(uri), SPOKEN, draw)):
        found += await resolver.targets(place, family)
    return found


def at(monkeypatch: pytest.MonkeyPatch, ahead: Callable[[], float]) -> None:
    """The library's clock, so many seconds ahead."""
    clock = SimpleNamespace(time=lambda: time.time() + ahead())
    for part in ("dns.resolver.time", "dns.asyncresolver.time"):
        monkeypatch.setattr(part, clock)


async def test_naptr_then_srv_then_addresses(resolver: Resolver, server: DnsServer) -> None:
    found = await located(resolver, "sip:pbx.test")
    assert {target.name for target in found} == {"pbx.test"}
    names = [str(target) for target in found]
    assert set(names[:2]) == {"tcp:127.0.0.2:5060", "tcp:127.0.0.3:5060"}, "as a server turns them round"
    assert names[2] == "tcp:127.0.0.4:5070"
    assert set(names[3:]) == {"udp:127.0.0.2:5080", "udp:127.0.0.3:5080"}
    assert ("_sip._sctp.pbx.test", "SRV") not in server.asked, "what we do not speak is not looked for"


async def test_a_named_transport_is_kept(resolver: Resolver, server: DnsServer) -> None:
    (first, *_) = await located(resolver, "sip:pbx.test;transport=udp")
    assert (first.transport, first.port) == ("udp", 5080)
    assert ("pbx.test", "NAPTR") not in server.asked


async def test_a_port_needs_an_address_only(resolver: Resolver, server: DnsServer) -> None:
    assert [str(t) for t in await located(resolver, "sip:plain.test:5099")] == ["udp:127.0.0.5:5099"]
    assert dict(server.asked) == {("plain.test", "A"): 1}


async def test_without_records_it_is_udp_to_5060(resolver: Resolver) -> None:
    assert [str(t) for t in await located(resolver, "sip:plain.test")] == ["udp:127.0.0.5:5060"]


async def test_the_other_family(resolver: Resolver) -> None:
    (place, *_) = await resolver.places(places(Uri.parse("sip:pbx.test"), SPOKEN, draw))
    assert [t.host for t in await resolver.targets(place, socket.AF_INET6)] == ["::1"]


async def test_a_literal_asks_nobody(resolver: Resolver, server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resolver, "_ready", lambda _: pytest.fail("the library was loaded"))
    assert [str(t) for t in await located(resolver, "sip:192.0.2.1;transport=tcp")] == ["tcp:192.0.2.1:5060"]
    assert [str(t) for t in await located(resolver, "sip:[2001:db8::1]")] == ["udp:[2001:db8::1]:5060"]
    assert not server.asked


async def test_answers_are_kept_as_long_as_they_say(
    resolver: Resolver, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    at(monkeypatch, lambda: ahead)
    for _ in range(3):
        await located(resolver, "sip:pbx.test")
    assert set(server.asked.values()) == {1}
    ahead = 301.0
    await located(resolver, "sip:pbx.test")
    assert set(server.asked.values()) == {2}


async def test_no_answer_is_kept_for_more_than_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dns_server(dict(ZONE), ttl=2_000_000_000) as server:
        resolver = Resolver(["127.0.0.1"], server.address[1])
        await located(resolver, "sip:plain.test:1")
        at(monkeypatch, lambda: 90_000)
        await located(resolver, "sip:plain.test:1")
        assert server.asked["plain.test", "A"] == 2


async def test_that_there_is_nothing_is_kept_too(
    resolver: Resolver, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(host: str, *_: object) -> None:
        raise FlowError(f"the host name {host!r} cannot be resolved")

    monkeypatch.setattr(module, "resolve", unknown)  # the system would ask its own DNS
    for _ in range(3):
        with pytest.raises(FlowError, match=r"'nobody\.invalid' cannot be resolved"):
            await located(resolver, "sip:nobody.invalid;transport=udp")
    assert server.asked["_sip._udp.nobody.invalid", "SRV"] == 1


async def test_a_service_that_is_not_offered(resolver: Resolver) -> None:
    """SRV target ".": then the name itself is tried, as where there are no such records."""
    (place,) = await resolver.places(places(Uri.parse("sip:closed.test"), SPOKEN, draw))
    assert place == Place("udp", "closed.test", 5060, "closed.test")


async def test_who_asks_the_same_shares_the_answer(resolver: Resolver, server: DnsServer) -> None:
    found = await asyncio.gather(*[located(resolver, "sip:pbx.test") for _ in range(50)])
    assert all(each == found[0] for each in found)
    assert set(server.asked.values()) == {1}


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_fails_is_not_asked_again_at_once(
    resolver: Resolver, server: DnsServer, code: dns.rcode.Rcode
) -> None:
    server.code = code
    for _ in range(3):
        assert (await located(resolver, "sip:localhost"))[0].host == "127.0.0.1", "the system knows it"
    asked = server.asked["localhost", "A"]
    await located(resolver, "sip:localhost")
    assert server.asked["localhost", "A"] == asked


async def test_a_silent_server_costs_one_wait(
    resolver: Resolver, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WITHIN_SECONDS", 0.3)
    server.silent = True
    assert (await located(resolver, "sip:localhost:5060"))[0].host == "127.0.0.1"
    asked = server.asked["localhost", "A"]
    assert asked >= 1
    assert (await located(resolver, "sip:localhost:5060"))[0].host == "127.0.0.1"
    assert server.asked["localhost", "A"] == asked


async def test_questions_are_bounded(resolver: Resolver, server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.silent = True
    monkeypatch.setattr(module, "WAITING", 40)
    asking = [asyncio.ensure_future(located(resolver, f"sip:n{n}.test")) for n in range(41)]
    done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    (refused,) = done
    assert isinstance(refused.exception(), FlowError)
    assert len({name for name, _ in server.asked}) <= module.AT_ONCE
    await resolver.close()
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_names_that_are_none(resolver: Resolver) -> None:
    for host in ("a..b", "x" * 64 + ".test"):
        with pytest.raises((FlowError, UriError)):
            await located(resolver, f"sip:{host}:5060")


async def test_the_way_back_to_a_name(resolver: Resolver) -> None:
    via = Via.parse("SIP/2.0/TCP pbx.test;branch=z9hG4bKx")
    found = await resolver.places(places_back(via, draw))
    assert [(p.host, p.port) for p in found] == [("main.pbx.test", 5060), ("backup.pbx.test", 5070)]


async def test_without_a_resolv_conf_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    def nothing(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("dns.resolver.BaseResolver.read_resolv_conf", nothing)
    assert [t.host for t in await located(Resolver(), "sip:localhost:5060")] == ["127.0.0.1"]
