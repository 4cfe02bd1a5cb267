"""Who is counted on: a media worker by its heartbeat, and what it said of its cameras as long as it is."""

from __future__ import annotations

from collections.abc import Mapping

ALIVE_US = 15_000_000
"""A worker whose heartbeat (every 5 s) is older than this is not counted on."""

LATELY_US = 3_600_000_000
"""For how long those who were heard of last are worth trying while nobody is heard of."""


def alive(heartbeat_us: int, now_us: int) -> bool:
    """Whether a worker with this heartbeat is there."""
    return now_us - heartbeat_us <= ALIVE_US


def worth_trying(heartbeats: Mapping[str, int], now_us: int) -> set[str]:
    """The workers that may be there, of those with these heartbeats: who is alive. While nobody is, those who were
    heard of last: they may all be gone, or the directory may take no heartbeats, and only trying tells.
    """
    living = {name for name, heartbeat_us in heartbeats.items() if alive(heartbeat_us, now_us)}
    newest = max(heartbeats.values(), default=0)
    if living or now_us - newest > LATELY_US:
        return living
    return {name for name, heartbeat_us in heartbeats.items() if alive(heartbeat_us, newest)}


def media_state(told: str | None, *, online: bool) -> str:
    """The media state of a camera: what a living worker told, None where there is none that did."""
    return told if told is not None else "idle" if online else "offline"
