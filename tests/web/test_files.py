"""The console's files, and the headers around every answer."""

from __future__ import annotations

import re
from pathlib import Path

from soip.web.files import STATIC
from tests.web.system import System, running


async def test_the_page_is_always_asked_for_again_its_parts_never(system: System) -> None:
    async with system.client() as client:
        page, part = await client.get("/"), await client.get("/assets/index-abc.js")
    assert page.status_code == part.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    assert "immutable" in part.headers["cache-control"]
    assert part.headers["content-type"].startswith("text/javascript")


async def test_only_the_consoles_files_are_served(system: System) -> None:
    for path in [
        "/nope",
        "/assets/nope.js",
        "/.built",
        "/../soip.db",
        "/%2e%2e/soip.db",
        "/assets/..%2f..%2fsoip.db",
        "/assets/",
    ]:
        async with system.client() as client:
            answer = await client.get(path)
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "message"}


async def test_a_console_that_is_not_built_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path, tmp_path / "nothing") as system, system.client() as client:
        answer = await client.get("/")
        assert (await client.get("/api/health")).status_code == 200, "the API works without it"
    assert answer.status_code == 503
    assert "scripts/console build" in answer.text


async def test_every_answer_is_guarded(system: System) -> None:
    for path in ["/", "/nope", "/api/session", "/api/health", "/media/x/y", "/assets/index-abc.js"]:
        async with system.client() as client:
            headers = (await client.get(path)).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert "unsafe" not in headers["content-security-policy"]
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "cache-control" in headers
        assert "server" not in headers


def test_the_built_page_has_nothing_inline() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page), "inline script"
    assert not re.search(r"<style|\sstyle=|\son\w+=", page), "inline style or handler"
