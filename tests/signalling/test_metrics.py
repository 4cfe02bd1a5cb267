"""What the SIP server tells: who is registered, what was asked and answered, what was wrong."""

from __future__ import annotations

import httpx
import pytest

from soip import metrics
from soip.directory.settings import SIP_HTTP
from soip.signalling.metrics import FAMILIES
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, eventually
from tests.test_metrics import Read, read


async def scrape(house: ServerHouse) -> Read:
    """The figures of the SIP server's own face."""
    address = await house.directory.settings.get(SIP_HTTP)
    assert address is not None
    assert address.startswith("127.0.0.1:"), "only this machine reaches it"
    key = await house.directory.settings.secret(metrics.KEY)
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=60) as client:
        answer = await client.get("/metrics", headers={"Authorization": f"Bearer {key.hex()}"})
        assert (await client.get("/metrics")).status_code == 401
    return read(answer.text)


def responses(found: Read) -> dict[tuple[str, str], float]:
    """How often which method was answered how."""
    return {
        (dict(labels)["method"], dict(labels)["status"]): figure
        for (name, labels), figure in found.items()
        if name == "soip_sip_responses_total"
    }


async def test_requests_are_told_with_their_answers(house: ServerHouse) -> None:
    camera, viewer = await house.peer("cam1", transport="tcp"), await house.peer("ann")
    assert (await camera.register()).status == 200
    assert (await viewer.ask(viewer.request("OPTIONS", f"sip:cam2@{DOMAIN}"), challenged=False)).status == 407
    assert (await viewer.ask(viewer.request("BYE", f"sip:cam2@{DOMAIN}"), challenged=False)).status == 481
    made_up = viewer.request("NONSENSE", f"sip:cam2@{DOMAIN}")
    assert (await viewer.ask(made_up, challenged=False)).status == 407
    found = await scrape(house)
    assert found["soip_sip_registrations", ()] == 1
    assert found["soip_sip_connections", ()] == 1
    assert found["soip_sip_blocked_sources", ()] == 0
    assert responses(found) == {
        ("REGISTER", "401"): 1,
        ("REGISTER", "200"): 1,
        ("OPTIONS", "407"): 1,
        ("BYE", "481"): 1,
        ("other", "407"): 1,
    }
    requests = {dict(labels)["method"]: n for (name, labels), n in found.items() if name == "soip_sip_requests_total"}
    assert requests == {"REGISTER": 2, "OPTIONS": 1, "BYE": 1, "other": 1}


async def test_a_repeated_request_counts_once(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    request = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>")
    challenge = await peer.ask(request, challenged=False)
    assert challenge.status == 401
    request = peer.answer_to(request, challenge)
    for _ in range(3):
        peer.send(request)
        assert (await peer.response(request)).status == 200
    assert responses(await scrape(house))["REGISTER", "200"] == 1


async def test_what_cannot_be_read_is_a_fault(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    peer.send(b"REGISTER sip:x SIP/2.0\r\nContent-Length: x\r\n\r\n")

    async def told() -> bool:
        found = await scrape(house)
        return found.get(("soip_sip_faults_total", (("kind", "messages that could not be read"),)), 0) == 1

    await eventually(told)


async def test_every_family_is_told_of_and_none_else(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    await peer.register()
    told = {name for name, _ in await scrape(house)}
    assert told == {family.written for family in FAMILIES} - {"soip_sip_route_up"}, "there are no routes here"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_registrations_that_end_are_no_longer_told(house: ServerHouse, transport: str) -> None:
    peer = await house.peer("cam1", transport=transport)
    await peer.register()
    assert (await scrape(house))["soip_sip_registrations", ()] == 1
    await peer.register(expires=0)
    assert (await scrape(house))["soip_sip_registrations", ()] == 0
