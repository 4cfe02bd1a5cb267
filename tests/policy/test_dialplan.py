"""Numbers and patterns of numbers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.policy.dialplan import is_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "number", "fits"),
    [
        ("0*", "0", True),
        ("0*", "0049891234", True),
        ("0*", "10", False),
        ("2xx", "217", True),
        ("2xx", "21", False),
        ("2xx", "2170", False),
        ("2xx", "2x7", False),
        ("+82*", "+82212345", True),
        ("+82*", "82212345", False),
        ("xxx", "+12", False),
        ("112", "112", True),
        ("*", "5", True),
        ("*", "bob", False),
        ("*", "", False),
        ("*", "5" * 33, False),
        ("0*", "0;ext=1", False),
        ("0*", "0@evil", False),
        ("0*", "٠", False),
        ("bob", "bob", False),
        ("", "", False),
    ],
)
def test_what_fits(pattern: str, number: str, fits: bool) -> None:
    assert matches(pattern, number) is fits


@pytest.mark.parametrize("text", ["", "a", "1*2", "**", "+", "2X", "1 2", "*1", "1" * 33])
def test_what_is_no_pattern(text: str) -> None:
    assert is_pattern(text) is (text == "+")


PATTERNS = st.from_regex(re.compile(r"\+?[0-9x]{0,5}\*?"), fullmatch=True)
NUMBERS = st.from_regex(re.compile(r"\+?[0-9]{1,8}", re.ASCII), fullmatch=True)


@given(PATTERNS, NUMBERS)
def test_a_pattern_is_the_expression_it_stands_for(pattern: str, number: str) -> None:
    expression = re.escape(pattern.rstrip("*")).replace("x", "[0-9]") + ("[0-9]*" if pattern.endswith("*") else "")
    if pattern == "*":
        expression = r"\+?[0-9]*"  # a number begins with + by itself
    expected = bool(pattern) and re.fullmatch(expression, number) is not None
    assert matches(pattern, number) is expected


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_two_texts_fit_or_do_not(pattern: str, number: str) -> None:
    if matches(pattern, number):
        assert is_pattern(pattern)
        assert len(number) <= 33
        assert not set(number) - set("+0123456789")
