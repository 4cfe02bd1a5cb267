"""Media bytes on their way through: untouched, pushed back, and honest about what breaks."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from soip.policy import mediaurl
from soip.web.times import render
from tests.web.media_face import record
from tests.web.system import System, now_us

T = 1_795_172_400_000_000


def _token(system: System, action: str = "playback", expires: float | None = None) -> str:
    return mediaurl.issue(system.face.key, "kim", "cam1", action, expires or time.time() + 60)


def _socket(system: System, path: str) -> connect:
    return connect(
        f"{system.base.replace('http', 'ws')}/media/{system.instance.id}{path}", compression=None, proxy=None
    )


async def _code(socket: ClientConnection) -> int | None:
    async with asyncio.timeout(60):
        with suppress(ConnectionClosedError):
            async for _ in socket:
                pass
        await socket.wait_closed()
    return socket.close_code


async def test_addresses_arrive_as_they_were_sent(system: System) -> None:
    for target in [
        "/odd/a",
        "/odd/a%2Fb%20c?x=1&y=%26",
        "/odd/%EC%B9%B4?from=2026-11-20T10:00:00%2B09:00",
        "/odd/a+b?q=a+b",
        "/odd/a//b",
    ]:
        async with system.client() as client:
            got = (await client.get(f"/media/{system.instance.id}{target}")).json()
        path, _, query = target.partition("?")
        assert got == {"path": f"/media/{system.instance.id}{path}", "query": query}


async def test_cookies_and_inner_headers_stay_on_their_side(system: System) -> None:
    await system.add_user("kim", "viewer")
    async with system.signed_in("kim") as client:
        answer = await client.get(f"/media/{system.instance.id}/odd/x", headers={"Authorization": "Basic eA=="})
    assert not {"cookie", "authorization"} & set(system.face.headers[-1])
    assert "x-internal" not in answer.headers
    assert "set-cookie" not in answer.headers


async def test_recordings_pass_byte_for_byte_whole_and_in_ranges(system: System) -> None:
    recording = record("cam1", T, 4)
    system.face.recordings.append(recording)
    address = f"/media/{system.instance.id}/hls/cam1/{recording.id}.mp4"
    query = {"token": _token(system)}
    async with system.client() as client:
        whole = await client.get(address, params=query)
        part = await client.get(address, params=query, headers={"Range": "bytes=100-299"})
    assert (whole.status_code, whole.content) == (200, recording.data)
    assert whole.headers["etag"] == '"x"'
    assert (part.status_code, part.content) == (206, recording.data[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(recording.data)}"
    assert whole.headers["cache-control"] == "no-store"


async def test_the_media_worker_judges_the_token(system: System) -> None:
    for token in ["", "forged", None]:
        old = _token(system, expires=time.time() - 1)
        async with system.client() as client:
            address = f"/media/{system.instance.id}/export/cam1.mp4"
            answer = await client.get(address, params={"token": old if token is None else token})
        assert (answer.status_code, answer.json()["error"]) == (401, "token")


async def test_an_export_keeps_its_name_and_tells_its_parts_before(system: System) -> None:
    film = record("cam1", T, 4)
    system.face.recordings.append(film)
    system.face.parts = 2
    query = {"from": render(T), "to": render(film.end_us), "token": _token(system, "export")}
    async with system.client() as client:
        address = f"/media/{system.instance.id}/export/cam1.mp4"
        asked, answer = await client.head(address, params=query), await client.get(address, params=query)
    for each in (asked, answer):
        assert each.headers["content-disposition"] == 'attachment; filename="cam1-1.mp4"'
        assert each.headers["x-export-parts"] == "2"
        assert each.headers["content-length"] == str(len(film.data))
    assert (asked.content, answer.content) == (b"", film.data)


async def test_a_browser_that_leaves_ends_the_workers_sending(system: System) -> None:
    async with (
        system.client() as client,
        client.stream("GET", f"/media/{system.instance.id}/endless") as answer,
    ):
        async for _ in answer.aiter_raw():
            break
    await _until(lambda: system.face.sent == -1)


async def test_a_slow_browser_holds_the_worker_back(system: System) -> None:
    async with (
        system.client() as client,
        client.stream("GET", f"/media/{system.instance.id}/endless") as answer,
    ):
        chunks = answer.aiter_raw()
        await anext(chunks)
        before = -1
        while system.face.sent != before:  # Nobody reads: when all is full on the way, nothing more is sent.
            before = system.face.sent
            assert before < 32 << 20
            await asyncio.sleep(0.3)


async def test_half_an_answer_is_not_taken_for_a_whole_one(system: System) -> None:
    async with system.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"/media/{system.instance.id}/broken")


async def test_unknown_workers(system: System) -> None:
    for instance in ["nope", "..", "%00", "x" * 500]:
        async with system.client() as client:
            answer = await client.get(f"/media/{instance}/hls/cam1/index.m3u8")
        assert answer.status_code in {404, 502}
        assert set(answer.json()) == {"error", "message"}


async def test_a_worker_that_does_not_answer(system: System) -> None:
    await system.directory.save(replace(system.instance, http="127.0.0.1:1", heartbeat_us=now_us()))
    async with system.client() as client:
        answer = await client.get(f"/media/{system.instance.id}/odd/x")
    assert (answer.status_code, answer.json()["error"]) == (502, "media_away")
    async with _socket(system, "/echo") as socket:
        assert await _code(socket) == 4503


async def test_only_reading_methods_reach_the_worker(system: System) -> None:
    async with system.client() as client:
        assert (await client.head(f"/media/{system.instance.id}/odd/x")).status_code == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await client.request(method, f"/media/{system.instance.id}/odd/x")
            assert answer.status_code == 405


async def test_sockets_carry_text_and_bytes_both_ways(system: System) -> None:
    big = bytes(range(256)) * 8000
    async with _socket(system, "/echo") as socket:
        for message in ("hello", "카메라", b"\x00\xff", "", b""):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(big[:60_000])
        assert await socket.recv() == big[:60_000]


async def test_a_close_code_of_the_worker_reaches_the_page(system: System) -> None:
    async with _socket(system, "/echo") as socket:
        await socket.send("close")
        assert await _code(socket) == 4403
        assert socket.close_reason == "right ended"


async def test_a_page_that_leaves_is_told_to_the_worker(system: System) -> None:
    async with _socket(system, "/echo") as socket:
        await socket.send("x")
        await socket.recv()
    await _until(lambda: system.face.sent > 0)


async def test_too_large_a_message_from_a_page_is_refused(system: System) -> None:
    async with _socket(system, "/echo") as socket:
        await socket.send(bytes(100_000))
        assert await _code(socket) == 1009


async def test_live_frames_pass_and_tokens_are_renewed(system: System) -> None:
    async with _socket(system, f"/live/cam1?token={_token(system, 'live')}") as socket:
        assert await socket.recv() == '{"type":"state","media":"recording"}'
        init = await socket.recv()
        assert isinstance(init, str)
        assert "avc1.42" in init
        segment, first = await socket.recv(), await socket.recv()
        assert isinstance(segment, bytes)
        assert isinstance(first, bytes)
        assert (segment[4:8], first[4:8]) == (b"ftyp", b"prft")
        await socket.send(f'{{"type":"token","token":"{_token(system, "live")}"}}')
        await _until(lambda: system.face.renewed == 1)


@pytest.mark.parametrize(("offset", "code"), [(-1, 4401), (None, 4403)])
async def test_a_live_socket_without_a_good_token_is_closed(system: System, offset: int | None, code: int) -> None:
    token = "forged" if offset is None else _token(system, "live", time.time() + offset)
    async with _socket(system, f"/live/cam1?token={token}") as socket:
        assert await _code(socket) == code


async def test_a_socket_that_the_worker_does_not_know(system: System) -> None:
    async with _socket(system, "/nope") as socket:
        assert await _code(socket) in {4403, 4404}


async def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
