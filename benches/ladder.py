"""Calls and registrations through the SIP server, with the call ladder looking on and without: what the ladder costs.

One server does both in turn, half a second each, so that whatever else the machine does hits both sides alike.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.signalling.peer import DOMAIN, Peer, open_peer

from benches.report import Comparison, Figure
from soip.directory.directory import Directory

CALL_MARK, REGISTRATION_MARK = 1.05, 1.02
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 20000 RTP/AVP 96\r\n"
SDP += b"a=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=42e01f;packetization-mode=1\r\na=sendonly\r\n"
PAIRS = 8
"""Calls at the same time, each between a media worker and a camera of its own, so that the server is never idle: what
it does twice a second is then shared by as many calls as there can be.
"""
AT_ONCE = 64
"""Calls, or registrations, of one turn: about half a second of a busy server; so often the ladder is written."""


def run(rounds: int, seconds: float) -> list[Comparison]:
    """Measure in turn. Raises RuntimeError or OSError if a part does not run."""
    return asyncio.run(_run(rounds, max(1, round(seconds))))


async def _run(rounds: int, turns: int) -> list[Comparison]:
    many = f"{turns} times {AT_ONCE} a round; ours with the ladder, floor without"
    calls = Comparison("calls set up and ended", many, CALL_MARK, unit="call")
    registrations = Comparison("registrations", many, REGISTRATION_MARK, unit="registration")
    async with _server() as server:
        for work in (_call, _register):  # nobody is measured while it warms up
            for how in ("on", "off"):
                await server.measured(work, how)
        for _ in range(rounds):
            for comparison, work in ((calls, _call), (registrations, _register)):
                spent = {"on": 0.0, "off": 0.0}
                for turn in range(turns):
                    for how in ("on", "off") if turn % 2 else ("off", "on"):
                        spent[how] += await server.measured(work, how)
                comparison.ours.append(Figure(turns * AT_ONCE, spent["on"]))
                comparison.floor.append(Figure(turns * AT_ONCE, spent["off"]))
    return [calls, registrations]


class _Server:
    """A server in a process of its own, and a media server and a camera that know their passwords."""

    def __init__(self, process: asyncio.subprocess.Process, pairs: list[tuple[Peer, Peer]]) -> None:
        self._process = process
        self._pairs = pairs

    async def measured(self, work: Callable[[Peer, Peer], Awaitable[None]], how: str) -> float:
        """Do it `AT_ONCE` times with the ladder `on` or `off`; the server's CPU time in µs."""

        async def all_of(pair: tuple[Peer, Peer]) -> None:
            for _ in range(AT_ONCE // PAIRS):
                await work(*pair)

        await self._ask(how)
        await asyncio.gather(*map(all_of, self._pairs))
        return float(await self._ask("end"))

    async def _ask(self, word: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{word}\n".encode())
        return (await self._process.stdout.readline()).decode().strip()


async def _register(_worker: Peer, camera: Peer) -> None:
    response = await camera.register()
    if response.status != 200:
        raise RuntimeError(f"the camera was answered {response.status}")


async def _call(worker: Peer, camera: Peer) -> None:
    described = (("Content-Type", "application/sdp"), ("User-Agent", "bench"))
    invite = await worker.call(f"sip:{camera.id}@{DOMAIN}", body=SDP, headers=described)
    arrived = await camera.arrives("INVITE")
    camera.reply(arrived, 180)
    camera.reply(arrived, 200, SDP)
    response = await worker.response(invite)
    worker.send(worker.ack(invite, response))
    await camera.arrives("ACK")
    bye = worker.within("BYE", invite, response)
    worker.send(bye)
    camera.reply(await camera.arrives("BYE"), 200)
    await worker.response(bye)


@asynccontextmanager
async def _server() -> AsyncIterator[_Server]:
    with tempfile.TemporaryDirectory(prefix="soip-bench-") as name:
        folder = Path(name)
        async with await Directory.open(f"sqlite+aiosqlite:///{folder / 'soip.db'}") as directory:
            realm = await directory.settings.realm(DOMAIN)
            for number in range(PAIRS):
                await directory.cameras.add(f"cam{number}", realm=realm, password="secret")
            media = await directory.media.create_or_load(folder / "media-server.json", realm)
        command = [sys.executable, "-m", "benches.ladder_ours", name]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert process.stdout
        peers: list[Peer] = []
        try:
            host, _, port = (await process.stdout.readline()).decode().partition(" ")
            if not port:
                raise RuntimeError("the SIP server did not start")
            for number in range(PAIRS):
                worker = await open_peer(media.instance(number), media.secret, (host, int(port)), transport="tcp")
                worker.username = media.id
                camera = await open_peer(f"cam{number}", "secret", (host, int(port)), transport="tcp")
                peers += [worker, camera]
                for peer, contact in ((worker, f"<sip:{worker.id}@{DOMAIN};gr>"), (camera, "")):
                    if (await peer.register(contact=contact)).status != 200:
                        raise RuntimeError(f"{peer.id} is not taken")
            yield _Server(process, list(zip(peers[::2], peers[1::2], strict=True)))
        finally:
            for peer in peers:
                peer.close()
            await process.communicate(b"quit\n")
