"""A phone from Debian as a viewer: it dials a camera, now or of a time, sees it soon, and hangs up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.interop.baresip import Baresip
from tests.interop.namespace import Capture, Namespace
from tests.site import DOMAIN, SIP_PASSWORD, USER, Site, now_us, until

pytestmark = pytest.mark.interop

SEES = "video: receiving with resolution 640 x 360"
HEARS = "incoming rtp for 'video' established"
RATE = 25


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    with Namespace() as network:
        yield network


@pytest.fixture(scope="module")
def site(network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that records a software camera, for all tests here."""
    with Site(tmp_path_factory.mktemp("viewer"), host=network.host, file_seconds=10) as site:
        site.add_camera("cam1")
        site.add_user()
        site.start()
        site.simulate("cam1")
        site.until_camera("cam1")
        yield site


@pytest.fixture(scope="module")
def phone(site: Site, network: Namespace) -> Baresip:
    phone = Baresip(site, network, USER, SIP_PASSWORD)
    phone.until("200 OK () [1 binding]")
    return phone


@pytest.fixture
def capture(tmp_path: Path, network: Namespace) -> Iterator[Capture]:
    capture = Capture(tmp_path, network)
    yield capture
    capture.stop()


def first_pictures(capture: Capture, host: str) -> list[float]:
    """Seconds from each ACK of an answered INVITE to the first RTP packet after it."""
    found: list[float] = []
    acked: float | None = None
    rows = capture.fields("(sip.Method == ACK) or (rtp and ip.src == " + host + ")", "frame.time_epoch", "sip.r-uri")
    for when, uri in rows:
        if "sip:media-" in uri:  # the ACK of a refusal goes to where the INVITE went
            acked = float(when)
        elif not uri and acked is not None:
            found.append(float(when) - acked)
            acked = None
    return found


def ended(site: Site, what: str, calls: int) -> None:
    """Wait until the server has seen so many calls end."""
    until(lambda: site.count("viewer's call ended", what=what) == calls, explain=site.explain)


def test_the_first_picture_comes_within_a_second(
    site: Site, phone: Baresip, capture: Capture, network: Namespace
) -> None:
    for call in range(1, 6):
        phone.dial(f"sip:cam1@{DOMAIN}")
        phone.until(HEARS, times=call)
        phone.until(SEES, times=call)
        time.sleep(0.3 * call)  # Joins fall anywhere in a group of pictures.
        phone.hang_up()
        ended(site, "live", call)
    capture.stop()
    seconds = first_pictures(capture, network.host)
    assert len(seconds) == 5
    print("seconds from the ACK to the first packet:", [round(each, 3) for each in seconds])
    assert median(seconds) < 1.0, seconds
    assert "avcodec: decode: avcodec_" not in phone.text
    # Nobody of them is left in the server, nor did they disturb the camera's own call.
    left = "SELECT count(*) FROM dialog WHERE remote_uri LIKE ?"
    until(lambda: site.query(left, f"%{USER}@%") == [(0,)])
    assert site.count("camera called") == 1


def test_a_range_in_the_address_is_played_back_and_the_call_ends_by_itself(
    site: Site, phone: Baresip, capture: Capture, network: Namespace
) -> None:
    until(lambda: site.frames("cam1") > 8 * RATE, explain=site.explain)
    start = site.recordings("cam1")[0].start // 1_000_000 + 2
    seen = phone.text.count(SEES)
    stamps = [time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second)) for second in (start, start + 4)]
    before = now_us()
    phone.dial(f"sip:cam1;start={stamps[0]};stop={stamps[1]}@{DOMAIN}")
    phone.until(SEES, times=seen + 1)
    phone.until('text="end of the recording"')
    lasted = (now_us() - before) / 1e6
    ended(site, "playback", 1)
    capture.stop()
    pictures = len({stamp for (stamp,) in capture.fields(f"rtp and ip.src == {network.host}", "rtp.timestamp")})
    # From the keyframe at or before the start, of which there is one every two seconds. The camera itself skips
    # pictures on a busy machine; that none is lost on the way is shown by tests/faults/test_recorded_equals_sent.py.
    assert 2 * RATE <= pictures <= 6 * RATE + 2
    assert pictures / RATE - 1.5 < lasted < 20, "at the speed of life"


def test_a_range_with_nothing_recorded_is_refused_with_the_reason(site: Site, phone: Baresip) -> None:
    phone.dial(f"sip:cam1;start=20200101T000000Z;stop=20200101T000100Z@{DOMAIN}")
    phone.until("404 Not Found")
    phone.until('Warning: 399 soip.test "nothing of cam1 was recorded in that time"')


@pytest.mark.faults("all")
def test_a_phone_that_is_killed_in_a_call_is_let_go(site: Site, phone: Baresip) -> None:
    seen, before = phone.text.count(SEES), site.count("viewer's call ended", what="live")
    phone.dial(f"sip:cam1@{DOMAIN}")
    phone.until(SEES, times=seen + 1)
    phone.program.kill()
    # Half a minute of silence, a question that nobody answers, and a BYE that nobody answers (64*T1 each).
    until(lambda: site.count("viewer's call ended", what="live") == before + 1, 240, site.explain)
    assert site.count("camera called") == 1
