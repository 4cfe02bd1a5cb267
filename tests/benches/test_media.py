"""The benches of the media server: what they search and compare, on small numbers, and that each runs to its end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from benches.frames import FRAME_TICKS, GOP, gop
from benches.report import Comparison, Figure, Told, Value, free_ports
from hypothesis import given
from hypothesis import strategies as st

from benches import age, baseline, capacity, equal, fanout, ffmpeg, footprint, ingest, playback, stamped
from soip.rtp.h264 import H264
from tests.peers import need

# -- what is told


def test_a_value_is_held_against_its_mark() -> None:
    value = Value("x", "y", "ms", mark=10, rounds=[9, 30, 8], notes=["a note"])
    assert value.lines() == ["x: y", "  9.00 ms, mark at most 10 kept   (rounds: 9.00 30.00 8.00)", "         a note"]
    value.mark = 5
    assert "MISSED" in value.lines()[1]
    value.least = True
    assert "mark at least 5 kept" in value.lines()[1]
    assert "nothing was measured" in Value("x", "y", "ms", mark=10).lines()[1]


def test_a_later_run_is_held_against_what_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    assert baseline.load(file) == {}
    ratio = Comparison("fan-out", "y", mark=2.0, ours=[Figure(10, 30)], floor=[Figure(10, 20)])
    value = Value("age", "y", "ms", mark=10, rounds=[4.0])
    baseline.save([ratio, value, Told("memory", ["lines"]), Value("none", "y", "ms", 1)], file)
    assert json.loads(file.read_text()) == {"age": 4.0, "fan-out": 1.5}
    value.rounds = [5.0]
    known = baseline.load(file)
    assert baseline.compare(value, known) == ["  baseline 4.00, now +25%"]
    assert baseline.compare(ratio, known) == ["  baseline 1.50, now +0%"]
    assert baseline.compare(Told("memory", []), known) == []
    assert baseline.compare(Value("new", "y", "ms", 1, [1.0]), known) == []
    baseline.save([value], file)
    assert baseline.load(file) == {"age": 5.0, "fan-out": 1.5}, "what was not measured stays"


@pytest.mark.parametrize("text", ["[]", '{"a": "b"}', "no JSON"])
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"no baseline|Expecting value"):
        baseline.load(file)


# -- cameras per core


@given(st.integers(0, 3000), st.integers(1, 800))
def test_the_largest_number_without_loss_is_found(limit: int, begin: int) -> None:
    """To a twentieth, in a bounded number of trials."""
    trials: list[int] = []

    def passes(number: int) -> bool:
        trials.append(number)
        return number <= limit

    found = capacity.search(passes, begin)
    most = min(limit, capacity.MOST)
    assert found <= most
    assert most - found <= max(1, capacity.STEP * most + 1)
    assert len(trials) <= 60


def test_one_bad_moment_does_not_end_the_search() -> None:
    spoilt = {400}

    def passes(number: int) -> bool:
        if number in spoilt:
            spoilt.remove(number)
            return False
        return number <= 600

    assert 570 <= capacity.search(passes, 200) <= 600


def test_a_trial_tells_the_share_of_the_core() -> None:
    found = capacity._trial(3, 3.0)
    assert found.cameras == 3
    assert 0 < found.load < 2


def test_more_than_one_core_does_not_pass() -> None:
    assert capacity.Trial(400, "", 1.0).passed
    assert not capacity.Trial(400, "3 packets were lost", 0.5).passed
    beyond = capacity.Trial(400, "", 1.01)
    assert not beyond.passed
    assert beyond.line() == "400: nothing lost, but by more than one core; 101% of the core"
    assert capacity.Trial(300, "", 0.8).line() == "300: nothing lost; 80% of the core"


def test_a_trial_is_counted_for_ten_seconds_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[float] = []

    def trial(cameras: int, seconds: float) -> capacity.Trial:
        lengths.append(seconds)
        return capacity.Trial(cameras, "", 0.5 if cameras <= 80 else 1.5)

    monkeypatch.setattr(capacity, "_trial", trial)
    found = capacity.run(rounds=1, seconds=2.0, begin=40)
    assert found.rounds == [pytest.approx(78, abs=2)]
    assert set(lengths) == {capacity.LEAST_S}


# -- recorded equals sent

PICTURES = [bytes([number]) for number in range(GOP)]


def recorded(frames: list[bytes], first: int = 500) -> list[tuple[bytes, int]]:
    return [(one, first + at * FRAME_TICKS) for at, one in enumerate(frames)]


def test_the_same_frames_are_no_fault() -> None:
    assert equal.compare(0, GOP, PICTURES, recorded(PICTURES)) is None


@given(st.integers(0, GOP - 1))
def test_a_frame_that_is_missing_is_found(at: int) -> None:
    fault = equal.compare(3, GOP, PICTURES, recorded(PICTURES[:at] + PICTURES[at + 1 :]))
    assert fault is not None
    assert (fault.camera, fault.missing) == (3, GOP - at)


@given(st.integers(0, GOP - 1))
def test_a_frame_that_is_another_one_is_found(at: int) -> None:
    frames = [*PICTURES[:at], b"x", *PICTURES[at + 1 :]]
    fault = equal.compare(0, GOP, PICTURES, recorded(frames))
    assert fault is not None
    assert (fault.missing, fault.what) == (GOP - at, f"frame {at} is another one")


def test_a_whole_gop_that_is_missing_shows_in_the_times() -> None:
    """The bytes repeat after a GOP, so they alone would not tell."""
    twice = recorded(PICTURES + PICTURES)
    jumped = twice[: GOP // 2] + [(data, at + GOP * FRAME_TICKS) for data, at in twice[GOP // 2 :]]
    fault = equal.compare(0, 2 * GOP, PICTURES + PICTURES, jumped)
    assert fault is not None
    assert fault.missing == 2 * GOP - GOP // 2


def test_frames_that_nobody_sent_are_found() -> None:
    fault = equal.compare(0, GOP, PICTURES, recorded([*PICTURES, b"x"]))
    assert fault is not None
    assert fault.what == "1 frames more than were sent"


def test_cameras_are_recorded_as_they_were_sent() -> None:
    found = equal.run(seconds=4.0, cameras=5)
    assert "5 of 5 cameras" in found.notes[-2], found.lines()
    assert "4 of them decode" in found.notes[-1], found.lines()
    assert found.value == 0


def test_four_cameras_bear_a_block_code() -> None:
    assert stamped.chosen(300) == (0, 75, 150, 225)
    assert stamped.chosen(2) == (0, 1)


def test_a_camera_with_a_block_code_is_as_large_as_the_others() -> None:
    """And the same each time, since what was sent is made anew to be compared with."""
    count, camera = 2 * GOP, 7
    one, again = (list(stamped.pictures(camera, count)) for _ in range(2))
    assert one == again
    sizes = [sum(map(len, nals)) for nals in gop()]
    assert [sum(map(len, nals)) for nals in one] == [sizes[(number + camera) % GOP] for number in range(count)]
    keyframes = [number for number, nals in enumerate(one) if H264.is_keyframe(nals)]
    assert keyframes == [-camera % GOP, -camera % GOP + GOP]


def test_a_picture_that_is_another_one_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its bytes may be as they were sent."""
    said = [stamped.stamp(3, number) for number in range(-3 % GOP, 2 * GOP)]
    monkeypatch.setattr(stamped, "stamps", lambda files: iter(said))
    assert equal.decoded(tmp_path, 3, 2 * GOP) is None
    said[5] = stamped.stamp(4, said[5].counter)
    fault = equal.decoded(tmp_path, 3, 2 * GOP)
    assert fault is not None
    assert (fault.missing, fault.what) == (len(said) - 5, f"picture 5 of {len(said)} says that it is another one")
    said[5:] = []
    fault = equal.decoded(tmp_path, 3, 2 * GOP)
    assert fault is not None
    assert fault.missing == 2 * GOP - (-3 % GOP) - 5


# -- the others, once and small


def test_a_camera_of_another_bit_rate_is_as_large_as_that() -> None:
    half, whole = (sum(len(nal) for nals in gop(bit_rate=rate) for nal in nals) for rate in (500_000, 4_000_000))
    assert half / whole == pytest.approx(1 / 8, rel=0.05)


def test_sendto_sends_the_same_packets() -> None:
    need("cc")
    python, c = fanout.beside_sendto(rounds=1, seconds=2.0, viewers=3)
    sent = {figure.packets for one in (python, c) for figure in (*one.ours, *one.floor)}
    assert len(python.floor) == len(c.floor) == 1
    assert max(sent) - min(sent) < max(sent) * 0.05


def test_ffmpeg_records_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    need("ffmpeg")
    for bench in (ingest, ffmpeg):
        monkeypatch.setattr(bench, "WARM_UP", 3)
    found = ffmpeg.run(rounds=1, seconds=3.0, cameras=2, processes=2)
    assert found.ratio is not None
    assert found.floor[0].cpu_us > 0
    assert "ffmpeg" in found.lines()[2]


def test_the_age_of_a_frame_is_told_by_two_ways() -> None:
    found = age.run(rounds=1, seconds=2.0, cameras=2)
    assert len(found.rounds) == 1
    assert "60 frames" in found.notes[0], "all have come by both ways"


def test_who_watches_notes_when_a_numbered_frame_was_there() -> None:
    port = free_ports(1)
    watcher = age.Watcher(age._listening(port))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, watcher.sock:
        sock.sendto(b"\x80not a frame", ("127.0.0.1", port))
        watcher.read()
    assert watcher.arrived == {}


def test_memory_is_what_more_cameras_take_more() -> None:
    found = footprint.run(rounds=1, cameras=footprint.FEW + 10)
    assert found.value is not None
    assert -5 < found.value < 20
    assert "cached GOPs" in found.notes[0]


def test_a_recording_is_played_back_out_of_many() -> None:
    first, core = playback.run(rounds=1, files=2000, calls=3, sessions=2)
    assert isinstance(first, Value)
    assert isinstance(core, Value)
    assert first.value is not None
    assert 0 < first.value < 60_000
    assert core.value is not None
    assert core.value > 0


def test_what_is_saved_is_what_was_measured() -> None:
    """The command as people type it; nothing is saved without being asked for."""
    before = baseline.FILE.read_bytes() if baseline.FILE.exists() else None
    command = [sys.executable, "-m", "benches", "fanout", "--rounds", "1", "--seconds", "1", "--viewers", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    python, report = done.stdout.split("\n", 1)
    assert python.startswith("Python 3."), "a figure without its interpreter says little"
    assert report.startswith("fan-out: 3 viewers")
    assert (baseline.FILE.read_bytes() if baseline.FILE.exists() else None) == before
