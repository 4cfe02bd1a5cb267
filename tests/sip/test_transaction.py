"""The transaction layer: what goes out when, with virtual time and no link."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.sip import headers as h
from soip.sip.errors import SipParseError, TooManyTransactionsError
from soip.sip.flow import Flow
from soip.sip.layer import (
    AckArrived,
    Cancelled,
    ClientTransaction,
    Output,
    RequestArrived,
    ResponseArrived,
    ServerTransaction,
    Terminated,
    TimedOut,
    TransactionLayer,
    Transmit,
    TransportFailed,
    make_ack,
    make_cancel,
    server_key,
)
from soip.sip.message import Request, Response, parse_message
from soip.sip.reply import make_response
from soip.sip.transaction import State
from tests.sip.virtual import invite

UDP = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
TCP = Flow("tcp", ("192.0.2.1", 5060), ("192.0.2.2", 5060), 7)


def make_layer(limit: int = 100) -> TransactionLayer:
    numbers = itertools.count()
    return TransactionLayer(branches=lambda: f"b{next(numbers)}", tags=lambda: f"t{next(numbers)}", limit=limit)


def drain(layer: TransactionLayer) -> list[Output]:
    return list(layer.take())


def sent(outputs: list[Output]) -> list[str]:
    """First word of what was sent: a method, or a status."""
    messages = [parse_message(output.data) for output in outputs if isinstance(output, Transmit)]
    return [m.method if isinstance(m, Request) else str(m.status) for m in messages]


def kinds(outputs: list[Output]) -> list[str]:
    return [type(output).__name__ for output in outputs if not isinstance(output, Transmit)]


def play(layer: TransactionLayer, until: float) -> list[tuple[float, Output]]:
    """Let the timers run; each output with its time."""
    found = [(0.0, output) for output in drain(layer)]
    while (deadline := layer.next_deadline()) is not None and deadline <= until:
        layer.advance(deadline)
        found += [(deadline, output) for output in drain(layer)]
    return found


def times(found: list[tuple[float, Output]]) -> list[float]:
    return [round(at, 3) for at, output in found if isinstance(output, Transmit)]


def with_via(request: Request, branch: str = "z9hG4bKx", sent_by: str = "192.0.2.2:5060") -> Request:
    request.headers.prepend("Via", f"SIP/2.0/UDP {sent_by};branch={branch};rport")
    return request


def arrive(layer: TransactionLayer, request: Request, flow: Flow = UDP, now: float = 0.0) -> ServerTransaction:
    layer.receive(request, flow, now)
    found = [output.transaction for output in drain(layer) if isinstance(output, RequestArrived)]
    assert len(found) == 1
    return found[0]


def answer(layer: TransactionLayer, transaction: ClientTransaction, status: int, now: float = 0.0) -> list[Output]:
    layer.receive(make_response(transaction.request, status, to_tag="theirs"), transaction.flow, now)
    return drain(layer)


# -- client, unreliable


def test_invite_is_repeated_at_doubling_intervals_and_times_out_after_32_seconds() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "192.0.2.1:5060", 0.0)
    found = play(layer, 100)
    assert times(found) == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert [(at, type(o)) for at, o in found if not isinstance(o, Transmit)] == [(32.0, TimedOut), (32.0, Terminated)]
    assert transaction.state is State.TERMINATED
    assert len(layer) == 0
    assert layer.next_deadline() is None


def test_non_invite_is_repeated_at_most_every_t2() -> None:
    layer = make_layer()
    layer.send_request(invite(1, method="MESSAGE"), UDP, "192.0.2.1:5060", 0.0)
    found = play(layer, 100)
    assert times(found) == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert kinds([o for _, o in found]) == ["TimedOut", "Terminated"]


def test_a_provisional_response_slows_a_non_invite_to_t2() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1, method="MESSAGE"), UDP, "192.0.2.1:5060", 0.0)
    answer(layer, transaction, 100, 0.1)
    assert times(play(layer, 100)) == [0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]


def test_a_provisional_response_ends_the_repeats_of_an_invite() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "192.0.2.1:5060", 0.0)
    drain(layer)
    assert kinds(answer(layer, transaction, 180)) == ["ResponseArrived"]
    assert times(play(layer, 150)) == []


def test_timer_c_cancels_a_call_that_rings_for_ever() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "192.0.2.1:5060", 0.0)
    drain(layer)
    answer(layer, transaction, 180)
    found = play(layer, 1000)
    assert sent([o for _, o in found])[0] == "CANCEL"
    assert found[0][0] == 185.0
    assert (217.0, TimedOut) in [(at, type(o)) for at, o in found]
    assert len(layer) == 0


def test_a_refused_invite_is_acknowledged_hop_by_hop_each_time() -> None:
    layer = make_layer()
    request = invite(1)
    request.headers.add("Route", "<sip:proxy.test;lr>")
    transaction = layer.send_request(request, UDP, "192.0.2.1:5060", 0.0)
    (first,) = (parse_message(o.data) for o in drain(layer) if isinstance(o, Transmit))
    outputs = answer(layer, transaction, 486)
    ack = parse_message(next(o.data for o in outputs if isinstance(o, Transmit)))
    assert isinstance(ack, Request)
    assert isinstance(first, Request)
    assert ack.method == "ACK"
    assert ack.uri == first.uri
    assert h.top_via(ack.headers) == h.top_via(first.headers)
    assert h.to(ack.headers).tag == "theirs"
    assert str(h.cseq(ack.headers)) == "1 ACK"
    assert ack.headers.get("Route") == "<sip:proxy.test;lr>"
    assert kinds(outputs) == ["ResponseArrived"]
    again = answer(layer, transaction, 486, 5.0)
    assert sent(again) == ["ACK"]
    assert kinds(again) == []
    assert kinds([o for _, o in play(layer, 100)]) == ["Terminated"]


def test_every_2xx_to_an_invite_is_passed_up_for_64_t1() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "192.0.2.1:5060", 0.0)
    drain(layer)
    for now in (0.0, 0.5, 31.0):
        assert kinds(answer(layer, transaction, 200, now)) == ["ResponseArrived"]
    assert answer(layer, transaction, 486, 31.5) == []  # RFC 6026: nothing else matters now
    play(layer, 32.0)
    assert answer(layer, transaction, 200, 33.0) == []
    assert layer.strays == 1


def test_a_final_response_to_a_non_invite_is_given_once() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1, method="MESSAGE"), UDP, "192.0.2.1:5060", 0.0)
    drain(layer)
    assert kinds(answer(layer, transaction, 200)) == ["ResponseArrived"]
    assert answer(layer, transaction, 200) == []
    assert [(at, type(o)) for at, o in play(layer, 100)] == [(5.0, Terminated)]


def test_responses_are_matched_by_branch_and_method_alone() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "192.0.2.1:5060", 0.0)
    drain(layer)
    response = make_response(transaction.request, 200)
    response.headers.set("CSeq", "1 BYE")
    layer.receive(response, UDP, 0.0)
    stranger = make_response(with_via(invite(1)), 200)
    layer.receive(stranger, UDP, 0.0)
    assert drain(layer) == []
    assert layer.strays == 2


def test_requests_are_copied_and_get_a_via_with_branch_and_rport() -> None:
    layer = make_layer()
    request = invite(1)
    transaction = layer.send_request(request, TCP, "proxy.test:5070", 0.0)
    assert "Via" not in request.headers
    assert transaction.request.headers.get("Via") == "SIP/2.0/TCP proxy.test:5070;branch=z9hG4bKb0;rport"


def test_an_ack_is_no_transaction() -> None:
    with pytest.raises(ValueError, match="ACK"):
        make_layer().send_request(invite(1, method="ACK"), UDP, "x:1", 0.0)


# -- client, reliable


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_nothing_is_repeated_over_a_reliable_transport(method: str) -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1, method=method), TCP, "192.0.2.1:5060", 0.0)
    found = play(layer, 100)
    assert times(found) == [0.0]
    assert kinds([o for _, o in found]) == ["TimedOut", "Terminated"]
    assert transaction.state is State.TERMINATED


def test_over_a_reliable_transport_a_transaction_ends_with_its_final_response() -> None:
    layer = make_layer()
    for method, status in (("INVITE", 486), ("MESSAGE", 200)):
        transaction = layer.send_request(invite(1, method=method), TCP, "192.0.2.1:5060", 0.0)
        answer(layer, transaction, status, 1.0)
        assert layer.next_deadline() == 1.0
        play(layer, 1.0)
        assert len(layer) == 0


def test_a_lost_connection_fails_what_waits_on_it_and_nothing_else() -> None:
    layer = make_layer()
    waiting = layer.send_request(invite(1, method="MESSAGE"), TCP, "x:1", 0.0)
    ringing = layer.send_request(invite(2), TCP, "x:1", 0.0)
    answer(layer, ringing, 180)
    accepted = layer.send_request(invite(3), TCP, "x:1", 0.0)
    answer(layer, accepted, 200)
    elsewhere = layer.send_request(invite(4, method="MESSAGE"), UDP, "x:1", 0.0)
    drain(layer)
    layer.flow_lost(TCP, 1.0)
    outputs = drain(layer)
    assert {o.transaction for o in outputs if isinstance(o, TransportFailed)} == {waiting, ringing}
    assert elsewhere.state is State.TRYING
    assert accepted.state is State.ACCEPTED
    layer.flow_lost(TCP, 1.0)
    assert drain(layer) == []


def test_a_send_that_fails_ends_a_client_and_is_told_to_a_server() -> None:
    layer = make_layer()
    client = layer.send_request(invite(1), UDP, "x:1", 0.0)
    drain(layer)
    layer.transport_failed(client, 0.0)
    assert kinds(drain(layer)) == ["TransportFailed", "Terminated"]
    server = arrive(layer, with_via(invite(2)))
    layer.send_response(server, make_response(server.request, 486, to_tag="x"), 0.0)
    drain(layer)
    layer.transport_failed(server, 0.0)
    assert kinds(drain(layer)) == ["TransportFailed"]
    assert server.state is State.COMPLETED


# -- server


def test_100_is_sent_after_200_ms_unless_the_user_is_faster() -> None:
    layer = make_layer()
    arrive(layer, with_via(invite(1), "z9hG4bK1"))
    fast = arrive(layer, with_via(invite(2), "z9hG4bK2"))
    layer.send_response(fast, make_response(fast.request, 180, to_tag="x"), 0.1)
    assert sent(drain(layer)) == ["180"]
    found = play(layer, 10)
    assert [(at, sent([o])) for at, o in found] == [(0.2, ["100"])]


def test_a_repeated_invite_gets_the_last_response_again() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1)))
    layer.receive(with_via(invite(1)), UDP, 0.05)
    assert drain(layer) == []  # nothing was said yet
    layer.send_response(server, make_response(server.request, 183, to_tag="x"), 0.1)
    layer.receive(with_via(invite(1)), UDP, 0.5)
    assert sent(drain(layer)) == ["183", "183"]


def test_a_refusal_is_repeated_until_the_ack_or_32_seconds() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1)))
    layer.send_response(server, make_response(server.request, 486, to_tag="x"), 0.0)
    found = play(layer, 100)
    assert times(found) == [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert kinds([o for _, o in found]) == ["TimedOut", "Terminated"]


def test_the_ack_ends_the_repeats_and_is_absorbed() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1)))
    refusal = make_response(server.request, 486, to_tag="x")
    layer.send_response(server, refusal, 0.0)
    drain(layer)
    for now in (0.1, 0.2):
        layer.receive(make_ack(server.request, refusal), UDP, now)
    assert drain(layer) == []
    assert [(at, type(o)) for at, o in play(layer, 100)] == [(5.1, Terminated)]


def test_after_a_2xx_invites_are_absorbed_and_acks_passed_up() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1)))
    ok = make_response(server.request, 200, to_tag="x")
    layer.send_response(server, ok, 0.0)
    assert sent(drain(layer)) == ["200"]
    layer.receive(with_via(invite(1)), UDP, 0.5)
    assert drain(layer) == []
    layer.send_response(server, ok, 0.5)  # the user repeats it
    assert sent(drain(layer)) == ["200"]
    layer.send_response(server, make_response(server.request, 486), 0.6)
    assert drain(layer) == []
    layer.receive(make_ack(server.request, ok), UDP, 0.7)  # of a phone that uses the branch again
    assert kinds(drain(layer)) == ["AckArrived"]
    layer.receive(with_via(invite(1, method="ACK"), "z9hG4bKnew"), UDP, 0.7)
    (ack,) = drain(layer)
    assert isinstance(ack, AckArrived)
    assert [(at, type(o)) for at, o in play(layer, 100)] == [(32.0, Terminated)]


def test_non_invite_server_repeats_only_what_it_is_asked_to() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1, method="MESSAGE")))
    layer.receive(with_via(invite(1, method="MESSAGE")), UDP, 0.5)
    assert drain(layer) == []
    layer.send_response(server, make_response(server.request, 200, to_tag="x"), 1.0)
    layer.send_response(server, make_response(server.request, 500, to_tag="x"), 1.0)
    layer.receive(with_via(invite(1, method="MESSAGE")), UDP, 1.5)
    assert sent(drain(layer)) == ["200", "200"]
    assert [(at, type(o)) for at, o in play(layer, 100)] == [(33.0, Terminated)]


def test_rfc_4320_no_408_no_180_and_nothing_late_for_a_non_invite() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1, method="MESSAGE")))
    for status in (408, 180):
        layer.send_response(server, make_response(server.request, status, to_tag="x"), 0.0)
    assert drain(layer) == []
    layer.send_response(server, make_response(server.request, 100), 5.0)
    assert sent(drain(layer)) == ["100"]
    assert [(at, type(o)) for at, o in play(layer, 100)] == [(32.0, TimedOut), (32.0, Terminated)]
    layer.send_response(server, make_response(server.request, 200), 33.0)
    assert drain(layer) == []


def test_responses_go_where_the_shell_says() -> None:
    layer = make_layer()
    back = Flow("udp", UDP.local, ("192.0.2.2", 5099))
    layer.receive(with_via(invite(1, method="MESSAGE")), UDP, 0.0, back)
    (arrived,) = drain(layer)
    assert isinstance(arrived, RequestArrived)
    assert arrived.transaction.source == UDP
    layer.send_response(arrived.transaction, make_response(arrived.transaction.request, 200), 0.0)
    assert [o.flow for o in drain(layer) if isinstance(o, Transmit)] == [back]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_the_limit_of_server_transactions_answers_503(method: str) -> None:
    layer = make_layer(limit=2)
    for number in range(2):
        arrive(layer, with_via(invite(number, method=method), f"z9hG4bK{number}"))
    layer.receive(with_via(invite(9, method=method), "z9hG4bK9"), UDP, 0.0)
    outputs = drain(layer)
    assert sent(outputs) == ["503"]
    assert kinds(outputs) == []
    assert layer.refused == 1
    assert len(layer) == 2


def test_the_limit_of_client_transactions_raises() -> None:
    layer = make_layer(limit=1)
    layer.send_request(invite(1), UDP, "x:1", 0.0)
    with pytest.raises(TooManyTransactionsError):
        layer.send_request(invite(2), UDP, "x:1", 0.0)


def test_a_message_without_what_a_transaction_needs_is_refused() -> None:
    layer = make_layer()
    for missing in ("Via", "From", "To", "Call-ID", "CSeq"):
        request = with_via(invite(1))
        request.headers.remove(missing)
        with pytest.raises(SipParseError):
            layer.receive(request, UDP, 0.0)
    assert len(layer) == 0


# -- cancelling


def test_cancel_waits_for_the_first_provisional_response() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "x:1", 0.0)
    drain(layer)
    layer.cancel(transaction, 0.1, [("Reason", "SIP;cause=200")])
    layer.cancel(transaction, 0.1)
    assert drain(layer) == []
    outputs = answer(layer, transaction, 180, 0.2)
    assert sent(outputs) == ["CANCEL"]
    cancel = parse_message(next(o.data for o in outputs if isinstance(o, Transmit)))
    assert isinstance(cancel, Request)
    assert h.top_via(cancel.headers) == h.top_via(transaction.request.headers)
    assert str(h.cseq(cancel.headers)) == "1 CANCEL"
    assert cancel.headers.get("Reason") == "SIP;cause=200"
    layer.receive(make_response(cancel, 200), UDP, 0.3)
    assert drain(layer) == []  # the CANCEL's own outcome is nobody's concern
    assert sent(answer(layer, transaction, 487, 0.4)) == ["ACK"]
    play(layer, 100)
    assert len(layer) == 0


def test_a_2xx_wins_the_race_against_cancel() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "x:1", 0.0)
    answer(layer, transaction, 180)
    layer.cancel(transaction, 0.1)
    assert sent(drain(layer)) == ["CANCEL"]
    assert kinds(answer(layer, transaction, 200, 0.2)) == ["ResponseArrived"]
    layer.cancel(transaction, 0.3)
    assert drain(layer) == []


def test_cancel_before_anything_is_heard_ends_as_a_timeout() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "x:1", 0.0)
    layer.cancel(transaction, 0.1)
    found = play(layer, 100)
    assert set(sent([o for _, o in found])) == {"INVITE"}
    assert kinds([o for _, o in found]) == ["TimedOut", "Terminated"]


def test_a_peer_that_answers_the_cancel_but_not_the_invite_is_given_up() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1), UDP, "x:1", 0.0)
    answer(layer, transaction, 180)
    layer.cancel(transaction, 10.0)
    drain(layer)
    layer.receive(make_response(make_cancel(transaction.request), 200), UDP, 10.1)
    assert (42.0, TimedOut) in [(at, type(o)) for at, o in play(layer, 100)]
    assert len(layer) == 0


def test_an_arriving_cancel_is_answered_and_told_once() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1)))
    cancel = make_cancel(server.request)
    layer.receive(cancel, UDP, 0.1)
    outputs = drain(layer)
    assert sent(outputs) == ["200"]
    assert kinds(outputs) == ["Cancelled"]
    answer_to_cancel = parse_message(next(o.data for o in outputs if isinstance(o, Transmit)))
    assert h.to(answer_to_cancel.headers).tag == server.tag  # §9.2
    layer.receive(cancel, UDP, 0.6)
    assert sent(drain(layer)) == ["200"]
    assert server.cancelled
    assert not server.answered


def test_a_cancel_that_comes_too_late_or_for_nothing() -> None:
    layer = make_layer()
    server = arrive(layer, with_via(invite(1)))
    layer.send_response(server, make_response(server.request, 200, to_tag=server.tag), 0.0)
    drain(layer)
    layer.receive(make_cancel(server.request), UDP, 0.1)
    outputs = drain(layer)
    assert sent(outputs) == ["200"]
    assert kinds(outputs) == []
    layer.receive(make_cancel(with_via(invite(5), "z9hG4bKother")), UDP, 0.1)
    assert sent(drain(layer)) == ["481"]


# -- matching (§17.2.3)


def test_server_key_tells_senders_apart_and_joins_ack_and_cancel() -> None:
    request = with_via(invite(1))
    key = server_key(request)
    assert key == server_key(make_ack(request, make_response(request, 486, to_tag="x")))
    assert key == server_key(make_cancel(request), method="INVITE")
    assert key != server_key(make_cancel(request))
    assert key != server_key(with_via(invite(1), sent_by="192.0.2.9:5060"))
    assert key == server_key(with_via(invite(1), sent_by="192.0.2.2"))  # 5060 is the default port


def test_a_branch_of_rfc_2543_is_matched_by_the_parts_that_do_not_change() -> None:
    old = [with_via(invite(1), "1"), with_via(invite(1), "1")]
    assert server_key(old[0]) == server_key(old[1])
    assert server_key(old[0]) != server_key(with_via(invite(2), "1"))
    assert server_key(make_ack(old[0], make_response(old[0], 486, to_tag="x"))) == server_key(old[0])
    layer = make_layer()
    server = arrive(layer, old[0])
    refusal = make_response(server.request, 486, to_tag="x")
    layer.send_response(server, refusal, 0.0)
    layer.receive(make_ack(old[0], refusal), UDP, 0.1)
    assert server.state is State.CONFIRMED


# -- whatever happens

STEPS = ["client", "server", "response", "reply", "repeat", "ack", "cancel", "peercancel", "fail", "lost", "time"]


def test_an_answered_request_is_not_kept_whole() -> None:
    layer = make_layer()
    layer.receive(with_via(invite(1, method="MESSAGE"), "z9hG4bK1"), UDP, 0.0)
    (arrived,) = layer.take()
    assert isinstance(arrived, RequestArrived)
    whole = arrived.transaction.request
    layer.send_response(arrived.transaction, make_response(whole, 200, to_tag="x"), 0.0)
    assert len(arrived.transaction.request.headers) == 0
    layer.receive(whole, UDP, 1.0)
    again = [output for output in layer.take() if isinstance(output, Transmit)]
    assert len(again) == 2, "the answer, and the same once more for the repeat"
    assert again[0].data == again[1].data


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_happens_every_transaction_ends(data: st.DataObject) -> None:
    """Any order of responses, repeats, commands, failures and time: nothing raises, and what was answered ends."""
    layer = make_layer()
    flow = data.draw(st.sampled_from([UDP, TCP]))
    clients: list[ClientTransaction] = []
    servers: list[ServerTransaction] = []
    requests: dict[ServerTransaction, Request] = {}
    ended: list[object] = []
    now = 0.0
    for number in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(STEPS))
        method = data.draw(st.sampled_from(["INVITE", "MESSAGE"]))
        status = data.draw(st.sampled_from([100, 180, 200, 202, 302, 404, 408, 487, 603]))
        client = data.draw(st.sampled_from(clients)) if clients else None
        server = data.draw(st.sampled_from(servers)) if servers else None
        if step == "client":
            clients.append(layer.send_request(invite(number, method=method), flow, "x:1", now))
        elif step == "server":
            layer.receive(with_via(invite(number, method=method), f"z9hG4bK{number}"), flow, now)
        elif step == "time":
            now += data.draw(st.sampled_from([0.0, 0.1, 0.5, 5.0, 33.0, 200.0]))
            layer.advance(now)
        elif step == "lost":
            layer.flow_lost(flow, now)
        elif client is not None and step == "response":
            layer.receive(make_response(client.request, status, to_tag="x"), flow, now)
        elif client is not None and step == "cancel":
            layer.cancel(client, now)
        elif client is not None and step == "fail":
            layer.transport_failed(client, now)
        elif server is not None and step == "reply":
            layer.send_response(server, make_response(server.request, status, to_tag="x"), now)
        elif server is not None and step == "repeat":
            layer.receive(requests[server], flow, now)
        elif server is not None and step == "ack" and server.is_invite:
            layer.receive(make_ack(server.request, make_response(server.request, status, to_tag="x")), flow, now)
        elif server is not None and step == "peercancel" and server.is_invite:
            layer.receive(make_cancel(server.request), flow, now)
        for output in layer.take():
            if isinstance(output, RequestArrived):
                servers.append(output.transaction)
                requests[output.transaction] = output.transaction.request
            elif isinstance(output, Terminated):
                ended.append(output.transaction)
    for server in servers:
        layer.send_response(server, make_response(server.request, 500, to_tag="x"), now)
    ended += [output.transaction for _, output in play(layer, now + 1000) if isinstance(output, Terminated)]
    assert len(layer) == 0
    assert layer.next_deadline() is None
    assert len(ended) == len(set(ended)), "ended twice"
    assert layer._by_flow == {}


def test_thousands_of_transactions_leave_a_small_heap() -> None:
    """Stopped timers stay in the heap only until they are more than half of it."""
    layer = make_layer(limit=20_000)
    for number in range(3_000):
        transaction = layer.send_request(invite(number, method="MESSAGE"), TCP, "x:1", 0.0)
        answer(layer, transaction, 200)
        layer.advance(0.0)
        drain(layer)
    assert len(layer) == 0
    assert len(layer._heap._heap) <= 200


def test_responses_are_given_with_our_via_still_on_top() -> None:
    layer = make_layer()
    transaction = layer.send_request(invite(1, method="MESSAGE"), UDP, "x:1", 0.0)
    outputs = answer(layer, transaction, 200)
    (arrived,) = (o for o in outputs if isinstance(o, ResponseArrived))
    assert isinstance(arrived.response, Response)
    assert h.top_via(arrived.response.headers).branch == transaction.key[0]
    assert [o.transaction for o in outputs if isinstance(o, Cancelled)] == []


# -- what is answered at once needs no timer for its answer


@pytest.mark.parametrize("method", ["MESSAGE", "INVITE"])
def test_a_request_that_is_dropped_at_once_starts_no_timer(method: str) -> None:
    layer = make_layer()
    layer.receive(with_via(invite(1, method=method)), UDP, 0.0)
    for output in layer.take():
        if isinstance(output, RequestArrived):
            layer.forget(output.transaction)
    assert layer.next_deadline() is None
    assert len(layer) == 0


def test_a_request_that_is_answered_at_once_is_kept_for_its_repeats_only() -> None:
    layer = make_layer()
    layer.receive(with_via(invite(1, method="MESSAGE")), UDP, 1.0)
    for output in layer.take():
        if isinstance(output, RequestArrived):
            layer.send_response(output.transaction, make_response(output.transaction.request, 200), 1.0)
    assert layer.next_deadline() == 33.0  # J, and not F before it
    assert [type(o) for _, o in play(layer, 100)] == [Terminated]


def test_a_request_that_is_not_answered_is_waited_for_from_when_it_came() -> None:
    layer = make_layer()
    arrive(layer, with_via(invite(1, method="MESSAGE")), now=1.0)
    assert layer.next_deadline() == 33.0  # F: the client has given up
    layer = make_layer()
    arrive(layer, with_via(invite(1)), now=1.0)
    assert layer.next_deadline() == 1.2  # 100, where nobody has said so


def test_a_provisional_answer_given_at_once_is_not_the_last_word() -> None:
    layer = make_layer()
    layer.receive(with_via(invite(1)), UDP, 0.0)
    layer.receive(with_via(invite(2, method="MESSAGE"), "z9hG4bKy"), UDP, 0.0)
    for output in layer.take():
        if isinstance(output, RequestArrived):
            layer.send_response(output.transaction, make_response(output.transaction.request, 100), 0.0)
    assert layer.next_deadline() == 32.0  # F of the MESSAGE; the INVITE needs no 100 of ours any more


def test_a_user_that_fails_over_a_request_leaves_no_transaction_without_an_end() -> None:
    layer = make_layer()
    layer.receive(with_via(invite(1, method="MESSAGE")), UDP, 0.0)
    outputs = layer.take()
    assert isinstance(next(outputs), RequestArrived)
    del outputs  # as where an error leaves the loop
    assert layer.next_deadline() == 32.0
