"""Messages and clocks for the tests of the ladder: a person, this server and a camera, in virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from soip.directory.rows import CallTraceRow
from soip.signalling.ladder import Ladder
from soip.signalling.trace import Trace
from soip.sip.flow import Flow
from soip.sip.message import Headers, Message, Request, Response
from soip.sip.reply import make_response
from soip.sip.uri import Uri

START_US = 1_795_172_400_000_000
SERVER = ("192.0.2.1", 5060)
ANN = Flow("udp", SERVER, ("192.0.2.10", 5060))
CAM = Flow("udp", SERVER, ("192.0.2.20", 5060))
MEDIA = Flow("tcp", SERVER, ("192.0.2.30", 40000), 1)
EVE = Flow("udp", SERVER, ("203.0.113.66", 6666))
SDP = b"v=0\r\nm=video 20000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=recvonly\r\n"


class Clock:
    """Virtual time, on both clocks."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall_us(self) -> int:
        return START_US + round((self.now - 1000.0) * 1e6)

    def pass_ms(self, ms: float) -> None:
        self.now += ms / 1000


class Site:
    """A ladder and what it sees. Each message takes a millisecond."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        numbers = itertools.count(1)
        self.ladder = Ladder(lambda: self.clock.now, self.clock.wall_us, lambda: f"t{next(numbers)}")

    def gets(self, message: Message, flow: Flow) -> None:
        self.ladder.received(message, flow)
        self.clock.pass_ms(1)

    def sends(self, message: Message, flow: Flow) -> None:
        self.ladder.sent(message, flow)
        self.clock.pass_ms(1)

    def forwards(self, message: Message, flow: Flow, name: str) -> None:
        """As the proxy does: it says where it leads, then sends."""
        self.ladder.leads(message, flow.remote, name)
        self.sends(message, flow)

    def proves(self, request: Request, flow: Flow, name: str, *, serves: bool = False) -> None:
        self.gets(request, flow)
        self.ladder.proven(request, flow, name, serves=serves)

    @property
    def traces(self) -> list[Trace]:
        return list(self.ladder.traces)

    def trace(self, call_id: str = "c1") -> Trace:
        (found,) = [trace for trace in self.traces if trace.call_id == call_id]
        return found

    def rows(self) -> list[CallTraceRow]:
        return self.ladder.take_rows()[0]

    def established(self, call_id: str = "c1") -> Request:
        """A call of ann to cam1, up."""
        invite = request("INVITE", call_id=call_id, body=SDP)
        self.proves(invite, ANN, "ann")
        self.sends(make_response(invite, 100), ANN)
        self.forwards(invite, CAM, "cam1")
        for status in (180, 200):
            self.gets(make_response(invite, status, to_tag="b"), CAM)
            self.sends(make_response(invite, status, to_tag="b"), ANN)
        ack = request("ACK", call_id=call_id, to_tag="b")
        self.gets(ack, ANN)
        self.sends(ack, CAM)
        return invite


def request(
    method: str,
    *,
    call_id: str = "c1",
    cseq: int = 1,
    to_tag: str = "",
    body: bytes = b"",
    sender: str = "ann",
    uri: str = "sip:cam1@soip.test",
    headers: tuple[tuple[str, str], ...] = (),
) -> Request:
    lines = [
        ("Via", f"SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{call_id}{cseq}{method}"),
        ("From", f"<sip:{sender}@soip.test>;tag=a"),
        ("To", f"<{uri}>" + (f";tag={to_tag}" if to_tag else "")),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
        *headers,
    ]
    if body:
        lines.append(("Content-Type", "application/sdp"))
    return Request(method, Uri.parse(uri), Headers(lines), body)


def refusal(invite: Request, status: int, warning: str = "", **headers: str) -> Response:
    response = make_response(invite, status, to_tag="b")
    if warning:
        response.headers.add("Warning", f'399 soip.test "{warning}"')
    for name, value in headers.items():
        response.headers.add(name.replace("_", "-"), value)
    return response


def lines(trace: Trace) -> Iterator[str]:
    """What a trace says, one line for each message."""
    for (_, sender, receiver, line, _, _), again in trace.messages:
        names = [trace.parties[at].label or "server" for at in (sender, receiver)]
        yield f"{names[0]} > {names[1]}: {line}" + (f" x{again + 1}" if again else "")
