"""A page that watches a camera live, and how old each picture is when it gets it."""

from __future__ import annotations

import io
import json
import math
import threading
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import av
import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from soip.agents.blockcode import read
from tests.site import PATIENT_S, Site, until


def p99(ages: list[float]) -> float:
    """The age that one picture of a hundred exceeds, in seconds."""
    return sorted(ages)[math.ceil(len(ages) * 0.99) - 1]


def grant(client: httpx.Client, camera: str) -> dict[str, Any]:
    """A token for a camera's live pictures, as the page gets it."""
    answer = client.post(
        f"/api/cameras/{camera}/grants", json={"action": "live"}, headers={"Origin": str(client.base_url)}
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def open_live(site: Site, camera: str, client: httpx.Client | None = None) -> AbstractContextManager[ClientConnection]:
    """The WebSocket of a camera's live pictures, to be used in a `with`."""
    if client is None:
        with site.client() as own:
            return open_live(site, camera, own)
    given = grant(client, camera)
    address = f"ws://{site.host}:{site.http}{given['url']}/live/{camera}?token={given['token']}"
    return connect(
        address, origin=Origin(site.base), proxy=None, max_size=None, open_timeout=PATIENT_S, ping_interval=None
    )


RENEW_S = 60.0
"""A token lasts for two minutes; the page renews it before."""


class Watcher:
    """Use as `with Watcher(site, "cam1") as watcher: …`; `ages` after that."""

    def __init__(self, site: Site, camera: str) -> None:
        self._stack = ExitStack()
        self._camera = camera
        self._client = self._stack.enter_context(site.client())
        self._socket = self._stack.enter_context(open_live(site, camera, self._client))
        self._messages: list[tuple[int, bytes]] = []
        self._openings = 0
        self._closing = threading.Event()
        self.ended = ""
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._take, self._renew)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.count > 2, explain=lambda: "no picture came")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._closing.set()
        self._stack.close()
        for thread in self._threads:
            thread.join(PATIENT_S)

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
            self.ended = "" if self._closing.is_set() else str(closed)

    def _renew(self) -> None:
        with suppress(ConnectionClosed):
            while not self._closing.wait(RENEW_S):
                try:
                    token = grant(self._client, self._camera)["token"]
                except (AssertionError, httpx.HTTPError) as error:
                    self.ended = f"the token was not renewed: {error}"
                    return
                self._socket.send(json.dumps({"type": "token", "token": token}))

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
