"""The errors of `soip.net`.

NetError
├── PortBusyError            our fault: the address to listen on cannot be had; port and setting are named
├── TlsError                 ours: a certificate, key or CA file cannot be used or made; the file is named
├── PortsExhaustedError      ours: no RTP port pair is free; the range is named (defined in `ports`)
├── FlowError                the way to the peer is broken: unreachable, refused, closed, or over a limit
│   └── EndpointClosedError  … because this endpoint has been closed
├── RequestTimeoutError      the peer did not answer in time (RFC 3261 §17: 64*T1)
├── RequestRefusedError      the peer answered with a final status that is not 2xx
│   └── AuthError            … 401 or 407 although our credentials were sent
└── CallEndedError           our fault: the call on which something was asked has ended
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soip.sip.message import Response


class NetError(Exception):
    """Base of every error raised in this room."""


class PortBusyError(NetError):
    """An address cannot be listened on. The text says which, why, and which setting changes it."""


class TlsError(NetError):
    """A certificate, key or CA file cannot be used or made. The text says which and why."""


class FlowError(NetError):
    """A message could not be sent, or the connection it went over has ended before the answer came."""


class EndpointClosedError(FlowError):
    """The endpoint has been closed."""


class RequestTimeoutError(NetError):
    """No final response came in time."""


class RequestRefusedError(NetError):
    """A final response other than 2xx; `response` is it, `status` its code."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.reason}")
        self.response = response
        self.status = response.status

    @property
    def said(self) -> str:
        """The text of its Warning (RFC 3261 §20.43), "" without one."""
        return (self.response.headers.get("Warning") or "").partition('"')[2].rpartition('"')[0]


class AuthError(RequestRefusedError):
    """Challenged again after our answer: wrong password or unknown account."""


class CallEndedError(NetError):
    """The call has ended, nothing more can be asked on it."""
