"""Tokens for media addresses: who may fetch which camera's media, for what, until when.

They are short-lived; the media server still checks the subject's role when the directory changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from soip.policy import token as tokens

LIFETIME_S = 120
"""How long a token of the web role is good for, in seconds; pages renew theirs before."""

ACTIONS = frozenset({"live", "sub", "playback", "export"})
"""`sub` is live pictures of the sub-stream."""


@dataclass(frozen=True, slots=True)
class MediaGrant:
    """What a verified token says. `expires` is in UNIX seconds."""

    subject: str
    camera: str
    action: str
    expires: float


def issue(key: bytes, subject: str, camera: str, action: str, expires: float) -> str:
    """A token that lets `subject` do `action` (one of `ACTIONS`) with `camera` until `expires` (UNIX
    seconds).

    Raises ValueError for an action that does not exist: that is a mistake of the caller.
    """
    if action not in ACTIONS:
        raise ValueError(f"no such media action: {action!r}")
    return tokens.issue(key, {"sub": subject, "cam": camera, "act": action}, expires)


def verify(key: bytes, token: str, now: float) -> MediaGrant:
    """The grant in a token, when it is ours and still good at `now` (UNIX seconds).

    Raises InvalidTokenError or ExpiredTokenError.
    """
    (subject, camera, action), expires = tokens.verify(key, token, now, "sub", "cam", "act")
    return MediaGrant(subject, camera, action, expires)
