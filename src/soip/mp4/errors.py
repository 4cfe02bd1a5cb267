"""The error tree of this room.

Mp4Error
└── BoxError    the bytes are not the MP4 they should be (damaged, foreign or cut)
    └── CutError    they may be, but end too early
"""


class Mp4Error(Exception):
    """Anything this room raises about the bytes it was given."""


class BoxError(Mp4Error):
    """The bytes are not the MP4 they should be. `offset` is where, counted from the start of what was read."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(f"{what} (at byte {offset})")
        self.what = what
        self.offset = offset


class CutError(BoxError):
    """The bytes end before the box does: a torn tail, or more must be read."""
