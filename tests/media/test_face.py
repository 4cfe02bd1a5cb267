"""The worker's HTTP face with a real server, a real directory and real recordings."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from soip.config import HostPort, Settings
from soip.directory.directory import Directory
from soip.directory.rows import RecordingRow
from soip.media import face, role
from soip.media.archive import file_of
from tests.media.house import DOMAIN, PATIENT_S, RESTLESS, SECOND, House, living, now_us, timestamp, until
from tests.media.peers import SUB_SIDES, Camera
from tests.store.recordings import probe

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def record(home: House, name: str, seconds: float) -> RecordingRow:
    """A sealed recording; the camera is not recorded any more then."""
    if await home.directory.cameras.get(name) is None:
        await home.add_camera(name)
        await Camera.make(home, name)
    await home.recorded(seconds, name)
    await home.directory.cameras.change(name, plan="never")
    await home.until_state("idle", name)

    async def sealed() -> bool:
        return all(row.sealed for row in await home.recordings(name))

    await until(sealed, True)
    return (await home.recordings(name))[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def row(home: House) -> RecordingRow:
    """What was recorded of cam1, for all to read."""
    return await record(home, "cam1", 1.2)


def span(row: RecordingRow) -> dict[str, str]:
    return {"from": timestamp(row.start_us), "to": timestamp(row.end_us)}


def fault(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def test_only_this_machine_reaches_the_face(tmp_path: Path) -> None:
    """Whatever address cameras and phones are served on."""
    settings = Settings(data=tmp_path, sip=HostPort("127.0.0.2", 1), media_workers=1)
    async with await Directory.open(settings.database_url) as directory:
        worker = asyncio.create_task(role.run(settings, 0))

        async def published() -> list[str]:
            return [each.http.partition(":")[0] for each in await directory.media.instances()]

        await until(published, ["127.0.0.1"])
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker


# -- recordings


async def test_a_playlist_leads_to_every_byte_of_the_recording(home: House, row: RecordingRow) -> None:
    client = await home.http()
    token = home.token("playback", subject="ann")
    answer = await client.get("/hls/cam1/index.m3u8", params={**span(row), "token": token})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert answer.headers["cache-control"] == "private, no-store"
    lines = answer.text.splitlines()
    assert lines[0] == "#EXTM3U"
    assert f"#EXT-X-PROGRAM-DATE-TIME:{timestamp(row.start_us)}" in lines
    uri = next(line for line in lines if not line.startswith("#"))
    whole = await asyncio.to_thread(file_of(row).read_bytes)
    for line in lines:
        if line.startswith("#EXT-X-BYTERANGE:"):
            size, offset = map(int, line.partition(":")[2].split("@"))
            part = await client.get(f"/hls/cam1/{uri}", headers={"Range": f"bytes={offset}-{offset + size - 1}"})
            assert part.status_code == 206
            assert part.headers["content-range"] == f"bytes {offset}-{offset + size - 1}/{len(whole)}"
            assert part.content == whole[offset : offset + size]
    everything = await client.get(f"/hls/cam1/{uri}")
    assert (everything.status_code, everything.content) == (200, whole)
    beyond = await client.get(f"/hls/cam1/{uri}", headers={"Range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416


async def test_the_file_being_written_can_be_watched_already(home: House, name: str) -> None:
    await live(home, name)
    await home.recorded(0.9, name)
    (row,) = await home.recordings(name)
    assert not row.sealed
    client = await home.http()
    token = home.token("playback", camera=name)
    answer = await client.get(f"/hls/{name}/index.m3u8", params={**span(row), "token": token})
    assert answer.status_code == 200
    assert answer.text.count("#EXT-X-BYTERANGE") >= 1


async def test_a_file_that_grows_is_given_as_long_as_it_was_said_to_be(
    home: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await record(home, name, 0.5)
    await home.directory.save(replace(row, sealed=False))
    whole = await asyncio.to_thread(file_of(row).read_bytes)

    def look(file: Path) -> os.stat_result:
        """The next fragment comes between the answer's head and its body."""
        seen = file.stat()
        with file.open("ab") as growing:
            growing.write(bytes(100_000))
        return seen

    monkeypatch.setattr(face, "_size", look)
    client = await home.http()
    path = f"/hls/{name}/{row.id}.mp4?token={home.token('playback', camera=name)}"
    answer = await client.get(path)
    assert (answer.status_code, answer.content) == (200, whole)
    assert (answer.headers["accept-ranges"], answer.headers["content-type"]) == ("bytes", "video/mp4")
    length = len(whole) + 100_000
    assert int((await client.head(path)).headers["content-length"]) == length
    answer = await client.get(path, headers={"Range": "bytes=0-99"})
    assert (answer.status_code, answer.content) == (206, whole[:100])
    answer = await client.get(path, headers={"Range": "bytes=0-99", "If-Range": '"another"'})
    assert (answer.status_code, len(answer.content)) == (200, length + 200_000)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (400, "bad_range")),
        ({"from": "yesterday", "to": "today"}, (400, "bad_range")),
        ({"from": "2026-11-20T10:00:00", "to": "2026-11-20T11:00:00"}, (400, "bad_range")),
        ({"from": "2026-11-20T10:00:00Z", "to": "2026-11-20T10:00:00Z"}, (400, "bad_range")),
        ({"from": "2026-11-20T10:00:00Z", "to": "2026-11-22T10:00:00Z"}, (400, "bad_range")),
        ({"from": "1960-11-20T10:00:00Z", "to": "1960-11-20T11:00:00Z"}, (400, "bad_range")),
        ({"from": "2020-11-20T10:00:00Z", "to": "2020-11-20T11:00:00Z"}, (404, "not_recorded")),
        ({"from": "9999-12-31T10:00:00Z", "to": "9999-12-31T11:00:00Z"}, (404, "not_recorded")),
    ],
)
async def test_ranges_that_make_no_sense_are_refused(
    home: House, query: dict[str, str], expected: tuple[int, str]
) -> None:
    client = await home.http()
    for path, action in (("/hls/cam1/index.m3u8", "playback"), ("/export/cam1.mp4", "export")):
        answer = await client.get(path, params={**query, "token": home.token(action)})
        assert fault(answer) == expected


async def test_tokens_are_checked_and_the_right_behind_them(home: House, row: RecordingRow) -> None:
    client = await home.http()

    async def ask(token: str, path: str = "/hls/cam1/index.m3u8") -> tuple[int, str]:
        answer = await client.get(path, params={**span(row), "token": token})
        return (answer.status_code, answer.json()["error"]) if answer.status_code != 200 else (200, "")

    good = home.token("playback")
    assert await ask(good) == (200, "")
    assert await ask("") == (403, "token_invalid")
    assert await ask(good[:-2] + "xx") == (403, "token_invalid")
    assert await ask(home.token("playback", lasts=-1)) == (401, "token_expired")
    assert await ask(home.token("playback", camera="cam2")) == (403, "token_invalid")
    assert await ask(home.token("live")) == (403, "token_invalid")
    assert await ask(home.token("playback", subject="nobody")) == (403, "not_allowed")
    assert await ask(home.token("export", subject="ann"), "/export/cam1.mp4") == (403, "not_allowed")
    assert await ask(good, f"/hls/cam1/{'0' * 32}.mp4") == (404, "not_recorded")
    assert await ask(home.token("playback", camera="cam2"), f"/hls/cam2/{row.id}.mp4") == (404, "not_recorded")
    assert (await client.get("/else")).status_code == 404


async def test_a_damaged_file_is_an_answer_and_a_line_in_the_log_and_a_missing_one_is_not_there(
    home: House, name: str
) -> None:
    row = await record(home, name, 0.5)
    await asyncio.to_thread(file_of(row).write_bytes, b"\0\0\0\x08junk" * 4000)
    client = await home.http()
    token = home.token("export", camera=name)
    answer = await client.get(f"/export/{name}.mp4", params={**span(row), "token": token})
    assert fault(answer) == (500, "damaged")
    assert row.root not in answer.text
    await asyncio.to_thread(file_of(row).unlink)
    answer = await client.get(f"/hls/{name}/{row.id}.mp4", params={"token": home.token("playback", camera=name)})
    assert fault(answer) == (404, "not_recorded")
    answer = await client.get(f"/export/{name}.mp4", params={**span(row), "token": token})
    assert fault(answer) == (404, "not_recorded")


# -- exports


async def test_an_export_is_a_file_any_player_opens_and_is_noted(
    home: House, row: RecordingRow, tmp_path: Path
) -> None:
    client = await home.http()
    range_us = {"from": timestamp(row.start_us + SECOND // 2), "to": timestamp(row.end_us)}
    answer = await client.get("/export/cam1.mp4", params={**range_us, "token": home.token("export")})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-export-parts"] == "1"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-disposition"].startswith('attachment; filename="cam1-')
    file = tmp_path / "out.mp4"
    file.write_bytes(answer.content)
    seen = await asyncio.to_thread(probe, file)
    assert seen.errors == ""
    assert seen.frames > 0
    (note,) = await home.directory.settings.audited()
    assert (note.actor, note.action, note.target) == ("bob", "export", "cam1")
    assert str(timestamp(row.start_us + SECOND // 2))[:19] in note.detail


async def test_an_export_across_codecs_has_parts(home: House, name: str, tmp_path: Path) -> None:
    await home.add_camera(name)
    await Camera.make(home, name, sound=True)
    await home.recorded(0.5, name)
    await home.directory.cameras.change(name, audio=True)
    await record(home, name, 1.3)
    first, *_, last = await home.recordings(name)  # more than two where a busy machine broke the stream
    client = await home.http()
    token = home.token("export", camera=name)
    query = {"from": timestamp(first.start_us), "to": timestamp(last.end_us), "token": token}
    noted = len(await home.directory.settings.audited())
    answer = await client.head(f"/export/{name}.mp4", params=query)
    assert (answer.status_code, answer.content) == (200, b"")
    parts = int(answer.headers["x-export-parts"])
    assert parts >= 2
    assert len(await home.directory.settings.audited()) == noted, "who only asks has taken nothing"
    missing = {**query, "from": "2020-11-20T10:00:00Z", "to": "2020-11-20T11:00:00Z"}
    assert (await client.head(f"/export/{name}.mp4", params=missing)).status_code == 404
    for number in range(1, parts + 1):
        part = await client.get(f"/export/{name}.mp4", params={**query, "part": str(number)})
        file = tmp_path / f"{number}.mp4"
        file.write_bytes(part.content)
        assert (await asyncio.to_thread(probe, file)).errors == ""
    for wrong in ("0", str(parts + 1), "-1", "one", "²"):
        answer = await client.get(f"/export/{name}.mp4", params={**query, "part": wrong})
        assert fault(answer) == (404, "no_such_part"), wrong


# -- live


class Page:
    """A page's socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.binary: list[bytes] = []

    @classmethod
    async def open(
        cls,
        home: House,
        camera: str,
        token: str | None = None,
        *,
        subject: str = "bob",
        lasts: float = 60,
        stream: str = "live",
    ) -> Page:
        """The socket of a camera's main or (`sub`) other stream; with a good token of `subject` where none is given."""
        base = (await home.base()).replace("http", "ws", 1)
        if token is None:
            token = home.token(stream, camera, subject, lasts)
        return cls(await connect(f"{base}/{stream}/{camera}?token={token}", compression=None, proxy=None))

    @property
    def states(self) -> list[str]:
        """The states it was told."""
        return [told["media"] for told in self.told if told["type"] == "state"]

    async def read(self, chunks: int, within: float = PATIENT_S) -> None:
        """Read on until so many binary messages have come."""
        async with asyncio.timeout(within):
            wanted = len(self.binary) + chunks
            while len(self.binary) < wanted:
                await self._next()

    async def until_state(self, media: str, within: float = PATIENT_S) -> None:
        """Read on until it is told this state."""
        async with asyncio.timeout(within):
            before = len(self.states)
            while media not in self.states[before:]:
                await self._next()

    async def _next(self) -> None:
        message = await self.socket.recv()
        if isinstance(message, bytes):
            self.binary.append(message)
        else:
            self.told.append(json.loads(message))

    async def code(self, within: float = PATIENT_S) -> int | None:
        """Read to the end: its close code."""
        async with asyncio.timeout(within):
            with suppress(ConnectionClosed):
                while True:
                    await self.socket.recv()
        return self.socket.close_code

    def leave(self) -> None:
        """Be gone, as when a tab is closed on a bad network."""
        self.socket.transport.abort()

    async def say(self, **message: str) -> None:
        await self.socket.send(json.dumps(message))


async def live(home: House, name: str, plan: str = "always") -> Camera:
    await home.add_camera(name, plan=plan)
    camera = await Camera.make(home, name)
    await home.until_state("recording" if plan == "always" else "idle", name)
    return camera


async def test_a_page_shows_live_pictures(home: House, name: str, tmp_path: Path) -> None:
    await live(home, name)
    page = await Page.open(home, name, subject="ann")
    await page.read(30)
    assert page.told[0] == {"type": "state", "media": "recording"}
    assert page.told[1] == {"type": "init", "mime": 'video/mp4; codecs="avc1.42C00D"'}
    assert page.binary[0][4:8] == b"ftyp"
    assert page.binary[1][4:8] == b"prft"
    file = tmp_path / "live.mp4"
    file.write_bytes(b"".join(page.binary))
    seen = await asyncio.to_thread(probe, file)
    assert seen.errors == ""
    assert seen.frames >= 29
    page.leave()


async def test_a_page_shows_the_sub_stream_while_the_camera_has_one(home: House, name: str, tmp_path: Path) -> None:
    camera = await live(home, name)
    page = await Page.open(home, name, stream="sub")
    await page.read(5)
    assert camera.subs == [], "the directory knows of none, so it is the main one"
    page.leave()
    await home.directory.cameras.change(name, sub=True)

    async def small() -> bool:
        """Asked until the worker has read the directory."""
        page = await Page.open(home, name, stream="sub")
        await page.read(20)
        page.leave()
        file = tmp_path / "sub.mp4"
        file.write_bytes(b"".join(page.binary))
        with av.open(file) as film:
            picture = next(film.decode(video=0))
        return (picture.width, picture.height) == SUB_SIDES

    await until(small, True)
    page = await Page.open(home, name, stream="sub")
    await page.read(5)
    await home.directory.cameras.change(name, sub=False)
    assert await page.code() == 4503, "ask again, and it will be the main one"
    assert camera.up >= 1


async def test_a_token_is_for_one_stream(home: House, name: str) -> None:
    await live(home, name)
    for stream, other in (("live", "sub"), ("sub", "live")):
        assert await (await Page.open(home, name, home.token(other, name), stream=stream)).code() == 4403
        page = await Page.open(home, name, stream=stream)
        await page.read(2)
        await page.say(type="token", token=home.token(stream, name))
        await page.read(2)
        await page.say(type="token", token=home.token(other, name))
        assert await page.code() == 4403


async def test_a_page_is_a_viewer_a_camera_is_called_for(home: House, name: str) -> None:
    camera = await live(home, name, "never")
    page = await Page.open(home, name)
    await page.read(5)
    page.leave()
    await until(lambda: camera.up, 0)
    await home.until_state("idle", name)


async def test_a_page_is_told_when_pictures_end_and_when_they_come_again(furnished_media: Path, tmp_path: Path) -> None:
    async with living(furnished_media, tmp_path) as house:
        house.patience = replace(RESTLESS, dead_s=30.0)
        house.start_media()
        await house.base()
        camera = await live(house, "cam1")
        page = await Page.open(house, "cam1")
        await page.read(5)
        camera.sends = False
        await page.until_state("no-media")
        camera.sends = True
        await page.until_state("recording")
        await page.read(1)
        page.leave()


async def test_a_token_is_renewed_in_time_or_the_socket_closes(home: House, name: str) -> None:
    await live(home, name, "never")
    page = await Page.open(home, name, lasts=3)
    until_us = now_us() + 4 * SECOND
    await page.say(type="token", token=home.token("live", name, lasts=4))
    assert await page.code() == 4401
    assert now_us() >= until_us, "the first token had ended a second before"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("nonsense", 1008),
        ("[]", 1008),
        ('{"type":"seek"}', 1008),
        ("[" * 3000, 1008),
        (" " * 5000, 1008),
        (b"binary", 1008),
        ('{"type":"token","token":"forged"}', 4403),
    ],
)
async def test_what_a_page_may_not_say_closes_its_socket(home: House, name: str, said: str | bytes, code: int) -> None:
    await home.add_camera(name, plan="never")
    page = await Page.open(home, name)
    await page.socket.send(said)
    assert await page.code() == code


async def test_a_renewed_token_must_be_the_same_persons_and_for_the_same(home: House, name: str) -> None:
    await home.add_camera(name, plan="never")
    for token, code in [
        (home.token("live", name, subject="bob"), 4403),
        (home.token("live", camera="cam2", subject="ann"), 4403),
        (home.token("playback", name, subject="ann"), 4403),
        (home.token("live", name, subject="ann", lasts=-5), 4401),
    ]:
        page = await Page.open(home, name, subject="ann")
        await page.say(type="token", token=token)
        assert await page.code() == code


async def test_doors_that_stay_closed(home: House, name: str) -> None:
    await home.add_camera(name, plan="never")
    for token, camera, code in [
        ("", name, 4403),
        (home.token("live", name, lasts=-1), name, 4401),
        (home.token("playback", name), name, 4403),
        (home.token("live", name, subject="nobody"), name, 4403),
        (home.token("live", camera="cam999"), "cam999", 4404),
    ]:
        assert await (await Page.open(home, camera, token)).code() == code


async def test_the_right_ends_and_so_does_the_view(home: House, name: str) -> None:
    await live(home, name)
    await home.directory.users.add("cat", password="x", role="viewer", realm=DOMAIN, sip_password="x")
    cat, bob = await Page.open(home, name, subject="cat"), await Page.open(home, name)
    await asyncio.gather(cat.read(3), bob.read(3))
    await home.directory.users.remove("cat")
    assert await cat.code() == 4403
    await bob.read(15)
    bob.leave()


async def test_a_removed_camera_closes_its_sockets(home: House, name: str) -> None:
    await live(home, name)
    page = await Page.open(home, name)
    await page.read(3)
    await home.directory.cameras.remove(name)
    assert await page.code() == 4404


async def test_a_page_that_reads_nothing_costs_the_others_nothing(home: House, name: str) -> None:
    await live(home, name)
    stuck, page = await Page.open(home, name, subject="ann"), await Page.open(home, name)
    await page.read(30)
    page.leave()
    stuck.leave()
