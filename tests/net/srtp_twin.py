"""SRTP as RFC 3711 and RFC 7714 write it, for one source and without state: what libsrtp's bytes are held against."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.hmac import HMAC

from soip.sip.sdes import Suite

CIPHER, AUTH, SALT = 0, 1, 2
"""Labels of the key derivation (RFC 3711 §4.3.2)."""


def derive(key: bytes, salt: bytes, label: int, size: int) -> bytes:
    """A session key of `size` bytes (§4.3.1, §4.3.3): AES in counter mode over the label, index 0."""
    wide = salt.ljust(14, b"\0")  # RFC 7714 §11: the 96 bits of salt are the upper ones
    start = int.from_bytes(wide, "big") ^ label << 48
    return counter_mode(key, start << 16, bytes(size))


def counter_mode(key: bytes, start: int, text: bytes) -> bytes:
    """AES-CM (§4.1.1)."""
    # The standard asks for it; it is no choice of ours.
    worker = Cipher(algorithms.AES(key), modes.CTR(start.to_bytes(16, "big"))).encryptor()
    return worker.update(text) + worker.finalize()


def protect(suite: Suite, master: bytes, packet: bytes, roll_over: int = 0) -> bytes:
    """An RTP packet with a header of 12 bytes, encrypted and authenticated."""
    key, salt = master[: suite.key], master[suite.key :]
    header, payload = packet[:12], packet[12:]
    sequence, ssrc = int.from_bytes(header[2:4], "big"), int.from_bytes(header[8:12], "big")
    session_key = derive(key, salt, CIPHER, suite.key)
    session_salt = derive(key, salt, SALT, suite.salt)
    if suite.salt == 12:
        return header + gcm(session_key, session_salt, header, payload, ssrc, roll_over, sequence)
    start = int.from_bytes(session_salt, "big") << 16 ^ ssrc << 64 ^ (roll_over << 16 | sequence) << 16
    sealed = header + counter_mode(session_key, start, payload)
    hasher = HMAC(derive(key, salt, AUTH, 20), SHA1())
    hasher.update(sealed + roll_over.to_bytes(4, "big"))
    return sealed + hasher.finalize()[: suite.tag]


def gcm(key: bytes, salt: bytes, header: bytes, payload: bytes, ssrc: int, roll_over: int, sequence: int) -> bytes:
    """AES-GCM with the IV of RFC 7714 §8.1."""
    plain_iv = ssrc << 48 | roll_over << 16 | sequence
    nonce = (plain_iv ^ int.from_bytes(salt, "big")).to_bytes(12, "big")
    return AESGCM(key).encrypt(nonce, payload, header)
