"""The errors of the room.

RtpError
├── RtpParseError   the peer's fault: the bytes are not what the standard says
└── RtpBuildError   our fault: what was asked for cannot be put on the wire
"""


class RtpError(Exception):
    """Anything this room raises."""


class RtpParseError(RtpError):
    """Bytes from a peer break a standard; says what was wrong, and at which offset where that helps."""

    def __init__(self, what: str, offset: int | None = None) -> None:
        self.what = what
        self.offset = offset
        super().__init__(what if offset is None else f"{what} (at byte {offset})")


class RtpBuildError(RtpError):
    """The caller asked for something that does not fit the wire format."""
