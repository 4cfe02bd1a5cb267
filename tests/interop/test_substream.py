"""A camera's smaller picture in a whole site: a phone and players come and go, and the recording has no hole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from soip.agents import blockcode
from tests.faults.pictures import in_order, shown, stamps
from tests.interop.baresip import Baresip
from tests.interop.film import probe
from tests.interop.namespace import Namespace
from tests.site import DOMAIN, SIP_PASSWORD, USER, Program, Site, until

pytestmark = pytest.mark.interop

SMALL, WHOLE = (320, 180), (640, 360)
SUB = "cam1;stream=sub"


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    with Namespace() as network:
        yield network


@pytest.fixture(scope="module")
def site(network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that records a camera with a sub-stream, and one that is said to have one and has none."""
    with Site(tmp_path_factory.mktemp("substream"), host=network.host, file_seconds=10) as site:
        site.add_camera("cam1", "--sub")
        site.add_camera("cam2", "--sub", "--record", "never")
        site.add_user()
        site.start()
        site.simulate("cam1")
        site.simulate("cam2", "--no-sub")
        site.until_camera("cam1")
        site.until_camera("cam2", "idle")
        yield site


def sides(film: Path) -> tuple[int, int]:
    """Width and height as ffprobe tells them."""
    (stream,) = probe(film, "-select_streams", "v", "-show_entries", "stream=width,height")["streams"]
    return stream["width"], stream["height"]


def cameras_in(film: Path) -> set[int]:
    """Which cameras its pictures say they are of."""
    found = set()
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            luma = frame.planes[0]
            stamp = blockcode.read(bytes(luma), luma.line_size, frame.width, frame.height)
            assert stamp is not None
            found.add(stamp.camera_hash)
    return found


def calls(site: Site, camera: str, stream: str | None) -> list[dict[str, Any]]:
    """The log lines of calls to a camera for its sub-stream, or for its main one (None)."""
    called = [entry for entry in site.entries if entry["event"] == "camera called" and entry["camera"] == camera]
    return [entry for entry in called if entry.get("stream") == stream]


def test_a_phone_and_players_see_the_smaller_picture_and_the_recording_has_no_hole(
    site: Site, network: Namespace, tmp_path: Path
) -> None:
    phone = Baresip(site, network, USER, SIP_PASSWORD)
    phone.until("200 OK () [1 binding]")
    phone.dial(f"sip:{SUB}@{DOMAIN}")
    phone.until("video: receiving with resolution 320 x 180")
    phone.hang_up()
    film, whole = tmp_path / "sub.mp4", tmp_path / "main.mp4"
    site.soip(*site.play_command(SUB, film, "--duration", "3"))
    site.soip(*site.play_command("cam1", whole, "--duration", "2"))
    assert (sides(film), sides(whole)) == (SMALL, WHOLE)
    assert cameras_in(film) == cameras_in(whole) == {blockcode.camera_hash("cam1")}
    assert in_order(stamps(film)[1:]), "who joins late is shown the last keyframe, and goes on at the next"
    # A player that is killed; one under which the stream is switched off; and on again.
    players: list[Program] = []
    for name in ("killed", "left"):
        command = [sys.executable, "-m", "soip", *site.play_command(SUB, tmp_path / f"{name}.mp4")]
        players.append(site.run("play", command, site.settings))
        until(
            lambda: site.count("viewer's call begins", stream="sub") == 2 + len(players),  # the phone, the first player
            explain=site.explain,
        )
    players[0].kill()
    begun = len(calls(site, "cam1", "sub"))
    site.soip("camera", "sub", "cam1", "--off")
    until(lambda: players[1].process.poll() is not None, explain=site.explain)
    until(lambda: site.count("camera call ended", camera="cam1", stream="sub") == begun, explain=site.explain)
    site.soip(*site.play_command(SUB, whole, "--duration", "1"))
    assert sides(whole) == WHOLE
    site.soip("camera", "sub", "cam1")

    def small_again() -> bool:
        """Asked until the worker has read the directory."""
        site.soip(*site.play_command(SUB, film, "--duration", "1"))
        return sides(film) == SMALL

    until(small_again)
    assert len(calls(site, "cam1", None)) == 1, "the main stream is in its first call"
    assert site.count("viewer's call begins", stream="main") >= 2
    files = site.recordings("cam1")
    pictures = shown(file for file in files if file.sealed)
    assert pictures
    assert in_order(pictures)
    begun = files[0].start
    assert [gap for gap in site.gaps("cam1") if gap.end > begun] == []


def test_a_camera_without_one_is_asked_once_and_shows_its_main_picture(site: Site, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    for _ in range(2):
        site.soip(*site.play_command("cam2;stream=sub", film, "--duration", "1"))
        assert sides(film) == WHOLE
        assert cameras_in(film) == {blockcode.camera_hash("cam2")}
    refusals = [e for e in site.entries if e["event"] == "camera cannot be called" and e["camera"] == "cam2"]
    assert len(refusals) == 1
    assert (refusals[0]["stream"], "no such stream" in refusals[0]["reason"]) == ("sub", True)
    assert site.count("the main stream is shown", camera="cam2", asked="sub") >= 1


def test_a_stream_that_nobody_has_is_refused_with_those_there_are(site: Site, tmp_path: Path) -> None:
    done = site.soip(*site.play_command("cam1;stream=third", tmp_path / "x.mp4"), check=False)
    assert done.returncode != 0
    assert "ask for main or sub" in done.stdout + done.stderr


def test_the_list_of_cameras_says_who_has_one(site: Site) -> None:
    listed = json.loads(site.soip("camera", "list", "--json").stdout)
    assert {camera["id"]: camera["sub"] for camera in listed} == {"cam1": True, "cam2": True}
