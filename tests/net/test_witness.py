"""Who looks on at an endpoint sees every message once in order, repeats as repeats, and nothing that was not sent."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from soip.net.exchange import IncomingRequest, Witness
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip.flow import Flow
from soip.sip.message import Message, Request, parse_message
from tests.net.helpers import QUICK, Recorder, endpoint, request, tcp, udp, until
from tests.net.test_sip import raw_udp


def said(message: Message) -> str:
    return message.method if isinstance(message, Request) else str(message.status)


@dataclass
class Onlooker(Witness):
    """Writes down what it is shown: `<` came, `>` went, `>>` went again."""

    seen: list[str] = field(default_factory=list)
    flows: set[Flow] = field(default_factory=set)

    def received(self, message: Message, flow: Flow) -> None:
        self.seen.append(f"<{said(message)}")
        self.flows.add(flow)

    def sent(self, message: Message, flow: Flow) -> None:
        self.seen.append(f">{said(message)}")
        self.flows.add(flow)

    def sent_again(self, data: bytes, request: Request, flow: Flow) -> None:
        self.seen.append(f">>{said(parse_message(data))}")


def watched(made: SipEndpoint) -> Onlooker:
    onlooker = Onlooker()
    made.show(onlooker)
    return onlooker


async def test_both_ends_see_the_same_from_their_sides() -> None:
    async def ring(incoming: IncomingRequest) -> None:
        incoming.reply(180)
        incoming.reply(486)

    async with endpoint(Recorder(ring)) as bob, endpoint() as alice:
        at_bob, at_alice = watched(bob), watched(alice)
        await alice.request(request("INVITE"), tcp(bob))
        await until(lambda: "<ACK" in at_bob.seen)
        assert at_alice.seen == [">INVITE", "<180", "<486", ">ACK"]
        assert at_bob.seen == ["<INVITE", ">180", ">486", "<ACK"]
        assert {flow.transport for flow in at_bob.flows} == {"tcp"}


async def test_what_the_layer_says_by_itself_is_seen_too() -> None:
    """100 Trying, CANCEL and its answer are nobody's call of ours."""

    async def wait(incoming: IncomingRequest) -> None:
        incoming.on_cancel(lambda: incoming.reply(487))

    async with endpoint(Recorder(wait)) as bob, endpoint() as alice:
        at_bob, at_alice = watched(bob), watched(alice)
        outgoing = await alice.send(request("INVITE"), tcp(bob))
        await until(lambda: "<100" in at_alice.seen)
        outgoing.cancel()
        assert (await outgoing.final()).status == 487
        await until(lambda: "<ACK" in at_bob.seen)
        assert at_bob.seen == ["<INVITE", ">100", "<CANCEL", ">200", ">487", "<ACK"]
        assert at_alice.seen[:3] == [">INVITE", "<100", ">CANCEL"]


async def test_repeats_are_repeats() -> None:
    """Nobody is there: the same INVITE goes out again and again (timer A)."""
    transport, _ = await raw_udp()
    address = transport.get_extra_info("sockname")
    async with endpoint(timers=QUICK) as alice:
        onlooker = watched(alice)
        await alice.send(request("INVITE"), Target("udp", *address))
        await until(lambda: onlooker.seen.count(">>INVITE") >= 3)
        assert onlooker.seen.count(">INVITE") == 1
    transport.close()


async def test_a_response_and_an_ack_that_go_again_are_repeats() -> None:
    async def refuse(incoming: IncomingRequest) -> None:
        incoming.reply(486)

    async with endpoint(Recorder(refuse), timers=QUICK) as bob:
        onlooker = watched(bob)
        transport, raw = await raw_udp()
        invite = request("INVITE")
        invite.headers.prepend("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1;rport")
        transport.sendto(invite.to_bytes(), bob.address)
        await until(lambda: len(raw.received) >= 3)
        assert onlooker.seen[:3] == ["<INVITE", ">486", ">>486"]
        transport.close()


async def test_stateless_answers_and_messages_without_transactions_are_seen() -> None:
    async def turn_away(incoming: IncomingRequest) -> None:
        incoming.drop()

    async with endpoint(Recorder(turn_away)) as bob, endpoint() as alice:
        at_bob, at_alice = watched(bob), watched(alice)
        transport, raw = await raw_udp()
        bad = request("INVITE")
        bad.headers.prepend("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1;rport")
        bad.headers.set("CSeq", "1 BYE")
        transport.sendto(bad.to_bytes(), bob.address)
        await until(lambda: len(raw.received) == 1)
        assert at_bob.seen == ["<INVITE", ">400"], "it could be read, though not understood"
        await alice.send_stateless(request("ACK"), udp(bob))
        await until(lambda: "<ACK" in at_bob.seen)
        assert at_alice.seen == [">ACK"]
        transport.close()


async def test_what_cannot_be_sent_is_not_seen() -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint() as alice:
        incoming: list[IncomingRequest] = []

        async def keep(arrived: IncomingRequest) -> None:
            incoming.append(arrived)

        recorder.answer = keep
        await alice.send(request("INVITE"), tcp(bob))
        await until(lambda: incoming)
        onlooker = watched(bob)
        bob.disconnect(incoming[0].flow)
        await until(lambda: recorder.closed)
        incoming[0].reply(200)
        assert onlooker.seen == []


class Blind(Witness):
    """Fails at everything it is shown."""

    def received(self, message: Message, flow: Flow) -> None:
        raise ZeroDivisionError

    def sent(self, message: Message, flow: Flow) -> None:
        raise ZeroDivisionError

    def sent_again(self, data: bytes, request: Request, flow: Flow) -> None:
        raise ZeroDivisionError


async def test_a_witness_that_fails_takes_no_call_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint(Recorder()) as bob, endpoint() as alice:
        bob.show(Blind())
        alice.show(Blind())
        for method in ("INVITE", "MESSAGE"):
            assert (await alice.request(request(method), udp(bob))).status == 200
    assert 1 <= len([record for record in caplog.records if "could not be shown" in record.message]) <= 4
