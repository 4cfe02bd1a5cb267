"""`soip camera`: add and list cameras, also while the server runs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import DataOption, JsonOption, PasswordOption
from soip.commands.terminal import CommandError, print_json, print_table, settings_for, with_directory

if TYPE_CHECKING:
    from soip.directory.directory import Directory

app = typer.Typer(no_args_is_help=True, help="Add and list cameras.")


class Record(StrEnum):
    """When a camera is recorded."""

    ALWAYS = "always"
    NEVER = "never"


class Digest(StrEnum):
    """How a camera proves its password."""

    MD5 = "MD5"
    SHA_256 = "SHA-256"


class Transport(StrEnum):
    """What a camera's media comes over."""

    UDP = "udp"
    TCP = "tcp"


@app.command("add")
def add(
    camera: Annotated[str, typer.Argument(metavar="ID", help="The camera's SIP user name.")],
    password: PasswordOption,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What people call it (default: ID).")] = "",
    record: Annotated[Record, typer.Option("--record", help="When to record it.")] = Record.ALWAYS,
    audio: Annotated[bool, typer.Option("--audio", help="Record its sound too, where the law allows it.")] = False,
    transport: Annotated[
        Transport, typer.Option("--transport", help="What its media comes over; tcp where datagrams do not arrive.")
    ] = Transport.UDP,
    sub: Annotated[
        bool, typer.Option("--sub", help="It has a sub-stream: a smaller picture, in a second call to it.")
    ] = False,
    digest: Annotated[Digest, typer.Option("--digest", help="SIP digest algorithm.")] = Digest.MD5,
    priority: Annotated[
        int, typer.Option("--priority", metavar="N", min=0, max=9, help="Where disks are full, the lowest stop first.")
    ] = 5,
    data: DataOption = None,
) -> None:
    """Add a camera. A running server knows it within two seconds."""
    settings = settings_for(data=data)

    async def work(directory: Directory) -> None:
        realm = await directory.settings.realm(settings.domain)
        await directory.cameras.add(
            camera,
            realm=realm,
            password=password,
            name=name,
            plan=record.value,
            audio=audio,
            transport=transport.value,
            digest=digest.value,
            priority=priority,
            sub=sub,
        )
        await directory.settings.audit("command line", "camera.add", camera)

    with_directory(settings, work)
    typer.echo(f"camera {camera} added: it registers as sip:{camera}@{settings.domain}")


@app.command("priority")
def priority(
    camera: Annotated[str, typer.Argument(metavar="ID", help="The camera's id.")],
    level: Annotated[int, typer.Argument(metavar="N", min=0, max=9, help="From 0, the first to stop, to 9.")],
    data: DataOption = None,
) -> None:
    """Say how important a camera's recording is, for when disks cannot take all."""

    async def work(directory: Directory) -> None:
        from soip.directory.errors import NotFoundError

        try:
            await directory.cameras.change(camera, priority=level)
        except NotFoundError as error:
            raise CommandError(str(error)) from error
        await directory.settings.audit("command line", "camera.priority", camera, str(level))

    with_directory(settings_for(data=data), work)
    typer.echo(f"camera {camera} has priority {level}")


@app.command("sub")
def sub_stream(
    camera: Annotated[str, typer.Argument(metavar="ID", help="The camera's id.")],
    there: Annotated[bool, typer.Option("--on/--off", help="Whether it has one.")] = True,
    data: DataOption = None,
) -> None:
    """Say whether a camera has a sub-stream, and so whether it is called for one."""

    async def work(directory: Directory) -> None:
        from soip.directory.errors import NotFoundError

        try:
            await directory.cameras.change(camera, sub=there)
        except NotFoundError as error:
            raise CommandError(str(error)) from error
        await directory.settings.audit("command line", "camera.sub", camera, "on" if there else "off")

    with_directory(settings_for(data=data), work)
    typer.echo(f"camera {camera} has {'a' if there else 'no'} sub-stream")


@app.command("list")
def list_cameras(as_json: JsonOption = False, data: DataOption = None) -> None:
    """List the cameras and their state."""
    cameras = with_directory(settings_for(data=data), _cameras)
    if as_json:
        print_json(cameras)
        return
    print_table(
        ("id", "name", "record", "audio", "sub", "signalling", "media", "since"),
        (
            [
                str(camera["id"]),
                str(camera["name"]),
                str(camera["record"]),
                "yes" if camera["audio"] else "no",
                "yes" if camera["sub"] else "no",
                str(camera["signalling"]),
                str(camera["media"]),
                str(camera["since"] or "")[:19],
            ]
            for camera in cameras
        ),
        "no cameras yet: add one with `soip camera add ID --password P`",
    )


async def _cameras(directory: Directory) -> list[dict[str, object]]:
    """The cameras as the console shows them; above all, a stopped server's word counts no longer."""
    from soip.web.overview import snapshot

    devices = {camera.id: camera.device_id for camera in await directory.cameras.all()}
    views = (await snapshot(directory)).cameras
    return [{**views[name].model_dump(), "device": device} for name, device in devices.items() if name in views]
