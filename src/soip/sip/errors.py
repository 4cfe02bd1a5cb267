"""The errors of `soip.sip`.

SipError
├── SipParseError      the peer's fault: the bytes are not SIP
│   ├── UriError       … not a URI or name-addr
│   └── SdpError       … not a session description
├── OfferError         the peer's fault, well written: an offer or answer that does not fit (488)
├── DigestError        the peer's fault: a challenge we cannot answer
└── SipBuildError      our fault: a value that cannot be written into a message
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soip.sip.message import Headers


class SipError(Exception):
    """Base of every error raised in this room."""


class SipParseError(SipError):
    """Bytes from the network are not what RFC 3261 asks for.

    `what` says what is wrong, in words fit for a reason phrase. `offset` is the place, in characters from the
    start of the value (or, for a whole message, of the message) that was being read. `status` is the response
    code to answer with, when an answer is possible. `method` and `headers` are what could be read of a
    request (`None` for responses and for bytes without a request line): see `reply.error_response`.
    """

    def __init__(self, what: str, offset: int = 0, status: int = 400) -> None:
        super().__init__(f"{what} (at {offset})")
        self.what = what
        self.offset = offset
        self.status = status
        self.method: str | None = None
        self.headers: Headers | None = None

    @property
    def request_line_ok(self) -> bool:
        """Whether a request line was read, so that answering with `status` may be possible."""
        return self.method is not None


class UriError(SipParseError):
    """Not a URI, or not a name-addr (RFC 3261 §19.1, §20.10)."""


class SdpError(SipParseError):
    """Not a session description (RFC 8866)."""


class OfferError(SipError):
    """An offer we cannot answer, or an answer that does not fit our offer (RFC 3264 §6).

    `status` is the response code (488), `warn_code` and `what` go into a Warning header (RFC 3261 §20.43).
    """

    def __init__(self, what: str, warn_code: int = 399, status: int = 488) -> None:
        super().__init__(what)
        self.what = what
        self.warn_code = warn_code
        self.status = status


class DigestError(SipError):
    """A challenge that cannot be answered: unknown algorithm, or no common qop."""


class SipBuildError(SipError, ValueError):
    """A value that would break the message it is put into: a line break in a header, a bad token."""


class DialogError(SipError):
    """A request or response that does not fit its dialog (RFC 3261 §12.2.2); `status` is the answer."""

    def __init__(self, what: str, status: int = 500) -> None:
        super().__init__(what)
        self.what = what
        self.status = status


class TooManyTransactionsError(SipError):
    """More requests of ours are under way than the layer's limit; try later."""
