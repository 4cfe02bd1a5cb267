"""Calls that work and calls that do not, as the console shows them: a list, and one of them hop by hop."""

from __future__ import annotations

import asyncio
import sys

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.e2e.conftest import Visit
from tests.e2e.product import PEOPLE_PASSWORD, REALM, Product
from tests.site import PASSWORD, SIP_PASSWORD

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]

SHED = "shed"


async def _watch(product: Product, password: str = SIP_PASSWORD) -> None:
    """Pia watches the shed for a moment by `soip play`, or is turned away."""
    film = product.site.folder / f"{password}.mp4"
    command = product.site.play_command(SHED, film, "--duration", "1", user="pia")
    command[command.index(SIP_PASSWORD)] = password
    player = product.site.run("pia", [sys.executable, "-m", "soip", *command], product.site.settings)
    await product.until(lambda: player.process.poll() is not None)


@pytest_asyncio.fixture(loop_scope="package")
async def called(product: Product) -> None:
    """Pia has watched the shed, which is not recorded, and has been turned away; once for all tests here."""
    if await product.directory.cameras.get(SHED):
        return
    await product.directory.cameras.add(SHED, realm=REALM, password=PASSWORD, name="Tool shed", plan="never")
    await product.directory.users.add(
        "pia", password=PEOPLE_PASSWORD, role="operator", realm=REALM, sip_password=SIP_PASSWORD
    )
    await asyncio.to_thread(product.site.simulate, SHED)
    bound = "SELECT 1 FROM binding WHERE aor = ?"
    await product.until(lambda: product.site.query(bound, SHED))
    await _watch(product, "not-hers")
    await _watch(product)
    over = "SELECT 1 FROM call_trace WHERE caller = 'pia' AND state = 'ended'"
    await product.until(lambda: product.site.query(over))


async def test_a_call_is_shown_from_the_phone_to_the_camera(visit: Visit, called: None) -> None:
    page = await visit("pia", PEOPLE_PASSWORD)
    await page.at("calls-link").click()
    rows = page.at("call").filter(has_text="pia").filter(has_text="Tool shed")
    await expect(rows).to_have_count(2)
    ended = rows.and_(page.page.locator("[data-state=ended]"))
    await expect(ended).to_contain_text("pia hung up")
    await page.shot("calls")
    await ended.get_by_test_id("call-link").click()
    ladder = page.at("ladder")
    await expect(ladder).to_be_visible()
    await expect(page.at("call-verdict")).to_contain_text("pia hung up")
    spoken = await ladder.locator("li").all_text_contents()
    camera = next(at for at, line in enumerate(spoken) if f"SIP server → {SHED}: INVITE" in line)
    answer = next(at for at, line in enumerate(spoken) if f"{SHED} → SIP server: 200 OK" in line)
    seen = next(at for at, line in enumerate(spoken) if "SIP server → pia: 200 OK" in line)
    assert 0 < camera < answer < seen, spoken
    assert "pia → SIP server: INVITE sip:shed@" in spoken[0]
    assert any("SDP: video H264" in line for line in spoken)
    assert await page.at("ladder-message").count() == len(spoken)
    await page.shot("call")


async def test_a_call_that_failed_says_why_and_what_to_do(visit: Visit, called: None) -> None:
    page = await visit()
    await page.page.goto(f"/#/camera/{SHED}")
    await page.at("camera-calls").click()
    await expect(page.page.get_by_role("heading", name="Calls of Tool shed")).to_be_visible()
    await page.at("calls-failed").click()
    row = page.at("call")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("not proven")
    await row.get_by_test_id("call-link").click()
    await expect(page.at("call-verdict")).to_contain_text("wrong password or unknown id (403 from SIP server)")
    await expect(page.at("call-verdict")).to_contain_text("Check the SIP id and the SIP password")
    await page.at("language-ko").click()
    await expect(page.at("call-verdict")).to_contain_text("SIP 비밀번호를 확인하세요")
    await page.shot("call-failed-ko")


async def test_a_running_call_grows_before_ones_eyes(visit: Visit, product: Product, called: None) -> None:
    page = await visit()
    film = product.site.folder / "long.mp4"
    command = product.site.play_command(SHED, film, "--duration", "600", user="pia")
    player = product.site.run("pia", [sys.executable, "-m", "soip", *command], product.site.settings)
    await page.page.goto(f"/#/calls/{SHED}")
    running = page.at("call").and_(page.page.locator("[data-state=established]")).filter(has_text="pia")
    await running.get_by_test_id("call-link").click()
    await expect(page.at("call-verdict")).to_contain_text("In a call")
    before = await page.at("ladder-message").count()
    player.stop()
    await expect(page.at("call-verdict")).to_contain_text("pia hung up")
    assert await page.at("ladder-message").count() > before


async def test_a_narrow_page_scrolls_the_ladder_and_nothing_else(visit: Visit, product: Product, called: None) -> None:
    page = await visit(viewport={"width": 420, "height": 800})
    ((identity,),) = product.site.query(
        "SELECT id FROM call_trace WHERE caller = 'pia' AND state = 'ended' ORDER BY started_us LIMIT 1"
    )
    await page.page.goto(f"/#/call/{identity}")
    await expect(page.at("ladder")).to_be_visible()
    wide = "[document.documentElement.scrollWidth, innerWidth]"
    page_width, window_width = await page.page.evaluate(wide)
    assert page_width <= window_width
    assert await page.at("ladder").evaluate("element => element.scrollWidth > element.clientWidth")
    await page.shot("call-narrow")


async def test_viewers_do_not_look_into_calls(visit: Visit, product: Product) -> None:
    await product.add_person("viola", "viewer")
    page = await visit("viola", PEOPLE_PASSWORD)
    await expect(page.at("calls-link")).to_have_count(0)
    await page.open_camera("cam1")
    await expect(page.at("camera-calls")).to_have_count(0)
    await page.page.goto("/#/calls")
    await expect(page.page.get_by_role("alert")).to_contain_text("You may not look into calls")


async def test_a_call_that_is_gone_is_said_to_be(visit: Visit) -> None:
    page = await visit()
    await page.page.goto("/#/call/none")
    await expect(page.page.get_by_text("only the last 1000")).to_be_visible()
