"""Fuzz target: STUN Binding requests."""

from __future__ import annotations

from soip.sip import stun

REQUEST = bytes.fromhex("000100002112a442") + b"transaction."
SAMPLES = (REQUEST, bytes.fromhex("000100082112a442") + b"transaction." + bytes.fromhex("0006000361626300"))


def fuzz(data: bytes) -> None:
    """No answer, or a well-formed one of the same transaction, never much longer than what was asked."""
    answer = stun.answer(data, ("2001:db8::1", 5060))
    if answer is None:
        return
    assert answer[8:20] == data[8:20]
    assert int.from_bytes(answer[2:4], "big") == len(answer) - 20
    assert len(answer) <= len(data) + 48
