"""Fuzz target: a user part against a pattern of numbers."""

from __future__ import annotations

from soip.policy.dialplan import LONGEST, is_pattern, matches

SAMPLES = (b"0*\n0049891234", b"+82*\n+82212345", b"2xx\n217", b"*\nbob")


def fuzz(data: bytes) -> None:
    """Only a number fits, and only a pattern; what fits a pattern fits it without its last `*`, cut to its length."""
    pattern, _, number = data.decode("utf-8", "replace").partition("\n")
    if not matches(pattern, number):
        return
    assert is_pattern(pattern)
    assert not set(number) - set("+0123456789")
    assert len(number) <= 1 + LONGEST
    if pattern.endswith("*") and len(pattern) > 1 and pattern[:-1] != "+":
        assert matches(pattern[:-1], number[: len(pattern) - 1])
