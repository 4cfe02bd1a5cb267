"""The error tree of the web role. Each error is an answer: status, code for programs, message for people.

ApiError
├── NotSignedInError     401  no session, or it has ended
├── WrongPasswordError   401  name and password do not fit
├── NotAllowedError      403  the role does not carry the permission
├── ForeignPageError     403  a page of another site asks the browser to change something here
├── UnknownError         404  there is no such camera or address
├── BadRangeError        400  a range of time that cannot be answered
├── TooLargeError        413  a body beyond what the API takes
├── TooManyTriesError    429  sign-in is refused for a while
├── NoMediaServerError   503  no media worker is alive
└── MediaAwayError       502  the media worker does not answer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class ApiError(Exception):
    """Base of every error this room answers with."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields that belong to the answer."""
        return {}


class NotSignedInError(ApiError):
    """There is no session, or it has ended."""

    status = 401
    code = "not_signed_in"

    def __init__(self) -> None:
        super().__init__("sign in first: there is no session, or it has ended")


class WrongPasswordError(ApiError):
    """Name and password do not fit; which of the two is not told."""

    status = 401
    code = "wrong_password"

    def __init__(self) -> None:
        super().__init__("the user name or the password is not right")


class NotAllowedError(ApiError):
    """The role does not carry the permission."""

    status = 403
    code = "not_allowed"


class ForeignPageError(ApiError):
    """A page of another site asks."""

    status = 403
    code = "foreign_page"

    def __init__(self) -> None:
        super().__init__(
            "requests that change something are taken from this console's own pages only; "
            "a proxy before it has to pass on the Host header"
        )


class UnknownError(ApiError):
    """There is no such thing."""

    status = 404
    code = "unknown"


class BadRangeError(ApiError):
    """A range of time that cannot be answered."""

    status = 400
    code = "bad_range"


class TooLargeError(ApiError):
    """A request body beyond what the API takes."""

    status = 413
    code = "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request's body is larger than {limit} bytes")


class TooManyTriesError(ApiError):
    """Sign-in is refused for a while."""

    status = 429
    code = "too_many_tries"

    def __init__(self, wait_s: float) -> None:
        self._wait_s = max(1, round(wait_s))
        super().__init__(f"too many attempts to sign in: try again in {self._wait_s} s")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self._wait_s)}


class NoMediaServerError(ApiError):
    """No media worker is alive."""

    status = 503
    code = "no_media_server"

    def __init__(self) -> None:
        super().__init__("no media server is running: 'soip serve' tries to start it, and its log says why it ended")


class MediaAwayError(ApiError):
    """The media worker does not answer, or is not known any more."""

    status = 502
    code = "media_away"
