"""Tokens for media addresses: who may fetch which camera's media, for what, until when.

A token is `base64url(json) "." base64url(HMAC-SHA-256(key, base64url(json)))`, without padding (RFC 4648 §5),
so it fits into a query string as it is. It is short-lived and says nothing secret; the media server still
checks the subject's role when the directory changes.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from soip.policy.errors import ExpiredTokenError, InvalidTokenError

LIFETIME_S = 120
"""How long a token of the web role is good for, in seconds; pages renew theirs before."""

ACTIONS = frozenset({"live", "playback", "export"})

_MAX_LENGTH = 1024  # Two ids of 64 characters need under 300; anything longer is not ours.


@dataclass(frozen=True, slots=True)
class MediaGrant:
    """What a verified token says. `expires` is in UNIX seconds."""

    subject: str
    camera: str
    action: str
    expires: float


def issue(key: bytes, subject: str, camera: str, action: str, expires: float) -> str:
    """A token that lets `subject` do `action` (live, playback or export) with `camera` until `expires` (UNIX
    seconds).

    Raises ValueError for an action that does not exist: that is a mistake of the caller.
    """
    if action not in ACTIONS:
        raise ValueError(f"no such media action: {action!r}")
    facts = {"sub": subject, "cam": camera, "act": action, "exp": expires}
    body = _encode(json.dumps(facts, separators=(",", ":")).encode())
    return f"{body}.{_sign(key, body)}"


def verify(key: bytes, token: str, now: float) -> MediaGrant:
    """The grant in a token, when it is ours and still good at `now` (UNIX seconds).

    Raises InvalidTokenError or ExpiredTokenError. The signature is checked before a byte of the body is
    looked at.
    """
    if len(token) > _MAX_LENGTH or not token.isascii():
        raise InvalidTokenError("the media token is not one of ours")
    body, dot, signature = token.partition(".")
    if not dot or not hmac.compare_digest(signature, _sign(key, body)):
        raise InvalidTokenError("the media token is not signed by this system")
    grant = _grant(body)
    if not now < grant.expires:  # Written so that a time that is no number has passed, too.
        raise ExpiredTokenError("the media token has expired")
    return grant


def _grant(body: str) -> MediaGrant:
    try:
        facts = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return MediaGrant(str(facts["sub"]), str(facts["cam"]), str(facts["act"]), float(facts["exp"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidTokenError("the media token cannot be read") from error


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(key: bytes, body: str) -> str:
    return _encode(hmac.new(key, body.encode(), sha256).digest())
