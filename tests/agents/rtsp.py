"""A small RTSP server (RFC 2326, RTP interleaved on the connection, §10.12): a camera of another make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from soip.rtp.h264 import H264
from soip.rtp.h264_sets import build_sprop
from soip.rtp.nal import packetise
from soip.rtp.sender import SendStream

STEP = 3600  # 25 pictures a second


@dataclass
class RtspCamera:
    """Sends `units` once per session, then drops the connection without a word."""

    units: list[tuple[bytes, ...]]
    sessions: int = 0
    address: str = ""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _closing: bool = False

    async def close(self) -> None:
        """End the sessions."""
        self._closing = True
        await asyncio.gather(*self._tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                method = request.split(" ", 1)[0].lstrip()
                number = next(line[5:].strip() for line in request.splitlines() if line.lower().startswith("cseq:"))
                writer.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{self._answer(method)}".encode())
                if method == "PLAY":
                    self.sessions += 1
                    await self._play(writer)
                    break
        writer.close()

    def _answer(self, method: str) -> str:
        if method == "DESCRIBE":
            sets = build_sprop([nal for kind in H264.find_sets(self.units[0]) for nal in kind])
            body = (
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
                f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\na=control:track1\r\n"
            )
            return f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        if method == "SETUP":
            return "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
        return "Session: 1\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        stream = SendStream(96, 0x1234 + self.sessions, 1, 5000)
        for number, nals in enumerate(self.units):
            if self._closing:
                return
            for datagram in stream.stamp(packetise(H264, nals), STEP * number, max_segments=1):
                writer.write(b"$\0" + len(datagram).to_bytes(2, "big") + datagram)
            await writer.drain()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def rtsp_camera(units: list[tuple[bytes, ...]]) -> AsyncIterator[RtspCamera]:
    """A camera at `.address`."""
    camera = RtspCamera(units)
    server = await asyncio.start_server(camera.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    camera.address = f"rtsp://127.0.0.1:{port}/live"
    try:
        yield camera
    finally:
        server.close()
        await camera.close()
