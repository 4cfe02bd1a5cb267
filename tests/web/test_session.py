"""Signing in and out, over real HTTP with a real directory."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from soip.web.attempts import PER_NAME_AND_SOURCE
from tests.web.system import PASSWORD, System


async def _try(client: httpx.AsyncClient, name: str, password: str) -> httpx.Response:
    return await client.post("/api/session", json={"name": name, "password": password})


@pytest.mark.parametrize(
    ("role", "permissions"),
    [
        ("admin", ["administer", "control", "diagnose", "export", "playback", "talk", "watch"]),
        ("operator", ["control", "diagnose", "export", "playback", "talk", "watch"]),
        ("viewer", ["playback", "watch"]),
    ],
)
async def test_a_session_says_who_and_what_they_may(system: System, role: str, permissions: list[str]) -> None:
    await system.add_user("kim", role)
    async with system.client() as client:
        answer = await _try(client, "kim", PASSWORD)
        assert answer.json() == {"user": "kim", "role": role, "permissions": permissions}
        assert (await client.get("/api/session")).json() == answer.json()


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.client() as client:
        cookie = (await _try(client, "kim", PASSWORD)).headers["set-cookie"].lower()
    assert cookie.startswith("soip_session=")
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "secure" not in cookie, "over plain HTTP the browser would never send it back"


async def test_behind_https_the_cookie_is_secure(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.client() as client:
        body = {"name": "kim", "password": PASSWORD}
        answer = await client.post("/api/session", json=body, headers={"X-Forwarded-Proto": "https"})
    assert "secure" in answer.headers["set-cookie"].lower()


async def test_wrong_name_and_wrong_password_look_the_same(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.client() as client:
        wrong, unknown = await _try(client, "kim", "nope"), await _try(client, "nobody", PASSWORD)
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert wrong.json()["error"] == "wrong_password"
    assert "set-cookie" not in wrong.headers


async def test_guessing_is_stopped_even_when_all_guesses_come_at_once(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.client() as client:
        answers = await asyncio.gather(*(_try(client, "kim", f"guess{index}") for index in range(12)))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [401] * PER_NAME_AND_SOURCE + [429] * (12 - PER_NAME_AND_SOURCE)
        refused = await _try(client, "kim", PASSWORD)
    assert refused.status_code == 429
    assert refused.json()["error"] == "too_many_tries"
    assert 0 < int(refused.headers["retry-after"]) <= 300


async def test_signing_out_ends_the_session_on_the_server(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.signed_in("kim") as client:
        token = client.cookies["soip_session"]
        assert (await client.delete("/api/session")).status_code == 204
        assert "soip_session" not in client.cookies
        kept = await client.get("/api/session", headers={"Cookie": f"soip_session={token}"})
        assert kept.status_code == 401
        assert (await client.delete("/api/session")).status_code == 204, "twice is no error"


async def test_removing_or_changing_a_user_ends_their_sessions(system: System) -> None:
    users = system.directory.users
    changes = {
        "role": lambda name: users.set_role(name, "viewer"),
        "password": lambda name: users.set_password(name, "another password"),
        "removed": users.remove,
    }
    for name, change in changes.items():
        await system.add_user(name, "operator")
        async with system.signed_in(name) as client:
            assert (await client.get("/api/cameras")).status_code == 200
            await change(name)
            answer = await client.get("/api/cameras")
            assert (answer.status_code, answer.json()["error"]) == (401, "not_signed_in"), name


async def test_no_session_without_its_token(system: System) -> None:
    for cookie in ["", "soip_session=", "soip_session=forged", "soip_session=" + "x" * 4000, "=;;="]:
        async with system.client() as client:
            answer = await client.get("/api/session", headers={"Cookie": cookie})
        assert (answer.status_code, answer.json()["error"]) == (401, "not_signed_in")


async def test_pages_of_other_sites_change_nothing(system: System) -> None:
    await system.add_user("kim", "admin")
    await system.add_camera("cam1")
    body = {"name": "kim", "password": PASSWORD}
    async with system.signed_in("kim") as client:
        for foreign in [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
        ]:
            for answer in [
                await client.post("/api/session", json=body, headers=foreign),
                await client.post("/api/cameras/cam1/grants", json={"action": "live"}, headers=foreign),
                await client.delete("/api/session", headers=foreign),
            ]:
                assert (answer.status_code, answer.json()["error"]) == (403, "foreign_page"), foreign
        assert (await client.get("/api/session")).status_code == 200


async def test_the_consoles_own_pages_pass(system: System) -> None:
    await system.add_user("kim", "admin")
    async with system.client() as client:
        own = {"Origin": system.base, "Sec-Fetch-Site": "same-origin"}
        body = {"name": "kim", "password": PASSWORD}
        assert (await client.post("/api/session", json=body, headers=own)).status_code == 200


async def test_a_proxy_that_names_its_own_host_is_no_foreign_page(system: System) -> None:
    """As nginx does without being told otherwise; the browser knows better, and a page cannot forge its word."""
    await system.add_user("kim", "admin")
    body = {"name": "kim", "password": PASSWORD}
    page = {"Origin": "https://cameras.example", "Host": "127.0.0.1:8080"}
    async with system.client() as client:
        for site, status in (("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("", 403)):
            answer = await client.post("/api/session", json=body, headers={**page, "Sec-Fetch-Site": site})
            assert answer.status_code == status, site
        # Without that word the two have to fit.
        assert (await client.post("/api/session", json=body, headers=page)).status_code == 403
        page["Host"] = "cameras.example"
        assert (await client.post("/api/session", json=body, headers=page)).status_code == 200


async def test_bad_bodies_get_a_clear_answer(system: System) -> None:
    for body in [
        b"",
        b"{",
        b"[]",
        b'{"name": "kim"}',
        b'{"name": "", "password": "x"}',
        b'{"name": 7, "password": ["x"]}',
        b'{"name": "kim", "password": "' + b"x" * 1025 + b'"}',
        b'{"name": "\xff", "password": "x"}',
    ]:
        async with system.client() as client:
            answer = await client.post("/api/session", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}
        assert set(answer.json()) == {"error", "message"}
        assert "xxxx" not in answer.text, "a password never comes back"


async def test_bodies_are_bounded(system: System) -> None:
    async def endless() -> object:
        for _ in range(100):
            yield b"x" * 1000

    async with system.client() as client:
        announced = await client.post("/api/session", content=b"x" * 20_000)
        assert (announced.status_code, announced.json()["error"]) == (413, "too_large")
        json = {"Content-Type": "application/json"}
        chunked = await client.post("/api/session", content=endless(), headers=json)  # type: ignore[arg-type]
        assert chunked.status_code in {400, 413}


async def test_sessions_are_audited(system: System) -> None:
    await system.add_user("kim", "operator")
    async with system.signed_in("kim"):
        pass
    noted = [(row.actor, row.action, row.target) for row in await system.directory.settings.audited()]
    assert noted == [("kim", "session.open", "kim")]
