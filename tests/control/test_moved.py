"""Cameras that went elsewhere, as the SIP server tells it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.control.errors import ControlBuildError, NotUnderstoodError
from soip.control.moved import MOST, build, parse
from soip.sip.message import MAX_MESSAGE
from tests.fuzz import control_moved, seeds

IDS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(st.dictionaries(IDS, st.integers(0, 10**18 - 1), min_size=1, max_size=20))
def test_what_is_built_reads_back(moved: dict[str, int]) -> None:
    assert parse(build(moved)) == moved


def test_a_line_for_each() -> None:
    assert build({"cam1": 17, "cam2": 18}) == b"cam1 17\ncam2 18\n"


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"cam1", b"cam1 -1", b"cam1 x", b".. 1", b"cam1 1\n\ncam2 2", b"\xff 1", b"cam1 1\r\n"]
)
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(NotUnderstoodError):
        parse(body)


def test_as_many_as_fit_into_a_message_and_no_more() -> None:
    most = {f"{number:064}": 10**18 - 1 for number in range(MOST)}
    assert len(build(most)) < MAX_MESSAGE
    with pytest.raises(ControlBuildError):
        build(most | {"one-more": 1})
    with pytest.raises(NotUnderstoodError):
        parse(build(most) + b"one-more 1\n")


@pytest.mark.parametrize("moved", [{}, {"a b": 1}, {"cam1": -1}])
def test_what_cannot_be_written_is_our_fault(moved: dict[str, int]) -> None:
    with pytest.raises(ControlBuildError):
        build(moved)


def test_the_samples_hold_under_mutation() -> None:
    seeds.run(control_moved.fuzz, control_moved.SAMPLES)
