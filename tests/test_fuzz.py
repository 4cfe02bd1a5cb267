"""`python -m tests.fuzz`: every target starts, runs, and what breaks an invariant is kept and told."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main, run, targets
from tests.fuzz.corpus import STARTS

GUIDED = [False, True] if importlib.util.find_spec("atheris") else [False]

BROKEN = '''
def fuzz(data: bytes) -> None:
    """No byte is a Z."""
    assert b"Z" not in data
'''


def test_every_target_states_what_must_hold_and_starts_from_good_input() -> None:
    found = targets()
    assert len(found) > 10
    assert set(STARTS) == set(found)
    for name in found:
        target = importlib.import_module(f"tests.fuzz.{name}").fuzz
        first = (target.__doc__ or "").strip().splitlines()[0]
        assert len(first) > 20, f"{name}: the first line of its docstring states the invariant"
        samples = list(STARTS[name]())
        assert samples
        assert all(samples)
        for data in samples:
            target(data)


@pytest.mark.parametrize("guided", GUIDED)
def test_a_target_runs_for_its_time(guided: bool, tmp_path: Path) -> None:
    outcome = run("policy_mediaurl", 1, guided, tmp_path)
    assert not outcome.failed, outcome.said
    assert outcome.executed > 100
    assert list((tmp_path / "policy_mediaurl" / "corpus").iterdir())
    assert not outcome.inputs


@pytest.mark.parametrize("guided", GUIDED)
def test_a_finding_is_told_kept_and_can_be_had_again(
    guided: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "broken_targets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sip_broken.py").write_text(BROKEN)
    (package / "corpus.py").write_text('STARTS = {"sip_broken": lambda: [b"AAAA", b"AAZA"]}\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    plain = [] if guided else ["--plain"]
    assert main(["--seconds", "1", *plain, "sip_broken"], tmp_path / "found", package.name) == 1
    told = capsys.readouterr().out
    (kept,) = (tmp_path / "found" / "sip_broken").glob("crash-*")
    assert "FOUND" in told
    assert 'assert b"Z" not in data' in told
    assert str(kept) in told
    with pytest.raises(AssertionError):
        main(["--input", str(kept), "sip_broken"], package=package.name)


def test_a_wrong_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sip_nothing"])
    assert ended.value.code == 2
    assert "there is no target sip_nothing; targets are agents_nalsplit" in capsys.readouterr().err
