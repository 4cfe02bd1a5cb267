"""Roles carry what the README promises, and nothing is given by accident."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.policy.access import ACTIONS, ROLES, Permission, Role, allowed, may, permissions
from soip.policy.mediaurl import ACTIONS as TOKEN_ACTIONS

WATCHING = {Permission.WATCH, Permission.PLAYBACK}
OPERATING = WATCHING | {Permission.EXPORT, Permission.CONTROL, Permission.TALK, Permission.DIAGNOSE}


@pytest.mark.parametrize(
    ("role", "expected"), [("admin", set(Permission)), ("operator", OPERATING), ("viewer", WATCHING)]
)
def test_each_role_has_exactly_its_permissions(role: str, expected: set[Permission]) -> None:
    assert permissions(role) == expected
    for permission in Permission:
        assert allowed(role, permission) is (permission in expected)


@given(st.none() | st.text().filter(lambda name: name not in set(Role)))
def test_an_unknown_role_may_nothing(role: str | None) -> None:
    assert permissions(role) == frozenset()
    assert not any(allowed(role, permission) for permission in Permission)
    assert not any(may(role, action) for action in ACTIONS)


def test_a_stronger_role_can_all_a_weaker_one_can() -> None:
    assert ROLES[Role.VIEWER] < ROLES[Role.OPERATOR] < ROLES[Role.ADMIN]


@pytest.mark.parametrize(
    ("role", "action", "expected"),
    [
        ("viewer", "live", True),
        ("viewer", "playback", True),
        ("viewer", "export", False),
        ("operator", "export", True),
        ("admin", "export", True),
        ("admin", "administer", False),  # A permission, but nothing a media token is for.
        ("admin", "", False),
    ],
)
def test_media_actions_need_their_permission(role: str, action: str, expected: bool) -> None:
    assert may(role, action) is expected


def test_every_action_of_a_token_has_a_permission() -> None:
    assert set(ACTIONS) == TOKEN_ACTIONS
