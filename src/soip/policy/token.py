"""Signed tokens: facts that only we can have written, until a time.

A token is `base64url(json) "." base64url(HMAC-SHA-256(key, base64url(json)))`, without padding (RFC 4648 §5), so it
fits into a query string and a header field as it is. It says nothing secret. Each kind of token has a key of its own
(`mediaurl`, `siptoken`), so that one is never taken for another.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from soip.policy.errors import ExpiredTokenError, InvalidTokenError

_MAX_LENGTH = 1024  # Two ids of 64 characters need under 300; anything longer is not ours.


def issue(key: bytes, facts: Mapping[str, str], expires: float) -> str:
    """A token that says `facts` until `expires` (UNIX seconds)."""
    body = encode(json.dumps({**facts, "exp": expires}, separators=(",", ":")).encode())
    return f"{body}.{sign(key, body)}"


def verify(key: bytes, token: str, now: float, *names: str) -> tuple[list[str], float]:
    """The facts of these names and the expiry in a token, when it is ours and still good at `now` (UNIX seconds).

    Raises InvalidTokenError or ExpiredTokenError. The signature is checked before a byte of the body is looked at.
    """
    if len(token) > _MAX_LENGTH or not token.isascii():
        raise InvalidTokenError("the token is not one of ours")
    body, dot, signature = token.partition(".")
    if not dot or not hmac.compare_digest(signature, sign(key, body)):
        raise InvalidTokenError("the token is not signed by this system")
    try:
        facts: Any = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        found, expires = [str(facts[name]) for name in names], float(facts["exp"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidTokenError("the token cannot be read") from error
    if not now < expires:  # Written so that a time that is no number has passed, too.
        raise ExpiredTokenError("the token has expired")
    return found, expires


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(key: bytes, body: str) -> str:
    """The signature of a body."""
    return encode(hmac.new(key, body.encode(), sha256).digest())
