"""Two media servers on one directory, each with its own data: one dies or is frozen, the other goes on recording."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.site import USER, Program, Site, now_us, rfc3339, until

pytestmark = pytest.mark.faults

FAILOVER_S = 20.0
"""Long enough that a machine which stalls for some seconds takes nobody for dead."""
LONG_S = 90.0
SLACK_US = 200_000


class Pair:
    """`soip serve`, and beside it one more `soip media` of another media server."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder, failover_seconds=FAILOVER_S)
        self.other_data = folder / "other"
        self.other: Program

    def start(self) -> None:
        site = self.site
        site.add_user()
        site.start()
        low = random.randrange(29_400, 31_600, 400)
        own = {
            "SOIP_DATA": str(self.other_data),
            "SOIP_DIRECTORY": str(site.data / "soip.db"),
            "SOIP_RTP_PORTS": f"{low}-{low + 399}",
        }
        command = [sys.executable, "-m", "soip", "media"]
        self.other = site.run("other", command, {**site.settings, **own})
        until(lambda: "media worker ready" in self.other.text, 40, lambda: self.other.text)

    def add(self, *cameras: str) -> None:
        for camera in cameras:
            self.site.add_camera(camera)
            self.site.simulate(camera)
        for camera in cameras:
            until(lambda camera=camera: self.frames(camera) > 25, LONG_S, self.explain)  # type: ignore[misc]

    @property
    def other_id(self) -> str:
        (name,) = (name for (name,) in self.site.query("SELECT id FROM media_instance") if name != self.first_id)
        return str(name)

    @property
    def first_id(self) -> str:
        (ready,) = (entry for entry in self.site.entries if entry["event"] == "media worker ready")
        return str(ready["instance"])

    def home(self, camera: str) -> str:
        return str(self.site.query("SELECT instance_id FROM home WHERE camera_id = ?", camera)[0][0])

    def of(self, instance: str) -> str:
        """A camera that has this home."""
        return str(self.site.query("SELECT camera_id FROM home WHERE instance_id = ?", instance)[0][0])

    def frames(self, camera: str, instance: str = "%", since: int = 0) -> int:
        """How many pictures a worker has recorded in files that began after `since`."""
        query = (
            "SELECT coalesce(sum(frames), 0) FROM recording WHERE camera_id = ? AND instance_id LIKE ? AND start_us > ?"
        )
        return int(self.site.query(query, camera, instance, since)[0][0])

    def spans(self, camera: str, instance: str) -> list[tuple[int, int]]:
        query = "SELECT start_us, end_us FROM recording WHERE camera_id = ? AND instance_id = ? ORDER BY start_us"
        return [(start, end) for start, end in self.site.query(query, camera, instance)]

    def until_taken_over(self, camera: str, since: int) -> None:
        """The first worker records what was the other's, and the gap between says why."""
        until(lambda: self.home(camera) == self.first_id, LONG_S, self.explain)
        until(lambda: self.frames(camera, self.first_id, since) > 50, LONG_S, self.explain)
        said = [gap for gap in self.site.gaps(camera) if "took the camera over" in gap.detail]
        assert [gap.cause for gap in said] == ["media server down"]
        assert self.other_id in said[0].detail

    def explain(self) -> str:
        return f"{self.site.explain()}\n--- other\n{self.other.text[-4000:]}"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    with pair.site:
        pair.start()
        yield pair
        with suppress(ProcessLookupError):
            os.kill(pair.other.pid, signal.SIGCONT)  # one that is frozen would not end


def test_cameras_of_a_killed_server_go_to_the_other_and_stay_playable(pair: Pair) -> None:
    pair.add("cam1", "cam2")
    lost, kept = pair.of(pair.other_id), pair.of(pair.first_id)
    began = now_us() - 60_000_000
    killed = now_us()
    pair.other.kill()
    pair.until_taken_over(lost, killed)
    assert pair.home(kept) == pair.first_id
    assert len(pair.spans(kept, pair.first_id)) == 1, "nothing happened to those of the other"
    window = {"from": rfc3339(began), "to": rfc3339(now_us())}
    with pair.site.client() as client:
        for action, path in (("playback", "hls/{}/index.m3u8"), ("live", "")):
            grant = client.post(f"/api/cameras/{lost}/grants", json={"action": action}, headers=own(pair.site)).json()
            assert grant["url"] == f"/media/{pair.first_id}"
            if path:
                answer = client.get(f"{grant['url']}/{path.format(lost)}", params={**window, "token": grant["token"]})
                assert answer.status_code == 200, answer.text
                ids = {row for (row,) in pair.site.query("SELECT id FROM recording WHERE camera_id = ?", lost)}
                assert len(ids) >= 2
                assert all(identity in answer.text for identity in ids), "of both servers"
    assert USER


def own(site: Site) -> dict[str, str]:
    """As a page of the console asks."""
    return {"Origin": site.base}


def test_a_frozen_server_that_goes_on_does_not_record_what_moved(pair: Pair) -> None:
    pair.add("cam1", "cam2")
    lost = pair.of(pair.other_id)
    frozen = now_us()
    os.kill(pair.other.pid, signal.SIGSTOP)
    pair.until_taken_over(lost, frozen)
    os.kill(pair.other.pid, signal.SIGCONT)
    until(lambda: "camera is served elsewhere now" in pair.other.text, LONG_S, pair.explain)
    thawed = now_us()
    until(lambda: pair.frames(lost, pair.first_id, frozen) > 300, LONG_S, pair.explain)
    assert pair.home(lost) == pair.first_id, "it does not move back"
    (first, *_) = pair.spans(lost, pair.first_id)
    for start, end in pair.spans(lost, pair.other_id):
        assert start < frozen, "nothing was begun after it"
        assert end <= first[0] + SLACK_US, "nothing was recorded twice"
    # Once it has said so it does not call the camera again.
    query = "SELECT count(*) FROM dialog WHERE instance_id = ? AND camera_id = ?"
    until(lambda: pair.site.query(query, pair.other_id, lost) == [(0,)], LONG_S, pair.explain)
    assert '"event": "camera called"' not in pair.other.text[pair.other.text.index("camera is served elsewhere now") :]
    assert thawed > frozen
    assert httpx.get(f"{pair.site.base}/api/health", trust_env=False).json()["media_workers"] == 2
    # The other has little to do now: what is new goes there.
    pair.add("cam3")
    assert pair.home("cam3") == pair.other_id
