"""Fuzz target: the transaction layer, fed with whatever parses."""

from __future__ import annotations

import itertools

from soip.sip.errors import SipParseError
from soip.sip.flow import Flow
from soip.sip.layer import RequestArrived, ResponseArrived, TransactionLayer
from soip.sip.message import Request, parse_message
from soip.sip.reply import make_response
from tests.sip.virtual import invite

FLOW = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))


def fuzz(data: bytes) -> None:
    """Messages split at NUL, each repeated: refused with SipParseError or taken; answered, all end, none is left."""
    numbers = itertools.count()
    layer = TransactionLayer(branches=lambda: f"b{next(numbers)}", tags=lambda: f"t{next(numbers)}", limit=4)
    mine = layer.send_request(invite(1), FLOW, "192.0.2.1:5060", 0.0)
    now = 0.0
    for piece in data.split(b"\0"):
        now += 0.4
        layer.advance(now)
        try:
            message = parse_message(piece.replace(b"BRANCH", mine.key[0].encode()))
            layer.receive(message, FLOW, now)
            layer.receive(message, FLOW, now)
        except SipParseError:
            continue
        _answer(layer, now)
    layer.cancel(mine, now)
    for _ in range(10_000):
        deadline = layer.next_deadline()
        if deadline is None:
            break
        layer.advance(deadline)
        _answer(layer, deadline)
    assert len(layer) == 0


def _answer(layer: TransactionLayer, now: float) -> None:
    for output in layer.take():
        if isinstance(output, RequestArrived):
            status = 200 if len(output.transaction.request.body) % 2 else 486
            layer.send_response(output.transaction, make_response(output.transaction.request, status, to_tag="t"), now)
        elif isinstance(output, ResponseArrived):
            assert isinstance(output.transaction.request, Request)


def samples() -> list[bytes]:
    """An INVITE with its CANCEL and ACK, and the answers to an INVITE of ours."""
    arrived = invite(2)
    arrived.headers.prepend("Via", "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKx;rport")
    messages = [arrived.to_bytes()]
    for method in ("CANCEL", "ACK", "MESSAGE"):
        other = arrived.copy()
        other.method = method
        other.headers.set("CSeq", f"1 {method}")
        messages.append(other.to_bytes())
    ours = invite(1)
    ours.headers.prepend("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=BRANCH")
    answers = [make_response(ours, status, to_tag="x").to_bytes() for status in (180, 200, 486)]
    return [b"\0".join(messages), b"\0".join(answers), b"\0".join([messages[0], answers[0], messages[1], answers[2]])]
