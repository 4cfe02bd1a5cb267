"""Who is counted on: a media worker by its heartbeat, and what it said of its cameras as long as it is."""

from __future__ import annotations

ALIVE_US = 15_000_000
"""A worker whose heartbeat (every 5 s) is older than this is not counted on."""


def alive(heartbeat_us: int, now_us: int) -> bool:
    """Whether a worker with this heartbeat is there."""
    return now_us - heartbeat_us <= ALIVE_US


def media_state(told: str | None, *, online: bool) -> str:
    """The media state of a camera: what a living worker told, None where there is none that did."""
    return told if told is not None else "idle" if online else "offline"
