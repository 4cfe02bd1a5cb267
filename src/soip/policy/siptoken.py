"""Tokens for SIP (RFC 8898): who has signed in at the web server, for the time it takes to register."""

from __future__ import annotations

from soip.policy import token as tokens

LIFETIME_S = 300
"""How long a token is good for, in seconds; pages renew theirs before."""


def issue(key: bytes, subject: str, expires: float) -> str:
    """A token with which `subject` may register and call until `expires` (UNIX seconds)."""
    return tokens.issue(key, {"sub": subject}, expires)


def verify(key: bytes, token: str, now: float) -> str:
    """The id of the user in a token, when it is ours and still good at `now` (UNIX seconds).

    Raises InvalidTokenError or ExpiredTokenError.
    """
    (subject,), _ = tokens.verify(key, token, now, "sub")
    return subject
