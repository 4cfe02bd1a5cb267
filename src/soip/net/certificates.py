"""Making a CA of one's own and certificates for SIP over TLS: EC P-256, signed with SHA-256.

An authority lies in one folder, its key readable by its owner only. Files are replaced whole, so that a server that
reads them again finds the old or the new one.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from soip.net.errors import TlsError

CA_LIFE = timedelta(days=3652)
LIFE = timedelta(days=365)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
_BEFORE = timedelta(days=1)  # phones whose clock is late shall believe us too


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def save(self, certificate: Path, key: Path) -> None:
        """Write both files. Raises TlsError."""
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(key, private, 0o600)
        _write(certificate, self.certificate.public_bytes(Encoding.PEM), 0o644)


class Authority(Certified):
    """A CA."""

    __slots__ = ()

    @classmethod
    def make(cls, name: str, now: datetime) -> Authority:
        """A new CA that signs certificates of servers and clients, and no other CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        builder = _builder(subject, subject, key.public_key(), now, CA_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs=True), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return cls(builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Authority:
        """The CA in two files. Raises TlsError."""
        try:
            found = load_pem_private_key(key.read_bytes(), None)
            authority = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise TlsError(f"the CA {certificate} with the key {key} cannot be used: {error}") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey) or found.public_key() != authority.public_key():
            raise TlsError(f"{key} is not the key of the CA {certificate}")
        return cls(authority, found)

    def issue(self, names: Sequence[str], now: datetime, *, server: bool) -> Certified:
        """A certificate for host names and IP addresses, good for servers or for clients. Raises TlsError for
        what is neither.
        """
        alternatives = _names(names)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = _builder(subject, self.certificate.subject, key.public_key(), now, LIFE)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(signer, critical=False)
        return Certified(builder.sign(self.key, hashes.SHA256()), key)


def names_of(certificate: Path) -> list[str]:
    """The host names and addresses a certificate is good for. Raises TlsError."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise TlsError(f"the names in {certificate} cannot be read: {error}; give them with --name") from error
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def now() -> datetime:
    """This moment, for `make` and `issue`."""
    return datetime.now(UTC)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, moment: datetime, life: timedelta
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(moment - _BEFORE).not_valid_after(moment + life)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _names(names: Iterable[str]) -> list[x509.GeneralName]:
    return [_name(name) for name in dict.fromkeys(names)]


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    labels = name.split(".")
    if len(name) > 253 or not all(0 < len(each) < 64 and _LABEL.fullmatch(each) for each in labels):
        raise TlsError(f"{name!r} is neither a host name nor an IP address")
    return x509.DNSName(name.lower())


def _write(file: Path, content: bytes, mode: int) -> None:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise TlsError(f"{file} cannot be written: {error.strerror}") from error
