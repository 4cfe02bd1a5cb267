"""Dialogs: what both ends remember, and what each then writes (RFC 3261 §12)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip import headers as h
from soip.sip.accept import Again, InviteId, NeverAcknowledged, SentAcks, Unacknowledged
from soip.sip.dialog import MAX_ROUTES, Dialog, DialogId
from soip.sip.errors import DialogError
from soip.sip.flow import Flow
from soip.sip.layer import ServerTransaction
from soip.sip.message import Headers, Request, Response
from soip.sip.reply import make_response
from soip.sip.transaction import INVITE_SERVER
from soip.sip.uri import NameAddr, Uri
from tests.sip.virtual import invite

BOB = NameAddr.parse("<sip:bob@bob.test:5062>")


def pair(*record_routes: str) -> tuple[Dialog, Dialog]:
    """Both ends of one dialog, made as the messages make them."""
    request = invite(1)
    for route in record_routes:
        request.headers.add("Record-Route", route)
    response = make_response(request, 200, to_tag="b1")
    for route in record_routes:
        response.headers.add("Record-Route", route)
    response.headers.add("Contact", str(BOB))
    sent = invite(1)  # alice's own copy has no Record-Route
    return Dialog.uac(sent, response), Dialog.uas(request, "b1", BOB)


def test_both_ends_name_the_dialog_alike() -> None:
    alice, bob = pair()
    assert alice.id == DialogId("call1", "a1", "b1")
    assert bob.id == DialogId("call1", "b1", "a1")
    bye = alice.request("BYE")
    assert DialogId.of_request(bye) == bob.id
    assert DialogId.of_response(make_response(bye, 200)) == alice.id
    back = bob.request("BYE")
    assert DialogId.of_request(back) == alice.id


def test_requests_go_to_the_targets_with_tags_and_rising_cseq() -> None:
    alice, bob = pair()
    info = alice.request("INFO")
    assert str(info.uri) == "sip:bob@bob.test:5062"
    assert str(h.cseq(info.headers)) == "2 INFO"
    assert h.from_(info.headers).tag == "a1"
    assert h.to(info.headers).tag == "b1"
    assert info.headers.get("Max-Forwards") == "70"
    assert "Contact" not in info.headers
    assert str(h.cseq(alice.request("BYE").headers)) == "3 BYE"
    bye = bob.request("BYE")
    assert str(bye.uri) == "sip:alice@alice.test"
    assert h.cseq(bye.headers).number == 1
    reinvite = bob.request("INVITE")
    assert reinvite.headers.get("Contact") == str(BOB)
    assert alice.next_hop == alice.target


def test_the_ack_has_the_invites_number() -> None:
    alice, _ = pair()
    alice.request("INFO")
    assert str(h.cseq(alice.ack(1).headers)) == "1 ACK"
    assert alice.local_cseq == 2


def test_route_sets_are_the_record_routes_reversed_for_the_caller() -> None:
    alice, bob = pair("<sip:p2.test;lr>, <sip:p1.test;lr>", "<sip:p0.test;lr>")
    assert [str(hop) for hop in h.routes(alice.request("BYE").headers)] == [
        "<sip:p0.test;lr>",
        "<sip:p1.test;lr>",
        "<sip:p2.test;lr>",
    ]
    assert [str(hop) for hop in h.routes(bob.request("BYE").headers)] == [
        "<sip:p2.test;lr>",
        "<sip:p1.test;lr>",
        "<sip:p0.test;lr>",
    ]
    assert str(alice.next_hop) == "sip:p0.test;lr"
    assert str(bob.next_hop) == "sip:p2.test;lr"


def test_a_strict_router_is_written_into_the_request_uri() -> None:
    alice, _ = pair("<sip:p2.test;lr>", "<sip:strict.test;method=INVITE?Subject=x>")
    bye = alice.request("BYE")
    assert str(bye.uri) == "sip:strict.test"
    assert [str(hop) for hop in h.routes(bye.headers)] == ["<sip:p2.test;lr>", "<sip:bob@bob.test:5062>"]


def test_requests_in_order_are_taken_and_older_ones_refused() -> None:
    alice, bob = pair()
    first, second = alice.request("INFO"), alice.request("INFO")
    bob.check(second)
    with pytest.raises(DialogError) as refused:
        bob.check(first)
    assert refused.value.status == 500
    with pytest.raises(DialogError):
        bob.check(second)
    alice.check(bob.request("BYE"))


@given(st.floats(0, 1, exclude_max=True))
def test_after_offers_that_crossed_each_side_waits_in_its_own_time(chance: float) -> None:
    alice, bob = pair()
    assert (alice.initiated, bob.initiated) == (True, False)
    for dialog, least, most in ((alice, 2.1, 4.0), (bob, 0.0, 2.0)):  # RFC 3261 §14.1
        pause = dialog.glare_pause(chance)
        assert least <= pause <= most
        assert round(pause * 100) == pytest.approx(pause * 100), "units of 10 ms"


def test_the_target_moves_with_a_reinvite_both_ways_and_not_with_an_info() -> None:
    alice, bob = pair()
    reinvite = alice.request("INVITE")
    reinvite.headers.set("Contact", "<sip:alice@elsewhere.test>")
    bob.check(reinvite)
    assert bob.target == Uri.parse("sip:alice@elsewhere.test")
    response = make_response(reinvite, 200)
    response.headers.add("Contact", "<sip:bob@moved.test>")
    alice.update(make_response(reinvite, 488), "INVITE")
    assert alice.target.host == "bob.test"
    alice.update(response, "INVITE")
    assert alice.target.host == "moved.test"
    info = alice.request("INFO")
    info.headers.set("Contact", "<sip:evil@evil.test>")
    bob.check(info)
    assert bob.target.host == "elsewhere.test"


@pytest.mark.parametrize("contact", ["", "<sip:a@b>, <sip:c@d>", "<tel:+49123>", "<not a uri>"])
def test_an_invite_without_one_usable_contact_makes_no_dialog(contact: str) -> None:
    request = invite(1)
    request.headers.remove("Contact")
    if contact:
        request.headers.add("Contact", contact)
    with pytest.raises(DialogError) as refused:
        Dialog.uas(request, "t", BOB)
    assert refused.value.status == 400


def test_a_response_without_tag_or_with_a_route_too_many_makes_no_dialog() -> None:
    response = make_response(invite(1), 200)
    response.headers.add("Contact", str(BOB))
    with pytest.raises(DialogError, match="tag"):
        Dialog.uac(invite(1), response)
    with pytest.raises(DialogError, match="too many"):
        pair(*["<sip:p.test;lr>"] * (MAX_ROUTES + 1))
    with pytest.raises(DialogError, match="Record-Route"):
        pair("<sip:p.test")


def test_an_early_dialog_is_told_from_a_confirmed_one() -> None:
    response = make_response(invite(1), 183, to_tag="b1")
    response.headers.add("Contact", str(BOB))
    assert not Dialog.uac(invite(1), response).confirmed
    assert pair()[0].confirmed


# -- between a 2xx and its ACK


def waiting() -> tuple[InviteId, ServerTransaction, Response]:
    request = invite(1)
    request.headers.prepend("Via", "SIP/2.0/UDP b.test;branch=z9hG4bK1")
    flow = Flow("udp", ("a", 1), ("b", 2))
    transaction = ServerTransaction(("k",), INVITE_SERVER, request, flow, flow, "tag")
    return (DialogId("call1", "b1", "a1"), 1), transaction, make_response(request, 200, to_tag="b1")


def test_a_2xx_is_repeated_with_growing_pauses_for_64_t1() -> None:
    core = Unacknowledged()
    core.sent(*waiting(), now=100.0)
    times: list[float] = []
    last: object = None
    while (deadline := core.next_deadline()) is not None:
        for due in core.advance(deadline):
            times.append(deadline - 100)
            last = due
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 32.0]
    assert last == NeverAcknowledged((DialogId("call1", "b1", "a1"), 1))
    assert len(core) == 0


def test_an_ack_ends_the_repeats_once() -> None:
    core = Unacknowledged()
    invite_id, transaction, response = waiting()
    core.sent(invite_id, transaction, response, 0.0)
    assert core.advance(0.4) == []
    assert core.advance(0.5) == [Again(transaction, response)]
    assert core.acknowledged(invite_id)
    assert not core.acknowledged(invite_id)
    assert core.next_deadline() is None


def test_acks_are_remembered_for_64_t1_and_at_most_so_many() -> None:
    acks: SentAcks[str] = SentAcks(limit=2)
    ack = Request("ACK", Uri.parse("sip:x@y"), Headers())
    ids = [(DialogId(f"c{n}", "a", "b"), 1) for n in range(3)]
    for number, invite_id in enumerate(ids):
        acks.sent(invite_id, ack, f"way{number}", float(number))
    assert acks.again(ids[0], 3.0) is None  # the oldest made room
    assert acks.again(ids[2], 3.0) == (ack, "way2")
    assert acks.again(ids[1], 33.0) is None
    assert len(acks) == 1
    assert acks.again((DialogId("c2", "a", "other fork"), 1), 3.0) is None
