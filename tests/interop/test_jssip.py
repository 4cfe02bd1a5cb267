"""JsSIP in a browser: a page of the console's host registers with the token of a session, through the web port."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from soip.directory.directory import Directory
from soip.sip.message import Response
from tests.e2e.conftest import CHROMIUM
from tests.peers import need
from tests.signalling.peer import Peer, eventually, open_peer
from tests.site import DOMAIN, SIP_PASSWORD, USER_PASSWORD, Site

pytestmark = pytest.mark.interop

CONSOLE = Path(__file__).parent.parent.parent / "scripts" / "console"

# What a page has to do: ask for a token, register with it, write and read.
_PHONE = """
async () => {
  const given = await (await fetch('/api/sip-token', { method: 'POST' })).json();
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const ua = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(`${scheme}://${location.host}${given.url}`)],
    uri: given.uri, authorization_jwt: `Bearer ${given.token}`, register_expires: 600,
  });
  window.phone = { ua, given, events: [], read: [] };
  for (const name of ['connected', 'disconnected', 'registered', 'unregistered', 'registrationFailed'])
    ua.on(name, event => window.phone.events.push([name, event?.response?.status_code ?? 0]));
  ua.on('newMessage', event => {
    if (event.originator === 'remote') window.phone.read.push([event.request.body, event.request.from.uri.user]);
  });
  ua.start();
}
"""
_SEND = """
([target, body]) => new Promise(done => window.phone.ua.sendMessage(target, body, {
  eventHandlers: { succeeded: event => done(event.response.status_code), failed: event => done(event.cause) },
}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """JsSIP as one script that a page can load."""
    out = tmp_path_factory.mktemp("jssip")
    done = subprocess.run([str(CONSOLE), "phone", str(out)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return (out / "jssip.iife.js").read_text("utf-8") + ";window.JsSIP = JsSIP;"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as site:
        site.add_user("bob", "operator")
        site.add_user("ann", "viewer")
        site.start()
        yield site


@pytest.fixture
async def page(site: Site, library: str) -> AsyncIterator[Page]:
    """A page of the console in which ann has signed in and her phone is registered."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=need("chromium"), args=CHROMIUM)
        page = await (await browser.new_context(base_url=site.base)).new_page()
        await page.add_init_script(library)
        signed = await page.request.post("/api/session", data={"name": "ann", "password": USER_PASSWORD})
        assert signed.status == 200
        await page.goto("/")
        await page.evaluate(_PHONE)
        await said(page, "registered")
        yield page
        await browser.close()


@pytest.fixture
async def bob(site: Site) -> AsyncIterator[Peer]:
    """A phone over UDP."""
    peer = await open_peer("bob", SIP_PASSWORD, (site.host, site.sip))
    assert (await peer.register()).status == 200
    yield peer
    peer.close()


async def said(page: Page, event: str, times: int = 1) -> None:
    """Wait until the library has told this."""
    told = "([name, times]) => window.phone.events.filter(each => each[0] === name).length >= times"
    await page.wait_for_function(told, arg=[event, times], timeout=60_000)


async def events(page: Page) -> list[list[Any]]:
    return list(await page.evaluate("window.phone.events"))


async def test_a_message_each_way(page: Page, bob: Peer, site: Site) -> None:
    async def written() -> bool:
        flows = site.query("SELECT flow FROM binding WHERE account_id = 'ann'")
        return [flow.startswith("ws:127.0.0.1:") for (flow,) in flows] == [True]

    await eventually(written)
    sending = asyncio.ensure_future(page.evaluate(_SEND, [f"sip:bob@{DOMAIN}", "from a page: ä 그림"]))
    arrived = await bob.arrives("MESSAGE")
    assert arrived.body.decode() == "from a page: ä 그림"
    assert arrived.headers.get("P-Asserted-Identity") == f"<sip:ann@{DOMAIN}>"
    assert arrived.headers.get_all("Authorization") == [], "the token goes no further"
    bob.reply(arrived, 200)
    assert await sending == 200

    text = bob.request(
        "MESSAGE", f"sip:ann@{DOMAIN}", headers=(("Content-Type", "text/plain"),), body="옆에서".encode()
    )
    assert (await bob.ask(text)).status == 200
    assert await page.evaluate("window.phone.read") == [["옆에서", "bob"]]


async def test_a_token_that_is_none_is_refused_and_a_new_one_taken(page: Page) -> None:
    await page.evaluate("phone.ua.set('authorization_jwt', 'Bearer made.up'); phone.ua.register()")
    await said(page, "registrationFailed")
    assert ["registrationFailed", 401] in await events(page)
    before = sum(name == "registered" for name, _ in await events(page))
    await page.evaluate("phone.ua.set('authorization_jwt', `Bearer ${phone.given.token}`); phone.ua.register()")
    await said(page, "registered", before + 1)


async def test_a_page_without_a_session_gets_no_token(page: Page) -> None:
    await page.request.delete("/api/session")
    status = await page.evaluate("async () => (await fetch('/api/sip-token', { method: 'POST' })).status")
    assert status == 401


async def test_who_is_removed_is_not_reached_any_more(page: Page, bob: Peer, site: Site) -> None:
    directory = await Directory.open(f"sqlite+aiosqlite:///{site.data / 'soip.db'}")
    async with directory:
        await directory.users.remove("ann")

        async def gone() -> bool:
            response: Response = await bob.ask(bob.request("MESSAGE", f"sip:ann@{DOMAIN}"))
            return response.status == 404

        await eventually(gone)
    await page.evaluate("phone.ua.register()")
    await said(page, "registrationFailed")
