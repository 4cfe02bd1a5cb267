"""The measured process of the SIP benchmarks: the SIP server with its directory, timers and log, as it is served.

    python -m benches.registrar_ours DIRECTORY PORT ACCOUNTS

The directory is furnished with `cam0` … with the password "pw", and with `bob`, of the same. Prints "ready"; then for
each line on standard input: CPU µs so far, resident bytes, bindings. Ends with standard input.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

import structlog
import uvloop
from sqlalchemy import Connection, insert

from benches.measured import MEASURED_CPU, cpu_us, pin, tell
from soip.config import HostPort, Settings
from soip.directory import schema
from soip.directory.accounts import ha1
from soip.directory.database import Database
from soip.directory.directory import Directory
from soip.directory.settings import ORGANISATION
from soip.process import calm_collector, raise_file_limit
from soip.signalling.role import WRITE_SECONDS, Role

DOMAIN = "soip.test"


def furnish(connection: Connection, accounts: int) -> None:
    """Many cameras at once: adding them one by one would take longer than all the rounds."""
    devices = [f"cam{number}" for number in range(accounts)]
    names = [*devices, "bob"]

    def each(ids: list[str], **values: object) -> list[dict[str, object]]:
        return [{"id": name, **values} for name in ids]

    of_us = {"organisation_id": ORGANISATION, "created_us": 0}
    connection.execute(insert(schema.identity), each(devices, kind="device", created_us=0))
    connection.execute(insert(schema.identity), each(["bob"], kind="user", created_us=0))
    connection.execute(
        insert(schema.credential),
        [{"identity_id": name, "algorithm": "MD5", "ha1": ha1(name, DOMAIN, "pw", "MD5")} for name in names],
    )
    connection.execute(insert(schema.device), each(devices, **of_us))
    connection.execute(insert(schema.user), each(["bob"], password_hash="none", **of_us))
    cameras = [
        {"id": name, "device_id": name, "plan": "always", "audio": False, "site_id": "default", "created_us": 0}
        for name in devices
    ]
    connection.execute(insert(schema.camera), cameras)


async def measure(data: Path, port: int, accounts: int) -> None:
    settings = Settings(data=data, sip=HostPort("127.0.0.1", port), domain=DOMAIN, media_workers=1)
    if not (data / "soip.db").exists():
        async with await Directory.open(settings.database_url) as directory:
            await directory.settings.realm(DOMAIN)
        database = await Database.open(settings.database_url)
        await database.write(lambda connection: furnish(connection, accounts))
        await database.close()
    async with (
        await Directory.open(settings.database_url) as directory,
        directory.write_behind(interval_s=WRITE_SECONDS) as later,
    ):
        role = Role(settings, directory, later)
        serving = asyncio.create_task(role.serve())
        ready = asyncio.create_task(until_ready(role))
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(2)  # The accounts are read once more; that is not of a registration.
        tell("ready")
        await answer(role)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def until_ready(role: Role) -> None:
    await role.ready


async def answer(role: Role) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        tell(f"{cpu_us():.0f} {resident()} {role.registered}")


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    raise_file_limit()
    calm_collector()
    pin(MEASURED_CPU)
    # The log is rendered as for people, and thrown away: standard output has the figures.
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=open("/dev/null", "w")))  # noqa: SIM115
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
