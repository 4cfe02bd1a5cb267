"""SIPp at both ends of calls through the server, doing what seldom happens: offers late, CANCELs that cross the answer,
ACKs that do not come, BYEs from both sides. Each message is written here, so each is what the RFC's ladder shows.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from soip.net.call import Call, IncomingCall
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.timers import Timers
from soip.sip.uri import Uri
from tests.peers import need
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN

pytestmark = pytest.mark.interop

WITHIN = 40

SDP = """v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 9 RTP/AVP 0
a={direction}
"""
OFFER, ANSWER = SDP.format(direction="sendrecv"), SDP.format(direction="recvonly")


def message(start: str, *lines: str, body: str = "", retrans: bool = False) -> str:
    """A `send`: the start line and the headers, each on a line of its own."""
    kind = ["Content-Type: application/sdp"] if body else []
    text = "\n".join([start, *lines, *kind, "Content-Length: [len]", "", body])
    again = ' retrans="500"' if retrans else ""
    return f"<send{again}><![CDATA[\n{text}]]></send>"


# -- ann, who calls


def invite(cseq: int, auth: str, body: str) -> str:
    lines = [
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        "Max-Forwards: 70",
        f"From: <sip:ann@{DOMAIN}>;tag=ann[call_number]",
        f"To: <sip:bob@{DOMAIN}>",
        "Call-ID: [call_id]",
        f"CSeq: {cseq} INVITE",
        "Contact: <sip:ann@[local_ip]:[local_port]>",
        auth,
    ]
    return message(f"INVITE sip:bob@{DOMAIN} SIP/2.0", *lines, body=body, retrans=True)


def refused_ack(cseq: int) -> str:
    """The ACK of a final response that is not 2xx: it has the transaction's branch."""
    lines = ["[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", f"CSeq: {cseq} ACK", "Max-Forwards: 70"]
    return message(f"ACK sip:bob@{DOMAIN} SIP/2.0", *lines)


def by_ann(method: str, cseq: int, body: str = "") -> str:
    """A request of ann's in the dialog; bob's tag was kept from his answer."""
    lines = [
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        "[routes]",
        "Max-Forwards: 70",
        f"From: <sip:ann@{DOMAIN}>;tag=ann[call_number]",
        "To:[$to]",
        "Call-ID: [call_id]",
        f"CSeq: {cseq} {method}",
    ]
    return message(f"{method} [next_url] SIP/2.0", *lines, body=body, retrans=method != "ACK")


def calling(body: str = OFFER) -> list[str]:
    """INVITE, 407, INVITE with digest."""
    return [
        invite(1, "Subject: a test", body),
        '<recv response="100" optional="true"/><recv response="407" auth="true"/>',
        refused_ack(1),
        invite(2, "[authentication]", body),
        '<recv response="100" optional="true"/>',
    ]


ANSWERED = """<recv response="200" rrs="true"><action>
<ereg regexp=".+" search_in="hdr" header="To:" assign_to="to"/>
<ereg regexp="INVITE" search_in="hdr" header="CSeq:" check_it="true" assign_to="which"/>
</action></recv>"""
RINGING = '<recv response="180"/>'
DONE = '<recv response="200"/>'
USED = '<Reference variables="which"/>'
REPLY = ["[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]"]


def ok() -> str:
    """200 to the request that came last."""
    return message("SIP/2.0 200 OK", *REPLY)


# -- bob, who is called

INVITED = """<recv request="INVITE" rrs="true"><action>
<ereg regexp=".+" search_in="hdr" header="Via:" assign_to="via"/>
<ereg regexp=".+" search_in="hdr" header="From:" assign_to="from"/>
<ereg regexp=".+" search_in="hdr" header="To:" assign_to="to"/>
<ereg regexp=".+" search_in="hdr" header="CSeq:" assign_to="cseq"/>
<ereg regexp=".+" search_in="hdr" header="Record-Route:" assign_to="rr"/>
</action></recv>"""


def by_bob(status: str, body: str = "", *, retrans: bool = False) -> str:
    """A response to the INVITE, also when something else came in between."""
    lines = [
        "Via:[$via]",
        "From:[$from]",
        "To:[$to];tag=bob[call_number]",
        "[last_Call-ID:]",
        "CSeq:[$cseq]",
        "Record-Route:[$rr]",
        "Contact: <sip:bob@[local_ip]:[local_port]>",
    ]
    return message(f"SIP/2.0 {status}", *lines, body=body, retrans=retrans)


def acknowledged(body: str = "") -> str:
    """The ACK; with a body that has this in it, where it brings the answer."""
    if not body:
        return '<recv request="ACK"/>'
    check = f'<ereg regexp="{body}" search_in="body" check_it="true" assign_to="sdp"/>'
    return f'<recv request="ACK"><action>{check}</action></recv><Reference variables="sdp"/>'


# -- at work


@dataclass
class Sipp:
    """A SIPp that runs one scenario once."""

    process: asyncio.subprocess.Process
    log: Path

    @classmethod
    async def start(cls, folder: Path, name: str, steps: list[str], *arguments: str) -> Sipp:
        file, log = folder / f"{name}.xml", folder / f"{name}.log"
        file.write_text(f"<?xml version='1.0'?><scenario name='{name}'>{''.join(steps)}</scenario>")
        process = await asyncio.create_subprocess_exec(
            need("sipp"),
            *arguments,
            *("-sf", str(file), "-m", "1", "-i", "127.0.0.1", "-nostdin", "-timeout", "30s", "-timeout_error"),
            *("-trace_msg", "-message_file", str(log), "-trace_err", "-error_file", str(folder / f"{name}-errors.log")),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
        )
        return cls(process, log)

    async def done(self) -> str:
        """All messages, once it went as written."""
        async with asyncio.timeout(WITHIN):
            code = await self.process.wait()
        said = await asyncio.to_thread(self.log.read_text) if self.log.exists() else ""
        assert code == 0, said[-6000:]
        return said


async def ann(house: ServerHouse, folder: Path, steps: list[str]) -> Sipp:
    server = f"{house.address[0]}:{house.address[1]}"
    return await Sipp.start(folder, "ann", steps, server, "-au", "ann", "-ap", "ann-sip")


async def bob(house: ServerHouse, folder: Path, steps: list[str]) -> Sipp:
    """Registered first, by somebody who then leaves the port to SIPp."""
    peer = await house.peer("bob")
    assert (await peer.register()).status == 200
    port = peer.local[1]
    peer.close()
    await asyncio.sleep(0)
    # INVITED keeps more of the INVITE than each scenario says again.
    return await Sipp.start(folder, "bob", [*steps, '<Reference variables="via,from,to,cseq,rr"/>'], "-p", str(port))


async def both(house: ServerHouse, folder: Path, anns: list[str], bobs: list[str]) -> tuple[str, str]:
    """Both scenarios at once; the messages of each."""
    called = await bob(house, folder, bobs)
    caller = await ann(house, folder, [*anns, USED])
    return await caller.done(), await called.done()


async def test_an_early_offer(house: ServerHouse, tmp_path: Path) -> None:
    anns = [*calling(), RINGING, ANSWERED, by_ann("ACK", 2), by_ann("BYE", 3), DONE]
    bobs = [
        INVITED,
        by_bob("180 Ringing"),
        by_bob("200 OK", ANSWER, retrans=True),
        acknowledged(),
        '<recv request="BYE"/>',
        ok(),
    ]
    _, said = await both(house, tmp_path, anns, bobs)
    assert "a=sendrecv" in said, "the offer came whole"


async def test_a_delayed_offer_is_answered_in_the_ack(house: ServerHouse, tmp_path: Path) -> None:
    anns = [*calling(""), RINGING, ANSWERED, by_ann("ACK", 2, ANSWER), by_ann("BYE", 3), DONE]
    bobs = [
        INVITED,
        by_bob("180 Ringing"),
        by_bob("200 OK", OFFER, retrans=True),
        acknowledged("recvonly"),
        '<recv request="BYE"/>',
        ok(),
    ]
    said, _ = await both(house, tmp_path, anns, bobs)
    assert "a=sendrecv" in said


def cancel() -> str:
    """The CANCEL has the INVITE's branch (RFC 3261 §9.1), which stands three steps before it."""
    lines = [
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-3]",
        f"From: <sip:ann@{DOMAIN}>;tag=ann[call_number]",
        f"To: <sip:bob@{DOMAIN}>",
        "Call-ID: [call_id]",
        "CSeq: 2 CANCEL",
        "Max-Forwards: 70",
    ]
    return message(f"CANCEL sip:bob@{DOMAIN} SIP/2.0", *lines, retrans=True)


async def test_a_cancel_in_time(house: ServerHouse, tmp_path: Path) -> None:
    anns = [*calling(), RINGING, cancel(), DONE, '<recv response="487"/>', refused_ack(2)]
    bobs = [
        INVITED,
        by_bob("180 Ringing"),
        '<recv request="CANCEL"/>',
        ok(),
        by_bob("487 Request Terminated", retrans=True),
        acknowledged(),
    ]
    called = await bob(house, tmp_path, bobs)
    caller = await ann(house, tmp_path, anns)
    await caller.done()
    await called.done()


async def test_a_cancel_that_crosses_the_answer_leaves_a_call_to_hang_up(house: ServerHouse, tmp_path: Path) -> None:
    """RFC 3261 §9.1, §13.2.2.4: the 200 wins; it is acknowledged, and the call is ended with a BYE."""
    anns = [*calling(), RINGING, cancel(), DONE, ANSWERED, by_ann("ACK", 2), by_ann("BYE", 3), DONE]
    bobs = [
        INVITED,
        by_bob("180 Ringing"),
        '<recv request="CANCEL"/>',
        ok(),
        by_bob("200 OK", ANSWER, retrans=True),
        acknowledged(),
        '<recv request="BYE"/>',
        ok(),
    ]
    await both(house, tmp_path, anns, bobs)


async def test_an_answer_is_repeated_until_its_ack_comes(house: ServerHouse, tmp_path: Path) -> None:
    anns = [
        *calling(),
        RINGING,
        ANSWERED,
        '<pause milliseconds="1300"/>',
        by_ann("ACK", 2),
        '<pause milliseconds="200"/>',
        by_ann("BYE", 3),
        DONE,
    ]
    bobs = [
        INVITED,
        by_bob("180 Ringing"),
        by_bob("200 OK", ANSWER, retrans=True),
        acknowledged(),
        '<recv request="BYE"/>',
        ok(),
    ]
    said, _ = await both(house, tmp_path, anns, bobs)
    assert said.count("a=recvonly") >= 2, "the proxy passes each repetition on"


async def test_both_hang_up_at_once(house: ServerHouse, tmp_path: Path) -> None:
    """Neither BYE is answered before both are under way; both are answered 200 (RFC 3261 §15.1.2).

    Bob is a peer of our own: SIPp cannot wait between two messages that it sends.
    """
    anns = [
        *calling(),
        RINGING,
        ANSWERED,
        by_ann("ACK", 2),
        by_ann("BYE", 3),
        '<recv request="BYE"/>',
        ok(),
        DONE,
    ]
    callee = await house.peer("bob")
    assert (await callee.register()).status == 200
    caller = await ann(house, tmp_path, [*anns, USED])
    invite = await callee.arrives("INVITE", WITHIN)
    callee.reply(invite, 180)
    answer = callee.reply(invite, 200, ANSWER.encode())
    await callee.arrives("ACK", WITHIN)
    hers = await callee.arrives("BYE", WITHIN)
    his = callee.back("BYE", invite, answer)
    callee.send(his)
    assert (await callee.response(his)).status == 200
    callee.reply(hers, 200)
    await caller.done()


# -- our own agent called by SIPp

QUICK = Timers(t1=0.1, t2=0.4, t4=0.5)
"""A call without an ACK ends after 6.4 s."""


class Agent:
    """Bob as an agent of ours, answering what comes."""

    def __init__(self, house: ServerHouse, timers: Timers) -> None:
        self.endpoint = SipEndpoint("127.0.0.1", 0, timers=timers)
        self.agent = UserAgent(
            self.endpoint, Uri.parse(f"sip:bob@{DOMAIN}"), Credentials("bob", "bob-sip"), Target("udp", *house.address)
        )
        self.calls: list[Call] = []

    async def __aenter__(self) -> Agent:
        await self.endpoint.start()
        self.agent.on_invite(self._answer)
        await self.agent.start()
        await self.agent.register()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.agent.close()
        await self.endpoint.close()

    async def _answer(self, incoming: IncomingCall) -> None:
        incoming.ring()
        self.calls.append(incoming.answer(b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"))


async def test_a_call_whose_ack_never_comes_is_ended_after_64_t1(house: ServerHouse, tmp_path: Path) -> None:
    async with Agent(house, QUICK) as called:
        steps = [*calling(), '<recv response="180" optional="true"/>', ANSWERED, '<recv request="BYE"/>', ok(), USED]
        said = await (await ann(house, tmp_path, [*steps, '<Reference variables="to"/>'])).done()
        assert said.count("s=-") - 2 >= 5, "the answer was repeated meanwhile"
        (call,) = called.calls
        assert call.end is not None
        assert "no ACK" in call.end.reason
        assert "no ACK" in said, "the caller is told why"
        assert called.agent.calls == ()


async def test_a_late_ack_keeps_the_call(house: ServerHouse, tmp_path: Path) -> None:
    async with Agent(house, QUICK) as called:
        steps = [
            *calling(),
            '<recv response="180" optional="true"/>',
            ANSWERED,
            '<pause milliseconds="800"/>',
            by_ann("ACK", 2),
            '<pause milliseconds="200"/>',
            by_ann("BYE", 3),
            DONE,
            USED,
        ]
        await (await ann(house, tmp_path, steps)).done()
        (call,) = called.calls
        await call.confirmed()
        assert call.end is not None
        assert call.end.by_peer


async def test_a_session_that_is_too_short_is_refused_422_and_taken_when_longer(
    house: ServerHouse, tmp_path: Path
) -> None:
    """RFC 4028 §7.3, §9: through the proxy, which passes both untouched."""
    timer = "Supported: timer\nSession-Expires: {}"
    told = '<ereg regexp="90" search_in="hdr" header="Min-SE:" check_it="true" assign_to="least"/>'
    agreed = '<ereg regexp="90;refresher=uac" search_in="hdr" header="Session-Expires:"'
    agreed += ' check_it="true" assign_to="ses"/>'
    steps = [
        invite(1, timer.format(60), OFFER),
        '<recv response="100" optional="true"/><recv response="407" auth="true"/>',
        refused_ack(1),
        invite(2, timer.format(60) + "\n[authentication]", OFFER),
        f'<recv response="100" optional="true"/><recv response="422"><action>{told}</action></recv>',
        refused_ack(2),
        invite(3, timer.format(90) + "\nMin-SE: 90\n[authentication]", OFFER),
        '<recv response="100" optional="true"/><recv response="180" optional="true"/>',
        ANSWERED.replace("</action>", f"{agreed}</action>"),
        by_ann("ACK", 3),
        by_ann("BYE", 4),
        DONE,
        '<Reference variables="which,least,ses"/>',
    ]
    async with Agent(house, Timers()) as called:
        await (await ann(house, tmp_path, steps)).done()
        (call,) = called.calls
        assert (call.session.interval, call.session.refreshing) == (90, False)


async def test_what_is_required_and_not_there_is_refused_420(house: ServerHouse, tmp_path: Path) -> None:
    told = '<ereg regexp="100rel" search_in="hdr" header="Unsupported:" check_it="true" assign_to="what"/>'
    steps = [
        invite(1, "Require: 100rel", OFFER),
        '<recv response="100" optional="true"/><recv response="407" auth="true"/>',
        refused_ack(1),
        invite(2, "Require: 100rel\n[authentication]", OFFER),
        f'<recv response="100" optional="true"/><recv response="420"><action>{told}</action></recv>',
        refused_ack(2),
        '<Reference variables="what"/>',
    ]
    async with Agent(house, Timers()) as called:
        await (await ann(house, tmp_path, steps)).done()
        assert called.calls == []
