"""Nonsense, floods and half messages: the server goes on for those who mean it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from soip.signalling.limits import Budget, Gate
from soip.sip.message import Message, Response
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer

CAM1 = f"sip:cam1@{DOMAIN}"


def spoiled(peer: Peer, chance: random.Random) -> bytes:
    """A request with some bytes changed, cut or doubled."""
    method = chance.choice(["REGISTER", "INVITE", "MESSAGE", "OPTIONS", "BYE", "ACK", "CANCEL", "SUBSCRIBE"])
    uri = chance.choice([CAM1, f"sip:{DOMAIN}", "tel:+1", f"sip:cam1;start=1;stop@{DOMAIN}", f"sip:%00@{DOMAIN}"])
    lines = chance.choice(
        [
            (),
            (("Contact", "*"),),
            (("Contact", "<sip:x@h>, <sip:y@h>"), ("Expires", "99999999999")),
            (("Authorization", 'Digest username="cam1", realm="soip.test", nonce="x", uri="", response=""'),),
            (("Proxy-Authorization", "Digest ="),),
            (("Route", "<sip:AAAA@h;lr>, <sip:b>"),),
            (("Require", "a, b"), ("Max-Forwards", "300")),
        ]
    )
    data = bytearray(peer.request(method, uri, headers=lines, body=b"x" * chance.randrange(40)).to_bytes())
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 30)]
            case _:
                data[at:at] = data[at : at + chance.randrange(1, 30)]
    return bytes(data)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_nonsense_does_not_stop_the_service(
    house: ServerHouse, transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(7)
    camera = await house.peer("cam1", host="127.0.0.2")
    for _ in range(10):
        flooder = await house.peer("x", "y", transport)
        for _ in range(50):
            flooder.send(spoiled(flooder, chance))
        await asyncio.sleep(0.01)
        flooder.close()
    assert (await camera.register()).status == 200
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err


async def test_a_flood_of_strangers_is_first_refused_and_then_left_alone(
    house: ServerHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.stop()
    few = Budget(rate=0.1, burst=200)
    monkeypatch.setattr("soip.signalling.role.default_gate", lambda: Gate(few, few, few, few))
    await house.start()
    flooder, camera = await house.peer("x"), await house.peer("cam1", host="127.0.0.2")
    for batch in range(10):
        for _ in range(100):
            flooder.send(flooder.request("OPTIONS", CAM1))
        await asyncio.sleep(0.02)
        if batch == 5:
            assert (await camera.register()).status == 200, "others are served in the middle of it"
    assert (await camera.register()).status == 200
    # The flooder's answers may be later than the camera's: an id nobody knows is looked up first.
    seen = -1
    while flooder.inbox.qsize() != seen or not seen:
        seen = flooder.inbox.qsize()
        await asyncio.sleep(0.3)
    statuses = Counter[int]()
    while not flooder.inbox.empty():
        message = flooder.inbox.get_nowait()
        assert isinstance(message, Response)
        statuses[message.status] += 1
    assert 0 < statuses[407] < 250  # some of them the kernel loses: nobody reads fast enough here
    assert 0 < statuses[503] < 150
    assert statuses.total() < 400, "the others got no answer"


async def answers(stranger: Peer, house: ServerHouse, count: int) -> list[int]:
    """The statuses of what is answered to so many requests, and repeated if anything is."""
    messages = await stranger.waits(count)
    while len(found := _final(messages)) < count:  # a server that is slow to answer says 100 first
        messages += await stranger.waits(1)
    await asyncio.sleep(10 * house.timers.t1)  # a kept INVITE would have its answer repeated by now
    return found + _final(await stranger.waits(0))


def _final(messages: Sequence[Message]) -> list[int]:
    return [each.status for each in messages if isinstance(each, Response) and each.status >= 200]


async def test_a_stranger_is_told_once_and_then_forgotten(hasty: ServerHouse) -> None:
    stranger = await hasty.peer("x")
    for _ in range(20):
        stranger.send(stranger.invite(CAM1))
    assert await answers(stranger, hasty, 20) == [407] * 20


@pytest.mark.parametrize(
    ("method", "changes", "status"),
    [
        ("INVITE", (("Max-Forwards", "0"),), 483),
        ("INVITE", (("Proxy-Require", "x"),), 420),
        ("INVITE", (("Proxy-Authorization", "Digest ="),), 400),
        ("BYE", (), 481),
        ("CANCEL", (), 481),
    ],
)
async def test_what_is_refused_before_anybody_is_trusted_leaves_nothing_behind(
    hasty: ServerHouse, method: str, changes: tuple[tuple[str, str], ...], status: int
) -> None:
    stranger = await hasty.peer("x")
    for _ in range(20):
        request = stranger.request(method, CAM1)
        for name, value in changes:
            request.headers.set(name, value)
        stranger.send(request)
    assert await answers(stranger, hasty, 20) == [status] * 20
    assert hasty.role.endpoint.transactions == 0


async def test_ids_that_cannot_be_ids_are_not_looked_up_and_cost_no_traceback(
    house: ServerHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger, ann = await house.peer("x"), await house.peer("ann")
    stranger.id = "%ff%0d"
    invite = stranger.invite(CAM1)
    assert (await stranger.ask(invite, challenged=False)).status == 407
    assert (await ann.ask(ann.request("OPTIONS", f"sip:%0d%0aX@{DOMAIN}"))).status == 404
    assert (await ann.register(aor="%0d%00")).status == 403
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err


async def test_half_a_message_holds_nobody_up(house: ServerHouse) -> None:
    slow, camera = await house.peer("x", transport="tcp"), await house.peer("cam1", transport="tcp")
    slow.send(b"REGISTER sip:soip.test SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1\r\n")
    assert (await camera.register()).status == 200


async def test_a_register_of_a_thousand_contacts_is_refused(house: ServerHouse) -> None:
    camera = await house.peer("cam1")
    many = ", ".join(f"<sip:{n}@127.0.0.1:{n + 1000}>" for n in range(9))
    assert (await camera.register(contact=many)).status == 503
    assert (await camera.register(contact="<mailto:x@y>")).status == 400
    assert (await camera.register(contact=f"<sip:{'x' * 1100}@h>")).status == 400
    assert (await camera.register()).status == 200


async def test_unknown_ids_ask_the_directory_a_bounded_number_of_times(
    house: ServerHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = house.role._lookup

    async def count(identity: str) -> object:
        asked.append(identity)
        return await real(identity)

    monkeypatch.setattr(house.role._finder, "_lookup", count)
    scanner, started = await house.peer("x"), time.monotonic()
    for n in range(1000):
        scanner.id = f"guess{n % 500}"
        scanner.send(scanner.request("OPTIONS", CAM1))
    await asyncio.sleep(0.5)
    assert 0 < len(asked) <= 200 + 50 * (time.monotonic() - started)
