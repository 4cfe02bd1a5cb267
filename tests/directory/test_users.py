"""People: passwords, roles, sessions."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from time import perf_counter

import pytest

from soip.directory.directory import Directory
from soip.directory.errors import InvalidValueError, NotFoundError
from soip.directory.rows import AccountKind
from soip.policy.access import Role

from .samples import REALM


@pytest.fixture
async def bob(directory: Directory) -> Directory:
    await directory.users.add("bob", password="päss", role="viewer", realm=REALM, sip_password="s", display_name="Bob")
    return directory


async def test_the_right_password_and_only_it(bob: Directory) -> None:
    user = await bob.users.verify("bob", "päss")
    assert user is not None
    assert (user.id, user.display_name, user.role) == ("bob", "Bob", "viewer")
    for name, password in (("bob", "pass"), ("bob", ""), ("Bob", "päss"), ("eve", "päss"), ("bob", "x" * 2000)):
        assert await bob.users.verify(name, password) is None


async def test_a_user_may_have_no_sip_secret_and_is_an_account_all_the_same(directory: Directory) -> None:
    await directory.users.add("web", password="p", role="viewer", realm=REALM, sip_password=None)
    account = await directory.accounts.get("web")
    assert account is not None
    assert (account.kind, account.ha1, account.role) == (AccountKind.USER, {}, "viewer")
    assert [account.id for account in await directory.accounts.all()] == ["web"]


async def test_no_password_or_token_is_stored(bob: Directory, file: Path) -> None:
    token = await bob.users.open_session("bob")
    everything = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert "päss".encode() not in everything
    assert token.encode() not in everything
    assert b"$argon2id$" in everything


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(bob: Directory) -> None:
    await bob.users.verify("nobody", "x")  # Makes the hash that stands for nobody.

    async def seconds(name: str) -> float:
        began = perf_counter()
        await bob.users.verify(name, "wrong")
        return perf_counter() - began

    known = min([await seconds("bob") for _ in range(3)])
    unknown = min([await seconds("eve") for _ in range(3)])
    assert unknown > known / 3


async def test_checking_passwords_does_not_hold_up_the_loop(bob: Directory) -> None:
    checks = asyncio.gather(*(bob.users.verify("bob", "wrong") for _ in range(6)))
    turns = 0
    while not checks.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert await checks == [None] * 6
    assert turns > 6  # On the loop they would all be over before its second turn.


@pytest.mark.parametrize("role", list(Role))
async def test_the_roles_of_the_policy_room_exist(directory: Directory, role: Role) -> None:
    user = await directory.users.add("u", password="p", role=role.value, realm=REALM, sip_password="s")
    assert user.role == role


async def test_what_cannot_be_a_user(directory: Directory) -> None:
    for options, text in (
        ({"role": "king"}, "no role 'king': use one of admin, operator, viewer"),
        ({"password": ""}, "a password has 1 to 1024 characters"),
        ({"password": "x" * 1025}, "a password has 1 to 1024 characters"),
        ({"sip_password": ""}, "the password is empty"),
        ({"digest": "x"}, "no digest"),
    ):
        given = {"password": "p", "role": "viewer", "sip_password": "s", **options}
        with pytest.raises(InvalidValueError, match=text):
            await directory.users.add("bob", realm=REALM, **given)
    assert await directory.users.all() == []


async def test_a_session_is_its_user_until_it_ends(bob: Directory) -> None:
    token = await bob.users.open_session("bob")
    user = await bob.users.session(token)
    assert user is not None
    assert user.id == "bob"
    assert await bob.users.session(token + "x") is None
    await bob.users.close_session(token)
    await bob.users.close_session(token)
    assert await bob.users.session(token) is None


async def test_a_session_has_the_role_of_now(bob: Directory) -> None:
    token = await bob.users.open_session("bob")
    await bob.users.set_role("bob", "admin")
    user = await bob.users.session(token)
    assert user is not None
    assert user.role == "admin"
    account = await bob.accounts.get("bob")
    assert account is not None
    assert account.role == "admin"


async def test_sessions_expire_and_are_cleared_away(bob: Directory, file: Path) -> None:
    short = await bob.users.open_session("bob", lifetime_s=600)
    assert await bob.users.session(short) is not None
    with sqlite3.connect(file) as other:
        other.execute("UPDATE session SET expires_us = expires_us - 601000000")
        other.commit()
        assert await bob.users.session(short) is None
        await bob.users.open_session("bob")
        assert other.execute("SELECT count(*) FROM session").fetchone() == (1,)
    other.close()


async def test_a_new_password_ends_sessions(bob: Directory) -> None:
    token = await bob.users.open_session("bob")
    await bob.users.set_password("bob", "new")
    assert await bob.users.session(token) is None
    assert await bob.users.verify("bob", "päss") is None
    assert await bob.users.verify("bob", "new") is not None


async def test_a_removed_user_has_no_session_and_no_account(bob: Directory) -> None:
    token = await bob.users.open_session("bob")
    await bob.users.remove("bob")
    assert await bob.users.session(token) is None
    assert await bob.accounts.get("bob") is None
    assert await bob.users.get("bob") is None


async def test_a_user_who_is_not_there(directory: Directory) -> None:
    for call in (
        directory.users.set_role("x", "admin"),
        directory.users.set_password("x", "p"),
        directory.users.remove("x"),
        directory.users.open_session("x"),
    ):
        with pytest.raises(NotFoundError, match="no user 'x'"):
            await call
    assert await directory.users.verify("x", "p") is None


async def test_changes_of_users_raise_the_version_and_sessions_do_not(bob: Directory) -> None:
    version = await bob.settings.version()
    token = await bob.users.open_session("bob")
    await bob.users.close_session(token)
    assert await bob.settings.version() == version
    await bob.users.set_role("bob", "operator")
    await bob.users.set_password("bob", "q")
    await bob.users.remove("bob")
    assert await bob.settings.version() == version + 3
