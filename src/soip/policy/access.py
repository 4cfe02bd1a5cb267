"""Who may do what: roles and the permissions they carry.

Administrators may do everything, operators watch, play back, export, control, talk and look into calls, viewers watch
and play back. An unknown role, or none, may do nothing: a right is only ever given by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Permission(StrEnum):
    """One thing a person can be allowed to do with a camera, or with the system: `diagnose` is to see who called whom
    and why it did not work, `administer` everything else.
    """

    WATCH = "watch"
    PLAYBACK = "playback"
    EXPORT = "export"
    CONTROL = "control"
    TALK = "talk"
    DIAGNOSE = "diagnose"
    ADMINISTER = "administer"


class Role(StrEnum):
    """The built-in roles."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Permission),
        Role.OPERATOR: frozenset(Permission) - {Permission.ADMINISTER},
        Role.VIEWER: frozenset({Permission.WATCH, Permission.PLAYBACK}),
    }
)

# What a media token is good for, and the permission its holder must have: `mediaurl` names the actions.
ACTIONS: Mapping[str, Permission] = MappingProxyType(
    {
        "live": Permission.WATCH,
        "sub": Permission.WATCH,
        "playback": Permission.PLAYBACK,
        "export": Permission.EXPORT,
    }
)


def permissions(role: str | None) -> frozenset[Permission]:
    """All permissions of a role; none for an unknown one."""
    try:
        return ROLES[Role(role or "")]
    except ValueError:
        return frozenset()


def allowed(role: str | None, permission: Permission) -> bool:
    """True when the role carries the permission."""
    return permission in permissions(role)


def may(role: str | None, action: str) -> bool:
    """True when the role may get a media token for `action` (one of `ACTIONS`)."""
    permission = ACTIONS.get(action)
    return permission is not None and allowed(role, permission)
