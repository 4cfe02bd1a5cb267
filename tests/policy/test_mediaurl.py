"""Media tokens say what they were issued for, and nothing else passes."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.policy import token as tokens
from soip.policy.errors import ExpiredTokenError, InvalidTokenError, PolicyError, TokenError
from soip.policy.mediaurl import ACTIONS, LIFETIME_S, MediaGrant, issue, verify
from tests.fuzz.policy_mediaurl import KEY, fuzz

IDS = st.text(alphabet="abcdefXYZ0189._-", min_size=1, max_size=64)
NOW = 1_795_176_230.25


@given(st.binary(min_size=1, max_size=64), IDS, IDS, st.sampled_from(sorted(ACTIONS)), st.floats(1, 1e10))
def test_what_was_issued_is_read_back(key: bytes, subject: str, camera: str, action: str, expires: float) -> None:
    token = issue(key, subject, camera, action, expires)
    assert verify(key, token, expires - 0.5) == MediaGrant(subject, camera, action, expires)
    assert len(token) < 400


@given(IDS)
def test_a_token_needs_no_quoting_in_an_address(camera: str) -> None:
    token = issue(KEY, "user", camera, "live", NOW)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_it_ends_on_time() -> None:
    token = issue(KEY, "bob", "cam1", "live", NOW + LIFETIME_S)
    assert verify(KEY, token, NOW + LIFETIME_S - 0.001).subject == "bob"
    with pytest.raises(ExpiredTokenError):
        verify(KEY, token, NOW + LIFETIME_S)


def test_an_expired_token_of_someone_else_is_invalid_rather_than_expired() -> None:
    """Else a stranger could learn from the answer whether a signature was right."""
    token = issue(b"another key", "bob", "cam1", "live", NOW - 1)
    with pytest.raises(InvalidTokenError):
        verify(KEY, token, NOW)


def test_no_other_action_is_issued() -> None:
    with pytest.raises(ValueError, match="no such media action: 'delete'"):
        issue(KEY, "bob", "cam1", "delete", NOW)


@given(st.data())
def test_one_changed_character_spoils_it(data: st.DataObject) -> None:
    token = issue(KEY, "bob", "cam1", "live", NOW + 60)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("AZaz09-_.").filter(lambda character: character != token[place]))
    with pytest.raises(InvalidTokenError):
        verify(KEY, token[:place] + other + token[place + 1 :], NOW)


@pytest.mark.parametrize("token", ["", ".", "a", "a.b", "a.b.c", "x" * 1025, "é.é", "\0", "…" * 10])
def test_nonsense_is_invalid(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        verify(KEY, token, NOW)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"sub":"a"}', b"\xff", b'{"sub":1,"cam":2,"act":3}'])
def test_a_signed_body_that_cannot_be_read_is_invalid(content: bytes) -> None:
    body = urlsafe_b64encode(content).rstrip(b"=").decode()
    with pytest.raises(InvalidTokenError):
        verify(KEY, f"{body}.{tokens.sign(KEY, body)}", NOW)


def test_a_time_that_is_no_number_never_comes_is_refused() -> None:
    """`now >= nan` is false for ever: such a token would never end."""
    facts = json.dumps({"sub": "a", "cam": "b", "act": "live", "exp": "nan"}).encode()
    body = urlsafe_b64encode(facts).rstrip(b"=").decode()
    with pytest.raises(TokenError):
        verify(KEY, f"{body}.{tokens.sign(KEY, body)}", NOW)


def test_errors_form_one_tree() -> None:
    assert issubclass(InvalidTokenError, TokenError)
    assert issubclass(ExpiredTokenError, TokenError)
    assert issubclass(TokenError, PolicyError)


def test_a_handful_of_the_fuzzer() -> None:
    good = issue(KEY, "bob", "cam1", "live", 4e9).encode()
    for data in (b"", b".", good, good[:-1], good.upper(), good + b"=", b"\x80" * 2000, good.replace(b".", b"..")):
        fuzz(data)
