"""Cameras given to a media worker, without one that runs."""

from __future__ import annotations

from soip.directory.directory import Directory
from soip.directory.homes import Judgement
from soip.directory.rows import MediaInstance


async def place_all(directory: Directory, instance: MediaInstance) -> None:
    """Every camera without a home gets this one, as by a heartbeat of it."""
    await directory.homes.beat(
        instance, lambda _instances, _counts: Judgement((), lambda cameras: dict.fromkeys(cameras, instance.id))
    )
