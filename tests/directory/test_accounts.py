"""SIP accounts: ids that mean one thing, digests as the RFCs compute them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.directory import accounts
from soip.directory.accounts import DIGESTS, ha1
from soip.directory.directory import Directory
from soip.directory.errors import InvalidValueError, NotFoundError, TakenError
from soip.directory.rows import Account, AccountKind
from soip.directory.settings import check_id
from soip.sip import digest as sip_digest

from .samples import REALM


def test_ha1_is_that_of_the_rfcs() -> None:
    """RFC 7616 §3.9.1 and RFC 2617 §3.5 name the user and realm; the digests were computed with sha256sum."""
    mufasa = ("Mufasa", "http-auth@example.org", "Circle of Life")
    assert ha1(*mufasa, "MD5") == "3d78807defe7de2157e2b0b6573a855f"
    assert ha1(*mufasa, "SHA-256") == "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
    with pytest.raises(InvalidValueError, match="use one of MD5, SHA-256, SHA-512-256"):
        ha1(*mufasa, "SHA-1")


@given(st.text(max_size=20), st.sampled_from(DIGESTS))
def test_ha1_is_what_the_sip_stack_computes(password: str, algorithm: str) -> None:
    """The directory must not import the SIP room, so it has its own three lines; they must agree."""
    assert ha1("cam1", REALM, password, algorithm) == sip_digest.ha1("cam1", REALM, password, algorithm)


@pytest.mark.parametrize("identity", ["a", "cam1", "Cam_1.front-door", "_x", "0", "x" * 64])
def test_ids(identity: str) -> None:
    assert check_id(identity) == identity


@pytest.mark.parametrize(
    "identity", ["", ".", "..", "-x", ".x", "x" * 65, "a/b", "a b", "ä", "a\n", "a;b", "a@b", "%61"]
)
def test_no_ids(identity: str) -> None:
    with pytest.raises(InvalidValueError, match="cannot be an id"):
        check_id(identity)


async def test_accounts_of_every_kind(directory: Directory, tmp_path_factory: pytest.TempPathFactory) -> None:
    await directory.cameras.add("cam1", realm=REALM, password="p", digest="SHA-256")
    await directory.users.add("bob", password="login", role="operator", realm=REALM, sip_password="s")
    server = await directory.media.create_or_load(tmp_path_factory.mktemp("x") / "m.json", REALM)
    bob = Account("bob", AccountKind.USER, {"MD5": ha1("bob", REALM, "s", "MD5")}, (), "operator")
    cam1 = Account("cam1", AccountKind.DEVICE, {"SHA-256": ha1("cam1", REALM, "p", "SHA-256")}, ("cam1",), None)
    media = Account(
        server.id, AccountKind.MEDIA_SERVER, {"SHA-256": ha1(server.id, REALM, server.secret, "SHA-256")}, (), None
    )
    assert await directory.accounts.all() == [bob, cam1, media]
    for account in (bob, cam1, media):
        assert await directory.accounts.get(account.id) == account
    assert await directory.accounts.of_camera("cam1") == cam1
    assert await directory.accounts.get("eve") is None
    assert await directory.accounts.of_camera("bob") is None
    assert "ha1" not in repr(bob)


async def test_an_id_means_one_thing(directory: Directory) -> None:
    await directory.cameras.add("one", realm=REALM, password="p")
    with pytest.raises(TakenError, match="'one' is taken already, by a device"):
        await directory.users.add("one", password="p", role="viewer", realm=REALM, sip_password="s")
    await directory.users.add("two", password="p", role="viewer", realm=REALM, sip_password="s")
    with pytest.raises(TakenError, match="by a user"):
        await directory.cameras.add("two", realm=REALM, password="p")
    assert [camera.id for camera in await directory.cameras.all()] == ["one"]
    assert [user.id for user in await directory.users.all()] == ["two"]


async def test_a_removed_id_is_free_again(directory: Directory) -> None:
    await directory.cameras.add("one", realm=REALM, password="p")
    await directory.cameras.remove("one")
    assert await directory.accounts.all() == []
    await directory.users.add("one", password="p", role="viewer", realm=REALM, sip_password="s")
    await directory.users.remove("one")
    assert await directory.accounts.get("one") is None
    with pytest.raises(NotFoundError):
        await directory.users.remove("one")


@pytest.mark.parametrize("page", [1, 2, 5, 6])
async def test_all_are_read_page_by_page(directory: Directory, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(accounts, "_PAGE", page)
    for number in range(5):
        await directory.cameras.add(f"cam{number}", realm=REALM, password="p")
    found = await directory.accounts.all()
    assert [(account.id, account.cameras) for account in found] == [(f"cam{n}", (f"cam{n}",)) for n in range(5)]


async def test_reading_all_gives_others_their_turn(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "_PAGE", 1)
    for number in range(5):
        await directory.cameras.add(f"cam{number}", realm=REALM, password="p")
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    await directory.accounts.all()
    task.cancel()
    assert turns >= 5
