"""Fuzz target: tokens for SIP, as they come out of a header field."""

from __future__ import annotations

from soip.policy.errors import TokenError
from soip.policy.siptoken import issue, verify

KEY = b"0123456789abcdef0123456789abcdef"
EXPIRES = 4e9


def fuzz(data: bytes) -> None:
    """A token verifies to a user for whom the very same token is issued, or raises TokenError."""
    token = data.decode("latin-1")
    try:
        subject = verify(KEY, token, 0.0)
    except TokenError:
        return
    assert issue(KEY, subject, EXPIRES) == token
