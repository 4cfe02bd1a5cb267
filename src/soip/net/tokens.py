"""Words that nobody can guess: for branches and tags (RFC 3261 §8.1.1.7, §19.3)."""

from __future__ import annotations

import os

SIZE = 10
"""Bytes of each, which is twice as many digits."""
_AT_ONCE = 200


class Tokens:
    """Makes a word at each call. The kernel is asked for many at once: asked for each it takes as long as reading the
    request that the word is for.
    """

    def __init__(self) -> None:
        self._left: list[str] = []

    def __call__(self) -> str:
        if not self._left:
            digits = os.urandom(_AT_ONCE * SIZE).hex()
            self._left = [digits[at : at + 2 * SIZE] for at in range(0, len(digits), 2 * SIZE)]
        return self._left.pop()
