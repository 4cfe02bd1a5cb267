"""This machine's media server, and its workers' announcements."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from soip.directory.directory import Directory
from soip.directory.errors import InvalidValueError, TakenError

from .samples import REALM


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "media-server.json"


async def test_the_machine_keeps_its_identity(directory: Directory, identity: Path) -> None:
    server = await directory.media.create_or_load(identity, REALM)
    assert server.instance(3) == f"{server.id}-3"
    assert server.secret not in repr(server)
    assert stat.S_IMODE(os.stat(identity).st_mode) == 0o600
    assert os.listdir(identity.parent).count("media-server.json") == 1
    version = await directory.settings.version()
    assert await directory.media.create_or_load(identity, REALM) == server
    assert await directory.settings.version() == version  # Loading it is no change.
    assert await directory.media.servers() == [server.id]


async def test_workers_that_start_together_are_one_server(url: str, identity: Path) -> None:
    opened = [await Directory.open(url) for _ in range(6)]
    servers = await asyncio.gather(*(one.media.create_or_load(identity, REALM) for one in opened))
    assert len(set(servers)) == 1
    assert await opened[0].media.servers() == [servers[0].id]
    for one in opened:
        await one.close()
    assert [name for name in os.listdir(identity.parent) if "media-server" in name] == ["media-server.json"]


async def test_a_new_directory_learns_an_old_server(tmp_path: Path, directory: Directory, identity: Path) -> None:
    server = await directory.media.create_or_load(identity, REALM)
    async with await Directory.open(f"sqlite+aiosqlite:///{tmp_path}/new.db") as other:
        assert await other.media.create_or_load(identity, "other.realm") == server
        account = await other.accounts.get(server.id)
        assert account is not None
        assert account.kind == "media_server"


async def test_a_changed_secret_is_mended(directory: Directory, identity: Path) -> None:
    server = await directory.media.create_or_load(identity, REALM)
    before = await directory.accounts.get(server.id)
    write(identity, {"id": server.id, "secret": "another"})
    await directory.media.create_or_load(identity, REALM)
    after = await directory.accounts.get(server.id)
    assert before is not None
    assert after is not None
    assert before.ha1 != after.ha1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"id": "a/b", "secret": "x"}', '{"id": 1, "secret": 2}', "null"])
async def test_a_file_that_is_none_of_ours_is_named(directory: Directory, identity: Path, content: str) -> None:
    write(identity, content)
    with pytest.raises(InvalidValueError, match=r"media-server\.json .*remove it"):
        await directory.media.create_or_load(identity, REALM)


async def test_the_id_of_a_camera_is_refused(directory: Directory, identity: Path) -> None:
    await directory.cameras.add("cam1", realm=REALM, password="p")
    write(identity, {"id": "cam1", "secret": "x"})
    with pytest.raises(TakenError):
        await directory.media.create_or_load(identity, REALM)


async def test_announcements(directory: Directory, identity: Path) -> None:
    server = await directory.media.create_or_load(identity, REALM)
    version = await directory.settings.version()
    first = await directory.media.publish(server.id, 0, sip="127.0.0.1:4000", http="127.0.0.1:4001")
    assert first.id == server.instance(0)
    assert (first.worker, first.epoch, first.sip, first.http) == (0, 1, "127.0.0.1:4000", "127.0.0.1:4001")
    again = await directory.media.publish(server.id, 0, sip="127.0.0.1:5000", http="127.0.0.1:5001")
    other = await directory.media.publish(server.id, 1, sip="a:1", http="b:2")
    assert again.epoch == 2
    assert await directory.media.instances() == [again, other]
    assert await directory.media.instance(first.id) == again
    assert await directory.media.instance("nobody-0") is None
    later = replace(again, heartbeat_us=again.heartbeat_us + 5_000_000)
    async with directory.write_behind() as writer:
        writer.save(later)
    assert await directory.media.instance(first.id) == later
    assert await directory.settings.version() == version + 2, "who may register has changed, twice"


def write(file: Path, content: object) -> None:
    file.write_text(content if isinstance(content, str) else json.dumps(content))
