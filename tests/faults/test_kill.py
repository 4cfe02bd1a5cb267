"""kill -9 while recording: of one media worker, and of the whole server at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from soip.agents.cameracall import REFUSALS
from tests.faults.pictures import in_order, stamps
from tests.faults.timeline import Entry, holes, timeline
from tests.interop.film import decode
from tests.site import File, Program, Site, now_us, until

pytestmark = pytest.mark.faults

DOWN = "media server down"
FRAGMENT_US = 2_000_000
QUEUED_US = 2_500_000
"""What may wait for the disk, and for the process on a busy machine, when it dies; beside the fragment being built."""


def binding(site: Site) -> list[tuple[object, ...]]:
    return site.query("SELECT contact, call_id, cseq FROM binding WHERE account_id = 'cam1'")


def recorded_again(site: Site, since: int) -> None:
    """Wait until there is a file that begins after `since`, and something in it."""
    until(lambda: site.frames("cam1", since) > 50, explain=site.explain)


def check_files(files: list[File], killed_us: int) -> None:
    """Each opens and decodes without a word, and hardly anything from before the kill is missing."""
    before, after = ([f for f in files if (f.start < killed_us) is early] for early in (True, False))
    assert before
    assert after
    for file in files:
        assert decode(file.path) == file.frames, file
        assert in_order(stamps(file.path))
    assert all(file.sealed for file in before)
    last = stamps(before[-1].path, before[-1].start)[-1]
    assert killed_us - last.sent < FRAGMENT_US + QUEUED_US
    # What the catalog says of the file is what is in it.
    assert abs(before[-1].end - last.recorded) < 100_000


def check_timeline(entries: list[Entry], killed_us: int, dead_us: int) -> None:
    """It was killed after `killed_us`, and before `dead_us`."""
    assert not holes(entries), entries
    (outage,) = (entry for entry in entries if entry.cause == DOWN)
    assert killed_us - FRAGMENT_US - QUEUED_US <= outage.start <= dead_us
    # After it the camera is called again: what little passes until its first picture is explained as well.
    assert {entry.cause for entry in entries if entry.start > outage.start} <= {"", "camera offline"}


def old_call_was_ended(camera: Program, outage: Entry) -> None:
    """The camera was told, and did not have to find out. Where a busy machine takes long to be back, the kernel sends
    it away meanwhile, and it hangs up by itself (`soip.agents.cameracall.REFUSALS`).
    """
    ends = [entry for entry in camera.entries if entry["event"] == "call ended"]
    told = [(end["by_peer"], "media server restarted" in end["reason"]) for end in ends]
    gave_up = [(end["by_peer"], "Media timeout" in end["reason"]) for end in ends]
    assert told == [(True, True)] or (outage.seconds > REFUSALS and gave_up == [(False, True)]), ends


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.add_camera("cam1")
    site.add_user()
    return site


def test_a_media_worker_is_killed(site: Site) -> None:
    with site:
        site.start()
        camera = site.simulate("cam1")
        site.until_camera("cam1")
        time.sleep(7)  # A few fragments on the disk, and one under way.
        bound = binding(site)
        killed = now_us()
        site.kill_process("media-0")
        dead = now_us()
        recorded_again(site, killed)
        assert site.count("process ended", name="media-0", reason="signal SIGKILL") == 1
        assert site.count("process started", name="sip") == site.count("process started", name="web") == 1
        assert binding(site) == bound
        assert site.camera("cam1")["media"] == "recording"
        entries = timeline(site, "cam1")
        check_timeline(entries, killed, dead)
        old_call_was_ended(camera, next(entry for entry in entries if entry.cause == DOWN))
        site.stop()
        check_files(site.recordings("cam1"), killed)
        assert site.soip("store", "check").stdout.rstrip().endswith("agree")


def test_the_whole_server_is_killed(site: Site) -> None:
    with site:
        site.start()
        camera = site.simulate("cam1")
        site.until_camera("cam1")
        time.sleep(7)  # A few fragments on the disk, and one under way.
        bound = binding(site)
        killed = now_us()
        site.kill()
        dead = now_us()
        site.start()
        recorded_again(site, killed)
        assert site.count("bindings restored", online=1) == 1
        # No REGISTER was needed: the same binding, and the registrar took none since the restart.
        assert binding(site) == bound
        assert site.count("registered", account="cam1") == 0
        entries = timeline(site, "cam1")
        check_timeline(entries, killed, dead)
        old_call_was_ended(camera, next(entry for entry in entries if entry.cause == DOWN))
        site.stop()
        check_files(site.recordings("cam1"), killed)
        assert site.soip("store", "check").stdout.rstrip().endswith("agree")
