"""What `soip tls` makes: keys nobody else can read, certificates that OpenSSL takes as strictly as it can."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from soip.net.certificates import CA_LIFE, LIFE, Authority, names_of, now
from soip.net.errors import TlsError
from tests.net.certs import Shop, ours, theirs


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("server", "purpose", "other"), [(True, "sslserver", "sslclient"), (False, "sslclient", "sslserver")]
)
def test_openssl_takes_them_strictly_and_for_their_purpose_only(server: bool, purpose: str, other: str) -> None:
    certificate, _ = ours().issue(f"strict-{purpose}", "sip.test", server=server)
    verify = ("verify", "-x509_strict", "-CAfile", ours().ca)
    assert openssl(*verify, "-purpose", purpose, certificate).returncode == 0
    assert openssl(*verify, "-purpose", other, certificate).returncode != 0
    assert openssl("verify", "-CAfile", theirs().ca, certificate).returncode != 0


def test_keys_are_their_owners_only(tmp_path: Path) -> None:
    shop = Shop("owner")
    pair = shop.issue("server", "sip.test")
    assert [file.stat().st_mode & 0o777 for file in (shop.folder / "ca.key", pair[1])] == [0o600, 0o600]
    assert not list(shop.folder.glob(".*")), "no draft is left"


def test_how_long_they_last() -> None:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    authority = Authority.make("A CA", moment)
    issued = authority.issue(["a.example"], moment, server=True)
    assert authority.certificate.not_valid_after_utc - moment == CA_LIFE
    assert issued.certificate.not_valid_after_utc - moment == LIFE
    assert issued.certificate.not_valid_before_utc < moment


def test_names_and_addresses_are_told_apart_and_read_back(tmp_path: Path) -> None:
    wanted = ["sip.example", "vm", "my_host.lan", "192.0.2.1", "2001:db8::1"]
    certificate, key = tmp_path / "a.pem", tmp_path / "a.key"
    ours().authority.issue(wanted, now(), server=True).save(certificate, key)
    assert names_of(certificate) == wanted
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)


@pytest.mark.parametrize(
    "name", ["", "a b", "a..b", "../a", "*.example", "-a", "a" * 64, "x." * 130 + "x", "ä.example"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(TlsError, match="neither a host name nor an IP address"):
        ours().authority.issue([name], now(), server=True)


def test_an_authority_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    shop = ours()
    loaded = Authority.load(shop.ca, shop.folder / "ca.key")
    assert loaded.certificate == shop.authority.certificate
    loaded.issue(["a.example"], now(), server=True).save(tmp_path / "a.pem", tmp_path / "a.key")
    assert openssl("verify", "-CAfile", shop.ca, tmp_path / "a.pem").returncode == 0


def test_an_authority_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    shop, other = ours(), theirs()
    (tmp_path / "rubbish.pem").write_text("rubbish")
    with pytest.raises(TlsError, match="is not the key of the CA"):
        Authority.load(shop.ca, other.folder / "ca.key")
    for pair in ((tmp_path / "rubbish.pem", shop.folder / "ca.key"), (shop.ca, tmp_path / "rubbish.pem")):
        with pytest.raises(TlsError, match=r"rubbish\.pem.*cannot be used"):
            Authority.load(*pair)
    with pytest.raises(TlsError, match=r"cannot be read.*--name"):
        names_of(tmp_path / "rubbish.pem")
    with pytest.raises(TlsError, match=r"cannot be read.*--name"):
        names_of(shop.ca)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TlsError, match="cannot be written"):
        ours().authority.save(tmp_path / "file" / "ca.pem", tmp_path / "file" / "ca.key")
