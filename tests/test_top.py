"""`soip top`: the board made of two readings, how it is drawn, and what is said when there is no server."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.commands.board import KEYS, Board, Reading, board, draw
from soip.metrics import Family, merge, write
from tests.peers import need
from tests.site import Site, until
from tests.test_metrics import read

NOW = 1_795_172_400.0
W = {"worker": "m-0"}
STATES = ("recording", "offline")
Figures = Mapping[str, list[tuple[dict[str, str], float]]]


def text_of(figures: Figures) -> str:
    """A text of `/metrics` with these samples."""
    parts = []
    for name, samples in figures.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        family = Family(name.removesuffix("_total"), kind, "x", tuple(samples[0][0]))  # type: ignore[arg-type]
        parts.append(asyncio.run(write([(family, [(tuple(have.values()), value) for have, value in samples])])))
    return merge(parts)


def camera(
    name: str, pictures: float, *, lost: float = 0, state: str = "recording", age: float = 0.04
) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The figures of a camera that has sent so many pictures, of ten packets and 10 kB each."""
    own = {**W, "camera": name}
    return {
        "soip_media_pictures_total": [(own, pictures)],
        "soip_media_packets_received_total": [(own, 10 * pictures)],
        "soip_media_packets_dropped_total": [({**own, "cause": "lost"}, lost), ({**own, "cause": "late"}, 5)],
        "soip_media_received_bytes_total": [(own, 10_000 * pictures)],
        "soip_media_fragments_written_total": [(own, pictures / 25)],
        "soip_media_write_seconds_total": [(own, pictures / 25 * 0.002)],
        "soip_media_write_wait_seconds_total": [(own, pictures / 25 * 0.5)],
        "soip_media_camera_state": [({**own, "state": each}, float(each == state)) for each in STATES],
        "soip_media_viewers": [({**own, "way": "rtp"}, 1), ({**own, "way": "browser"}, 2)],
        "soip_media_last_picture_timestamp_seconds": [(own, NOW - age)],
    }


def server(*cameras: Figures, requests: float = 0, cpu: float = 0, refused: float = 0, up: float = 1) -> str:
    """A server with these cameras on one worker."""
    figures: dict[str, list[tuple[dict[str, str], float]]] = {
        "soip_up": [({"process": "web"}, 1), ({"process": "sip"}, 1), ({"process": "m-0"}, up)],
        "soip_build_info": [({"version": "1.2"}, 1)],
        "soip_sip_registrations": [({}, 4)],
        "soip_sip_connections": [({}, 1)],
        "soip_sip_requests_total": [({"method": "INVITE"}, requests), ({"method": "BYE"}, requests)],
    }
    if up:
        figures |= {
            "soip_worker_cameras": [(W, len(cameras))],
            "soip_worker_calls": [({**W, "kind": "camera"}, len(cameras)), ({**W, "kind": "live"}, 1)],
            "soip_process_cpu_seconds_total": [({"process": "m-0"}, cpu)],
            "soip_process_resident_memory_bytes": [({"process": "m-0"}, 105e6)],
            "soip_disk_queue_bytes": [({**W, "disk": "/srv/soip/media"}, 120_000)],
            "soip_disk_fragments_refused_total": [({**W, "disk": "/srv/soip/media"}, refused)],
            "soip_disk_free_bytes": [({**W, "disk": "/srv/soip/media"}, 80e9)],
        }
    return merge([text_of(figures), *map(text_of, cameras)])


def looked(before: str, now: str, sort: str = "name", *, reverse: bool = False, seconds: float = 2.0) -> Board:
    return board(Reading(before, 100, NOW - seconds), Reading(now, 100 + seconds, NOW), sort, reverse=reverse)


def test_rates_are_what_grew_between_two_readings() -> None:
    shown = looked(
        server(camera("gate", 1000), requests=5, cpu=3, refused=2),
        server(camera("gate", 1060, lost=6), requests=15, cpu=3.5, refused=3),
    )
    (gate,) = shown.cameras
    assert (gate.id, gate.worker, gate.state, gate.viewers) == ("gate", "m-0", "recording", 3)
    assert gate.fps == pytest.approx(30)
    assert gate.in_bps == pytest.approx(2_400_000)
    assert gate.loss == pytest.approx(6 / 606), "of what came late nothing is missing"
    assert (gate.write, gate.wait, gate.age) == pytest.approx((0.002, 0.5, 0.04), rel=1e-3)
    assert shown.sip_requests == pytest.approx(10)
    (worker,) = shown.workers
    assert worker.cpu == pytest.approx(0.25)
    assert (worker.calls, worker.cameras) == (2, 1)
    (disk,) = shown.disks
    assert (disk.refused, disk.queue_bytes, disk.free_bytes) == (1, 120_000, 80_000_000_000)


def test_a_process_that_began_anew_has_not_run_backwards() -> None:
    (gate,) = looked(server(camera("gate", 1000)), server(camera("gate", 30))).cameras
    assert gate.fps == pytest.approx(15)


def test_what_is_new_has_no_rate_yet() -> None:
    (gate,) = looked(server(), server(camera("gate", 100_000))).cameras
    assert (gate.fps, gate.in_bps, gate.loss) == (0, 0, 0)
    assert gate.write == pytest.approx(0.002), "but it has written before"


def test_a_worker_that_does_not_answer_is_shown_as_such() -> None:
    shown = looked(server(camera("gate", 5)), server(up=0))
    assert not shown.workers[0].up
    assert shown.cameras == []
    lines = [line.plain for line in draw(shown, 80)]
    assert "2 of 3 processes up (not m-0)" in lines[0]
    assert any(line.startswith("m-0") and line.endswith("does not answer") for line in lines)


@pytest.mark.parametrize(
    ("sort", "first"),
    [("name", "a"), ("state", "b"), ("fps", "c"), ("rate", "c"), ("loss", "b"), ("viewers", "a"), ("age", "b")],
)
def test_the_worst_or_the_largest_come_first(sort: str, first: str) -> None:
    before = server(camera("a", 0), camera("b", 0), camera("c", 0))
    now = server(camera("a", 10), camera("b", 20, lost=1, state="offline", age=9), camera("c", 30))
    assert looked(before, now, sort).cameras[0].id == first
    assert looked(before, now, sort, reverse=True).cameras[-1].id == first


def test_every_key_can_be_sorted_by() -> None:
    shown = server(camera("a", 10), {"soip_media_pictures_total": [({**W, "camera": "b"}, 0)]})
    for key in KEYS:
        assert len(looked(shown, shown, key).cameras) == 2, "one that has only been counted has no picture's age"


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=70)


@given(st.lists(NAMES, max_size=5, unique=True), st.integers(20, 250), st.integers(0, 40))
def test_no_line_is_wider_than_the_terminal(names: list[str], width: int, height: int) -> None:
    before = server(*(camera(name, 0) for name in names))
    shown = looked(before, server(*(camera(name, 1e9, lost=1e9, age=1e9) for name in names)))
    lines = list(draw(shown, width, height))
    assert all(line.cell_len <= max(width, 80) for line in lines)
    assert "queued" in lines[-1 - len(names)].plain or height


def test_cameras_that_have_no_room_are_counted() -> None:
    many = server(*(camera(f"cam-{number:03}", 1) for number in range(100)))
    lines = [line.plain for line in draw(looked(many, many), 80, 24)]
    assert len(lines) <= 24
    shown = sum(line.startswith("cam-") for line in lines)
    assert lines[-1].startswith(f"… and {100 - shown} more")


def test_what_is_no_reading_is_refused() -> None:
    with pytest.raises(ValueError, match=r"could not|nvalid|not enough"):
        Reading("<html>", 0, 0)


# -- with a server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with a camera that is being recorded."""
    with Site(tmp_path_factory.mktemp("top")) as site:
        site.add_user()
        site.add_camera("gate")
        site.start()
        site.simulate("gate")
        site.until_camera("gate")
        yield site


def test_the_figures_of_a_server_are_as_prometheus_wants_them(site: Site) -> None:
    token = (site.data / "metrics-token").read_text().strip()
    answer = httpx.get(
        f"{site.base}/metrics", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=120
    )
    assert ("soip_up", (("process", "sip"),)) in read(answer.text)
    checked = subprocess.run(
        [need("promtool"), "check", "metrics"], input=answer.text, capture_output=True, text=True, timeout=120
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_once_as_a_table(site: Site) -> None:
    lines: list[str] = []

    def all_answer() -> bool:
        lines[:] = site.soip("top", "--once", "--interval", "1").stdout.splitlines()
        return "3 of 3 processes up" in lines[0]

    until(all_answer)
    assert "cameras 1: 1 recording" in lines[1]
    (gate,) = [line for line in lines if line.startswith("gate ")]
    assert "recording" in gate
    assert all(len(line) <= 80 for line in lines)


def test_once_for_programs(site: Site) -> None:
    def sends() -> bool:
        shown = json.loads(site.soip("top", "--json", "--interval", "3").stdout)
        if not all(shown["processes"].values()):
            return False  # one was too busy to answer in time
        (gate,) = shown["cameras"]
        assert gate["id"] == "gate"
        assert gate["state"] == "recording"
        return bool(gate["fps"] > 1 and gate["in_bps"] > 1000 and gate["age"] < 60)

    until(sends)


def test_on_a_terminal_it_goes_on_until_it_is_interrupted(site: Site) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, **site.settings, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "soip", "top", "--interval", "0.5"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while seen.count(b"processes up") < 2:  # drawn, and drawn again
            seen += os.read(ours, 65_536)
        process.send_signal(2)
        with suppress(OSError):
            while os.read(ours, 65_536):
                pass
        os.close(ours)
        assert process.wait(60) == 130


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--data", "{folder}/empty"), "no server has run on {folder}/empty: start one with `soip serve`"),
        (("--http", "127.0.0.1:1"), "no server answers at http://127.0.0.1:1: start one with `soip serve`"),
        (("--data", "{folder}/other"), "does not know the token of {folder}/other"),
    ],
)
def test_without_a_server_it_says_what_to_do(site: Site, options: tuple[str, ...], says: str) -> None:
    (site.folder / "empty").mkdir(exist_ok=True)
    (site.folder / "other").mkdir(exist_ok=True)
    (site.folder / "other" / "metrics-token").write_text("that of another server\n")
    done = site.soip("top", "--once", *(each.format(folder=site.folder) for each in options), check=False)
    assert done.returncode == 1
    assert says.format(folder=site.folder) in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_no_server_of_ours_is_told(site: Site, tmp_path: Path) -> None:
    """Whatever else answers HTTP there."""
    (tmp_path / "metrics").write_text("<html>")
    other = site.run("other", [sys.executable, "-u", "-m", "http.server", "0", "--directory", str(tmp_path)])
    until(lambda: "port" in other.text)
    port = other.text.partition("port ")[2].split()[0]
    done = site.soip("top", "--once", "--http", f"127.0.0.1:{port}", check=False)
    assert (done.returncode, "is no SoIP server" in done.stderr) == (1, True)
