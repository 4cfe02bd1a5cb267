"""Fuzz target: a request as it comes from the network, into the registrar and the routing decision."""

from __future__ import annotations

from soip.config import Settings
from soip.directory.rows import Account, AccountKind
from soip.signalling.accounts import AccountTable
from soip.signalling.location import Location
from soip.signalling.registrar import Lifetimes, Registrar
from soip.signalling.routing import Caller, Forward, Refuse, route
from soip.signalling.tables import Tables
from soip.sip import headers
from soip.sip.errors import SipError
from soip.sip.flow import Flow
from soip.sip.message import Request, parse_message
from soip.sip.uri import Uri
from tests.signalling.trunking import trunks

FLOW = Flow("udp", ("10.0.0.9", 5060), ("10.0.0.1", 5060))
DEVICE = Account("nvr", AccountKind.DEVICE, {"MD5": "x"}, ("nvr-1",))
NO_ROUTES = trunks()
MEDIA = Account("media", AccountKind.MEDIA_SERVER, {"MD5": "x"})

SAMPLES = (
    b"REGISTER sip:d SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:nvr@d>;tag=1\r\n"
    b"To: <sip:nvr@d>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContact: <sip:nvr@10.0.0.1:5060>;expires=60;q=0.5, "
    b'"x" <sip:b@h>;+sip.instance="<urn:uuid:1>";reg-id=1\r\nExpires: 3600\r\n\r\n',
    b"REGISTER sip:d SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:nvr@d>;tag=1\r\n"
    b"To: <sip:nvr-1@d>\r\nCall-ID: c\r\nCSeq: 2 REGISTER\r\nContact: *\r\nExpires: 0\r\n\r\n",
    b"INVITE sip:nvr-1;start=20261120T100000Z@d SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"
    b"From: <sip:media@d>;tag=1\r\nTo: <sip:nvr@d>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
)


LIFETIMES = Lifetimes.of(Settings())


def fuzz(data: bytes) -> None:
    """Any bytes are answered or raise SipError; what is bound can be called, and is bounded."""
    accounts, location = AccountTable(), Location()
    accounts.replace([DEVICE, MEDIA], [("media-0", "media")])
    try:
        request = parse_message(data)
        headers.check(request)
        if not isinstance(request, Request):
            return
        answer = Registrar(accounts, location, LIFETIMES).register(request, DEVICE, FLOW, 0.0)
        verdict = route(
            Caller("media", AccountKind.MEDIA_SERVER, "media-0"),
            request.method,
            request.uri,
            Tables(accounts, location, NO_ROUTES, "d", lambda: 0.0),
        )
    except SipError:
        return
    assert 200 <= answer.status < 600
    assert isinstance(verdict, Forward | Refuse)
    assert len(location) <= 8
    for binding in location.all(0.0):
        assert binding.aor in ("nvr", "nvr-1")
        assert 0 < binding.expires_at <= 3600
        assert Uri.parse(binding.contact).is_sip
