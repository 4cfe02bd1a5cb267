"""A CA and certificates for the tests of TLS, made once."""

from __future__ import annotations

import atexit
import shutil
import ssl
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from soip.net.certificates import LIFE, Authority, now
from soip.net.tls import Identity, client_context

NAME = "sip.test"


class Shop:
    """One CA in a folder of its own, and what it certifies."""

    def __init__(self, name: str) -> None:
        self.folder = Path(mkdtemp(prefix=f"soip-{name}-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.authority = Authority.make(f"{name} CA", now())
        self.ca = self.folder / "ca.pem"
        self.authority.save(self.ca, self.folder / "ca.key")

    def issue(self, file: str, *names: str, server: bool = True, expired: bool = False) -> tuple[Path, Path]:
        """Certificate and key as files."""
        moment = now() - LIFE - timedelta(hours=1) if expired else now()
        pair = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        self.authority.issue(names, moment, server=server).save(*pair)
        return pair

    def identity(self, *, asks: bool = False, expired: bool = False) -> Identity:
        """A server at 127.0.0.1 that is called `NAME`; `asks`: for certificates of peers."""
        file = "expired" if expired else "server"
        return Identity(*self.issue(file, NAME, "127.0.0.1", expired=expired), self.ca if asks else None)

    def trust(self, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """A client that believes this CA, and shows a certificate if it has one."""
        context = client_context(self.ca)
        if pair is not None:
            context.load_cert_chain(*pair)
        return context


@cache
def ours() -> Shop:
    """The CA everybody here believes."""
    return Shop("ours")


@cache
def theirs() -> Shop:
    """A CA nobody believes."""
    return Shop("theirs")
