"""Fuzz target: tokens of media addresses, as they come out of a query string."""

from __future__ import annotations

from soip.policy.errors import TokenError
from soip.policy.mediaurl import ACTIONS, issue, verify

KEY = b"0123456789abcdef0123456789abcdef"


def fuzz(data: bytes) -> None:
    """A token verifies to a grant that issues the very same token, or raises TokenError."""
    token = data.decode("latin-1")
    try:
        grant = verify(KEY, token, 0.0)
    except TokenError:
        return
    assert grant.action in ACTIONS
    assert issue(KEY, grant.subject, grant.camera, grant.action, grant.expires) == token
