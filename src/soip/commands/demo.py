"""`soip demo`, which `make run` starts: the server, two software cameras, a console to look at them."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from soip.commands.options import (
    DataOption,
    DomainOption,
    HttpOption,
    MediaWorkersOption,
    RtpPortsOption,
    SipOption,
)
from soip.commands.server import alone, prepare
from soip.commands.terminal import CommandError, settings_for, with_directory

if TYPE_CHECKING:
    from soip.config import HostPort, Settings
    from soip.directory.directory import Directory
    from soip.serve import Child

ADMIN = "admin"
CAMERAS = {"cam1": "Software camera 1", "cam2": "Software camera 2"}
PASSWORD_FILE = "admin-password"  # noqa: S105 - the name of a file

_READY_S = 60.0


def demo(
    data: DataOption = None,
    http: HttpOption = None,
    sip: SipOption = None,
    domain: DomainOption = None,
    rtp_ports: RtpPortsOption = None,
    media_workers: MediaWorkersOption = None,
) -> None:
    """Show the product: the server with two software cameras, reachable from this machine only."""
    settings = settings_for(
        data=data, http=http, sip=sip, domain=domain, rtp_ports=rtp_ports, media_workers=media_workers
    )
    from soip import logs
    from soip.serve import check, roles

    with alone(settings):
        check(settings)
        logs.configure(settings, "demo")
        passwords = with_directory(settings, lambda directory: _prepare(directory, settings))
        children = roles(settings)
        children += [_camera(settings, camera, password) for camera, password in passwords.items()]
        asyncio.run(_run(settings, children))


async def _run(settings: Settings, children: list[Child]) -> None:
    from soip.serve import Supervisor, supervise

    announcing = asyncio.create_task(_announce(settings))
    try:
        await supervise(Supervisor(children))
    finally:
        announcing.cancel()
        with suppress(asyncio.CancelledError):
            await announcing


def _camera(settings: Settings, camera: str, password: str) -> Child:
    from soip.serve import Child, command

    server = str(local(settings.sip))
    arguments = command("simulate", "--id", camera, "--server", server, "--domain", settings.domain)
    return Child(camera, arguments, {"SOIP_PASSWORD": password}, stage=1)  # Before the SIP server, after who calls it.


async def _prepare(directory: Directory, settings: Settings) -> dict[str, str]:
    """Makes the administrator and the cameras at the first start. Returns the passwords of those to run."""
    from soip.directory.accounts import ha1

    realm = await prepare(directory, settings)
    await _administrator(directory, settings.data / PASSWORD_FILE, realm)
    # Made from a secret of the directory, so that the next start knows them again without storing them.
    key = await directory.settings.secret("demo-cameras")
    passwords = {camera: hmac.new(key, camera.encode(), "sha256").hexdigest()[:32] for camera in CAMERAS}
    for camera, name in CAMERAS.items():
        account = await directory.accounts.get(camera)
        if account is None:
            await directory.cameras.add(camera, realm=realm, password=passwords[camera], name=name, sub=True)
        elif account.ha1.get("MD5") != ha1(camera, realm, passwords[camera], "MD5"):
            typer.echo(f"{camera} is a camera of yours: no software camera is started in its place", err=True)
            del passwords[camera]
    return passwords


async def _administrator(directory: Directory, file: Path, realm: str) -> None:
    """The user "admin" with the password in `file`; a lost file means a new password."""
    password = _read(file)
    if await directory.users.get(ADMIN) is None:
        password = password or _write(file)
        await directory.users.add(
            ADMIN, password=password, role=ADMIN, realm=realm, sip_password=secrets.token_urlsafe(15)
        )
    elif password is None:
        await directory.users.set_password(ADMIN, _write(file))


def _read(file: Path) -> str | None:
    try:
        return file.read_text("utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read ({error}): mend it, or remove it for a new one") from error


def _write(file: Path) -> str:
    password = secrets.token_urlsafe(12)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(password + "\n")
        draft.replace(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from error
    return password


def local(address: HostPort) -> HostPort:
    """The address a program on this machine uses to reach a server that listens on `address`."""
    from soip.config import HostPort

    return HostPort({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host), address.port)


async def _announce(settings: Settings) -> None:
    """Says where the console is, once it answers."""
    address = local(settings.http)
    try:
        async with asyncio.timeout(_READY_S):
            await _until_answered(address)
    except TimeoutError:
        typer.echo(f"the console does not answer at http://{address} yet; see the lines above", err=True)
        return
    lines = (
        "",
        f"  Console    http://{address}",
        f"  Sign in    {ADMIN}, with the password in {settings.data / PASSWORD_FILE}",
        f"  SIP        {settings.sip} (UDP and TCP), domain {settings.domain}",
        f"  Recordings {', '.join(map(str, settings.media_roots))}",
        "  Stop       Ctrl-C",
        "",
    )
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


async def _until_answered(address: HostPort) -> None:
    while True:
        if await _answers(address):
            return
        await asyncio.sleep(0.2)


async def _answers(address: HostPort) -> bool:
    try:
        _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
