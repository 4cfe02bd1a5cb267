"""The errors of `soip.control`.

ControlError
├── ControlParseError        the peer's fault
│   ├── NotXmlError          … the bytes are no XML that is read here (malformed, a DTD, too long, too deep)
│   └── NotUnderstoodError   … well-formed, but no command that is known, or one without what it needs
└── ControlBuildError        our fault: a value that cannot be written
"""

from __future__ import annotations


class ControlError(Exception):
    """Base of every error raised in this room."""


class ControlParseError(ControlError):
    """A body cannot be used. `what` says why, in words fit for a Warning header."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class NotXmlError(ControlParseError):
    """Not XML, or XML with something that is refused: a DTD, too many or too deeply nested elements."""


class NotUnderstoodError(ControlParseError):
    """Well-formed, but not a command that is known here, or one that lacks what it cannot do without."""


class ControlBuildError(ControlError, ValueError):
    """A value that would break the body it is put into, or that the standard has no place for."""
