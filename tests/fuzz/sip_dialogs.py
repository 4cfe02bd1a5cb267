"""Fuzz target: what an INVITE or REFER says of sessions, of the call it replaces, of whom to call."""

from __future__ import annotations

from soip.sip import headers as h
from soip.sip.dialog import Dialog
from soip.sip.errors import SipError, SipParseError
from soip.sip.message import Headers, Request, parse_message
from soip.sip.session import LONGEST, Policy, Session
from soip.sip.uri import NameAddr, Uri

_FRONT = (
    b" sip:cam1@d SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:ann@d>;tag=1\r\nTo: <sip:cam1@d>\r\n"
    b"Call-ID: c\r\nCSeq: 1 "
)
SAMPLES = (
    b"INVITE" + _FRONT + b"INVITE\r\nContact: <sip:ann@h>\r\nSupported: timer, replaces\r\nMin-SE: 120;x=1\r\n"
    b"Session-Expires: 1800;refresher=uac\r\nReplaces: abc@h;to-tag=1;from-tag=2;early-only\r\n\r\n",
    b"REFER" + _FRONT + b'REFER\r\nContact: <sip:ann@h>\r\nRefer-To: "Bob" <sip:bob@d;method=INVITE?Subject=x>\r\n\r\n',
)
CONTACT = NameAddr("", Uri("sip", "cam1", "h"))


def fuzz(data: bytes) -> None:
    """Any bytes are read or raise SipParseError; what is read is written back alike, and times stay within bounds."""
    try:
        message = parse_message(data)
    except SipParseError:
        return
    _values(message.headers)
    if isinstance(message, Request):
        _session(message)
        try:
            Dialog.uas(message, "tag", CONTACT).request("NOTIFY").to_bytes()
        except SipError:
            return


def _values(headers: Headers) -> None:
    for name, read in (
        ("Replaces", h.replaces),
        ("Session-Expires", h.session_expires),
        ("Min-SE", h.min_se),
        ("Refer-To", h.refer_to),
    ):
        try:
            value = read(headers)
        except SipParseError:
            continue
        if value is not None:
            assert read(Headers([(name, str(value))])) == value


def _session(request: Request) -> None:
    policy = Policy()
    session = Session(policy)
    try:
        if session.refusal(request) is None:
            session.answer(request, 0.0)
    except SipParseError:
        return
    deadline = session.next_deadline()
    assert deadline is None or deadline >= policy.minimum / 2
    assert session.min_se <= LONGEST
