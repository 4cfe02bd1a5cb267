"""Presence of a camera (RFC 3856): a PIDF document (RFC 3863) with two states, that of signalling and that of media.

`basic` is open while the camera is registered. Beside it, in a namespace of our own, stands what its media server says:

    <media xmlns="urn:soip:camera-state" since="2026-11-20T10:00:00.000Z">recording</media>

recording, live, no-media (in a call without pictures), offline (could not be called) or idle (nobody needs it).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from soip.control.xml import Element, build
from soip.signalling.subscriptions import Notice

PACKAGE = "presence"
CONTENT_TYPE = "application/pidf+xml"
PIDF = "urn:ietf:params:xml:ns:pidf"
NAMESPACE = "urn:soip:camera-state"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CameraState:
    """Both states of a camera. `since_us`: since when its media are so, None where no media server has said."""

    online: bool
    media: str
    since_us: int | None = None


def document(camera: str, domain: str, state: CameraState) -> bytes:
    """The PIDF document of a camera."""
    address = f"sip:{camera}@{domain}"
    since = () if state.since_us is None else (("since", _time(state.since_us)),)
    media = Element("media", state.media, attributes=(("xmlns", NAMESPACE), *since))
    status = Element("status", children=(Element("basic", "open" if state.online else "closed"), media))
    tuple_ = Element("tuple", children=(status, Element("contact", address)), attributes=(("id", "camera"),))
    return build(Element("presence", children=(tuple_,), attributes=(("xmlns", PIDF), ("entity", address))))


class PresenceTeller:
    """Tells the states of one camera when they are others than were told last."""

    def __init__(self, camera: str, domain: str, state: Callable[[str], Awaitable[CameraState]]) -> None:
        self._camera = camera
        self._domain = domain
        self._state = state
        self._told: CameraState | None = None

    async def news(self, *, full: bool) -> Notice | None:
        """The states now, None when they are known. Raises DirectoryError when they never were to be had."""
        state = await self._state(self._camera)
        if state == self._told and not full:
            return None
        self._told = state
        return Notice(document(self._camera, self._domain, state), CONTENT_TYPE)

    def acknowledged(self) -> None:
        """The last news have been taken."""


def _time(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
