"""A page that watches a camera live, and how old each picture is when it gets it."""

from __future__ import annotations

import io
import json
import math
import threading
import time
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

import av
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from soip.agents.blockcode import read
from tests.site import PATIENT_S, Site, until


def p99(ages: list[float]) -> float:
    """The age that one picture of a hundred exceeds, in seconds."""
    return sorted(ages)[math.ceil(len(ages) * 0.99) - 1]


def open_live(site: Site, camera: str) -> AbstractContextManager[ClientConnection]:
    """The WebSocket of a camera's live pictures, to be used in a `with`."""
    with site.client() as client:
        answer = client.post(f"/api/cameras/{camera}/grants", json={"action": "live"}, headers={"Origin": site.base})
        assert answer.status_code == 200, answer.text
        grant = answer.json()
    address = f"ws://{site.host}:{site.http}{grant['url']}/live/{camera}?token={grant['token']}"
    return connect(address, origin=Origin(site.base), proxy=None, max_size=None, open_timeout=PATIENT_S)


class Watcher:
    """Use as `with Watcher(site, "cam1") as watcher: …`; `ages` after that."""

    def __init__(self, site: Site, camera: str) -> None:
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(open_live(site, camera))
        self._messages: list[tuple[int, bytes]] = []
        self._openings = 0
        self._closing = False
        self.ended = ""
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.count > 2, explain=lambda: "no picture came")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._closing = True
        self._stack.close()
        self._thread.join(PATIENT_S)

    @property
    def count(self) -> int:
        return len(self._messages)

    def _take(self) -> None:
        try:
            for message in self._socket:
                if isinstance(message, bytes):
                    self._messages.append((time.time_ns(), message))
                elif json.loads(message)["type"] == "init":
                    self._openings += 1
        except ConnectionClosed as closed:
            self.ended = "" if self._closing else str(closed)

    def ages(self) -> list[float]:
        """In seconds, of each picture but those that were sent at once, as the start."""
        assert self._openings == 1, f"{self._openings} openings: the camera has begun anew"
        assert not self.ended, f"the page was sent away: {self.ended}"
        stream = io.BytesIO(b"".join(data for _, data in self._messages))
        stamps = []
        with av.open(stream, mode="r") as container:
            for frame in container.decode(video=0):
                luma = frame.planes[0]
                stamp = read(bytes(luma), luma.line_size, frame.width, frame.height)
                assert stamp is not None
                stamps.append(stamp.utc_ms)
        arrivals = [at for at, _ in self._messages[2:]]  # an opening, and the pictures since the last keyframe
        return [at / 1e9 - ms / 1e3 for at, ms in zip(arrivals, stamps[-len(arrivals) :], strict=True)]
