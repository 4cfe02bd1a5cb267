"""Cameras that went to other media workers: what the SIP server tells the one they were taken from.

A line for each: the camera's id and the epoch of its new home. `cam1 17`. Whoever cannot read the directory learns so
that it must not record them any more; an epoch that is no higher than the known one says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from soip.control.errors import ControlBuildError, NotUnderstoodError

CONTENT_TYPE = "application/x-soip-moved"
MOST = 500
"""Cameras in one body: with the longest ids that is half of what a SIP message may hold."""

_LINE = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,63}) (\d{1,18})")


def build(moved: Mapping[str, int]) -> bytes:
    """The body for some cameras and their epochs. Raises ControlBuildError."""
    lines = [f"{camera} {epoch}" for camera, epoch in moved.items()]
    if not 1 <= len(lines) <= MOST or not all(map(_LINE.fullmatch, lines)):
        raise ControlBuildError(f"1 to {MOST} ids of cameras with their epochs are needed")
    return ("\n".join(lines) + "\n").encode()


def parse(body: bytes) -> dict[str, int]:
    """Cameras and epochs. Raises NotUnderstoodError."""
    lines = body.decode("ascii", "replace").removesuffix("\n").split("\n", MOST)
    found = [_LINE.fullmatch(line) for line in lines]
    if len(lines) > MOST or not all(found):
        raise NotUnderstoodError("each line is the id of a camera and a number")
    return {match[1]: int(match[2]) for match in found if match is not None}
