"""SIP tokens say whom they were issued for, and none of another kind passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.policy import mediaurl, siptoken
from soip.policy import token as tokens
from soip.policy.errors import ExpiredTokenError, InvalidTokenError
from tests.fuzz.policy_siptoken import EXPIRES, KEY, fuzz
from tests.fuzz.seeds import run

IDS = st.text(alphabet="abcdefXYZ0189._-", min_size=1, max_size=64)
NOW = 1_795_176_230.25


@given(st.binary(min_size=1, max_size=64), IDS, st.floats(1, 1e10))
def test_what_was_issued_is_read_back(key: bytes, subject: str, expires: float) -> None:
    token = siptoken.issue(key, subject, expires)
    assert siptoken.verify(key, token, expires - 0.5) == subject
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_it_ends_on_time() -> None:
    token = siptoken.issue(KEY, "bob", NOW + siptoken.LIFETIME_S)
    assert siptoken.LIFETIME_S == 300
    assert siptoken.verify(KEY, token, NOW + 299.9) == "bob"
    with pytest.raises(ExpiredTokenError):
        siptoken.verify(KEY, token, NOW + 300)


def test_another_key_is_another_kind() -> None:
    """The keys keep the kinds apart: a media token of the same key would say who, too."""
    token = mediaurl.issue(b"media", "bob", "cam1", "live", NOW + 60)
    with pytest.raises(InvalidTokenError):
        siptoken.verify(KEY, token, NOW)
    with pytest.raises(InvalidTokenError):
        mediaurl.verify(KEY, siptoken.issue(KEY, "bob", NOW + 60), NOW)


@given(st.data())
def test_one_changed_character_spoils_it(data: st.DataObject) -> None:
    token = siptoken.issue(KEY, "bob", NOW + 60)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("AZaz09-_.").filter(lambda character: character != token[place]))
    with pytest.raises(InvalidTokenError):
        siptoken.verify(KEY, token[:place] + other + token[place + 1 :], NOW)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"sub":"a"}', b"\xff", b'{"exp":4e9}'])
def test_a_signed_body_that_cannot_be_read_is_invalid(content: bytes) -> None:
    body = tokens.encode(content)
    with pytest.raises(InvalidTokenError):
        siptoken.verify(KEY, f"{body}.{tokens.sign(KEY, body)}", NOW)


def test_a_handful_of_the_fuzzer() -> None:
    run(fuzz, [siptoken.issue(KEY, "bob", EXPIRES).encode(), b"."])
