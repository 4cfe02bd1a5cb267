"""A small media worker's HTTP face for the web role's tests: it follows the contract and serves a test pattern.

Recordings are made in memory; the live socket draws a stamped picture 25 times a second. Tokens are verified as the
real worker does, so a wrong or old one shows here too.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from urllib.parse import urlencode

from av.video.frame import VideoFrame
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from soip.agents.encoder import Encoder
from soip.agents.pattern import Pattern, Planes
from soip.mp4.tracks import Track, mime, video_track
from soip.mp4.writer import Head, fragment, init_segment
from soip.policy import mediaurl
from soip.policy.errors import ExpiredTokenError, TokenError
from soip.rtp.h264 import H264
from soip.rtp.nal import length_prefixed
from soip.web.times import parse, render
from tests.mp4.material import Frame, run_of

WIDTH, HEIGHT, RATE, GOP = 640, 360, 10, 20
CLOCK = 90_000


class Painter:
    """Encoded pictures of one camera."""

    def __init__(self, camera: str, rate: int) -> None:
        self._frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        planes = [memoryview(plane) for plane in self._frame.planes]
        strides = [plane.line_size for plane in self._frame.planes]
        self._pattern = Pattern(camera, Planes(WIDTH, HEIGHT, planes, strides), rate)
        self._encoder = Encoder(WIDTH, HEIGHT, Fraction(rate), gop_seconds=2)

    def paint(self, counter: int, utc_us: int, ticks: int, keyframe: bool) -> tuple[bytes, ...]:
        self._pattern.update(counter, utc_us // 1000)
        return self._encoder.encode(self._frame, ticks, keyframe)


def track_of(nals: tuple[bytes, ...]) -> Track:
    return video_track("H264", H264.find_sets(nals), WIDTH, HEIGHT)


@dataclass(frozen=True)
class Piece:
    """A fragment: where it lies in the file, and what time it shows."""

    offset: int
    size: int
    start_us: int
    duration_us: int


@dataclass(frozen=True)
class Recording:
    """A file as the store would write it."""

    id: str
    start_us: int
    data: bytes
    head: int
    pieces: tuple[Piece, ...]

    @property
    def end_us(self) -> int:
        return self.pieces[-1].start_us + self.pieces[-1].duration_us


@cache
def record(camera: str, start_us: int, seconds: int) -> Recording:
    """A recording of the stamped pattern, ten pictures a second, one fragment for each two seconds."""
    painter = Painter(camera, RATE)
    step_us, step_ticks = 1_000_000 // RATE, CLOCK // RATE
    data = b""
    head = 0
    pieces: list[Piece] = []
    for first in range(0, seconds * RATE, GOP):
        samples = []
        for index in range(first, min(first + GOP, seconds * RATE)):
            nals = painter.paint(index, start_us + index * step_us, index * step_ticks, index == first)
            if not data:
                data = init_segment([track_of(nals)], head=Head(camera, start_us, 0))
                head = len(data)
            samples.append(Frame([length_prefixed(nals)], step_ticks, 0, index == first))
        at = start_us + first * step_us
        chunk = fragment(len(pieces) + 1, [run_of(1, first * step_ticks, samples)], at)
        pieces.append(Piece(len(data), len(chunk), at, len(samples) * step_us))
        data += chunk
    return Recording(f"r{start_us}", start_us, data, head, tuple(pieces))


@dataclass
class Face:
    """What the tests can set, and see afterwards."""

    key: bytes
    recordings: list[Recording] = field(default_factory=list)
    state: str = "recording"
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    grants: list[mediaurl.MediaGrant] = field(default_factory=list)
    sockets: list[WebSocket] = field(default_factory=list)
    renewed: int = 0
    close_with: int = 0
    parts: int = 1
    spoil: bool = False
    sent: int = 0

    def app(self) -> Starlette:
        base = "/media/{instance}"
        return Starlette(
            routes=[
                WebSocketRoute(base + "/live/{camera}", self._live),
                Route(base + "/hls/{camera}/index.m3u8", self._playlist),
                Route(base + "/hls/{camera}/{recording}.mp4", self._file),
                Route(base + "/export/{camera}.mp4", self._export),
                Route(base + "/odd/{rest:path}", self._odd),
                Route(base + "/endless", self._endless),
                Route(base + "/broken", self._broken),
                WebSocketRoute(base + "/echo", self._echo),
            ]
        )

    def _verify(self, connection: HTTPConnection) -> None:
        grant = mediaurl.verify(self.key, connection.query_params.get("token", ""), time.time())
        self.grants.append(grant)

    def _note(self, request: HTTPConnection) -> Response | None:
        self.requests.append(str(request.url.path))
        self.headers.append(dict(request.headers))
        try:
            self._verify(request)
        except TokenError as error:
            return JSONResponse({"error": "token", "message": str(error)}, 401)
        return None

    async def _playlist(self, request: Request) -> Response:
        refusal = self._note(request)
        if refusal:
            return refusal
        from_us, to_us = parse(request.query_params["from"], "from"), parse(request.query_params["to"], "to")
        lines = self._lines(from_us, to_us, request.query_params["token"])
        if not lines:
            return JSONResponse({"error": "nothing_recorded"}, 404)
        head = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:2", "#EXT-X-PLAYLIST-TYPE:VOD"]
        text = "\n".join([*head, *lines, "#EXT-X-ENDLIST", ""])
        return Response(text, media_type="application/vnd.apple.mpegurl")

    def _lines(self, from_us: int, to_us: int, token: str) -> list[str]:
        lines: list[str] = []
        for recording in self.recordings:
            inside = [p for p in recording.pieces if p.start_us < to_us and p.start_us + p.duration_us > from_us]
            if not inside:
                continue
            address = f"{recording.id}.mp4?{urlencode({'token': token})}"
            lines += ["#EXT-X-DISCONTINUITY"] if lines else []
            lines.append(f'#EXT-X-MAP:URI="{address}",BYTERANGE="{recording.head}@0"')
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{render(inside[0].start_us)}")
            for piece in inside:
                lines += [
                    f"#EXTINF:{piece.duration_us / 1e6:.6f},",
                    f"#EXT-X-BYTERANGE:{piece.size}@{piece.offset}",
                    address,
                ]
        return lines

    async def _file(self, request: Request) -> Response:
        refusal = self._note(request)
        if refusal:
            return refusal
        data = next(r.data for r in self.recordings if r.id == request.path_params["recording"])
        asked = request.headers.get("range")
        if not asked:
            return Response(data, media_type="video/mp4", headers={"Accept-Ranges": "bytes", "ETag": '"x"'})
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1]
        span = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        return Response(part, 206, media_type="video/mp4", headers={"Content-Range": span, "Accept-Ranges": "bytes"})

    async def _export(self, request: Request) -> Response:
        refusal = self._note(request)
        if refusal:
            return refusal
        from_us, to_us = parse(request.query_params["from"], "from"), parse(request.query_params["to"], "to")
        if not any(each.start_us < to_us and each.end_us > from_us for each in self.recordings):
            return JSONResponse({"error": "not_recorded", "message": "nothing"}, 404)
        part = int(request.query_params.get("part", "1"))
        headers = {
            "Content-Disposition": f'attachment; filename="{request.path_params["camera"]}-{part}.mp4"',
            "X-Export-Parts": str(self.parts),
        }
        return Response(self.recordings[part - 1].data, media_type="video/mp4", headers=headers)

    async def _odd(self, request: Request) -> Response:
        """What arrived, exactly."""
        self.headers.append(dict(request.headers))
        raw = {"path": request.scope["raw_path"].decode(), "query": request.scope["query_string"].decode()}
        return JSONResponse(raw, headers={"X-Internal": "no", "Set-Cookie": "a=b"})

    async def _endless(self, _request: Request) -> Response:
        return StreamingResponse(self._zeros(), media_type="video/mp4")

    async def _zeros(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
                self.sent += 65536
                await asyncio.sleep(0)
        finally:
            self.sent = -1

    async def _broken(self, _request: Request) -> Response:
        async def some() -> AsyncIterator[bytes]:
            yield b"begun"
            await asyncio.sleep(0.05)

        # Announces more than it sends, then ends: what a killed worker looks like.
        return StreamingResponse(some(), headers={"Content-Length": "1000"})

    async def _echo(self, socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    self.sent = int(message["code"])
                    return
                if message.get("text") == "close":
                    await socket.close(4403, "right ended")
                    return
                if message.get("bytes") is not None:
                    await socket.send_bytes(message["bytes"])
                else:
                    await socket.send_text(message["text"])

    async def _live(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            self._verify(socket)
        except ExpiredTokenError:
            return await socket.close(4401)
        except TokenError:
            return await socket.close(4403)
        if self.close_with:
            return await socket.close(self.close_with)
        self.sockets.append(socket)
        tasks = [asyncio.create_task(self._show(socket)), asyncio.create_task(self._listen(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.sockets.remove(socket)

    async def _listen(self, socket: WebSocket) -> None:
        async for text in socket.iter_text():
            message = json.loads(text)
            assert message["type"] == "token"
            mediaurl.verify(self.key, message["token"], time.time())
            self.renewed += 1

    async def _show(self, socket: WebSocket) -> None:
        camera, rate = socket.path_params["camera"], 25
        painter = Painter(camera, rate)
        await socket.send_json({"type": "state", "media": self.state})
        origin = time.time()
        base = int(origin * CLOCK)
        track: Track | None = None
        for index in range(1_000_000):
            await asyncio.sleep(max(0.0, origin + index / rate - time.time()))
            utc_us, ticks = int(time.time() * 1e6), index * CLOCK // rate
            nals = painter.paint(index, utc_us, ticks, index % 50 == 0)
            if track is None:
                track = track_of(nals)
                await socket.send_json({"type": "init", "mime": mime([track])})
                await socket.send_bytes(init_segment([track]))
            if self.spoil:  # One picture no decoder can make anything of.
                self.spoil = False
                nals = tuple(nal[:1] + b"\xff" * (len(nal) - 1) for nal in nals)
            sample = Frame([length_prefixed(nals)], CLOCK // rate, 0, H264.is_keyframe(nals))
            await socket.send_bytes(fragment(index + 1, [run_of(1, base + ticks, [sample])], utc_us))
