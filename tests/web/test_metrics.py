"""One address for the figures of all processes: who may see them, and what is said of those that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from websockets.asyncio.client import connect

from soip import metrics
from soip.asgi import configure
from soip.directory.errors import UnavailableError
from soip.directory.settings import SIP_HTTP
from soip.metrics import Family, Sample
from soip.web.metrics import FAMILIES
from tests.media.house import until
from tests.test_metrics import Read, read
from tests.web.system import METRICS_TOKEN, System, now_us, serving

TOKEN = {"Authorization": f"Bearer {METRICS_TOKEN}"}
CALLS = Family("soip_calls", "counter", "Calls.", ("process",))


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers is waited for, however busy the machine; and what was just changed is seen."""
    monkeypatch.setattr("soip.web.metrics.WITHIN_S", 60.0)
    monkeypatch.setattr("soip.web.overview._FRESH_S", 0.0)


async def scrape(system: System) -> Read:
    async with system.client() as client:
        answer = await client.get("/metrics", headers=TOKEN)
    assert answer.status_code == 200, answer.text
    return read(answer.text)


def up(found: Read) -> dict[str, float]:
    return {dict(labels)["process"]: value for (name, labels), value in found.items() if name == "soip_up"}


@asynccontextmanager
async def process(system: System, name: str, answer: Callable[[Request], object] | None = None) -> AsyncIterator[str]:
    """A process with figures of its own, at an address; or one that answers as a test wants it."""

    def figures() -> Iterator[tuple[Family, list[Sample]]]:
        yield CALLS, [((name,), 7)]
        yield from metrics.of_process(name)

    route = metrics.face(figures, system.state.metrics_key) if answer is None else Route("/metrics", answer)
    async with serving(configure(Starlette(routes=[route]))) as address:
        yield address


async def as_worker(system: System, address: str) -> None:
    """The media worker is found there from now on."""
    system.instance = await system.directory.media.publish(system.instance.server_id, 0, sip="", http=address)


# -- who may


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_people_who_do_not_administer_are_refused(system: System, role: str) -> None:
    await system.add_user("kim", role)
    async with system.signed_in("kim") as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.json()["error"]) == (403, "not_allowed")


async def test_administrators_are_shown_them_by_their_session(system: System) -> None:
    await system.add_user("kim", "admin")
    async with system.signed_in("kim") as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == metrics.CONTENT_TYPE
        assert answer.headers["cache-control"] == "no-store"
        assert read(answer.text)["soip_web_sessions", ()] == 1
        await client.delete("/api/session")
        assert (await client.get("/metrics")).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}, {"Cookie": "soip_session=x.admin"}])
async def test_strangers_learn_nothing(system: System, headers: dict[str, str]) -> None:
    async with system.client() as client:
        answer = await client.get("/metrics", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "not_signed_in")
    assert answer.headers["www-authenticate"].startswith("Bearer")


# -- what is told


async def test_all_processes_are_asked_and_joined(system: System) -> None:
    async with process(system, "sip") as sip, process(system, "m-0") as worker:
        await system.directory.settings.publish(SIP_HTTP, sip)
        await as_worker(system, worker)
        found = await scrape(system)
    assert up(found) == {"web": 1, "sip": 1, system.instance.id: 1}
    assert [found["soip_calls_total", (("process", name),)] for name in ("sip", "m-0")] == [7, 7]
    memory = {dict(labels)["process"] for name, labels in found if name == "soip_process_resident_memory_bytes"}
    assert memory == {"web", "sip", "m-0"}
    assert found["soip_directory_up", ()] == 1


async def test_every_family_is_told_of_and_none_else(system: System) -> None:
    await scrape(system)
    assert {name for name, _ in await scrape(system)} == {family.written for family in FAMILIES}


async def test_a_process_that_is_not_there_is_told_as_down(system: System) -> None:
    async with process(system, "sip") as sip:
        pass
    await system.directory.settings.publish(SIP_HTTP, sip)
    assert up(await scrape(system)) == {"web": 1, "sip": 0, system.instance.id: 0}, "nobody listens, or knows /metrics"
    await system.add_camera("cam1")
    await system.heartbeat(now_us() - 60_000_000)
    assert up(await scrape(system))[system.instance.id] == 0, "nor is one that has not been heard of"


async def test_a_process_that_hangs_costs_its_own_figures_only(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def hang(_request: Request) -> Response:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    async with process(system, "sip") as sip, process(system, "m-0", hang) as worker:
        await system.directory.settings.publish(SIP_HTTP, sip)
        await as_worker(system, worker)
        # Long enough for who answers at once on a machine that is busy.
        monkeypatch.setattr("soip.web.metrics.WITHIN_S", 10.0)
        several = await asyncio.gather(*(scrape(system) for _ in range(4)))
    for found in several:
        assert up(found) == {"web": 1, "sip": 1, system.instance.id: 0}
        assert found["soip_calls_total", (("process", "sip"),)] == 7
    assert asked == 1, "who comes meanwhile is given the same answer"


async def test_an_answer_without_end_is_given_up(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soip.web.metrics.MOST_BYTES", 1000)

    async def flood(_request: Request) -> Response:
        return PlainTextResponse("# HELP soip_x x\n# TYPE soip_x gauge\n" + "soip_x 1\n" * 1000)

    async with process(system, "m-0", flood) as worker:
        await as_worker(system, worker)
        found = await scrape(system)
    assert up(found)[system.instance.id] == 0
    assert ("soip_x", ()) not in found


async def test_without_the_directory_those_are_asked_that_were_known(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(system, "sip") as sip, process(system, "m-0") as worker:
        await system.directory.settings.publish(SIP_HTTP, sip)
        await as_worker(system, worker)
        before = await scrape(system)

        async def away() -> None:
            raise UnavailableError("on purpose")

        monkeypatch.setattr(system.state.overview, "get", away)
        found = await scrape(system)
    assert (before["soip_directory_up", ()], found["soip_directory_up", ()]) == (1, 0)
    assert up(found) == up(before) == {"web": 1, "sip": 1, system.instance.id: 1}


# -- what the web role counts itself


async def test_requests_are_counted_by_method_and_status(system: System) -> None:
    async with system.client() as client:
        await client.get("/api/health")
        await client.get("/api/nothing")
        await client.post("/api/session", content=b"x" * 100_000)
        await client.request("PROPFIND", "/api/health")
    found = await scrape(system)
    counted = {
        (dict(labels)["method"], dict(labels)["status"]): value
        for (name, labels), value in found.items()
        if name == "soip_web_requests_total"
    }
    assert counted == {("GET", "200"): 1, ("GET", "404"): 1, ("POST", "413"): 1, ("other", "405"): 1}
    assert found["soip_web_requests_in_progress", ()] == 1, "this one"


async def test_open_sockets_are_counted(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam1")
    async with system.signed_in("kim") as client:
        grant = (await client.post("/api/cameras/cam1/grants", json={"action": "live"})).json()
    address = f"{system.base.replace('http', 'ws', 1)}{grant['url']}/live/cam1?token={grant['token']}"
    async with connect(address, proxy=None) as socket:
        await socket.recv()
        assert (await scrape(system))["soip_web_sockets", ()] == 1

    async def left() -> float:
        return (await scrape(system))["soip_web_sockets", ()]

    await until(left, 0)


async def test_the_figures_are_for_programs_and_not_in_the_description(system: System) -> None:
    async with system.client() as client:
        description = (await client.get("/api/openapi.json")).json()
        assert "/metrics" not in description["paths"]
        assert (await client.post("/metrics", headers=TOKEN)).status_code == 405
