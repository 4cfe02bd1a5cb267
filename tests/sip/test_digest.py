"""Digest: the examples of the RFCs, both sides against each other, and nonces in virtual time."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.digest import (
    ALGORITHMS,
    MD5,
    SHA_256,
    SHA_512_256,
    Credentials,
    NonceIssuer,
    NonceState,
    Verdict,
    answer_challenge,
    canonical_algorithm,
    choose_challenge,
    count_of,
    ha1,
    judge,
    make_challenge,
    verify,
)
from soip.sip.errors import DigestError
from soip.sip.headers import Authorization, Challenge

KEY = b"0123456789abcdef"
BOB = Credentials("bob", "zanzibar")


def used(issuer: NonceIssuer, nonce: str, count: int | None, now: float, source: str = "") -> NonceState | None:
    """Open a nonce and use it; None when it is not ours, or another source's."""
    body = issuer.open(nonce, source)
    return None if body is None else issuer.use(body, count, now)


def test_rfc_2617_example() -> None:
    challenge = Challenge.parse(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    answer = answer_challenge(challenge, "GET", "/dir/index.html", Credentials("Mufasa", "Circle Of Life"), "0a4f113b")
    assert answer.param("response") == "6629fae49393a05397450978507c4ef1"
    assert answer.param("opaque") == "5ccc069c403ebaf9f0171e9517f40e41"
    assert answer.param("algorithm") == ""  # not asked for, not said
    assert verify(answer, "GET", "939e7578ed9e3c518a452acee763bce9")


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [  # RFC 7616 §3.9.1
        (MD5, "8ca523f5e9506fed4657c9700eebdbec"),
        (SHA_256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_examples(algorithm: str, response: str) -> None:
    challenge = make_challenge(
        "http-auth@example.org",
        "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        algorithm,
        opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    )
    answer = answer_challenge(
        challenge,
        "GET",
        "/dir/index.html",
        Credentials("Mufasa", "Circle of Life"),
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert answer.param("response") == response


def test_rfc_2069_without_qop() -> None:
    challenge = make_challenge("biloxi.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=False)
    answer = answer_challenge(challenge, "REGISTER", "sip:biloxi.com", BOB, "unused")
    assert (answer.param("qop"), answer.param("cnonce"), answer.param("nc")) == ("", "", "")
    assert count_of(answer) is None
    assert verify(answer, "REGISTER", ha1("bob", "biloxi.com", "zanzibar"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("qop", [True, False])
def test_both_sides_agree(algorithm: str, qop: bool) -> None:
    challenge = make_challenge('re"alm', "nonce", algorithm, qop=qop, stale=True)
    assert challenge.stale
    sent = str(answer_challenge(Challenge.parse(str(challenge)), "INVITE", "sip:cam1@h", BOB, "c1", 2))
    got = Authorization.parse(sent)
    secret = ha1("bob", 're"alm', "zanzibar", algorithm)
    assert verify(got, "INVITE", secret, algorithm)
    assert not verify(got, "BYE", secret, algorithm)
    assert not verify(got, "INVITE", ha1("bob", 're"alm', "wrong", algorithm), algorithm)
    assert not verify(got, "INVITE", secret, next(name for name in ALGORITHMS if name != algorithm))
    assert count_of(got) == (2 if qop else None)


def test_hash_lengths() -> None:
    assert [len(ha1("u", "r", "p", algorithm)) for algorithm in (MD5, SHA_256, SHA_512_256)] == [32, 64, 64]
    assert ha1("u", "r", "p", SHA_256) != ha1("u", "r", "p", SHA_512_256)
    with pytest.raises(DigestError):
        ha1("u", "r", "p", "SHA-1")


def test_names_of_algorithms() -> None:
    assert canonical_algorithm("md5") == MD5
    assert canonical_algorithm("sha-256") == SHA_256
    assert canonical_algorithm("MD5-sess") is None


def test_stored_hashes_serve_instead_of_a_password() -> None:
    stored = Credentials("bob", hashes={SHA_256: ha1("bob", "r", "zanzibar", SHA_256)})
    challenge = make_challenge("r", "n", SHA_256)
    assert answer_challenge(challenge, "A", "u", stored, "c") == answer_challenge(challenge, "A", "u", BOB, "c")
    with pytest.raises(DigestError):
        answer_challenge(make_challenge("r", "n", MD5), "A", "u", stored, "c")
    assert "zanzibar" not in repr(BOB)


def test_the_first_challenge_we_can_answer_is_chosen() -> None:
    texts = [
        'Basic realm="a"',
        'Digest realm="a", nonce="1", algorithm=SHA-1024',
        'Digest realm="a", nonce="2", algorithm=MD5-sess',
        'Digest realm="a", nonce="3", qop="auth-int"',
        'Digest realm="a", nonce="4", algorithm=sha-256, qop="auth-int,AUTH"',
        'Digest realm="a", nonce="5"',
    ]
    challenges = [Challenge.parse(text) for text in texts]
    assert choose_challenge(challenges, BOB).nonce == "4"
    assert choose_challenge(challenges, Credentials("bob", hashes={MD5: "0"})).nonce == "5"
    with pytest.raises(DigestError):
        choose_challenge(challenges[:4], BOB)
    with pytest.raises(DigestError):
        answer_challenge(challenges[0], "A", "u", BOB, "c")


SECRET = ha1("bob", "r", "zanzibar")


@pytest.mark.parametrize(
    "change",
    [
        ("Digest ", "Basic "),
        ("qop=auth,", "qop=auth-int,"),
        ("nc=00000001", "nc=zzz"),
        ("nc=00000001", "nc=00000000001"),
        ("nc=00000001", "nc=00000002"),
        ('cnonce="c"', 'cnonce=""'),
        ('uri="u"', 'uri="v"'),
        ('nonce="n"', 'nonce="m"'),
        ("algorithm=MD5", "algorithm=SHA-256"),
        ("algorithm=MD5", "algorithm=X"),
        ('response="', 'response="é'),
        ('response="', 'answer="'),
    ],
)
def test_changed_credentials_are_refused(change: tuple[str, str]) -> None:
    text = str(answer_challenge(make_challenge("r", "n"), "A", "u", BOB, "c"))
    assert change[0] in text
    assert verify(Authorization.parse(text), "A", SECRET)
    assert not verify(Authorization.parse(text.replace(*change)), "A", SECRET)


def test_what_phones_spell_otherwise_is_taken() -> None:
    text = str(answer_challenge(make_challenge("r", "n"), "A", "u", BOB, "c"))
    loose = text.replace("qop=auth", 'qop="auth"').replace("algorithm=MD5", 'algorithm="md5"')
    response = Authorization.parse(text).param("response")
    assert verify(Authorization.parse(loose.replace(response, response.upper())), "A", SECRET)


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=10),
    st.text(max_size=10),
    st.integers(1, 2**32 - 1),
)
def test_any_user_and_password(user: str, password: str, count: int) -> None:
    if not password:
        return
    challenge = make_challenge("r", "n", SHA_256)
    sent = answer_challenge(challenge, "A", "sip:u", Credentials(user, password), "c", count)
    assert verify(Authorization.parse(str(sent)), "A", ha1(user, "r", password, SHA_256), SHA_256)
    assert count_of(sent) == count


# --- nonces


def test_a_nonce_lives_as_long_as_it_should() -> None:
    issuer = NonceIssuer(KEY, 300)
    nonce = issuer.issue(1000.0)
    assert used(issuer, nonce, 1, 1000.0) is NonceState.FRESH
    assert used(issuer, nonce, 2, 1299.9) is NonceState.FRESH
    assert used(issuer, nonce, 3, 1300.0) is NonceState.STALE
    assert used(issuer, nonce, 4, 999.0) is NonceState.STALE  # a clock that went back


def test_nonces_differ_and_tell_nothing_to_others() -> None:
    issuer = NonceIssuer(KEY)
    assert len({issuer.issue(5.0, "192.0.2.1") for _ in range(100)}) == 100
    other = NonceIssuer(b"another key 0123")
    assert used(other, issuer.issue(5.0), 1, 5.0) is None
    for key in (b"short", b"k" * 65):
        with pytest.raises(ValueError, match="16 to 64 bytes"):
            NonceIssuer(key)


@pytest.mark.parametrize("nonce", ["", "x", "é", "AAAA", "A" * 43, "A" * 5000, "====", "a b"])
def test_made_up_nonces_are_foreign(nonce: str) -> None:
    assert used(NonceIssuer(KEY), nonce, 1, 0.0) is None


def test_every_bit_of_a_nonce_counts() -> None:
    issuer = NonceIssuer(KEY)
    nonce = issuer.issue(7.0, "a")
    raw = urlsafe_b64decode(nonce)
    for bit in range(len(raw) * 8):
        forged = bytearray(raw)
        forged[bit // 8] ^= 1 << bit % 8
        assert used(issuer, urlsafe_b64encode(forged).decode(), 1, 7.0, "a") is None
    assert used(issuer, nonce + "\n", 1, 7.0) is None


def test_a_count_is_good_once_and_may_come_late() -> None:
    issuer = NonceIssuer(KEY)
    nonce = issuer.issue(0.0)
    states = [used(issuer, nonce, count, 1.0) for count in (1, 3, 2, 2, 3, 1, 100, 37, 36, 99, 99, 4)]
    fresh, replayed = NonceState.FRESH, NonceState.REPLAYED
    assert states == [fresh, fresh, fresh, *[replayed] * 3, fresh, fresh, replayed, fresh, replayed, replayed]


@given(st.lists(st.integers(1, 200), max_size=60))
def test_no_count_is_ever_good_twice(counts: list[int]) -> None:
    issuer = NonceIssuer(KEY)
    nonce = issuer.issue(0.0)
    fresh = [count for count in counts if used(issuer, nonce, count, 1.0) is NonceState.FRESH]
    assert len(fresh) == len(set(fresh))
    if counts:
        assert max(counts) in fresh


def test_a_full_table_lets_no_replay_through() -> None:
    issuer = NonceIssuer(KEY, 300, capacity=3)
    nonces = [issuer.issue(float(n)) for n in range(6)]
    for nonce in nonces[:5]:
        assert used(issuer, nonce, 1, 10.0) is NonceState.FRESH
    for nonce in nonces[:5]:
        assert used(issuer, nonce, 1, 10.0) is not NonceState.FRESH
    # What left the table is stale for any count, what is still in it goes on
    assert [used(issuer, nonce, 2, 10.0) is NonceState.FRESH for nonce in nonces] == [False] * 2 + [True] * 4


def test_the_table_forgets_what_has_expired() -> None:
    issuer = NonceIssuer(KEY, 10)
    for n in range(1000):
        assert used(issuer, issuer.issue(float(n)), 1, float(n)) is NonceState.FRESH
    assert len(issuer._used) <= 11


def test_a_restart_makes_older_nonces_stale() -> None:
    """The table of used counts is gone, so with the same key nothing from before may be taken."""
    before = NonceIssuer(KEY).issue(99.0)
    after = NonceIssuer(KEY, started=100.0)
    assert used(after, before, 1, 101.0) is NonceState.STALE
    assert used(after, after.issue(100.0), 1, 101.0) is NonceState.FRESH


def test_a_nonce_is_for_the_source_it_was_given_to() -> None:
    issuer = NonceIssuer(KEY)
    nonce = issuer.issue(0.0, "192.0.2.1")
    assert used(issuer, nonce, 1, 1.0, "192.0.2.1") is NonceState.FRESH
    assert used(issuer, nonce, 2, 1.0, "192.0.2.2") is None
    assert used(NonceIssuer(b"another key of 16"), nonce, 1, 1.0, "192.0.2.1") is None


def test_without_qop_a_nonce_is_short_lived() -> None:
    issuer = NonceIssuer(KEY, 300, plain_lifetime=30)
    nonce = issuer.issue(0.0)
    assert used(issuer, nonce, None, 1.0) is NonceState.FRESH
    assert used(issuer, nonce, None, 2.0) is NonceState.FRESH
    assert used(issuer, nonce, None, 30.0) is NonceState.STALE
    assert used(issuer, nonce, 1, 30.0) is NonceState.FRESH


def test_judge() -> None:
    issuer = NonceIssuer(KEY, 300)

    def credentials(nonce: str, password: str = "zanzibar", count: int = 1) -> Authorization:
        return answer_challenge(make_challenge("r", nonce), "A", "u", Credentials("bob", password), "c", count)

    nonce = issuer.issue(0.0)
    assert judge(credentials(nonce, "wrong"), "A", SECRET, MD5, issuer, 1.0) is Verdict.WRONG
    good = credentials(nonce)
    assert judge(good, "A", SECRET, MD5, issuer, 1.0) is Verdict.GOOD  # a wrong guess used up no count
    assert judge(good, "A", SECRET, MD5, issuer, 1.0) is Verdict.REPLAYED
    assert judge(credentials(nonce, count=2), "A", SECRET, MD5, issuer, 999.0) is Verdict.STALE
    assert judge(credentials("made up"), "A", SECRET, MD5, issuer, 1.0) is Verdict.STALE
    assert judge(credentials("made up", "wrong"), "A", SECRET, MD5, issuer, 1.0) is Verdict.STALE, "looked at no secret"
    assert judge(credentials(issuer.issue(1.0)), "A", None, MD5, issuer, 1.0) is Verdict.WRONG, "there is no account"
