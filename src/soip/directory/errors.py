"""The error tree of the directory.

DirectoryError
├── UnavailableError    the database is locked, missing, full or damaged: keep the work and try again
├── NewerSchemaError    the database was made by a newer version of SoIP
├── InvalidValueError   the caller's value cannot be stored (malformed id, unknown role)
├── TakenError          the id belongs to something else already
└── NotFoundError       there is no such row
"""

from __future__ import annotations


class DirectoryError(Exception):
    """Base of every error this room raises."""


class UnavailableError(DirectoryError):
    """The database is locked, missing, full or damaged; the same call may work later."""


class NewerSchemaError(DirectoryError):
    """The database was made by a newer version of SoIP, which this one would damage."""


class InvalidValueError(DirectoryError):
    """The caller's value cannot be stored; the text says what it should look like."""


class TakenError(DirectoryError):
    """The id belongs to something else already."""


class NotFoundError(DirectoryError):
    """There is no such row."""
