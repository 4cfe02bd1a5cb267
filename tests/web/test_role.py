"""The role as a process runs it."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import httpx
import pytest

from soip.config import HostPort, Settings
from soip.web import role


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


async def test_runs_until_cancelled_and_frees_its_port(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, http=HostPort("127.0.0.1", _free_port()))
    for _ in range(2):
        task = asyncio.create_task(role.run(settings))
        async with httpx.AsyncClient(base_url=f"http://{settings.http}", trust_env=False, timeout=60) as client:
            await _answers(client)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 60)


async def _answers(client: httpx.AsyncClient) -> None:
    for _ in range(3000):
        try:
            assert (await client.get("/api/health")).json() == {"status": "ok", "media_workers": 0}
        except httpx.ConnectError:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("the role did not start")


async def test_a_busy_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = HostPort("127.0.0.1", other.getsockname()[1])
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{address.port} \(HTTP\).*--http HOST:PORT") as caught:
            await role.run(Settings(data=tmp_path, http=address))
    assert caught.value.errno == errno.EADDRINUSE
    assert not (tmp_path / "soip.db").exists(), "nothing was begun"


async def test_a_host_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere\.invalid:8080"):
        await role.run(Settings(data=tmp_path, http=HostPort("nowhere.invalid", 8080)))


def test_listens_on_ipv6_too() -> None:
    with role.listen(HostPort("::1", 0)) as listener:
        assert listener.family == socket.AF_INET6
