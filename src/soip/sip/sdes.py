"""Keys of SRTP in session descriptions (RFC 4568, "SDES"): `a=crypto` of RTP/SAVP and RTP/SAVPF.

Whoever can read the signalling can read the keys, so a description with them goes over TLS only. That is decided where
flows are known; here keys are read, chosen and written. Each side gives the key of what it sends (§6.1): an offer names
one for each suite, an answer takes one of them by its tag and gives its own (§5.1).

Refused, with a reason: more than one master key in an attribute, and a master key identifier (MKI), which says which of
them a packet is of; session parameters that change what is protected (§6.3), except those marked as optional. A
lifetime is read: it binds whoever sends with that key. No text of an error ever holds a key.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from soip.sip.errors import OfferError, SdpError

MAX_VALUE = 1024
"""Characters of one attribute: the longest suite has 60 of key, the rest is parameters."""
MAX_LOOKED_AT = 32
"""Attributes of one media part that are looked at."""

_WARN_UNDERSTOOD = 306  # RFC 3261 §20.43: an attribute is not understood
_REASONS = 3

_CRYPTO = re.compile(r"([0-9]{1,9}+)[ \t]++([A-Za-z0-9_]++)[ \t]++([^ \t]++)((?>(?:[ \t]++[\x21-\x7e]++)*))[ \t]*+")
_INLINE = re.compile(
    r"inline:([A-Za-z0-9+/]++)={0,2}+(?>(?:\|(2\^[0-9]{1,2}+|[0-9]{1,15}+)(?!:))?)(?>(?:\|([0-9]{1,40}+):([0-9]{1,3}+))?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Suite:
    """A crypto-suite (RFC 4568 §6.2, RFC 7714 §14.2): bytes of its master key and salt, and of each packet's tag."""

    name: str
    key: int
    salt: int
    tag: int

    @property
    def length(self) -> int:
        """Bytes of `inline:`, key and salt."""
        return self.key + self.salt


AEAD_AES_128_GCM = Suite("AEAD_AES_128_GCM", 16, 12, 16)
AEAD_AES_256_GCM = Suite("AEAD_AES_256_GCM", 32, 12, 16)
AES_CM_128_HMAC_SHA1_80 = Suite("AES_CM_128_HMAC_SHA1_80", 16, 14, 10)
AES_CM_128_HMAC_SHA1_32 = Suite("AES_CM_128_HMAC_SHA1_32", 16, 14, 4)

SUITES = (AEAD_AES_128_GCM, AEAD_AES_256_GCM, AES_CM_128_HMAC_SHA1_80, AES_CM_128_HMAC_SHA1_32)
OFFERED = SUITES[:3]
"""In the order in which we offer them. A tag of 32 bits is taken, but not asked for: it is meant for voice."""
MATERIAL = sum(suite.length for suite in SUITES)
"""Random bytes that the keys of one media part are cut from, another piece for each suite."""

_BY_NAME = {suite.name: suite for suite in SUITES}
_PIECES = {suite: sum(one.length for one in SUITES[:at]) for at, suite in enumerate(SUITES)}


@dataclass(frozen=True, slots=True)
class Srtp:
    """A media part may be SRTP: `material` is `MATERIAL` random bytes of that part alone. `required`: it must be."""

    material: bytes = field(repr=False)
    required: bool = False

    def key(self, suite: Suite) -> bytes:
        """Our master key and salt for a suite."""
        at = _PIECES[suite]
        return self.material[at : at + suite.length]


@dataclass(frozen=True, slots=True)
class Keying:
    """What was agreed: the suite, and the master key and salt of what we send and of what we receive."""

    suite: Suite
    ours: bytes = field(repr=False)
    theirs: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Crypto:
    """One `a=crypto` attribute (§4). `key` is master key and salt, `lifetime` in packets or None, `mki` the identifier
    and its length or None, `more_keys` how many keys follow the first one, `parameters` the session parameters.
    """

    tag: int
    suite: str
    key: bytes = field(repr=False)
    lifetime: int | None = None
    mki: tuple[int, int] | None = None
    more_keys: int = 0
    parameters: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str) -> Crypto:
        """Read the value of an attribute. Raises SdpError for what is none; suites nobody here knows are read too."""
        if len(value) > MAX_VALUE:
            raise SdpError("a=crypto is too long", MAX_VALUE)
        match = _CRYPTO.fullmatch(value)
        if match is None:
            raise SdpError("malformed a=crypto")
        first, *more = match[3].split(";")
        inline = _INLINE.fullmatch(first)
        if inline is None:
            raise SdpError("a=crypto without an inline key", match.start(3))
        key, lifetime, mki, mki_length = inline.groups()
        if len(key) % 4 == 1:
            raise SdpError("the key in a=crypto is no base64", match.start(3))
        if mki is not None and not 1 <= int(mki_length) <= 128:
            raise SdpError("the MKI in a=crypto is longer than 128 bytes", match.start(3))
        return cls(
            int(match[1]),
            match[2].upper(),
            b64decode(key + "=" * (-len(key) % 4)),
            None if lifetime is None else _number(lifetime),
            None if mki is None else (int(mki), int(mki_length)),
            len(more),
            tuple(match[4].split()),
        )

    def usable(self) -> Suite:
        """The suite, if we can do what the attribute says. Raises OfferError with the reason."""
        suite = _BY_NAME.get(self.suite)
        if suite is None:
            raise self._unusable("the suite is not known here")
        if len(self.key) != suite.length:
            raise self._unusable(f"{suite.name} has {suite.length} bytes of key and salt, not {len(self.key)}")
        if self.more_keys or self.mki is not None:
            raise self._unusable("one master key without an MKI is taken")
        for parameter in self.parameters:
            # §6.3.7: what is marked with "-" may be ignored; a hint on window sizes (WSH) is only one (§6.3.6).
            if not parameter.startswith("-") and not parameter.upper().startswith("WSH="):
                raise self._unusable("a session parameter that must be understood is not")
        return suite

    def _unusable(self, why: str) -> OfferError:
        return OfferError(f"a=crypto:{self.tag}: {why}", _WARN_UNDERSTOOD)

    def __str__(self) -> str:
        lifetime = "" if self.lifetime is None else f"|{_written(self.lifetime)}"
        mki = "" if self.mki is None else f"|{self.mki[0]}:{self.mki[1]}"
        words = [str(self.tag), self.suite, f"inline:{b64encode(self.key).decode()}{lifetime}{mki}", *self.parameters]
        return " ".join(words)


def offers(srtp: Srtp) -> list[Crypto]:
    """What we offer for one media part, the best first (§5.1.1)."""
    return [Crypto(tag, suite.name, srtp.key(suite)) for tag, suite in enumerate(OFFERED, 1)]


def choose(offered: Sequence[str], srtp: Srtp) -> tuple[Crypto, Keying]:
    """Our answer to the attributes of an offer: the first one that we can do (§5.1.2). Raises OfferError."""
    reasons = []
    for value in offered[:MAX_LOOKED_AT]:
        try:
            crypto = Crypto.parse(value)
            suite = crypto.usable()
        except (SdpError, OfferError) as error:
            reasons.append(error.what)
            continue
        answer = Crypto(crypto.tag, suite.name, srtp.key(suite))
        return answer, Keying(suite, answer.key, crypto.key)
    why = "; ".join(dict.fromkeys(reasons[:_REASONS])) or "it has none"
    raise OfferError(f"no a=crypto of the offer can be used: {why}", _WARN_UNDERSTOOD)


def agreed(offered: Sequence[str], answered: Sequence[str]) -> Keying:
    """What an answer took of our offer: exactly one attribute, with a tag and the suite of ours (§5.1.3). Raises
    OfferError.
    """
    if len(answered) != 1:
        raise OfferError(f"the answer has {len(answered)} a=crypto, not one", _WARN_UNDERSTOOD)
    try:
        theirs = Crypto.parse(answered[0])
    except SdpError as error:
        raise OfferError(error.what, _WARN_UNDERSTOOD) from None
    suite = theirs.usable()
    for value in offered:
        with suppress(SdpError):
            ours = Crypto.parse(value)
            if (ours.tag, ours.suite) == (theirs.tag, theirs.suite):
                return Keying(suite, ours.key, theirs.key)
    raise OfferError(f"the answer takes a=crypto:{theirs.tag} {theirs.suite}, which was not offered", _WARN_UNDERSTOOD)


def _number(text: str) -> int:
    """A lifetime in packets (§6.1), as a power of two or not."""
    power = text.removeprefix("2^")
    return int(text) if power == text else 1 << int(power)


def _written(lifetime: int) -> str:
    """The reverse: as a power wherever it is one, since as digits it may be longer than what is read."""
    return f"2^{lifetime.bit_length() - 1}" if lifetime.bit_count() == 1 else str(lifetime)
