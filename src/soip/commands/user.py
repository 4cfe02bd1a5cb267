"""`soip user`: add people, also while the server runs."""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import DataOption, PasswordOption
from soip.commands.terminal import settings_for, with_directory

if TYPE_CHECKING:
    from soip.directory.directory import Directory

app = typer.Typer(no_args_is_help=True, help="Add people.")


class Role(StrEnum):
    """What a person may do."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


@app.callback()
def users() -> None:
    """Add people."""


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name to sign in with, and SIP user name.")],
    password: PasswordOption,
    role: Annotated[Role, typer.Option("--role", help="What the person may do.", show_default=False)],
    sip_password: Annotated[
        str | None,
        typer.Option("--sip-password", metavar="S", help="For SIP phones; else made and shown once."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Add a user. A running server knows them within two seconds."""
    settings = settings_for(data=data)
    sip_secret = secrets.token_urlsafe(15) if sip_password is None else sip_password

    async def work(directory: Directory) -> None:
        realm = await directory.settings.realm(settings.domain)
        await directory.users.add(name, password=password, role=role.value, realm=realm, sip_password=sip_secret)
        await directory.settings.audit("command line", "user.add", name, role.value)

    with_directory(settings, work)
    typer.echo(f"user {name} added as {role.value}")
    if sip_password is None:
        typer.echo(f"SIP password of {name}, shown only this once: {sip_secret}")
