"""A peer that is there is found; one that is missing fails with the name of its package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers import need, packages


def test_the_packages_are_those_of_the_script() -> None:
    assert packages()["baresip"] == "baresip-core"
    assert packages()["sipp"] == "sip-tester"
    assert packages()["/usr/share/fonts/truetype/nanum/NanumGothic.ttf"] == "fonts-nanum"


def test_a_peer_is_found_by_name_or_path() -> None:
    assert Path(need("sh")).is_absolute()
    assert need("/bin/sh") == "/bin/sh"


def test_a_missing_peer_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match=r"sipp is missing: apt-get install sip-tester, or"):
        need("sipp")
    with pytest.raises(pytest.fail.Exception, match="add its package to scripts/peers"):
        need("/nowhere/at/all")
