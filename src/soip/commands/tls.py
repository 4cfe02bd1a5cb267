"""`soip tls`: a CA of one's own, and certificates of the server and of peers."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soip.commands.options import DataOption, DomainOption, SipOption, SipTlsOption
from soip.commands.terminal import CommandError, settings_for

if TYPE_CHECKING:
    from soip.config import Settings
    from soip.net.certificates import Authority

app = typer.Typer(no_args_is_help=True, help="Certificates for SIP over TLS.")

RenewOption = Annotated[bool, typer.Option("--renew", help="Replace the certificate; the CA and the names stay.")]


@app.callback()
def tls() -> None:
    """Certificates for SIP over TLS."""


@app.command("init")
def init(
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="Host name or address of the server; may be given again."),
    ] = None,
    renew: RenewOption = False,
    data: DataOption = None,
    sip: SipOption = None,
    sip_tls: SipTlsOption = None,
    domain: DomainOption = None,
) -> None:
    """Make a CA and the server's certificate (valid for 10 years and 1 year)."""
    settings = settings_for(data=data, sip=sip, sip_tls=sip_tls, domain=domain)
    from soip.net import certificates
    from soip.net.errors import TlsError

    certificate, key = settings.certificate_file, settings.key_file
    if not renew:
        _refuse(certificate, key, settings.ca_file, _ca_key(settings))
    now = certificates.now()
    try:
        names = certificates.names_of(certificate) if renew and not name else _names(settings, name or [])
        authority = _authority(settings) if renew else certificates.Authority.make(f"SoIP CA {settings.domain}", now)
        issued = authority.issue(names, now, server=True)
        if not renew:
            authority.save(settings.ca_file, _ca_key(settings))
        issued.save(certificate, key)
    except TlsError as error:
        raise CommandError(str(error)) from error
    typer.echo(f"certificate {certificate}, key {key}: good until {issued.certificate.not_valid_after_utc:%Y-%m-%d}")
    typer.echo(f"for {', '.join(names)}")
    typer.echo(f"CA {settings.ca_file}: give this file to phones and cameras, and nobody {_ca_key(settings)}")
    if renew:
        typer.echo("a running server takes it over by itself")
    elif settings.sip_tls is None:
        typer.echo('serve SIP over TLS with --sip-tls HOST:5061, or sip_tls = "HOST:5061" in soip.toml')


@app.command("client")
def client(
    name: Annotated[str, typer.Argument(metavar="NAME", help="DNS name of the peer.")],
    renew: RenewOption = False,
    data: DataOption = None,
) -> None:
    """Make a certificate for a peer, for example another SIP server (valid for 1 year)."""
    settings = settings_for(data=data)
    from soip.net import certificates
    from soip.net.errors import TlsError

    folder, name = settings.tls_folder / "clients", name.lower()
    if _is_address(name):
        raise CommandError(f"{name} is an address: peers are known by names", exit_code=2)
    try:
        issued = _authority(settings).issue([name], certificates.now(), server=False)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"  # a DNS name is no path
        if not renew:
            _refuse(certificate, key)
        issued.save(certificate, key)
    except TlsError as error:
        raise CommandError(str(error)) from error
    typer.echo(f"certificate {certificate}, key {key}: good until {issued.certificate.not_valid_after_utc:%Y-%m-%d}")
    typer.echo(f'{name} may say who its callers are where sip_peers names it: sip_peers = ["{name}"] in soip.toml')


def _authority(settings: Settings) -> Authority:
    from soip.net.certificates import Authority

    if not settings.ca_file.exists():
        raise CommandError(f"there is no CA {settings.ca_file} yet: 'soip tls init' makes one")
    return Authority.load(settings.ca_file, _ca_key(settings))


def _ca_key(settings: Settings) -> Path:
    return settings.ca_file.with_suffix(".key")


def _refuse(*files: Path) -> None:
    """Raises CommandError where a file is there already."""
    for file in files:
        if file.exists():
            raise CommandError(f"{file} is there already: --renew replaces the certificate and keeps the CA")


def _names(settings: Settings, given: list[str]) -> list[str]:
    """What the server may be called: what was given, its domain, this machine, and where SIP is served."""
    addresses = [settings.sip.host, *([settings.sip_tls.host] if settings.sip_tls is not None else [])]
    named = [each for each in addresses if not (_is_address(each) and ip_address(each).is_unspecified)]
    return list(dict.fromkeys([*given, settings.domain, socket.gethostname().lower(), *named]))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
