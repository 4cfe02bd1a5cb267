"""A phone from Debian as a camera: it registers, is called, and what it sends is what stands in the file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.interop.baresip import Baresip
from tests.interop.film import decode, make_film, packet_times, probe
from tests.interop.namespace import Capture, Namespace
from tests.site import PASSWORD, File, Site, until

pytestmark = pytest.mark.interop

TICKS = 90_000
SPS = 7
LATE_S = 0.55
"""By how much the first packets of a call may be taken late before `soip.rtp.clock` begins anew."""


def pictures_on_the_wire(capture: Capture) -> list[tuple[float, int]]:
    """When each picture began to pass, and its RTP timestamp without wrap-around: from the first keyframe on."""
    found: list[tuple[float, int]] = []
    last = None
    begun = False
    for when, stamp, payload in capture.fields("rtp", "frame.time_epoch", "rtp.timestamp", "rtp.payload"):
        begun = begun or int(payload[:2], 16) & 31 == SPS
        if not begun or int(stamp) == last:
            continue
        last = int(stamp)
        found.append((float(when), last if not found else found[-1][1] + (last - found[-1][1]) % (1 << 32)))
    return found


def check_against_wire(files: list[File], wire: list[tuple[float, int]]) -> None:
    at = 0
    for file in files:
        times = packet_times(file.path)
        sent = wire[at : at + len(times)]
        assert [time - times[0] for time in times] == [stamp - sent[0][1] for _, stamp in sent]
        assert decode(file.path) == len(times) == file.frames
        # Recorded time is the time of arrival, and lasts as long as the pictures were apart.
        assert file.start / 1e6 == pytest.approx(sent[0][0], abs=LATE_S)
        assert (file.end - file.start) / 1e6 == pytest.approx((sent[-1][1] - sent[0][1]) / TICKS, abs=0.15)
        at += len(times)
    # What passed while the server hung up was not asked for any more.
    assert wire[-1][0] - wire[at - 1][0] < 3


def test_baresip_is_recorded_as_it_sent(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 30)
    with Namespace() as network, Site(tmp_path, host=network.host) as site:
        site.add_camera("phone")
        site.start()
        capture = Capture(tmp_path, network)
        phone = Baresip(site, network, "phone", PASSWORD, film=film)
        phone.until("200 OK () [1 binding]")
        site.until_camera("phone", "recording")
        until(lambda: site.frames("phone") > 150, explain=site.explain)
        phone.program.stop()
        site.until_camera("phone", "offline")
        site.stop()
        capture.stop()
        files = site.recordings("phone")
        assert all(file.sealed for file in files)
        check_against_wire(files, pictures_on_the_wire(capture))
        stream = probe(files[0].path, "-show_streams")["streams"][0]
        assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 640, 480)
        for before, after in pairwise(files):
            assert after.start - before.end == pytest.approx(0, abs=20_000)
        # Registered by digest, without a binding before: what is not recorded before and after is explained.
        assert {gap.cause for gap in site.gaps("phone")} == {"camera offline"}
