"""SRTP with keys by SDES over TLS: our own camera and player, baresip as both, and ffmpeg, which knows nothing of ours,
as the one who decrypts what we send.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.film import decode, make_film, probe
from tests.interop.namespace import Capture, Namespace
from tests.site import DOMAIN, PASSWORD, SIP_PASSWORD, USER, Site, free_port, rfc3339, until

pytestmark = pytest.mark.interop

SEES = "video: receiving with resolution 640 x 360"
KEY = "inline:"


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    with Namespace() as network:
        yield network


@pytest.fixture(scope="module")
def site(network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with TLS that records a software camera by SRTP."""
    port = free_port(network.host)
    folder = tmp_path_factory.mktemp("srtp")
    with Site(folder, host=network.host, sip_tls=f"{network.host}:{port}", log_level="debug") as site:
        site.soip("tls", "init")
        for camera in ("cam1", "phone", "plain"):
            site.add_camera(camera)
        site.add_user()
        site.start()
        site.simulate("cam1", *secure(site), "--srtp")
        site.until_camera("cam1")
        yield site


def secure(site: Site) -> tuple[str, ...]:
    """The options of our own agents; the last --server counts."""
    return "--server", site.settings["SOIP_SIP_TLS"], "--transport", "tls", "--tls-ca", ca(site)


def ca(site: Site) -> str:
    return str(site.data / "tls" / "ca.pem")


def pictures(capture: Capture, source: str) -> tuple[int, int]:
    """RTP packets from there, and how many of them begin as one in H.264 does when it is sent in the clear: all of
    those would, and of encrypted ones six in sixty-four.
    """
    shown = looks_plain = 0
    for (payload,) in capture.fields(f"udp and ip.src == {source} and udp.length > 60", "udp.payload"):
        data = bytes.fromhex(payload)
        if data[0] == 0x80 and 96 <= data[1] & 0x7F < 128:
            shown += 1
            looks_plain += data[12] < 0x80 and data[12] & 0x1F in (1, 5, 6, 7, 8, 28)
    return shown, looks_plain


def test_our_camera_is_recorded_and_our_player_watches_and_plays_back(site: Site, tmp_path: Path) -> None:
    until(lambda: site.frames("cam1") > 75, explain=site.explain)
    film = tmp_path / "film.mp4"
    done = site.soip(*site.play_command("cam1", film, *secure(site), "--srtp", "--duration", "2"))
    assert "frames" in done.stderr
    assert decode(film) >= 40
    start = site.recordings("cam1")[0].start // 1_000_000 + 1
    past = tmp_path / "past.mp4"
    between = ("--from", rfc3339(start * 1_000_000), "--to", rfc3339((start + 2) * 1_000_000))
    site.soip(*site.play_command("cam1", past, *secure(site), "--srtp", *between))
    assert decode(past) >= 40


def stamp(second: int) -> str:
    """As in an address that asks for a time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


def test_a_camera_that_takes_no_srtp_is_called_without(site: Site) -> None:
    camera = site.simulate("plain", *secure(site))
    site.until_camera("plain")
    assert site.count("the camera takes no SRTP and is called without", camera="plain") >= 1
    assert camera.stop() == 0


def test_baresip_that_insists_on_srtp_sees_the_camera_live_and_recorded(
    site: Site, network: Namespace, tmp_path: Path
) -> None:
    until(lambda: site.frames("cam1") > 150, explain=site.explain)
    capture = Capture(tmp_path, network)
    server = site.settings["SOIP_SIP_TLS"]
    phone = Baresip(site, network, USER, SIP_PASSWORD, tls=(server, ca(site)), encryption="srtp-mand")
    phone.until("200 OK () [1 binding]")
    phone.dial(f"sip:cam1@{DOMAIN}")
    phone.until(SEES)
    phone.hang_up()
    until(lambda: site.count("viewer's call ended", what="live") >= 1, explain=site.explain)
    start = site.recordings("cam1")[0].start // 1_000_000 + 1
    phone.dial(f"sip:cam1;start={stamp(start)};stop={stamp(start + 3)}@{DOMAIN}")
    phone.until(SEES, times=2)
    phone.until('text="end of the recording"')
    phone.program.stop()
    capture.stop()
    shown, looks_plain = pictures(capture, network.host)
    assert shown > 50
    assert looks_plain < shown / 3, "what passes is not to be told from chance"


def test_baresip_as_a_camera_that_insists_on_srtp_is_recorded(site: Site, network: Namespace, tmp_path: Path) -> None:
    capture = Capture(tmp_path, network)
    film = make_film(tmp_path / "film.mp4", 30)
    server = site.settings["SOIP_SIP_TLS"]
    phone = Baresip(site, network, "phone", PASSWORD, film=film, tls=(server, ca(site)), encryption="srtp-mand")
    phone.until("200 OK () [1 binding]")
    site.until_camera("phone")
    until(lambda: site.frames("phone") > 75, explain=site.explain)
    phone.program.stop()
    site.until_camera("phone", "offline")
    capture.stop()
    shown, looks_plain = pictures(capture, network.address)
    assert shown > 50
    assert looks_plain < shown / 3
    stream = probe(site.recordings("phone")[0].path, "-show_streams")["streams"][0]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 640, 480)


def test_an_offer_of_srtp_by_udp_is_refused_with_what_to_do(site: Site, network: Namespace) -> None:
    phone = Baresip(site, network, USER, SIP_PASSWORD, encryption="srtp-mand")
    phone.until("200 OK () [1 binding]")
    phone.dial(f"sip:cam1@{DOMAIN}")
    phone.until("488 Not Acceptable Here")
    phone.until("where others can read them: use TLS, or RTP/AVP")
    phone.program.stop()


def test_no_key_was_ever_written_down(site: Site) -> None:
    assert site.server is not None
    told = site.soip("trace", "--json").stdout + site.server.text
    assert "SRTP" in told
    assert KEY not in told
    assert "a=crypto" not in told
