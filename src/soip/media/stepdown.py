"""A viewer whose way does not bear the main stream is shown the sub-stream instead (docs/design/data-plane.md).

What is to be sent is said by `policy.throttle`. The main stream stays held: the viewer goes back to it when its way has
recovered, and its sound goes on coming from there.
"""

from __future__ import annotations

import asyncio

import structlog

from soip.media.camera import Camera
from soip.media.camerastream import CameraStream
from soip.media.context import Context
from soip.media.liveview import LiveView
from soip.policy.throttle import Share
from soip.rtp.codec import Codec
from soip.sip import h264fmtp, h265fmtp
from soip.sip.h264fmtp import ProfileLevel
from soip.sip.h265fmtp import ProfileTierLevel

_log = structlog.get_logger()


class Stepdown:
    """Of one viewer of a main stream: `follow` once a second, `close` before its view is. `call_id` is its call's."""

    def __init__(self, context: Context, camera: Camera, view: LiveView, call_id: str) -> None:
        self._context = context
        self._camera = camera
        self._view = view
        self._call_id = call_id
        self._possible = True
        """The sub-stream has not been tried in vain yet."""
        self._showing: asyncio.Task[None] | None = None
        self._closed = False

    def follow(self) -> None:
        """Begin or end what the viewer's reports ask for."""
        self._view.offer_smaller(self._possible and self._camera.sub.offered)
        wanted = self._view.share is Share.SMALLER
        if wanted and self._showing is None:
            self._showing = asyncio.create_task(self._show(self._camera.sub))
            self._context.tasks.add(self._showing)
            self._showing.add_done_callback(self._shown)
        elif not wanted and self._showing is not None:
            self._showing.cancel()

    def close(self) -> None:
        """The view is about to be closed."""
        self._closed = True
        if self._showing is not None:
            self._showing.cancel()

    async def _show(self, sub: CameraStream) -> None:
        """Until cancelled, or until the sub-stream is not to be had any more."""
        lost = asyncio.Event()
        sub.hold(self, self._call_id)
        sub.farewells.add(lost.set)
        try:
            there = await sub.ready(self._context.patience.ready_s) and self._camera.relay.begun
            self._possible = there and fits(sub.relay.codec, self._camera.relay.codec)
            if self._possible:
                self._view.show(sub)
                await lost.wait()
            else:
                why = "it has another format" if there else sub.problem or "it sends no pictures"
                _log.info("a viewer is not shown the sub-stream", camera=self._camera.row.id, reason=why)
        finally:
            sub.farewells.discard(lost.set)
            sub.release(self)
            if not self._closed:
                self._view.show(self._camera)

    def _shown(self, task: asyncio.Task[None]) -> None:
        self._context.tasks.discard(task)
        self._showing = None
        if not self._closed and self._view.share is Share.SMALLER:
            self._view.offer_smaller(False)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the sub-stream could not be shown", camera=self._camera.row.id, reason=repr(error))


def fits(stream: Codec, promised: Codec) -> bool:
    """Whether who agreed to pictures of one kind can decode those of another, by coding and profile."""
    if stream.encoding != promised.encoding:
        return False
    ours, theirs = stream.parameters, promised.parameters
    if stream.encoding == "H265":
        return h265fmtp.fit(ProfileTierLevel.parse(ours), ProfileTierLevel.parse(theirs)) is not None
    profiles = [ProfileLevel.parse(each.get("profile-level-id", "")) for each in (ours, theirs)]
    return h264fmtp.fit(profiles[0], profiles[1]) is not None
