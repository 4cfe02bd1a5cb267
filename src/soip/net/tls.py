"""SIP over TLS (RFC 3261 §26.2): who we are, whom we believe, and the wire of one connection.

TLS itself is the `ssl` module's, used on bytes: a connection counts and is timed from its first byte, so that one that
never finishes its handshake is a slow one like any other.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from soip.net.errors import FlowError, TlsError
from soip.net.wire import BAD_FRAMING, Listener, Wire
from soip.sip.stream import StreamItem, StreamParser

BAD_TLS = "connections closed for bad TLS"

_PIECE = 65_536

log = logging.getLogger(__name__)

Signature = tuple[tuple[int, int, int], ...]


class Identity:
    """A server's certificate and key, read again when the files change.

    With `ca` peers are asked for a certificate of that CA: they need not have one, but one of another CA, or one that
    has expired, ends the connection. Raises TlsError when the files cannot be used at the start.
    """

    def __init__(self, certificate: Path, key: Path, ca: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key
        self._ca = ca
        self._seen = self._signature()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """For a new connection: made of the files as they are now. Files that cannot be used, or are half replaced,
        change nothing until they change again.
        """
        signature = self._signature()
        if signature != self._seen:
            self._seen = signature
            try:
                self._context = self._load()
            except TlsError as error:
                log.warning("the certificate in use stays in use: %s", error)
        return self._context

    def _signature(self) -> Signature:
        return tuple(_stamp(file) for file in (self._certificate, self._key, self._ca) if file is not None)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        _show(context, self._certificate, self._key, "soip tls init")
        if self._ca is not None:
            _believe(context, self._ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def listener(self, host: str, port: int, setting: str) -> Listener:
        """An address where this identity is shown."""
        return Listener("tls", host, port, setting, lambda _: TlsWire(self.context()))


def client_context(
    ca: Path | None = None, *, system: bool = False, pair: tuple[Path, Path] | None = None
) -> ssl.SSLContext:
    """Whom we believe when we connect: servers certified by `ca`, else (with `system`: also) by the CAs this machine
    trusts, and only under the name we asked for (RFC 5922 §7). `pair` is the certificate and key that we show who asks.
    Raises TlsError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if ca is None or system:
        context.load_default_certs()
    if ca is not None:
        _believe(context, ca)
    if pair is not None:
        _show(context, *pair, "soip tls client")
    return context


class TlsWire(Wire):
    """One connection's TLS. With `name` we opened it and the peer's certificate must bear that name or address."""

    transport = "tls"
    ready = False

    def __init__(self, context: ssl.SSLContext, name: str | None = None) -> None:
        opened = name is not None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=not opened, server_hostname=name)
        self._parser = StreamParser(opened=opened)
        if opened:
            self._shake()  # who opens speaks first

    @property
    def partial(self) -> bool:
        return not self.ready or self._parser.partial

    def feed(self, data: bytes) -> list[StreamItem]:
        if self.ended:
            return []
        self._in.write(data)
        if not self.ready and not self._shake():
            return []
        # All at once, however the peer cut it into records: see `StreamParser` on line breaks.
        items = self._parser.feed(b"".join(self._read()))
        if self._parser.broken is not None:
            self.ended, self.fault = True, BAD_FRAMING
        return items

    def frame(self, data: bytes) -> bytes:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            raise FlowError(f"TLS has ended: {_reason(error)}") from error
        return self._out.read()

    def output(self) -> bytes:
        return self._out.read()

    def farewell(self) -> bytes:
        with suppress(ssl.SSLError):  # close_notify is written before the peer's is waited for
            self._tls.unwrap()
        return self._out.read()

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self._fail(error)
            return False
        self.ready = True
        self.names = _names(self._tls)
        return True

    def _read(self) -> list[bytes]:
        pieces = []
        try:
            while piece := self._tls.read(_PIECE):
                pieces.append(piece)
            self.ended = True  # the peer's close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        return pieces

    def _fail(self, error: ssl.SSLError) -> None:
        self.ended, self.fault, self.why = True, BAD_TLS, _reason(error)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A peer that lets us shake hands again and again works less for it than we do.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _show(context: ssl.SSLContext, certificate: Path, key: Path, maker: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise TlsError(
            f"the certificate {certificate} with the key {key} cannot be used: {_reason(error)}; '{maker}' makes both"
        ) from error


def _believe(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise TlsError(f"the CA certificate {ca} cannot be used: {_reason(error)}") from error


def _names(tls: ssl.SSLObject) -> frozenset[str]:
    """The DNS names of the peer's certificate, which has been verified; none without one."""
    found = cast(Sequence[tuple[str, str]], (tls.getpeercert() or {}).get("subjectAltName", ()))
    return frozenset(value.lower() for kind, value in found if kind == "DNS")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).replace("_", " ").lower()
    return str(getattr(error, "strerror", None) or error)


def _no_password() -> str:
    """Without this OpenSSL would ask for one on the terminal."""
    raise ValueError("the key is locked with a password")


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
