"""The error tree of this room.

StoreError
├── RootError           the folder for recordings cannot be used
│   ├── MissingRootError         it is not there, or its disk is not mounted
│   └── ForeignRootError         it belongs to another server, or is no such folder
├── DamagedFileError         a recording cannot be read
├── NothingRecordedError     no recording in the asked time
└── BadNameError             a camera id or path that may not be a file name
"""


class StoreError(Exception):
    """Anything this room raises; the text says what to do."""


class RootError(StoreError):
    """The folder for recordings cannot be used."""


class MissingRootError(RootError):
    """The folder is not there, or its disk is not mounted."""


class ForeignRootError(RootError):
    """The folder belongs to another server, or is no folder for recordings."""


class DamagedFileError(StoreError):
    """A recording that cannot be read."""


class NothingRecordedError(StoreError):
    """No recording in the asked time."""


class BadNameError(StoreError):
    """A camera id or a path that may not be a file name here."""
