"""The endpoint on loopback: requests and answers both ways, what a proxy needs, and what the network may do to it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from soip.net.errors import EndpointClosedError, FlowError, PortBusyError, RequestTimeoutError
from soip.net.exchange import IncomingRequest, Outgoing
from soip.net.limits import Limits
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip import headers as h
from soip.sip import stun
from soip.sip.message import Response, parse_message
from soip.sip.uri import Uri
from tests.net.helpers import CALM, QUICK, Recorder, endpoint, request, tcp, udp, until


class Raw(asyncio.DatagramProtocol):
    """A bare UDP socket, for peers that are not as they should be."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append(data)


async def raw_udp() -> tuple[asyncio.DatagramTransport, Raw]:
    return await asyncio.get_running_loop().create_datagram_endpoint(Raw, local_addr=("127.0.0.1", 0))


# -- both ways


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_request_is_answered(transport: str) -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint() as alice:
        response = await alice.request(request(body=b"hello"), Target(transport, *bob.address))
        assert response.status == 200
        assert "Via" not in response.headers
        (incoming,) = recorder.requests
        assert incoming.request.body == b"hello"
        assert incoming.answered
        assert h.to(response.headers).tag == incoming.tag
        via = h.top_via(incoming.request.headers)
        assert (via.transport, via.sent_by) == (transport.upper(), f"127.0.0.1:{alice.address[1]}")
        assert (via.received, via.rport) == incoming.flow.remote
        assert incoming.flow.transport == transport


async def test_one_port_for_both_transports() -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint() as alice:
        await alice.request(request(), udp(bob))
        await alice.request(request(), tcp(bob))
        assert [incoming.flow.transport for incoming in recorder.requests] == ["udp", "tcp"]
        assert {incoming.flow.local for incoming in recorder.requests} == {bob.address}


async def test_a_tcp_connection_is_used_again_and_shared_by_those_who_ask_at_once() -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint() as alice:
        await asyncio.gather(*[alice.request(request(), tcp(bob)) for _ in range(20)])
        assert len({incoming.flow for incoming in recorder.requests}) == 1
        assert await alice.connect(tcp(bob)) == await alice.connect(tcp(bob))


async def test_requests_flow_back_over_an_accepted_connection() -> None:
    recorder, back = Recorder(), Recorder()
    async with endpoint(recorder) as bob, endpoint(back) as alice:
        await alice.request(request(), tcp(bob))
        flow = recorder.requests[0].flow
        assert bob.is_open(flow)
        assert (await bob.request(request(user="alice"), flow)).status == 200
        assert len(back.requests) == 1


@pytest.mark.parametrize(("size", "transport"), [(200, "udp"), (1300, "tcp")])
async def test_a_request_over_1300_bytes_goes_by_tcp(size: int, transport: str) -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint() as alice:
        await alice.request(request(body=b"x" * size), udp(bob))
        assert recorder.requests[0].flow.transport == transport


async def test_a_stun_keepalive_is_told_where_it_came_from() -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob:
        transport, raw = await raw_udp()
        request = bytes.fromhex("000100002112a442") + b"transaction."
        transport.sendto(request, bob.address)
        await until(lambda: raw.received)
        port = transport.get_extra_info("sockname")[1]
        assert raw.received == [stun.answer(request, ("127.0.0.1", port))]
        assert recorder.requests == []
        assert bob.counters["messages that could not be read"] == 0
        transport.sendto(b"\0" + request, bob.address)
        await until(lambda: bob.counters["messages that could not be read"] == 1)
        transport.close()


async def test_a_large_request_goes_by_udp_where_nobody_listens_on_tcp_or_tcp_is_not_allowed() -> None:
    recorder = Recorder()
    async with endpoint(recorder, transports=("udp",)) as bob, endpoint() as alice:
        await alice.request(request(body=b"x" * 5000), udp(bob))
        assert recorder.requests[0].flow.transport == "udp"
    async with endpoint(recorder) as bob, endpoint() as alice:
        await alice.request(request(body=b"x" * 5000), Target("udp", *bob.address, tcp_allowed=False))
        assert recorder.requests[1].flow.transport == "udp"


async def test_users_have_handlers_of_their_own() -> None:
    everyone, bob_only = Recorder(), Recorder()
    async with endpoint(everyone) as server, endpoint() as alice:
        server.serve(bob_only, "bob")
        await alice.request(request(user="bob;start=20261120T100000Z"), udp(server))
        await alice.request(request(user="carol"), udp(server))
        server.unserve("bob")
        await alice.request(request(user="bob"), udp(server))
        assert (len(bob_only.requests), len(everyone.requests)) == (1, 2)
        server.unserve()
        assert (await alice.request(request(user="bob"), udp(server))).status == 404


async def test_a_handler_that_fails_answers_500_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(incoming: IncomingRequest) -> None:
        raise RuntimeError("a bug")

    recorder = Recorder(fail)
    async with endpoint(recorder) as bob, endpoint() as alice:
        assert (await alice.request(request(), udp(bob))).status == 500
        assert "a bug" in caplog.text
        recorder.answer = None
        assert (await alice.request(request(), udp(bob))).status == 200


async def test_a_header_that_cannot_be_read_answers_400() -> None:
    async def look(incoming: IncomingRequest) -> None:
        h.contacts(incoming.request.headers)

    async with endpoint(Recorder(look)) as bob, endpoint() as alice:
        bad = request()
        bad.headers.set("Contact", "<sip:unclosed")
        assert (await alice.request(bad, udp(bob))).status == 400


async def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(response: Response) -> None:
        raise RuntimeError("a bug in a callback")

    async with endpoint(Recorder()) as bob, endpoint() as alice:
        outgoing = await alice.send(request(), udp(bob), on_response=fail)
        assert (await outgoing.final()).status == 200
        assert "a bug in a callback" in caplog.text


# -- failures


async def test_silence_is_a_timeout() -> None:
    transport, raw = await raw_udp()
    try:
        async with endpoint(timers=QUICK) as alice:
            failures: list[Exception] = []
            target = Target("udp", *transport.get_extra_info("sockname"))
            outgoing = await alice.send(request(), target, on_failure=failures.append)
            with pytest.raises(RequestTimeoutError):
                await outgoing.final()
            assert len(failures) == 1
            assert len(raw.received) > 1
            assert len(set(raw.received)) == 1
    finally:
        transport.close()


async def test_a_refused_connection_is_a_flow_error_at_once() -> None:
    async with endpoint() as alice, endpoint(transports=("udp",)) as bob:
        with pytest.raises(FlowError, match="no connection"):
            await alice.request(request(), tcp(bob))
        with pytest.raises(FlowError, match="does not speak TCP"):
            await bob.request(request(), tcp(alice))


async def test_a_host_name_is_resolved_or_named_in_the_error() -> None:
    async with endpoint(Recorder()) as bob, endpoint() as alice:
        assert (await alice.request(request(), Target("udp", "localhost", bob.address[1]))).status == 200
        with pytest.raises(FlowError, match=r"no\.such\.host\.invalid"):
            await alice.request(request(), Target("udp", "no.such.host.invalid"))
        with pytest.raises(FlowError, match="family"):
            await alice.request(request(), Target("udp", "::1"))


async def test_a_lost_connection_fails_what_waits_and_is_told() -> None:
    async def never(incoming: IncomingRequest) -> None:
        return

    recorder, ours = Recorder(never), Recorder()
    async with endpoint(recorder) as bob, endpoint(ours) as alice:
        outgoing = await alice.send(request(), tcp(bob))
        await until(lambda: recorder.requests)
        bob.disconnect(recorder.requests[0].flow)
        with pytest.raises(FlowError):
            await outgoing.final()
        assert ours.closed == [outgoing.flow]
        assert not alice.is_open(outgoing.flow)
        with pytest.raises(FlowError, match="has ended"):
            await alice.request(request(), outgoing.flow)
        with pytest.raises(FlowError, match="has ended"):
            await alice.ping(outgoing.flow)
        recorder.answer = None
        assert (await alice.request(request(), tcp(bob))).status == 200  # a new connection
        await until(lambda: recorder.closed)


async def test_closing_fails_what_is_under_way_and_is_idempotent() -> None:
    async def never(incoming: IncomingRequest) -> None:
        await asyncio.sleep(100)

    async with endpoint(Recorder(never)) as bob, endpoint() as alice:
        outgoing = await alice.send(request(), udp(bob))
        await alice.close()
        await alice.close()
        with pytest.raises(EndpointClosedError):
            await outgoing.final()
        with pytest.raises(FlowError):
            await alice.request(request(), udp(bob))


async def test_the_limit_of_transactions_is_an_error_here_and_503_there() -> None:
    async def never(incoming: IncomingRequest) -> None:
        return

    async with endpoint(Recorder(never), limits=Limits(transactions=2)) as bob, endpoint() as alice:
        for _ in range(2):
            await alice.send(request(), udp(bob))
        response = await alice.request(request(), udp(bob))
        assert (response.status, response.headers.get("Retry-After")) == (503, "5")
        for _ in range(2):
            await bob.send(request(), udp(alice))
        with pytest.raises(FlowError, match="2 requests"):
            await bob.send(request(), udp(alice))


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_busy_port_is_named_with_the_setting_that_changes_it(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        busy = SipEndpoint("127.0.0.1", port, setting="--sip (SOIP_SIP)")
        with pytest.raises(PortBusyError) as failure:
            await busy.start()
        assert str(port) in str(failure.value)
        assert "--sip (SOIP_SIP)" in str(failure.value)
        assert "in use" in str(failure.value)


async def test_an_address_that_is_not_ours_is_explained() -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(PortBusyError, match=host.replace(".", r"\.")):
            await SipEndpoint(host, 0, setting="--sip").start()


async def test_a_wildcard_shows_the_address_on_the_way_or_the_advertised_one() -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint(host="0.0.0.0") as alice:
        await alice.request(request(), udp(bob))
        assert h.top_via(recorder.requests[0].request.headers).host == "127.0.0.1"
        assert alice.address_towards("127.0.0.1")[0] == "127.0.0.1"
    advertised = SipEndpoint("0.0.0.0", 0, advertised="192.0.2.7")
    await advertised.start()
    assert advertised.address[0] == "192.0.2.7"
    await advertised.close()


async def test_ipv6() -> None:
    recorder = Recorder()
    async with endpoint(recorder, host="::1") as bob, endpoint(host="::1") as alice:
        for target in (udp(bob), tcp(bob)):
            assert (await alice.request(request(), target)).status == 200
        via = h.top_via(recorder.requests[0].request.headers)
        assert (via.host, via.received) == ("::1", "::1")


# -- answers find their way (RFC 3261 §18.2, RFC 3581)


async def exchange_raw(bob: SipEndpoint, via: str) -> tuple[list[bytes], list[bytes]]:
    """A MESSAGE with that Via from one socket; what comes back to it, and what to the socket named in the Via."""
    sender, at_sender = await raw_udp()
    named, at_named = await raw_udp()
    try:
        message = request()
        message.headers.prepend("Via", via.format(named=named.get_extra_info("sockname")[1]))
        sender.sendto(message.to_bytes(), bob.address)
        await until(lambda: at_sender.received or at_named.received)
        return at_sender.received, at_named.received
    finally:
        sender.close()
        named.close()


async def test_with_rport_an_answer_goes_to_the_source_port() -> None:
    async with endpoint(Recorder()) as bob:
        back, named = await exchange_raw(bob, "SIP/2.0/UDP 192.0.2.1:{named};branch=z9hG4bK1;rport")
        assert named == []
        via = h.top_via(parse_message(back[0]).headers)
        assert via.received == "127.0.0.1"
        assert via.rport is not None


async def test_without_rport_an_answer_goes_to_the_port_in_the_via() -> None:
    async with endpoint(Recorder()) as bob:
        back, named = await exchange_raw(bob, "SIP/2.0/UDP phone.invalid:{named};branch=z9hG4bK1")
        assert back == []
        assert h.top_via(parse_message(named[0]).headers).received == "127.0.0.1"


async def test_unreadable_datagrams_are_answered_where_possible_and_counted() -> None:
    transport, raw = await raw_udp()
    try:
        recorder = Recorder()
        async with endpoint(recorder) as bob:
            bad = request()
            bad.headers.prepend("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1;rport")
            bad.headers.set("CSeq", "nonsense")
            for data in (b"\r\n\r\n", b"\0\0\0\0", b"hello", b"\xff" * 2000, bad.to_bytes()):
                transport.sendto(data, bob.address)
            await until(lambda: raw.received)
            assert [parse_message(data).status for data in raw.received if data] == [400]  # type: ignore[union-attr]  # a response
            assert bob.counters["messages that could not be read"] == 3
            assert recorder.requests == []
    finally:
        transport.close()


# -- INVITE, and what a proxy needs


async def test_provisional_and_final_responses_and_the_ack_of_a_refusal() -> None:
    async def busy(incoming: IncomingRequest) -> None:
        incoming.reply(180)
        incoming.reply(486)
        incoming.reply(200)  # too late: ignored

    recorder = Recorder(busy)
    async with endpoint(recorder, timers=replace(CALM, t4=0.05)) as bob, endpoint() as alice:
        seen: list[int] = []
        response = await alice.request(request("INVITE"), udp(bob), on_provisional=lambda r: seen.append(r.status))
        assert (seen, response.status) == ([180], 486)
        await until(lambda: bob.transactions == 0)  # which its ACK has done
        assert recorder.acks == []


async def test_cancel_reaches_the_handler_and_the_487_comes_back() -> None:
    cancelled: list[IncomingRequest] = []

    async def ring(incoming: IncomingRequest) -> None:
        incoming.reply(180)
        incoming.on_cancel(lambda: cancelled.append(incoming))
        incoming.on_cancel(lambda: incoming.reply(487))

    async with endpoint(Recorder(ring)) as bob, endpoint() as alice:
        outgoing = await alice.send(request("INVITE"), udp(bob))
        outgoing.cancel([("Reason", "SIP;cause=200")])
        assert (await outgoing.final()).status == 487
        assert len(cancelled) == 1
        late: list[int] = []
        cancelled[0].on_cancel(lambda: late.append(1))
        assert late == [1]


async def test_an_ack_for_a_2xx_arrives_without_a_transaction_and_repeated_2xx_are_passed_up() -> None:
    recorder = Recorder()
    async with endpoint(recorder) as bob, endpoint() as alice:
        seen: list[int] = []
        outgoing = await alice.send(request("INVITE"), udp(bob), on_response=lambda r: seen.append(r.status))
        response = await outgoing.final()
        incoming = recorder.requests[0]
        again = Response(200, "OK", incoming.request.headers.copy())
        incoming.respond(again)
        await until(lambda: seen == [200, 200])
        ack = outgoing.request.copy()
        ack.method = "ACK"
        ack.headers.remove("Via")
        ack.headers.set("To", response.headers.get("To") or "")
        ack.headers.set("CSeq", "1 ACK")
        await alice.send_stateless(ack, udp(bob))
        await until(lambda: recorder.acks)
        assert recorder.acks[0][0].method == "ACK"
        assert len(recorder.requests) == 1


async def test_a_response_can_be_sent_without_a_transaction() -> None:
    transport, raw = await raw_udp()
    try:
        async with endpoint() as bob:
            await bob.send_stateless(Response(200, "OK"), Target("udp", *transport.get_extra_info("sockname")))
            await until(lambda: raw.received)
            assert raw.received[0].startswith(b"SIP/2.0 200 OK")
    finally:
        transport.close()


class Forwarder(Recorder):
    """The least a stateful proxy does."""

    def __init__(self, via: SipEndpoint, to: SipEndpoint) -> None:
        super().__init__()
        self.via, self.to = via, to
        self.sent: list[Outgoing] = []

    async def request(self, incoming: IncomingRequest) -> None:
        self.requests.append(incoming)
        outgoing = await self.via.send(incoming.request, udp(self.to), on_response=incoming.respond)
        self.sent.append(outgoing)
        incoming.on_cancel(outgoing.cancel)


async def test_a_proxy_forwards_both_ways_with_its_own_via_and_passes_cancel_on() -> None:
    async def ring(incoming: IncomingRequest) -> None:
        incoming.reply(180)
        incoming.on_cancel(lambda: incoming.reply(487))

    recorder = Recorder(ring)
    async with endpoint(recorder) as bob, endpoint() as proxy, endpoint() as alice:
        proxy.serve(Forwarder(proxy, bob))
        seen: list[int] = []
        outgoing = await alice.send(request("INVITE"), udp(proxy), on_response=lambda r: seen.append(r.status))
        await until(lambda: 180 in seen)
        vias = h.via_list(recorder.requests[0].request.headers)
        assert [via.port for via in vias] == [proxy.address[1], alice.address[1]]
        outgoing.cancel()
        response = await outgoing.final()
        assert response.status == 487
        assert h.to(response.headers).tag == recorder.requests[0].tag
        assert seen[-1] == 487


def test_target_of_a_uri() -> None:
    assert Target.of(Uri.parse("sip:a@192.0.2.1")) == Target("udp", "192.0.2.1", 5060)
    assert Target.of(Uri.parse("sip:a@b.test:5070;transport=TCP")) == Target("tcp", "b.test", 5070)
    assert Target.of(Uri.parse("sip:a@b.test;maddr=192.0.2.9")) == Target("udp", "192.0.2.9", name="b.test")
    assert Target.of(Uri.parse("sip:a@b.test;transport=tls")) == Target("tls", "b.test", 5061)
    assert Target.of(Uri.parse("sips:a@b.test")) == Target("tls", "b.test", 5061)
    assert Target.of(Uri.parse("sips:a@b.test:5070;transport=tcp")) == Target("tls", "b.test", 5070)
    assert str(Target("tcp", "::1", 5060)) == "tcp:[::1]:5060"
    for text in ("tel:+49", "sip:a@b;transport=sctp", "sip:a@b;transport=ws", "sips:a@b;transport=ws"):
        with pytest.raises(FlowError):
            Target.of(Uri.parse(text))
