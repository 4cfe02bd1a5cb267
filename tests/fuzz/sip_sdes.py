"""Fuzz target: keys of SRTP in session descriptions."""

from __future__ import annotations

from soip.sip import sdes
from soip.sip.errors import OfferError, SdpError
from soip.sip.sdes import Crypto, Srtp

SRTP = Srtp(bytes(range(sdes.MATERIAL)))
SAMPLES = [
    *[str(crypto).encode() for crypto in sdes.offers(SRTP)],
    b"1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP",
    b"2 F8_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm|2^20|1:4;"
    b"inline:QUJjZGVmMTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5|2^20|2:4 -OLD WSH=128",
]


def fuzz(data: bytes) -> None:
    """Any text is read or raises SdpError; what is read does not show its key; our answer fits what was offered."""
    value = data.decode("utf-8", "replace")
    try:
        crypto = Crypto.parse(value)
    except SdpError:
        return
    assert Crypto.parse(str(crypto)) == crypto or crypto.more_keys
    assert str(crypto.key) not in repr(crypto)
    try:
        answer, keying = sdes.choose([value], SRTP)
    except OfferError:
        return
    assert keying.theirs == crypto.key
    assert (answer.tag, answer.suite) == (crypto.tag, crypto.suite)
    mirrored = sdes.agreed([value], [str(answer)])
    assert (mirrored.ours, mirrored.theirs) == (keying.theirs, keying.ours)
