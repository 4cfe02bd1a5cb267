"""The messages of RFC 5118: what IPv6 addresses do to a SIP message, valid, doubtful and wrong."""

from __future__ import annotations

from tests.sip.samples import wire

FEED = """\
v=0
o=assistant 971731711378798081 0 IN IP6 {0}
s=Live video feed for today's meeting
c=IN IP6 {0}
t=3338481189 3370017201
m=audio 6000 RTP/AVP 2
a=rtpmap:2 G726-32/8000
m=video 6024 RTP/AVP 107
a=rtpmap:107 H263-1998/90000
"""


def _message(start: str, *lines: str, body: str = "") -> bytes:
    text = wire(body)
    kind = ["Content-Type: application/sdp"] if body else []
    return wire("\n".join([f"{start} SIP/2.0", *lines, *kind, f"Content-Length: {len(text)}", "", ""])) + text


def _register(uri: str) -> bytes:
    return _message(
        f"REGISTER {uri}",
        "To: sip:user@example.com",
        "From: sip:user@example.com;tag=81x2",
        "Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111",
        "Call-ID: SSG9559905523997077@hlau_4100",
        "Max-Forwards: 70",
        'Contact: "Caller" <sip:caller@[2001:db8::1]>',
        "CSeq: 98176 REGISTER",
    )


def _invite(uri: str, host: str, body: str, *vias: str) -> bytes:
    return _message(
        f"INVITE {uri}",
        f"To: {uri}",
        "From: sip:user@example.com;tag=81x2",
        *(f"Via: SIP/2.0/UDP {via}" for via in vias),
        "Call-ID: SSG9559905523997077@hlau_4100",
        f'Contact: "Caller" <sip:caller@[{host}]>',
        "CSeq: 8612 INVITE",
        "Max-Forwards: 70",
        body=body,
    )


def _options(uri: str) -> bytes:
    return _message(
        f"OPTIONS {uri}",
        f"To: {uri}",
        "From: sip:user@example.com;tag=810x2",
        "Via: SIP/2.0/UDP lab1.east.example.com;branch=z9hG4bKas3-111",
        "Call-ID: G9559905523997077@hlau_4100",
        "CSeq: 689 OPTIONS",
        "Max-Forwards: 70",
    )


REFERENCE = _register("sip:[2001:db8::10]")
"""§4.1"""
BARE_ADDRESS = _register("sip:2001:db8::10")
"""§4.2: no brackets, so nothing tells where the address ends; 400"""
AMBIGUOUS_PORT = _register("sip:[2001:db8::10:5070]")
"""§4.3: valid, whatever the sender meant"""
PORT = _register("sip:[2001:db8::10]:5070")
"""§4.4"""
RECEIVED_WITH_BRACKETS = _message(
    "BYE sip:[2001:db8::10]",
    "To: sip:user@example.com;tag=bd76ya",
    "From: sip:user@example.com;tag=81x2",
    "Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111",
    "Call-ID: SSG9559905523997077@hlau_4100",
    "Max-Forwards: 70",
    "CSeq: 321 BYE",
)
"""§4.5: against the letter of the grammar, and to be read"""
RECEIVED = _message(
    "OPTIONS sip:[2001:db8::10]",
    "To: sip:user@example.com",
    "From: sip:user@example.com;tag=81x2",
    "Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3",
    "Call-ID: SSG95523997077@hlau_4100",
    "Max-Forwards: 70",
    'Contact: "Caller" <sip:caller@[2001:db8::9:1]>',
    "CSeq: 921 OPTIONS",
)
"""§4.5: as the grammar has it"""
SDP = _invite(
    "sip:user@[2001:db8::10]",
    "2001:db8::20",
    FEED.format("2001:db8::20"),
    "[2001:db8::20];branch=z9hG4bKas3-111",
)
"""§4.6"""
MIXED_VIAS = _message(
    "BYE sip:user@host.example.net",
    "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111",
    "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144",
    "Via: SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200",
    "Call-ID: 997077@lau_4100",
    "Max-Forwards: 70",
    "CSeq: 89187 BYE",
    "To: sip:user@example.net;tag=9817--94",
    "From: sip:user@example.com;tag=81x2",
)
"""§4.7"""
MIXED_SDP = _invite(
    "sip:user@[2001:db8::10]",
    "2001:db8::9:1",
    "v=0\no=bob 280744730 28977631 IN IP4 host.example.com\ns=\nt=0 0\nm=audio 22334 RTP/AVP 0\nc=IN IP4 192.0.2.1\n"
    "m=video 6024 RTP/AVP 107\nc=IN IP6 2001:db8::1\na=rtpmap:107 H263-1998/90000\n",
    "[2001:db8::9:1];branch=z9hG4bKas3-111",
)
"""§4.8"""
MAPPED = _invite(
    "sip:user@example.com",
    "::ffff:192.0.2.2",
    FEED.format("::ffff:192.0.2.2"),
    "[::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19",
    "[::ffff:192.0.2.2];branch=z9hG4bKas3-111",
)
"""§4.9"""
THREE_COLONS = _options("sip:user@[2001:db8:::192.0.2.1]")
"""§4.10: what the grammar of RFC 3261 allows by mistake, and is to be read as the next one"""
TWO_COLONS = _options("sip:user@[2001:db8::192.0.2.1]")
"""§4.10"""

VALID = {
    name: message
    for name, message in globals().items()
    if isinstance(message, bytes) and name.isupper() and message is not BARE_ADDRESS
}
