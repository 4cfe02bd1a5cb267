"""What people and programs get wrong: each is told what to do, and the rest goes on."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.pictures import in_order, shown
from tests.interop.sipp import delayed_offer, refused
from tests.site import DOMAIN, PASSWORD, SIP_PASSWORD, USER, Program, Site, until

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with one camera that records through all of this, undisturbed."""
    with Site(tmp_path_factory.mktemp("bad")) as site:
        site.add_camera("cam1")
        site.add_camera("absent", "--record", "never")
        site.add_user()
        site.start()
        site.simulate("cam1")
        site.until_camera("cam1")
        yield site


@pytest.fixture(scope="module", autouse=True)
def vanished(site: Site) -> Program:
    """A viewer who is killed in the middle of a call: early, for it is noticed only after a while."""
    command = site.play_command("cam1", site.folder / "vanished.mp4")
    player = site.run("vanished", [sys.executable, "-m", "soip", *command])
    until(lambda: site.count("viewer's call begins") == 1, explain=site.explain)
    player.kill()
    return player


def play(site: Site, camera: str, *options: str, password: str = SIP_PASSWORD) -> subprocess.CompletedProcess[str]:
    command = site.play_command(camera, site.folder / "out.mp4", "--duration", "1", *options)
    return site.soip(*[password if part == SIP_PASSWORD else part for part in command], check=False)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what is wrong."""
    (line,) = done.stderr.splitlines()
    return line


def test_an_unknown_camera(site: Site) -> None:
    done = play(site, "nobody")
    assert done.returncode == 3
    assert "not found: no such camera" in told(done)


def test_a_camera_that_is_not_there(site: Site) -> None:
    done = play(site, "absent")
    assert done.returncode == 5
    assert "the camera is offline" in told(done)


def test_a_viewer_with_a_wrong_password(site: Site) -> None:
    done = play(site, "cam1", password="guessed")
    assert done.returncode == 4
    assert "password" in told(done)


def test_a_camera_with_a_wrong_password(site: Site) -> None:
    who = ("--id", "cam1", "--password", "guessed", "--server", site.sip_address, "--domain", DOMAIN)
    done = site.soip("simulate", *who, check=False)
    assert done.returncode == 1
    assert "cam1: wrong password, or no such camera" in told(done)


def test_a_range_with_nothing_recorded(site: Site) -> None:
    done = play(site, "cam1", "--from", "2020-01-01T00:00:00Z", "--to", "2020-01-01T00:01:00Z")
    assert done.returncode == 3
    assert "nothing recorded in that range" in told(done)


def test_an_invite_without_sdp_is_a_delayed_offer(site: Site) -> None:
    assert delayed_offer(site, "cam1") > 50


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("this is no SDP", 400),
        ("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\nm=video\n", 400),
        ("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=application 9 UDP/BFCP *\n", 488),
        (
            "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9000 RTP/AVP 34\n"
            "a=rtpmap:34 H263/90000\n",
            488,
        ),
    ],
)
def test_an_invite_with_nonsense_for_sdp(site: Site, body: str, status: int) -> None:
    refused(site, "cam1", body, status)


def test_rtp_from_a_foreign_address_is_not_taken(site: Site) -> None:
    ((port,),) = site.query("SELECT rtp_port FROM dialog WHERE remote_uri LIKE '%sip:cam1@%'")
    before = site.frames("cam1")
    noise = random.Random(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.connect((site.host, port))
        turned_away = 0
        for number in range(400):
            body = bytes([0x80, 96]) + number.to_bytes(2, "big") + noise.randbytes(1000)
            try:
                stranger.send(body if number % 2 else noise.randbytes(500))
            except ConnectionRefusedError:  # The kernel says so itself: our socket hears its camera only.
                turned_away += 1
            time.sleep(0.002)  # The pace of a stream: a burst would only fill a queue.
    assert turned_away > 100
    until(lambda: site.frames("cam1") > before + 50, explain=site.explain)


@pytest.mark.parametrize(("option", "kind"), [("sip", socket.SOCK_DGRAM), ("sip", socket.SOCK_STREAM), ("http", None)])
def test_a_busy_port(tmp_path: Path, option: str, kind: socket.SocketKind | None) -> None:
    site = Site(tmp_path)
    port = site.sip if option == "sip" else site.http
    with socket.socket(socket.AF_INET, kind or socket.SOCK_STREAM) as taken:
        taken.bind((site.host, port))
        if kind != socket.SOCK_DGRAM:
            taken.listen()
        done = site.soip("serve", check=False)
    assert done.returncode == 1
    assert f"{site.host}:{port}" in told(done)
    assert f"choose another address with --{option} HOST:PORT" in told(done)


def test_a_viewer_who_is_gone_is_let_go(site: Site, vanished: Program) -> None:
    left = "SELECT count(*) FROM dialog WHERE remote_uri LIKE ?"
    until(lambda: site.query(left, f"%sip:{USER}@%") == [(0,)], 240, site.explain)
    assert vanished.process.returncode == -9


def test_the_rest_went_on(site: Site) -> None:
    """Nothing of the above disturbed the recording, or cost a process."""
    assert site.count("process ended") == 0
    assert not [entry for entry in site.entries if entry["level"] in ("error", "critical")]
    assert "Traceback" not in site.explain()
    assert site.camera("cam1")["media"] == "recording"
    site.stop()
    files = site.recordings("cam1")
    assert in_order(shown(files))
    assert site.soip("camera", "list").stdout.count("cam1") >= 1
    assert PASSWORD not in "".join(program.text for program in (site.server,) if program)
