"""Live pictures for one browser over a WebSocket (docs/http.md)."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from soip.media.browser import Browser, Chunk, Item, Opening
from soip.media.camerastream import CameraStream
from soip.media.grants import Grants, RefusedError
from soip.media.rights import View
from soip.policy.access import Permission
from soip.policy.mediaurl import MediaGrant

EXPIRED, RIGHT_ENDED, UNKNOWN_CAMERA, MOVED = 4401, 4403, 4404, 4503
"""Close codes of our own (RFC 6455 §7.4.2)."""
SEND_S = 10.0
"""A browser that takes nothing for so long is gone."""
MESSAGE_LIMIT = 4096


class LiveSocket:
    """One accepted WebSocket. `serve` returns when it is over."""

    def __init__(self, socket: WebSocket, camera: CameraStream, grants: Grants, grant: MediaGrant) -> None:
        self._socket = socket
        self._camera = camera
        self._grants = grants
        self._grant = grant
        self._browser = Browser()
        self._end: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        """Send until the browser goes, its token runs out unrenewed, or its right ends."""
        view = View(
            self._grant.subject, Permission.WATCH, lambda: self._finish(RIGHT_ENDED, "the right to watch has ended")
        )
        self._camera.farewells.add(self._removed)
        tasks = [
            asyncio.create_task(work)
            for work in (self._camera.watch(self._browser), self._send(), self._receive(), self._expire())
        ]
        try:
            await self._grants.rights.begin(view)
            code, reason = await self._end
        finally:
            self._grants.rights.finish(view)
            self._camera.farewells.discard(self._removed)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket.client_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await self._socket.close(code, reason)

    async def _send(self) -> None:
        try:
            while True:
                for item in await self._browser.next():
                    async with asyncio.timeout(SEND_S):
                        await self._put(item)
        except (WebSocketDisconnect, RuntimeError):
            self._finish(1000, "")
        except TimeoutError:
            self._finish(1008, "the browser does not keep up")

    async def _put(self, item: Item) -> None:
        if isinstance(item, Chunk):
            await self._socket.send_bytes(item.data)
        elif isinstance(item, Opening):
            await self._socket.send_text(json.dumps({"type": "init", "mime": item.mime}))
            await self._socket.send_bytes(item.init)
        else:
            await self._socket.send_text(json.dumps({"type": "state", "media": item.media}))

    async def _receive(self) -> None:
        """The only thing a browser says is a renewed token."""
        try:
            while True:
                event = await self._socket.receive()
                if event["type"] == "websocket.disconnect":
                    break
                self._said(event.get("text") or "")
        except RefusedError as error:
            self._finish(EXPIRED if error.status == 401 else RIGHT_ENDED, str(error))
        except (ValueError, RecursionError):
            self._finish(1008, "only tokens are taken here")
        except RuntimeError:
            pass
        self._finish(1000, "")

    def _said(self, text: str) -> None:
        """Raises RefusedError, ValueError."""
        message = json.loads(text) if len(text) <= MESSAGE_LIMIT else None
        if not isinstance(message, dict) or message.get("type") != "token":
            raise ValueError("not a token")
        self._renew(str(message.get("token")))

    def _renew(self, token: str) -> None:
        grant = self._grants.read(token, self._grant.camera, self._grant.action)
        if grant.subject != self._grant.subject:
            raise RefusedError(403, "not_yours", "the token is of somebody else")
        self._grant = grant

    async def _expire(self) -> None:
        while True:
            left = self._grants.left_s(self._grant)
            if left <= 0:
                break
            await asyncio.sleep(left)  # Meanwhile a renewed token may have moved the end.
        self._finish(EXPIRED, "the token has expired")

    def _removed(self) -> None:
        again, why = self._camera.parting
        self._finish(*((MOVED, f"{why}: ask for a new address") if again else (UNKNOWN_CAMERA, why)))

    def _finish(self, code: int, reason: str) -> None:
        if not self._end.done():
            self._end.set_result((code, reason))
