"""Media tokens at the worker's HTTP face: signed by the web role, checked here, and the right asked again."""

from __future__ import annotations

import time

from soip.media.rights import Rights
from soip.policy import access, mediaurl
from soip.policy.errors import ExpiredTokenError, InvalidTokenError
from soip.policy.mediaurl import MediaGrant


class RefusedError(ValueError):
    """The request is refused: HTTP status, a code for programs, a text for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Grants:
    """Reads tokens. `rights` decides whether their subjects may still do what they say."""

    def __init__(self, key: bytes, rights: Rights) -> None:
        self._key = key
        self.rights = rights

    def read(self, token: str, camera: str, action: str) -> MediaGrant:
        """The grant in a token for this camera and action. Raises RefusedError (401 or 403)."""
        try:
            # Compared with the web role's clock, so the system's time it is: both run on clocks set by NTP.
            grant = mediaurl.verify(self._key, token, time.time())
        except ExpiredTokenError as error:
            raise RefusedError(401, "token_expired", str(error)) from error
        except InvalidTokenError as error:
            raise RefusedError(403, "token_invalid", str(error)) from error
        if grant.camera != camera or grant.action != action:
            raise RefusedError(403, "token_invalid", "the token is for something else")
        return grant

    async def check(self, token: str, camera: str, action: str) -> MediaGrant:
        """`read`, and the subject may still do it. Raises RefusedError, UnavailableError."""
        grant = self.read(token, camera, action)
        if not await self.rights.may(grant.subject, access.ACTIONS[action]):
            raise RefusedError(403, "not_allowed", f"{grant.subject} may not {action}")
        return grant

    @staticmethod
    def left_s(grant: MediaGrant) -> float:
        """Seconds until a grant expires."""
        return grant.expires - time.time()
