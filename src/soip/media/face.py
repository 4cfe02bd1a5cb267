"""The worker's HTTP face: live pictures over a WebSocket, snapshots, recordings as HLS, exports (docs/http.md).

Every request carries a token of the web role; the web role passes requests on unread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from soip.directory.errors import UnavailableError
from soip.media.archive import Archive, file_of
from soip.media.cameras import Cameras
from soip.media.grants import Grants, RefusedError
from soip.media.livesocket import EXPIRED, RIGHT_ENDED, UNKNOWN_CAMERA, LiveSocket
from soip.media.playback import NothingRecordedError
from soip.media.request import LONGEST_S, MAIN, SUB
from soip.media.snapshots import LARGEST, Form, SnapshotError, Snapshots
from soip.store import export, hls
from soip.store.errors import NothingRecordedError as NothingInFilesError
from soip.store.errors import StoreError
from soip.store.layout import parse_timestamp, utc

UNAVAILABLE = 4503
CHUNK = 1 << 18
_STILLS = {"jpg": "image/jpeg", "bmp": "image/bmp"}
_PRIVATE = {"Cache-Control": "private, no-store"}

_log = structlog.get_logger()


def create_app(cameras: Cameras, archive: Archive, snapshots: Snapshots, grants: Grants, instance: str) -> Starlette:
    """The application of one worker."""
    face = _Face(cameras, archive, snapshots, grants)
    routes = [
        WebSocketRoute("/live/{camera}", face.live),
        WebSocketRoute("/sub/{camera}", face.sub),
        Route("/hls/{camera}/index.m3u8", face.playlist),
        Route("/hls/{camera}/{recording}.mp4", face.recording),
        Route("/export/{camera}.mp4", face.export),
        Route("/snapshot/{camera}.{kind}", face.snapshot),
    ]
    return Starlette(
        routes=[Mount(f"/media/{instance}", routes=routes)],
        exception_handlers={
            RefusedError: _refused,
            UnavailableError: _unavailable,
            NothingRecordedError: _nothing,
            NothingInFilesError: _nothing,
            StoreError: _damaged,
            SnapshotError: _no_snapshot,
        },
    )


class _Face:
    def __init__(self, cameras: Cameras, archive: Archive, snapshots: Snapshots, grants: Grants) -> None:
        self._cameras = cameras
        self._archive = archive
        self._snapshots = snapshots
        self._grants = grants

    async def live(self, socket: WebSocket) -> None:
        """The main stream."""
        await self._live(socket, "live", MAIN)

    async def sub(self, socket: WebSocket) -> None:
        """The sub-stream, or the main one of a camera that has no other."""
        await self._live(socket, "sub", SUB)

    async def _live(self, socket: WebSocket, action: str, stream: str) -> None:
        await socket.accept()
        identity = socket.path_params["camera"]
        try:
            grant = await self._grants.check(socket.query_params.get("token", ""), identity, action)
            camera = self._cameras.all.get(identity) or await self._cameras.find(identity)
        except RefusedError as error:
            await socket.close(EXPIRED if error.status == 401 else RIGHT_ENDED, str(error))
            return
        except UnavailableError as error:
            await socket.close(UNAVAILABLE, str(error)[:100])
            return
        if camera is None:
            await socket.close(UNKNOWN_CAMERA, "there is no such camera here")
            return
        await LiveSocket(socket, camera.to_show(stream)[0], self._grants, grant).serve()

    async def playlist(self, request: Request) -> Response:
        """The VOD playlist of a range."""
        camera, token = request.path_params["camera"], request.query_params.get("token", "")
        await self._grants.check(token, camera, "playback")
        range_us = _range(request)
        rows = await self._archive.recordings(camera, range_us)
        sources = [hls.Source(file_of(row), f"{row.id}.mp4?token={quote(token)}") for row in rows]
        text = await asyncio.to_thread(hls.playlist, sources, *range_us)
        return Response(text, media_type="application/vnd.apple.mpegurl", headers=_PRIVATE)

    async def export(self, request: Request) -> Response:
        """A range as one MP4 file; where the codec changes there are more parts, asked for by `part=2` and so on.

        HEAD tells how many there are, and takes nothing out of the house.
        """
        camera = request.path_params["camera"]
        grant = await self._grants.check(request.query_params.get("token", ""), camera, "export")
        range_us = _range(request)
        rows = await self._archive.recordings(camera, range_us)
        parts = await asyncio.to_thread(export.plan, [file_of(row) for row in rows], *range_us)
        number = request.query_params.get("part", "1")
        if not number.isdecimal() or not 1 <= int(number) <= len(parts):
            raise RefusedError(404, "no_such_part", f"this export has {len(parts)} part(s)")
        part = parts[int(number) - 1]
        name = f"{camera}-{utc(part.start_us):%Y%m%dT%H%M%SZ}.mp4"
        headers = {
            "Content-Length": str(part.size),
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Export-Parts": str(len(parts)),
        } | _PRIVATE
        if request.method == "HEAD":
            return Response(media_type="video/mp4", headers=headers)
        await self._archive.audit_export(grant.subject, camera, (part.start_us, part.end_us))
        return StreamingResponse(part.chunks(), media_type="video/mp4", headers=headers)

    async def snapshot(self, request: Request) -> Response:
        """The newest keyframe as a still picture, within `width` and `height` if given."""
        identity = request.path_params["camera"]
        await self._grants.check(request.query_params.get("token", ""), identity, "live")
        form = _form(request)
        camera = self._cameras.all.get(identity) or await self._cameras.find(identity)
        if camera is None:
            raise RefusedError(404, "unknown", "there is no such camera here")
        taken = await self._snapshots.take(camera, form)
        name = f"{identity}-{utc(taken.utc_us):%Y%m%dT%H%M%SZ}.{form.kind}"
        headers = {
            "Content-Disposition": f'inline; filename="{name}"',
            "Last-Modified": formatdate(taken.utc_us / 1_000_000, usegmt=True),
        }
        return Response(taken.data, media_type=_STILLS[form.kind], headers=headers | _PRIVATE)

    async def recording(self, request: Request) -> Response:
        """One file; browsers ask for byte ranges of it (RFC 9110 §14)."""
        camera = request.path_params["camera"]
        await self._grants.check(request.query_params.get("token", ""), camera, "playback")
        row = await self._archive.recording(camera, request.path_params["recording"])
        file = await asyncio.to_thread(_size, file_of(row)) if row else None
        if row is None or file is None:
            raise RefusedError(404, "not_recorded", "there is no such recording any more")
        asked = request.headers
        if row.sealed or request.method == "HEAD" or ("range" in asked and "if-range" not in asked):
            return FileResponse(file_of(row), media_type="video/mp4", headers=_PRIVATE, stat_result=file)
        # As a whole a FileResponse would send what was added to the file since its length was told.
        headers = {"Content-Length": str(file.st_size), "Accept-Ranges": "bytes"}
        return StreamingResponse(_first(file_of(row), file.st_size), media_type="video/mp4", headers=headers | _PRIVATE)


def _size(file: Path) -> os.stat_result | None:
    """The state of a file, which may be growing: an answer must not say another length than it has."""
    try:
        return file.stat()
    except OSError:
        return None


def _first(file: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file."""
    with file.open("rb") as opened:
        while size > 0 and (chunk := opened.read(min(size, CHUNK))):
            size -= len(chunk)
            yield chunk


def _range(request: Request) -> tuple[int, int]:
    """`from` and `to` in UTC microseconds. Raises RefusedError."""
    try:
        start, stop = (parse_timestamp(request.query_params[name]) for name in ("from", "to"))
    except (KeyError, ValueError) as error:
        text = "from and to are needed as RFC 3339 times, for example 2026-11-20T10:00:00Z"
        raise RefusedError(400, "bad_range", text) from error
    if not 0 <= start < stop <= start + LONGEST_S * 1_000_000:
        raise RefusedError(400, "bad_range", f"the range must be longer than nothing and at most {LONGEST_S // 3600} h")
    return start, stop


def _form(request: Request) -> Form:
    """What still picture is asked for. Raises RefusedError."""
    kind = request.path_params["kind"]
    if kind not in _STILLS:
        raise RefusedError(404, "unknown", "snapshots are .jpg or .bmp")
    sides = []
    for name in ("width", "height"):
        text = request.query_params.get(name, "0")
        if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) <= LARGEST):
            raise RefusedError(400, "bad_size", f"{name} is a number of pixels, at most {LARGEST}")
        sides.append(int(text))
    return Form(kind, *sides)


def _no_snapshot(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "no_picture", "message": str(error)}, 503, headers={"Retry-After": "5"})


def _nothing(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "not_recorded", "message": str(error)}, 404)


def _damaged(_request: Request, error: Exception) -> Response:
    _log.error("a recording cannot be read", reason=str(error))
    text = "a recording of that time cannot be read: see the media server's log, and run soip store check"
    return JSONResponse({"error": "damaged", "message": text}, 500)


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return JSONResponse({"error": error.code, "message": str(error)}, error.status)


def _unavailable(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "unavailable", "message": str(error)}, 503, headers={"Retry-After": "5"})
