from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benches.frames import BIT_RATE, FRAME_RATE, GOP, SPS, gop
from benches.report import Comparison, Figure, free_ports

from benches import fanout, floor, ingest, ladder, memory, registrar
from soip.rtp.h264_sets import parse_sps


def test_the_camera_of_the_benchmarks_sends_what_it_says() -> None:
    size = sum(len(nal) for nals in gop() for nal in nals)
    assert size * 8 * FRAME_RATE / GOP == pytest.approx(BIT_RATE, rel=0.03)
    assert parse_sps(SPS).width == 1920


def test_the_report_compares_medians() -> None:
    comparison = Comparison("x", "y", mark=2.0)
    comparison.ours += [Figure(10, 30), Figure(10, 900, "noisy"), Figure(10, 31)]
    assert comparison.ratio is None
    assert "no ratio" in comparison.lines()[-1]
    comparison.floor += [Figure(10, 20), Figure(10, 20), Figure(10, 1)]
    assert comparison.ratio == pytest.approx(1.55)
    assert comparison.lines()[-1].endswith("kept")
    assert any("noisy" in line for line in comparison.lines())
    comparison.mark = 1.5
    assert comparison.lines()[-1].endswith("MISSED")


@pytest.mark.parametrize("name", ["ingest", "fanout"])
def test_without_a_compiler_there_is_no_floor(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert floor.build(name, tmp_path) is None


def test_ingest_counts_every_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "WARM_UP", 3)
    comparison = ingest.run(rounds=1, seconds=3.0, cameras=3)  # a fragment has 2 s
    for figure in (*comparison.ours, *comparison.floor):
        assert figure.packets == pytest.approx(3 * 3 * 15.4 * FRAME_RATE, rel=0.1)
        assert figure.cpu_us > 0


def test_fan_out_sends_the_same_as_the_floor() -> None:
    comparison = fanout.run(rounds=1, seconds=2.0, viewers=3)
    sent = {figure.packets for figure in (*comparison.ours, *comparison.floor)}
    assert max(sent) - min(sent) < max(sent) * 0.02
    assert not [figure.note for figure in comparison.ours if figure.note]


def test_what_srtp_costs_is_measured_on_the_same_packets() -> None:
    for comparison in fanout.srtp(rounds=1, seconds=2.0, viewers=3):
        (ours,), (plain,) = comparison.ours, comparison.floor
        assert ours.packets == plain.packets
        assert ours.cpu_us > plain.cpu_us
        assert not ours.note


def test_memory_stays_within_its_marks() -> None:
    """With fewer than the bench has, so that it is over in two minutes; more are registered before, to fill caches."""
    camera, connection = memory.run(cameras=3000, connections=1000, warm=4500)
    assert 0.5 < camera.each <= 1.5 * memory.MOST_A_CAMERA, camera.line()  # of so few the noise is a large part
    assert 0.5 < connection.each <= memory.MOST_A_CONNECTION, connection.line()
    assert connection.line().endswith("mark 16 kB kept")


def test_what_does_not_run_makes_the_exit_code() -> None:
    command = [sys.executable, "-m", "benches", "fanout", "--rounds", "1", "--seconds", "1", "--viewers", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert "fanout: did not run" in done.stderr


def test_free_ports_are_pairs() -> None:
    assert free_ports(3) % 2 == 0


def test_sip_is_measured_beside_kamailio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar, "ACCOUNTS", 400)
    monkeypatch.setattr(registrar, "RATES", {"register": 100, "keepalive": 200, "call": 40})
    monkeypatch.setattr(registrar, "CAPACITIES", {"register": 400, "keepalive": 400})
    comparisons = registrar.run(rounds=1, seconds=0.5)
    assert [comparison.unit for comparison in comparisons] == ["register", "keepalive", "call"]
    for comparison in comparisons:
        assert comparison.lines()[1].endswith(")")
        for figure in (*comparison.ours, *comparison.floor):
            assert figure.cpu_us > 0
        assert len(comparison.floor) == 1
    assert ["flat out" in comparison.lines()[-1] for comparison in comparisons] == [True, True, False]


def test_a_restart_brings_everybody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar, "ACCOUNTS", 100)
    monkeypatch.setattr(registrar, "SETTLED_SECONDS", 5)
    lines = registrar.restart()
    assert lines[1].startswith("  100 registered, 100 online again")
    assert lines[2].endswith("kept")


def test_the_cost_of_the_ladder_is_measured_on_calls_that_work() -> None:
    found = ladder.run(rounds=1, seconds=0.2)
    assert [comparison.unit for comparison in found] == ["call", "registration"]
    for comparison in found:
        assert comparison.ratio is not None
        assert all(figure.cpu_us > 0 for figure in (*comparison.ours, *comparison.floor))
        assert f"µs of CPU per {comparison.unit}" in comparison.lines()[1]
