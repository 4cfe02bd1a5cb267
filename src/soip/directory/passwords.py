"""Login passwords: argon2id, off the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# One check takes about 64 MiB and 50 to 150 ms of a core: two at once are enough for people, too few for a
# flood.
_AT_ONCE = 2
_HASHER = PasswordHasher()
MAX_LENGTH = 1024


class Passwords:
    """Makes and checks password hashes. One for each event loop."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """A salted hash, as one line of text."""
        async with self._turns:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def check(self, known: str | None, password: str) -> bool:
        """True when the password fits. Takes as long when the user is unknown (`None`), so that names stay
        secret.
        """
        if len(password) > MAX_LENGTH:
            return False
        if known is None:
            self._nobody = self._nobody or await self.hash("nobody's password")
        async with self._turns:
            fits = await asyncio.to_thread(_verify, known or self._nobody or "", password)
        return fits and known is not None


def _verify(known: str, password: str) -> bool:
    try:
        return _HASHER.verify(known, password)
    except (VerificationError, InvalidHashError):
        return False
