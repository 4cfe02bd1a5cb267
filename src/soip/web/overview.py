"""All cameras with their states, and the media worker that serves each of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from soip.directory.directory import Directory
from soip.directory.rows import BindingRow, CameraRow, CameraStateRow, MediaInstance
from soip.policy import liveness
from soip.web.models import CameraView, DiskView, WorkerView
from soip.web.times import render

_FRESH_S = 0.5
FORGOTTEN_US = 86_400_000_000
"""A worker without cameras is not shown any more when it has not been heard of for a day."""

MediaState = Literal["recording", "live", "no-media", "offline", "idle"]
Transport = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the directory said at one moment. `workers` live; `reach` are those whose media may be asked for, also while
    the directory takes no heartbeats; `homes` tells which of them has a camera.
    """

    cameras: Mapping[str, CameraView]
    workers: Mapping[str, MediaInstance]
    reach: Mapping[str, MediaInstance]
    homes: Mapping[str, str]
    group: Sequence[WorkerView]


def alive(instances: Iterable[MediaInstance], now_us: int) -> dict[str, MediaInstance]:
    """The workers whose heartbeat is fresh, by id."""
    return {each.id: each for each in instances if liveness.alive(each.heartbeat_us, now_us)}


def reachable(bindings: Iterable[BindingRow], now_us: int) -> set[str]:
    """The accounts that are registered now."""
    return {each.account_id for each in bindings if each.expires_us > now_us}


def view(camera: CameraRow, state: CameraStateRow | None, online: bool, home: str | None) -> CameraView:
    """One camera as people see it; `home` is the worker that serves it, None while that does not live. What another
    said of its media, before the camera was moved, counts no longer.
    """
    told = state if state is not None and state.instance_id == home else None
    return CameraView(
        id=camera.id,
        name=camera.name or camera.id,
        record=camera.plan,
        audio=camera.audio,
        transport=cast(Transport, camera.transport),
        sub=camera.sub,
        signalling="online" if online else "offline",
        media=cast(MediaState, liveness.media_state(told.media if told else None, online=online)),
        since=render(told.since_us) if told else None,
        instance=home,
    )


async def snapshot(directory: Directory) -> Snapshot:
    """Reads the directory now. Raises UnavailableError when it is away."""
    now_us = time.time_ns() // 1000
    states = await directory.cameras.states()
    online = reachable(await directory.calls.bindings(), now_us)
    instances = await directory.media.instances()
    workers = alive(instances, now_us)
    homes = {name: row.instance_id for name, row in (await directory.homes.all()).items()}
    cameras = {
        row.id: view(row, states.get(row.id), row.device_id in online, _living(homes.get(row.id), workers))
        for row in await directory.cameras.all()
    }
    trying = liveness.worth_trying({each.id: each.heartbeat_us for each in instances}, now_us)
    reach = {each.id: each for each in instances if each.id in trying}
    return Snapshot(cameras, workers, reach, homes, group(instances, Counter(homes.values()), now_us))


def group(instances: Iterable[MediaInstance], cameras: Mapping[str, int], now_us: int) -> list[WorkerView]:
    """All workers with what they carry, but for those that have long been gone."""
    return [
        WorkerView(
            id=each.id,
            server=each.server_id,
            state=_state(each, now_us),
            heard=render(each.heartbeat_us),
            cameras=cameras.get(each.id, 0),
            streams=each.streams,
            viewers=each.viewers,
            in_bps=each.in_bps,
            out_bps=each.out_bps,
            disk_free=each.disk_free,
            disk_total=each.disk_total,
            disks=_disks(each),
        )
        for each in instances
        if cameras.get(each.id) or now_us - each.heartbeat_us < FORGOTTEN_US
    ]


def _disks(worker: MediaInstance) -> list[DiskView]:
    return [
        DiskView(path=path, state=state, free=free, total=total)
        for path, state, free, total in json.loads(worker.disks)
    ]


def _state(worker: MediaInstance, now_us: int) -> Literal["ready", "full", "away"]:
    if not liveness.alive(worker.heartbeat_us, now_us):
        return "away"
    return "ready" if worker.accepting else "full"


def _living(home: str | None, workers: Mapping[str, MediaInstance]) -> str | None:
    return home if home in workers else None


class Overview:
    """One reading of the directory serves all pages that ask within half a second."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._taken = float("-inf")
        self._snapshot: Snapshot | None = None
        self._reading = asyncio.Lock()

    async def get(self) -> Snapshot:
        """The cameras and workers of now. Raises UnavailableError when the directory is away."""
        async with self._reading:
            if self._snapshot is None or time.monotonic() - self._taken > _FRESH_S:
                self._snapshot = await snapshot(self._directory)
                self._taken = time.monotonic()
            return self._snapshot
