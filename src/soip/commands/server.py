"""`soip serve` and the roles it is made of."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import (
    DataOption,
    DomainOption,
    HttpOption,
    MediaOption,
    MediaWorkersOption,
    RtpPortsOption,
    SipOption,
    SipTlsOption,
)
from soip.commands.terminal import CommandError, settings_for, with_directory

if TYPE_CHECKING:
    from soip.config import Settings
    from soip.directory.directory import Directory


def serve(
    data: DataOption = None,
    http: HttpOption = None,
    sip: SipOption = None,
    sip_tls: SipTlsOption = None,
    domain: DomainOption = None,
    rtp_ports: RtpPortsOption = None,
    media_workers: MediaWorkersOption = None,
    media: MediaOption = None,
) -> None:
    """Start everything on this machine: SIP server, web server, media workers."""
    settings = settings_for(
        data=data,
        http=http,
        sip=sip,
        sip_tls=sip_tls,
        domain=domain,
        rtp_ports=rtp_ports,
        media_workers=media_workers,
        media_dirs=media or None,
    )
    import asyncio

    from soip import logs
    from soip.serve import Supervisor, check, roles, supervise

    async def main() -> None:
        await supervise(Supervisor(roles(settings)))

    with alone(settings):
        check(settings)
        logs.configure(settings, "serve")
        with_directory(settings, lambda directory: prepare(directory, settings))
        asyncio.run(main())


def alone(settings: Settings) -> AbstractContextManager[None]:
    """Within, no other server is started on the same data. Raises StartError."""
    from soip.process import holding

    held = f"a server runs on {settings.data} already: end that one, or give this one another directory with --data DIR"
    return holding(settings.data / "serve.lock", held)


async def prepare(directory: Directory, settings: Settings) -> str:
    """What all processes rely on, made before they start: tables, realm, this media server's account.

    Returns the realm.
    """
    realm = await directory.settings.realm(settings.domain)
    await directory.media.create_or_load(settings.media_server_file, realm)
    return realm


def sip(
    data: DataOption = None,
    sip: SipOption = None,
    sip_tls: SipTlsOption = None,
    domain: DomainOption = None,
    http: HttpOption = None,
) -> None:
    """Start the SIP server alone: registrar and proxy."""
    settings = settings_for(data=data, sip=sip, sip_tls=sip_tls, domain=domain, http=http)
    from soip.process import check_free, run_role
    from soip.signalling import role

    check_free(settings.sip, "--sip", ("UDP", "TCP"))
    if settings.sip_tls is not None:
        check_free(settings.sip_tls, "--sip-tls")
    run_role(settings, "sip", lambda: role.run(settings))


def web(data: DataOption = None, http: HttpOption = None, sip: SipOption = None, domain: DomainOption = None) -> None:
    """Start the web server alone: API and console."""
    settings = settings_for(data=data, http=http, sip=sip, domain=domain)
    from soip.process import check_free, run_role
    from soip.web import role

    check_free(settings.http, "--http")
    run_role(settings, "web", lambda: role.run(settings))


def media(
    context: typer.Context,
    worker: Annotated[int, typer.Option("--worker", metavar="K", min=0, help="Number of this worker, from 0.")] = 0,
    data: DataOption = None,
    sip: SipOption = None,
    domain: DomainOption = None,
    rtp_ports: RtpPortsOption = None,
    media_workers: MediaWorkersOption = None,
    media: MediaOption = None,
) -> None:
    """Start one media worker alone: recorder and streamer. `list` and `move` tell and change what all of them do."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_for(
        data=data,
        sip=sip,
        domain=domain,
        rtp_ports=rtp_ports,
        media_workers=media_workers,
        media_dirs=media or None,
    )
    if worker >= settings.media_workers:
        raise CommandError(
            f"there is no worker {worker}: workers are numbered from 0 to {settings.media_workers - 1}",
            exit_code=2,
        )
    from soip.media import role
    from soip.process import holding, run_role

    held = f"media worker {worker} of {settings.data} runs already: end it, or the server it belongs to"
    with holding(settings.data / f"media-{worker}.lock", held):
        run_role(settings, f"media-{worker}", lambda: role.run(settings, worker))
