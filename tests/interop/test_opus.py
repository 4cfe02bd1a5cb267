"""Opus with a phone people use: baresip as a camera that speaks it, and as a phone that knows G.711 alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.film import decode, make_film, probe
from tests.interop.namespace import Namespace
from tests.interop.test_audio import beeps
from tests.peers import need
from tests.site import DOMAIN, PASSWORD, SIP_PASSWORD, USER, Site, until

pytestmark = pytest.mark.interop


def make_sound(path: Path, seconds: int) -> Path:
    """A tone in the first half of each second, as baresip takes it for Opus: two channels at 48 kHz."""
    channel = "0.5*sin(2*PI*1000*t)*lt(mod(t\\,1)\\,0.5)"
    tone = f"aevalsrc={channel}|{channel}:s=48000:d={seconds}"
    subprocess.run([need("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", tone, str(path)], check=True, timeout=300)
    return path


def test_a_phone_that_speaks_opus_is_recorded_as_it_spoke(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 60)
    sound = make_sound(tmp_path / "sound.wav", 60)
    with Namespace() as network, Site(tmp_path, host=network.host) as site:
        site.add_camera("phone", "--audio")
        site.start()
        camera = Baresip(site, network, "phone", PASSWORD, film=film, sound=sound, opus=True)
        camera.until("200 OK () [1 binding]")
        site.until_camera("phone", "recording")
        until(lambda: site.frames("phone") > 250, explain=site.explain)
        site.stop()
        file = max(site.recordings("phone"), key=lambda one: one.frames)
        streams = probe(file.path, "-show_streams")["streams"]
        assert [stream["codec_name"] for stream in streams] == ["h264", "opus"]
        assert decode(file.path) == file.frames
        assert len(beeps(file.path)) >= 4


@pytest.mark.parametrize("spoken", ["opus", "aac"])
def test_a_phone_that_knows_g711_alone_hears_a_camera_that_speaks_better(spoken: str, tmp_path: Path) -> None:
    with Namespace() as network, Site(tmp_path, host=network.host) as site:
        site.add_camera("cam1", "--audio")
        site.add_user()
        site.start()
        site.simulate("cam1", "--audio", spoken)
        site.until_camera("cam1")
        phone = Baresip(site, network, USER, SIP_PASSWORD)
        phone.until("200 OK () [1 binding]")
        phone.dial(f"sip:cam1@{DOMAIN}")
        phone.until("incoming rtp for 'video' established")
        phone.until("incoming rtp for 'audio' established")
        phone.hang_up()
        until(lambda: site.count("viewer's call ended", what="live") == 1, explain=site.explain)
