"""Digest authentication for SIP: RFC 3261 §22, RFC 7616, with the algorithms of RFC 8760.

Both sides are here: `answer_challenge` for a user agent, `make_challenge`, `verify` and `NonceIssuer` for a
server. Secrets are held as HA1 = H(username:realm:password), so a stolen directory gives no password away,
and the realm can never change. `qop` is `auth` or absent (RFC 2069 phones); `auth-int` and `-sess` nobody
uses.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from soip.sip.errors import DigestError
from soip.sip.grammar import quote
from soip.sip.headers import Authorization, Challenge

MD5 = "MD5"
SHA_256 = "SHA-256"
SHA_512_256 = "SHA-512-256"
ALGORITHMS = (SHA_512_256, SHA_256, MD5)
"""Names as registered by RFC 7616, the strongest first."""


def _hash(algorithm: str, text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    if algorithm == MD5:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    if algorithm == SHA_256:
        return hashlib.sha256(data).hexdigest()
    if algorithm == SHA_512_256:
        return hashlib.new("sha512_256", data).hexdigest()
    raise DigestError(f"unknown digest algorithm {algorithm!r}")


def canonical_algorithm(name: str) -> str | None:
    """The registered spelling of an algorithm's name in any case; None for one we do not know."""
    upper = name.upper()
    return upper if upper in ALGORITHMS else None


def ha1(username: str, realm: str, password: str, algorithm: str = MD5) -> str:
    """H(username:realm:password) in hex: what is stored of a secret (RFC 7616 §3.4.2)."""
    return _hash(algorithm, f"{username}:{realm}:{password}")


@lru_cache(maxsize=256)
def _ha2(algorithm: str, method: str, uri: str) -> str:
    """Of the request: nearly all devices send the same method to the same address."""
    return _hash(algorithm, f"{method}:{uri}")


def _response(algorithm: str, secret: str, method: str, uri: str, nonce: str, qop: str, cnonce: str, nc: str) -> str:
    ha2 = _ha2(algorithm, method, uri)
    if not qop:
        return _hash(algorithm, f"{secret}:{nonce}:{ha2}")
    return _hash(algorithm, f"{secret}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to a challenger: a password, or HA1s (`hashes`: algorithm → HA1 in hex)."""

    username: str
    password: str = field(default="", repr=False)
    hashes: Mapping[str, str] = field(default_factory=dict, repr=False)

    def can(self, algorithm: str) -> bool:
        """Whether a challenge with that algorithm can be answered."""
        return bool(self.password) or algorithm in self.hashes

    def ha1(self, realm: str, algorithm: str) -> str:
        """HA1 for that realm; stored hashes are trusted to be of it."""
        return self.hashes.get(algorithm) or ha1(self.username, realm, self.password, algorithm)


def make_challenge(
    realm: str, nonce: str, algorithm: str = MD5, *, qop: bool = True, stale: bool = False, opaque: str = ""
) -> Challenge:
    """One challenge; send one header line for each algorithm, the preferred first (RFC 8760 §2.4)."""
    params = [("realm", quote(realm)), ("nonce", quote(nonce))]
    if opaque:
        params.append(("opaque", quote(opaque)))
    if stale:
        params.append(("stale", "true"))
    params.append(("algorithm", algorithm))
    if qop:
        params.append(("qop", '"auth"'))
    return Challenge("Digest", tuple(params))


def choose_challenge(challenges: Sequence[Challenge], credentials: Credentials) -> Challenge:
    """The first challenge we can answer (RFC 8760 §2.4). Raises DigestError when there is none."""
    for challenge in challenges:
        algorithm = canonical_algorithm(challenge.algorithm)
        if challenge.scheme.lower() != "digest" or algorithm is None or not credentials.can(algorithm):
            continue
        if not challenge.qop or "auth" in challenge.qop:
            return challenge
    raise DigestError("no challenge with a scheme, algorithm and qop we know")


def answer_challenge(
    challenge: Challenge, method: str, uri: str, credentials: Credentials, cnonce: str, nc: int = 1
) -> Authorization:
    """Credentials for one request: `uri` as written in its request line, `nc` counting this nonce's uses from
    1.

    Raises DigestError for a challenge `choose_challenge` would not choose.
    """
    choose_challenge([challenge], credentials)
    algorithm = canonical_algorithm(challenge.algorithm) or MD5
    secret = credentials.ha1(challenge.realm, algorithm)
    qop = "auth" if challenge.qop else ""
    count = f"{nc:08x}"
    response = _response(algorithm, secret, method, uri, challenge.nonce, qop, cnonce, count)
    params = [
        ("username", quote(credentials.username)),
        ("realm", quote(challenge.realm)),
        ("nonce", quote(challenge.nonce)),
        ("uri", quote(uri)),
        ("response", quote(response)),
    ]
    if challenge.param("algorithm"):
        params.append(("algorithm", algorithm))
    if qop:
        params += [("cnonce", quote(cnonce)), ("qop", qop), ("nc", count)]
    if challenge.opaque:
        params.append(("opaque", quote(challenge.opaque)))
    return Authorization("Digest", tuple(params))


def verify(authorization: Authorization, method: str, secret: str, algorithm: str = MD5) -> bool:
    """Whether credentials prove knowledge of `secret` (an HA1 made with `algorithm`) for this method.

    The digest covers the URI written in the credentials. That it is the request's is not checked: proxies
    rewrite Request-URIs and phones differ in what they put there (RFC 3261 §22.4 item 6). Neither is the
    nonce, see `NonceIssuer.check`; `judge` does both.
    """
    param = authorization.param
    if authorization.scheme.lower() != "digest":
        return False
    if canonical_algorithm(param("algorithm") or MD5) != algorithm:
        return False
    qop = param("qop").lower()
    if qop not in ("", "auth") or (qop and (not param("cnonce") or count_of(authorization) is None)):
        return False
    expected = _response(
        algorithm, secret, method, param("uri"), param("nonce"), param("qop"), param("cnonce"), param("nc")
    )
    return hmac.compare_digest(expected.encode(), param("response").lower().encode("utf-8", "surrogateescape"))


def count_of(authorization: Authorization) -> int | None:
    """The nonce count of credentials, None when they have no qop or a count that is no number."""
    text = authorization.param("nc")
    if not authorization.param("qop") or not 1 <= len(text) <= 8:
        return None
    try:
        return int(text, 16) if text.isalnum() else None
    except ValueError:
        return None


class NonceState(Enum):
    """What `NonceIssuer.use` found."""

    FRESH = "fresh"
    STALE = "stale"
    """Too old: challenge again with stale=true."""
    REPLAYED = "replayed"
    """This count was used before."""


# milliseconds of issue, serial number, mark of the source; then the MAC
_MARK_LENGTH = 8
_NONCE = struct.Struct(f">QI{_MARK_LENGTH}s")
_MAC_LENGTH = 12
_WINDOW = 64
_MOST_MARKS = 4096


class NonceIssuer:
    """Nonces that need no memory until they are used: time, serial and source under a MAC.

    Used ones are remembered with their counts in a table of at most `capacity`: a window of 64 counts, since
    datagrams overtake each other. What leaves a full table early takes all older unused nonces with it (they
    count as stale), so a bounded table never lets a replay through.

    `now` is in seconds, by any clock that does not go back while the key lives. `plain_lifetime` is for
    credentials without qop: those can be replayed within it, so it is short. A nonce is good for the source it
    was given to.
    """

    def __init__(
        self,
        key: bytes,
        lifetime: float = 300.0,
        *,
        plain_lifetime: float = 30.0,
        capacity: int = 200_000,
        started: float = 0.0,
    ) -> None:
        if not 16 <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError("a nonce key has 16 to 64 bytes")
        self._key = key
        self._lifetime = int(lifetime * 1000)
        self._plain_lifetime = int(plain_lifetime * 1000)
        self._capacity = capacity
        self._serial = 0
        self._marks: dict[str, bytes] = {}  # each source asks at least twice
        # nonce → highest count, and a bit for each of the 64 counts up to it; in the order of first use
        self._used: dict[bytes, tuple[int, int]] = {}
        # Nonces issued up to here and not in the table may have been used: before a restart, or before
        # eviction.
        self._horizon = int(started * 1000) - 1

    def issue(self, now: float, source: str = "") -> str:
        """A new nonce for a challenge to `source` (the peer's address)."""
        self._serial = (self._serial + 1) & 0xFFFFFFFF
        body = _NONCE.pack(int(now * 1000), self._serial, self._mark(source))
        return (body + self._mac(body)).hex()

    def open(self, nonce: str, source: str = "") -> bytes | None:
        """What we wrote into a nonce that we gave to `source`; None for any other."""
        try:
            raw = bytes.fromhex(nonce)
        except ValueError:
            return None
        body, mac = raw[: _NONCE.size], raw[_NONCE.size :]
        # Several spellings are one value; only the one we wrote is ours.
        if not hmac.compare_digest(mac, self._mac(body)) or raw.hex() != nonce:
            return None
        return body if hmac.compare_digest(body[-_MARK_LENGTH:], self._mark(source)) else None

    def is_of(self, nonce: str, source: str, now: float) -> bool:
        """Whether we gave this nonce to `source` a short while ago."""
        body = self.open(nonce, source)
        return body is not None and not self.has_expired(body, now)

    def has_expired(self, body: bytes, now: float) -> bool:
        """Whether an opened nonce is too old for any use."""
        issued: int = _NONCE.unpack(body)[0]
        return not 0 <= int(now * 1000) - issued < self._lifetime

    def use(self, body: bytes, count: int | None, now: float) -> NonceState:
        """Judge an opened nonce and, when it is fresh, remember that this count was used.

        Ask only after `verify`: a stranger must not use up counts. `count` is None for credentials without
        qop.
        """
        issued: int = _NONCE.unpack(body)[0]
        lifetime = self._plain_lifetime if count is None else self._lifetime
        if not 0 <= int(now * 1000) - issued < lifetime:
            return NonceState.STALE
        return NonceState.FRESH if count is None else self._use(body, issued, count, now)

    def _use(self, body: bytes, issued: int, count: int, now: float) -> NonceState:
        entry = self._used.get(body)
        if entry is None:
            if issued <= self._horizon:
                return NonceState.STALE
            self._make_room(int(now * 1000))
            self._used[body] = (count, 1)
            return NonceState.FRESH
        highest, bits = entry
        if count > highest:
            shifted = bits << min(count - highest, _WINDOW)
            self._used[body] = (count, (shifted | 1) & (2**_WINDOW - 1))
            return NonceState.FRESH
        behind = highest - count
        if behind >= _WINDOW or bits >> behind & 1:
            return NonceState.REPLAYED
        self._used[body] = (highest, bits | 1 << behind)
        return NonceState.FRESH

    def _make_room(self, now: int) -> None:
        """Drop what has expired at the front, and, if the table is still full, the one used first."""
        while self._used:
            body = next(iter(self._used))
            issued: int = _NONCE.unpack(body)[0]
            if len(self._used) < self._capacity and now - issued < self._lifetime:
                return
            del self._used[body]
            self._horizon = max(self._horizon, issued)

    def _mac(self, body: bytes) -> bytes:
        # Keyed BLAKE2 is a MAC by itself (RFC 7693 §2.9), at half the price of an HMAC; each nonce takes two.
        return hashlib.blake2b(body, digest_size=_MAC_LENGTH, key=self._key, person=b"nonce").digest()

    def _mark(self, source: str) -> bytes:
        mark = self._marks.get(source)
        if mark is None:
            if len(self._marks) >= _MOST_MARKS:
                self._marks.clear()
            mark = hmac.digest(self._key, b"source" + source.encode(), "sha256")[:_MARK_LENGTH]
            self._marks[source] = mark
        return mark


class Verdict(Enum):
    """What `judge` says about credentials."""

    GOOD = "good"
    STALE = "stale"
    """The nonce is too old, or not one we gave to this source: challenge with stale=true, and no user is asked again.
    It says nothing about the secret.
    """
    REPLAYED = "replayed"
    """The secret was right once: refuse, as for STALE."""
    WRONG = "wrong"


def judge(
    authorization: Authorization,
    method: str,
    secret: str | None,
    algorithm: str,
    issuer: NonceIssuer,
    now: float,
    source: str = "",
) -> Verdict:
    """Check whether the nonce is ours, then the secret, then the nonce's age and use.

    Without a nonce that we gave to this very source, a short while ago, no secret is looked at: who forges his source
    address has not seen our challenge (nor has who had that address before), so he can neither guess nor have somebody
    else counted for guessing wrong. `secret` None: there is no such account, and whatever is said is wrong.
    """
    body = issuer.open(authorization.nonce, source)
    if body is None or issuer.has_expired(body, now):
        return Verdict.STALE
    if secret is None or not verify(authorization, method, secret, algorithm):
        return Verdict.WRONG
    state = issuer.use(body, count_of(authorization), now)
    if state is NonceState.FRESH:
        return Verdict.GOOD
    return Verdict.REPLAYED if state is NonceState.REPLAYED else Verdict.STALE
