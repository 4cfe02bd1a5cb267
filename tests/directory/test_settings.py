"""Settings that stay, secrets that are made once, the version, the audit log."""

from __future__ import annotations

import asyncio

from soip.directory.directory import Directory
from soip.directory.settings import FLOW_TOKEN_KEY, MEDIA_URL_KEY, NONCE_KEY, SIP_TOKEN_KEY, SIP_WEBSOCKET


async def test_the_realm_is_that_of_the_first_start(url: str, directory: Directory) -> None:
    assert await directory.settings.get("realm") is None
    assert await directory.settings.realm("first.example") == "first.example"
    assert await directory.settings.realm("second.example") == "first.example"
    async with await Directory.open(url) as other:
        assert await other.settings.realm("third.example") == "first.example"


async def test_processes_that_start_together_agree(url: str) -> None:
    opened = [await Directory.open(url) for _ in range(4)]
    realms = await asyncio.gather(*(one.settings.realm(f"r{n}") for n, one in enumerate(opened)))
    keys = await asyncio.gather(*(one.settings.secret(NONCE_KEY) for one in opened))
    for one in opened:
        await one.close()
    assert len(set(realms)) == len(set(keys)) == 1


async def test_an_empty_setting_is_a_setting(directory: Directory) -> None:
    assert await directory.settings.fix("note", "") == ""
    assert await directory.settings.fix("note", "later") == ""


async def test_what_is_published_changes_and_is_no_change_of_configuration(url: str, directory: Directory) -> None:
    version = await directory.settings.version()
    assert await directory.settings.get(SIP_WEBSOCKET) is None
    for address in ("127.0.0.1:40001", "127.0.0.1:40002", "127.0.0.1:40002"):
        await directory.settings.publish(SIP_WEBSOCKET, address)
        async with await Directory.open(url) as other:
            assert await other.settings.get(SIP_WEBSOCKET) == address
    assert await directory.settings.version() == version


async def test_each_secret_is_its_own(url: str, directory: Directory) -> None:
    names = (MEDIA_URL_KEY, NONCE_KEY, FLOW_TOKEN_KEY, SIP_TOKEN_KEY)
    keys = [await directory.settings.secret(name) for name in names]
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {32}
    async with await Directory.open(url) as other:
        assert [await other.settings.secret(name) for name in names] == keys


async def test_the_audit_log_is_read_newest_first(directory: Directory) -> None:
    for number in range(5):
        await directory.settings.audit("bob", "camera.add", f"cam{number}", "by hand")
    rows = await directory.settings.audited(limit=3)
    assert [row.target for row in rows] == ["cam4", "cam3", "cam2"]
    assert (rows[0].actor, rows[0].action, rows[0].detail) == ("bob", "camera.add", "by hand")
    assert rows[0].at_us >= rows[2].at_us > 0
    assert await directory.settings.version() == 1
