"""TLS from end to end: our own camera and player, and phones from Debian, against a server with its own CA."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.film import make_film, probe
from tests.interop.linphone import Linphone
from tests.interop.namespace import Capture, Namespace
from tests.peers import need
from tests.site import DOMAIN, PASSWORD, USER, Site, free_port, until

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    with Namespace() as network:
        yield network


@pytest.fixture(scope="module")
def site(network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with TLS, a camera and a person."""
    port = free_port(network.host)
    with Site(tmp_path_factory.mktemp("tls"), host=network.host, sip_tls=f"{network.host}:{port}") as site:
        site.soip("tls", "init")
        site.add_camera("cam1")
        site.add_camera("phone")
        site.add_user()
        site.start()
        yield site


def ca(site: Site) -> str:
    return str(site.data / "tls" / "ca.pem")


def secure(site: Site) -> tuple[str, ...]:
    """The options of our own agents; the last --server counts."""
    return "--server", site.settings["SOIP_SIP_TLS"], "--transport", "tls", "--tls-ca", ca(site)


def test_our_camera_is_recorded_and_our_player_watches(site: Site, tmp_path: Path) -> None:
    camera = site.simulate("cam1", *secure(site))
    site.until_camera("cam1")
    flows = site.query("SELECT flow FROM binding WHERE account_id = 'cam1'")
    assert flows[0][0].startswith("tls:")
    film = tmp_path / "film.mp4"
    done = site.soip(*site.play_command("cam1", film, *secure(site), "--duration", "2"))
    assert "frames" in done.stderr
    assert probe(film, "-show_streams")["streams"][0]["codec_name"] == "h264"
    assert camera.stop() == 0
    site.until_camera("cam1", "offline")


def test_a_server_of_another_ca_is_not_spoken_to(site: Site, tmp_path: Path) -> None:
    site.soip("tls", "init", "--data", str(tmp_path / "other"))
    wrong = ("--tls-ca", str(tmp_path / "other" / "tls" / "ca.pem"))
    done = site.soip(*site.play_command("cam1", tmp_path / "x.mp4", *secure(site), *wrong), check=False)
    assert done.returncode != 0
    assert "unable to get local issuer certificate" in done.stderr
    missing = site.soip(*site.play_command("cam1", tmp_path / "x.mp4", *secure(site), "--tls-ca", "/none"), check=False)
    assert "/none cannot be used: No such file or directory; check --tls-ca" in missing.stderr


def test_baresip_registers_over_tls_is_called_and_recorded(site: Site, network: Namespace, tmp_path: Path) -> None:
    capture = Capture(tmp_path, network)
    film = make_film(tmp_path / "film.mp4", 30)
    server = site.settings["SOIP_SIP_TLS"]
    phone = Baresip(site, network, "phone", PASSWORD, film=film, tls=(server, ca(site)))
    phone.until("200 OK () [1 binding]")
    site.until_camera("phone")
    until(lambda: site.frames("phone") > 50, explain=site.explain)
    phone.program.stop()
    site.until_camera("phone", "offline")
    capture.stop()
    assert capture.fields("tls.handshake.type == 1", "ip.src") != [], "it did shake hands"
    assert capture.fields("sip", "sip.Method") == [], "nothing of SIP was to be read on the wire"


def test_openssl_finds_nothing_old_and_nothing_wrong(site: Site, network: Namespace) -> None:
    where = ("s_client", "-connect", site.settings["SOIP_SIP_TLS"], "-CAfile", ca(site), "-verify_return_error")

    def ask(*options: str) -> subprocess.CompletedProcess[str]:
        command = network.command(need("openssl"), *where, *options)
        return subprocess.run(command, input="", capture_output=True, text=True, timeout=120, check=False)

    good = ask("-verify_hostname", DOMAIN)
    assert good.returncode == 0, good.stderr
    assert "Verify return code: 0 (ok)" in good.stdout
    assert "No client certificate CA names sent" in good.stdout
    assert ask("-tls1_2").returncode == 0
    for old in ("-tls1", "-tls1_1"):
        assert ask(old, "-cipher", "ALL:@SECLEVEL=0").returncode != 0
    assert ask("-verify_hostname", "other.example").returncode != 0


def test_linphone_registers_over_tls_with_the_right_ca_only(site: Site, network: Namespace, tmp_path: Path) -> None:
    site.soip("tls", "init", "--data", str(tmp_path / "other"))
    wrong = str(tmp_path / "other" / "tls" / "ca.pem")
    stranger = Linphone(site, network, tmp_path / "wrong", "tls", authority=wrong)
    until(lambda: "Certificate verification failed" in stranger.text, explain=lambda: stranger.text)
    query = "SELECT flow FROM binding WHERE account_id = ?"
    assert site.query(query, USER) == []
    stranger.stop()
    phone = Linphone(site, network, tmp_path / "right", "tls", authority=ca(site))
    until(
        lambda: [flow.partition(":")[0] for (flow,) in site.query(query, USER)] == ["tls"], explain=lambda: phone.text
    )
    phone.stop()
