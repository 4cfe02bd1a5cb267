"""Messages the tests of this room share."""

from __future__ import annotations


def wire(text: str) -> bytes:
    """Text with CR LF line breaks, without the indentation and first line break of a Python string."""
    lines = text.lstrip("\n").split("\n")
    return "\r\n".join([line.removeprefix("    ") for line in lines]).encode("utf-8", "surrogateescape")


REGISTER = wire("""
REGISTER sip:soip.local SIP/2.0
Via: SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bKnashds7;rport
Max-Forwards: 70
To: Camera <sip:cam1@soip.local>
From: Camera <sip:cam1@soip.local>;tag=456248
Call-ID: 843817637684230@998sdasdh09
CSeq: 1826 REGISTER
Contact: <sip:cam1@192.168.1.20:5060;transport=udp>;expires=3600
Authorization: Digest username="cam1", realm="soip.local", nonce="abcdef0123456789", uri="sip:soip.local", \
response="6629fae49393a05397450978507c4ef1", algorithm=MD5, cnonce="0a4f113b", qop=auth, nc=00000001
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO
Expires: 3600
User-Agent: baresip v1.0.0 (x86_64/linux)
Supported: path, gruu, outbound
Content-Length: 0

""")

RESPONSE = wire("""
SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.9;rport=40000
From: <sip:cam1@soip.local>;tag=456248
To: <sip:cam1@soip.local>;tag=srv
Call-ID: 843817637684230@998sdasdh09
CSeq: 1826 REGISTER
Contact: <sip:cam1@192.168.1.20:5060>;expires=60, <sip:cam1@192.168.1.21>;expires=30;q=0.5
Content-Length: 0

""")

MESSAGE = wire("""
MESSAGE sip:cam1@soip.local SIP/2.0
v: SIP/2.0/TCP [2001:db8::9:1];branch=z9hG4bKchdj
Max-Forwards: 70
f: "카메라, 1" <sip:user@example.com>;tag=1
t: sip:cam1@soip.local
i: 0ha0isndaksdj99sdfafnl3lk233412
CSeq: 1 MESSAGE
c: Application/MANSCDP+xml
l: 5

hello""")

# RFC 4475 §3.1.1.1 "A Short Tortuous INVITE"
WSINV = (
    b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
    b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
    b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
    b"MaX-fOrWaRdS: 0068\r\n"
    b"Call-ID: wsinv.ndaksdj@192.0.2.1\r\n"
    b"Content-Length   : 150\r\n"
    b"cseq: 0009\r\n  INVITE\r\n"
    b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n"
    b"s :\r\n"
    b"NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
    b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
    b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
    b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
    b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n'
    b"  secondparam ; q = 0.33\r\n"
    b"\r\n"
    b"v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n"
    b"m=audio 49217 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n"
)
SAMPLES = (REGISTER, RESPONSE, MESSAGE, WSINV)
