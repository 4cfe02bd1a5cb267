"""The options of our own test runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent / "conftest.py"
TESTS = """
import os
import pytest

@pytest.mark.faults
def test_one_fault(thorough): print("thorough", thorough)

@pytest.mark.faults("all")
def test_every_fault(): pass

def test_environment(): assert "SOIP_HTTP" not in os.environ
"""

pytest_plugins = ["pytester"]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of its own with our conftest."""
    monkeypatch.setenv("SOIP_HTTP", "127.0.0.1:1")
    pytester.makeini("[pytest]\nmarkers = faults: on purpose\naddopts = --strict-markers -p no:asyncio\n")
    pytester.makeconftest(CONFTEST.read_text("utf-8"))
    pytester.makepyfile(TESTS)
    return pytester


def test_a_sample_of_faults_by_default(inner: pytest.Pytester) -> None:
    result = inner.runpytest_subprocess("-s")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["*thorough False*"])


def test_all_faults_when_asked_for(inner: pytest.Pytester) -> None:
    result = inner.runpytest_subprocess("-s", "--faults=all", "-m", "faults")
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["*thorough True*"])


def test_settings_of_the_shell_do_not_reach_the_tests() -> None:
    assert not [name for name in os.environ if name.startswith("SOIP_")]
