"""The error tree of the policy room.

PolicyError
└── TokenError          a token is not accepted
    ├── InvalidTokenError    malformed, oversized, or not signed by our key
    └── ExpiredTokenError    signed by us, but its time is over
"""

from __future__ import annotations


class PolicyError(Exception):
    """Base of every error this room raises."""


class TokenError(PolicyError):
    """A token is not accepted."""


class InvalidTokenError(TokenError):
    """The token is malformed, oversized, or was not signed with this key."""


class ExpiredTokenError(TokenError):
    """The token was signed with this key, but its lifetime is over."""
