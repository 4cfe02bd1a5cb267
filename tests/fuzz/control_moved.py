"""Fuzz target: cameras that went elsewhere."""

from __future__ import annotations

from soip.control.errors import ControlParseError
from soip.control.moved import build, parse

SAMPLES = (b"cam1 17\n", b"cam1 17\ngate-2.north 18\n", b"cam1 17", b"cam1\n")


def fuzz(data: bytes) -> None:
    """Any bytes parse or raise ControlParseError; what parses is written, and reads back the same."""
    try:
        moved = parse(data)
    except ControlParseError:
        return
    assert parse(build(moved)) == moved
