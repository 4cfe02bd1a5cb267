"""Which numbers lead out of the house: patterns as people write them.

`0*` is every number that begins with 0, `2xx` every number of three digits that begins with 2: an `x` stands for one
digit, a `*` at the end for as many as there are, none among them. A number may begin with `+`.
"""

from __future__ import annotations

import re

LONGEST = 32
"""Digits of a number; E.164 has 15."""

_PATTERN = re.compile(r"(?=.)(\+?[0-9x]{0,32})(\*?)")
_NUMBER = re.compile(r"\+?[0-9]{1,32}")


def is_pattern(text: str) -> bool:
    """Whether this can be read as a pattern."""
    return _PATTERN.fullmatch(text) is not None


def matches(pattern: str, number: str) -> bool:
    """Whether a user part is a number of this pattern. False for what is no pattern."""
    found = _PATTERN.fullmatch(pattern)
    if found is None or _NUMBER.fullmatch(number) is None:
        return False
    head, more = found.groups()
    if len(number) < len(head) or (len(number) > len(head) and not more):
        return False
    return all(c == n or (c == "x" and n.isdigit()) for c, n in zip(head, number, strict=False))
