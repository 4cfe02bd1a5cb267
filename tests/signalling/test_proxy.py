"""The proxy over real sockets: a person, a media worker over TCP, a camera over UDP, and who is led where."""

from __future__ import annotations

import asyncio
import time

import pytest

from soip.sip import headers as h
from soip.sip.message import Request, Response
from soip.sip.uri import Uri
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer, eventually

CAM1 = f"sip:cam1@{DOMAIN}"


def asserted(message: Request | Response) -> list[str]:
    return [str(identity.uri) for identity in h.asserted_identity(message.headers)]


async def established(caller: Peer, callee: Peer, uri: str = CAM1) -> tuple[Request, Request, Response]:
    """A call from `caller` to `callee`: the INVITE sent, the INVITE as it came, the 200 as the callee gave it."""
    sent = await caller.call(uri)
    arrived = await callee.arrives("INVITE")
    answer = callee.reply(arrived, 200, b"v=0\r\n")
    response = await caller.response(sent)
    assert response.status == 200
    caller.send(caller.ack(sent, response))
    await callee.arrives("ACK")
    return sent, arrived, answer


async def test_a_person_is_led_to_the_media_worker(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    uri = f"sip:cam1;start=20261120T100000Z;stop=20261120T101000Z@{DOMAIN}"
    invite = await ann.call(uri, headers=(("P-Asserted-Identity", "<sip:admin@soip.test>"),))
    arrived = await worker.arrives("INVITE")
    assert str(arrived.uri) == uri
    assert asserted(arrived) == [f"sip:ann@{DOMAIN}"]
    assert "Proxy-Authorization" not in arrived.headers
    assert h.max_forwards(arrived.headers) == 69
    assert len(h.via_list(arrived.headers)) == 2
    assert arrived.body == b"v=0\r\n"
    worker.reply(arrived, 180)
    assert (await ann.response(invite, provisional=True)).status == 180
    worker.reply(arrived, 200, b"v=0\r\n")
    response = await ann.response(invite)
    assert response.status == 200
    assert asserted(response) == [f"sip:cam1@{DOMAIN}"]
    assert len(h.via_list(response.headers)) == 1


async def test_the_media_worker_is_led_to_the_camera(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    await worker.call(CAM1)
    arrived = await camera.arrives("INVITE")
    assert str(arrived.uri) == camera.contact
    assert asserted(arrived) == [f"sip:{worker.id}@{DOMAIN}"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_requests_in_a_dialog_pass_unchallenged_both_ways(house: ServerHouse, transport: str) -> None:
    worker, camera = await house.worker(), await house.peer("cam1", transport=transport)
    await camera.register()
    sent, arrived, answer = await established(worker, camera)
    bye = worker.within("INFO", sent, answer)
    worker.send(bye)
    info = await camera.arrives("INFO")
    assert "Route" not in info.headers
    assert str(info.uri) == camera.contact
    camera.reply(info, 200)
    assert (await worker.response(bye)).status == 200
    hangup = camera.back("BYE", arrived, answer)
    camera.send(hangup)
    ended = await worker.arrives("BYE")
    assert asserted(ended) == []
    worker.reply(ended, 200)
    assert (await camera.response(hangup)).status == 200


async def test_each_side_is_told_the_transport_it_uses(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    await worker.call(CAM1)
    routes = h.record_routes((await camera.arrives("INVITE")).headers)
    assert [route.uri.param("transport") for route in routes] == [None, "tcp"]
    assert all(route.uri.param("lr") == "" for route in routes)
    assert len({route.uri.user for route in routes}) == 1
    second = await house.peer("cam2", transport="tcp")
    await second.register()
    await worker.call(f"sip:cam2@{DOMAIN}")
    assert len(h.record_routes((await second.arrives("INVITE")).headers)) == 1


async def test_a_dialog_request_from_elsewhere_is_challenged(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    sent, _, answer = await established(ann, worker)
    moved, thief, other = await house.peer("ann"), await house.peer("eve", "x"), await house.peer("bob")
    bye = other.within("BYE", sent, answer)
    assert (await other.ask(bye)).status == 481, "a password is not enough: it must be one of the dialog's two ends"
    bye = thief.within("BYE", sent, answer)
    thief.send(bye)
    challenge = await thief.response(bye)
    assert challenge.status == 407
    retried = thief.answer_to(bye, challenge)
    thief.send(retried)
    assert (await thief.response(retried)).status == 403
    moved.cseq = 70
    bye = moved.within("BYE", sent, answer)
    moved.send(bye)
    retried = moved.answer_to(bye, await moved.response(bye))
    moved.send(retried)
    ended = await worker.arrives("BYE")
    worker.reply(ended, 200)
    assert (await moved.response(retried)).status == 200


async def test_a_made_up_token_leads_nowhere(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    sent, _, answer = await established(ann, worker)
    forged = ann.within("BYE", sent, answer)
    forged.headers.set("Route", f"<sip:AAAAAAAAAAAAAAAA@{ann.server[0]}:{ann.server[1]};lr>")
    response = await ann.ask(forged)
    assert response.status == 481
    bare = ann.within("BYE", sent, answer)
    bare.headers.remove("Route")
    assert (await ann.ask(bare)).status == 481
    outside = ann.request("BYE", CAM1)
    assert (await ann.ask(outside)).status == 481


async def test_an_ack_from_elsewhere_is_dropped(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    sent = await ann.call(CAM1)
    worker.reply(await worker.arrives("INVITE"), 200)
    response = await ann.response(sent)
    thief = await house.peer("eve", "x")
    thief.send(thief.ack(sent, response))
    await asyncio.sleep(0.1)
    ann.send(ann.ack(sent, response))
    ack = await worker.arrives("ACK")
    assert h.via_list(ack.headers)[1].port == ann.local[1], "it is ann's, not the thief's"


async def test_a_cancel_reaches_the_other_end_and_487_comes_back(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    invite = await ann.call(CAM1)
    arrived = await worker.arrives("INVITE")
    worker.reply(arrived, 180)
    assert (await ann.response(invite, provisional=True)).status == 180
    cancel = Request("CANCEL", invite.uri, invite.headers.copy())
    cancel.headers.set("CSeq", f"{h.cseq(invite.headers).number} CANCEL")
    ann.send(cancel)
    assert (await ann.response(cancel)).status == 200
    cancelled = await worker.arrives("CANCEL")
    worker.send(worker.reply(cancelled, 200))
    worker.reply(arrived, 487)
    assert (await ann.response(invite)).status == 487


async def test_an_invite_is_told_at_once_that_it_is_tried(house: ServerHouse) -> None:
    await house.worker()
    ann = await house.peer("ann")

    async def at_once() -> bool:
        """Before the transaction itself would say so, after 200 ms (RFC 3261 §17.2.1)."""
        await ann.call(CAM1)
        began = time.monotonic()
        trying = await ann.receive()
        assert isinstance(trying, Response)
        assert trying.status == 100
        return time.monotonic() - began < 0.15

    await eventually(at_once)  # Once is enough: machines stall.


async def test_a_person_is_called_on_all_phones_and_one_answers(house: ServerHouse) -> None:
    bob, desk, mobile = await house.peer("bob"), await house.peer("ann"), await house.peer("ann", transport="tcp")
    await desk.register()
    await mobile.register()
    invite = await bob.call(f"sip:ann@{DOMAIN}")
    at_desk, at_mobile = await desk.arrives("INVITE"), await mobile.arrives("INVITE")
    desk.reply(at_desk, 180)
    mobile.reply(at_mobile, 180)
    mobile.reply(at_mobile, 200, b"v=0\r\n")
    desk.reply(await desk.arrives("CANCEL"), 200)
    desk.reply(at_desk, 487)
    response = await bob.response(invite)
    assert response.status == 200
    assert h.contacts(response.headers)[0].uri == Uri.parse(mobile.contact)


async def test_the_best_refusal_of_all_phones_comes_back(house: ServerHouse) -> None:
    bob, desk, mobile = await house.peer("bob"), await house.peer("ann"), await house.peer("ann")
    await desk.register()
    await mobile.register()
    invite = await bob.call(f"sip:ann@{DOMAIN}")
    desk.reply(await desk.arrives("INVITE"), 503)
    mobile.reply(await mobile.arrives("INVITE"), 486)
    assert (await bob.response(invite)).status == 486


async def test_who_is_not_there_is_named(house: ServerHouse) -> None:
    ann = await house.peer("ann")
    response = await ann.ask(ann.invite(CAM1))
    assert response.status == 503
    assert h.retry_after(response.headers) == 3
    assert "not connected" in (response.headers.get("Warning") or "")
    worker = await house.worker()
    response = await worker.ask(worker.invite(CAM1))
    assert response.status == 480
    assert "cam1 is not registered" in (response.headers.get("Warning") or "")
    response = await ann.ask(ann.invite(f"sip:nobody@{DOMAIN}"))
    assert response.status == 404


async def test_a_camera_calls_no_camera_and_a_viewer_does_not_steer(house: ServerHouse) -> None:
    await house.worker()
    camera, ann = await house.peer("cam2"), await house.peer("ann")
    await camera.register()
    assert (await camera.ask(camera.invite(CAM1))).status == 403
    assert (await ann.ask(ann.request("MESSAGE", CAM1, body=b"x"))).status == 403


async def test_an_operator_steers_through_the_media_worker(house: ServerHouse) -> None:
    worker, bob = await house.worker(), await house.peer("bob")
    message = bob.request("MESSAGE", CAM1, body=b"x")
    bob.send(message)
    retried = bob.answer_to(message, await bob.response(message))
    bob.send(retried)
    worker.reply(await worker.arrives("MESSAGE"), 200)
    assert (await bob.response(retried)).status == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ((("Max-Forwards", "0"),), 483),
        ((("Proxy-Require", "sec-agree"),), 420),
    ],
)
async def test_what_no_proxy_passes_on(house: ServerHouse, changes: tuple[tuple[str, str], ...], status: int) -> None:
    ann = await house.peer("ann")
    invite = ann.invite(CAM1)
    for name, value in changes:
        invite.headers.set(name, value)
    assert (await ann.ask(invite)).status == status


async def test_a_request_that_comes_back_to_us_is_a_loop(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    await ann.call(CAM1)
    back = (await worker.arrives("INVITE")).copy()
    back.headers.prepend("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK-elsewhere;rport")
    assert (await ann.ask(back, challenged=False)).status == 482
    spiral = back.copy()
    spiral.uri = Uri.parse(f"sip:cam2@{DOMAIN}")
    spiral.headers.set("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK-elsewhere-2;rport")
    spiral.headers.add("Via", back.headers.get_all("Via")[1])
    assert (await ann.ask(spiral, challenged=False)).status == 407, "it has come back with another address"
    same = ann.invite(CAM1)
    same.headers.add("Via", f"SIP/2.0/UDP {ann.server[0]}:{ann.server[1]};branch=z9hG4bK-behind-NAT")
    assert (await ann.ask(same, challenged=False)).status == 407, "others may have our address"


async def test_a_contact_that_is_our_own_address_does_not_go_round(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await house.peer("cam1")
    own = f"<sip:cam1@{camera.server[0]}:{camera.server[1]}>"
    await camera.register(contact=own)
    await worker.call(CAM1)
    arrived = await camera.arrives("INVITE")
    assert f"<{arrived.uri}>" == own, "the flow of the REGISTER counts, not the address in the contact"


async def test_a_worker_that_is_gone_is_503_and_one_that_is_back_keeps_its_dialogs(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    sent, _, answer = await established(ann, worker)
    worker.close()

    async def refused() -> bool:
        return (await ann.ask(ann.invite(CAM1))).status == 503

    await eventually(refused)
    again = await house.worker()
    bye = ann.within("BYE", sent, answer)
    ann.send(bye)
    again.reply(await again.arrives("BYE"), 200)
    assert (await ann.response(bye)).status == 200


async def test_a_worker_that_dies_in_a_call_set_up_is_503_to_the_caller(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    invite = await ann.call(CAM1)
    await worker.arrives("INVITE")
    worker.close()
    response = await ann.response(invite)
    assert response.status == 503
    assert h.retry_after(response.headers) == 3


async def test_a_preloaded_route_of_an_outbound_proxy_is_fine(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    await ann.call(CAM1, headers=(("Route", f"<sip:{ann.server[0]}:{ann.server[1]};lr>"),))
    assert "Route" not in (await worker.arrives("INVITE")).headers


async def test_a_repeated_2xx_and_its_ack_pass_again(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    sent = await worker.call(CAM1)
    arrived = await camera.arrives("INVITE")
    answer = camera.reply(arrived, 200)
    first = await worker.response(sent)
    camera.send(answer)
    second = await worker.response(sent)
    assert first.to_bytes() == second.to_bytes()
    for _ in range(2):
        worker.send(worker.ack(sent, first))
        assert "Route" not in (await camera.arrives("ACK")).headers


async def test_a_new_camera_is_found_at_once_by_its_id(house: ServerHouse) -> None:
    worker = await house.worker()
    await house.directory.cameras.add("fresh", realm=DOMAIN, password="pw")
    response = await worker.ask(worker.invite(f"sip:fresh@{DOMAIN}"))
    assert response.status == 480, "known, but not registered"


async def test_without_credentials_nothing_passes(house: ServerHouse) -> None:
    worker, ann = await house.worker(), await house.peer("ann")
    for method in ("INVITE", "MESSAGE", "SUBSCRIBE", "OPTIONS", "REFER", "NOTIFY"):
        request = ann.request(method, CAM1)
        response = await ann.ask(request, challenged=False)
        assert response.status == 407, method
        if method == "INVITE":
            ann.send(ann.ack(request, response))
    assert worker.inbox.empty()


async def preferring(house: ServerHouse, *qs: str) -> list[Peer]:
    """Bob's phones, registered with these q values."""
    phones = []
    for q in qs:
        phone = await house.peer("bob")
        assert (await phone.register(contact=f"<{phone.contact}>;q={q}")).status == 200
        phones.append(phone)
    return phones


async def test_phones_that_are_preferred_ring_first_and_equals_together(house: ServerHouse) -> None:
    ann = await house.peer("ann")
    desk, mobile, attic = await preferring(house, "1.0", "0.5", "0.5")
    sent = await ann.call(f"sip:bob@{DOMAIN}")
    desk.reply(await desk.arrives("INVITE"), 486)
    await desk.arrives("ACK")
    ringing = await mobile.arrives("INVITE")
    attic.reply(await attic.arrives("INVITE"), 180)
    assert (await ann.response(sent, provisional=True)).status == 180
    mobile.reply(ringing, 200)
    assert (await ann.response(sent)).status == 200
    assert (await attic.arrives("CANCEL")).method == "CANCEL"
    assert desk.inbox.empty(), "who has refused is not asked again"


async def test_phones_that_are_preferred_less_are_not_called_when_the_search_is_over(house: ServerHouse) -> None:
    ann = await house.peer("ann")
    desk, mobile = await preferring(house, "1.0", "0.5")
    sent = await ann.call(f"sip:bob@{DOMAIN}")
    desk.reply(await desk.arrives("INVITE"), 603)
    assert (await ann.response(sent)).status == 603
    sent = await ann.call(f"sip:bob@{DOMAIN}")
    await desk.arrives("ACK")
    ringing = await desk.arrives("INVITE")
    desk.reply(ringing, 180)
    assert (await ann.response(sent, provisional=True)).status == 180
    cancel = Request("CANCEL", sent.uri, sent.headers.copy())
    cancel.headers.set("CSeq", f"{h.cseq(sent.headers).number} CANCEL")
    ann.send(cancel)
    desk.reply(await desk.arrives("CANCEL"), 200)
    desk.reply(ringing, 487)
    assert await ann.response(cancel)
    assert (await ann.response(sent)).status == 487
    assert mobile.inbox.empty()


async def test_who_rings_for_too_long_makes_room_for_who_is_preferred_less(
    house: ServerHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soip.signalling.forward.GROUP_SECONDS", 0.3)
    ann = await house.peer("ann")
    desk, mobile = await preferring(house, "1.0", "0.5")
    sent = await ann.call(f"sip:bob@{DOMAIN}")
    ringing = await desk.arrives("INVITE")
    desk.reply(ringing, 180)
    assert (await ann.response(sent, provisional=True)).status == 180
    desk.reply(await desk.arrives("CANCEL"), 200)
    desk.reply(ringing, 487)
    mobile.reply(await mobile.arrives("INVITE"), 200)
    assert (await ann.response(sent)).status == 200


async def test_the_order_outlives_a_restart(house: ServerHouse) -> None:
    desk, mobile = await preferring(house, "0.2", "0.1")
    await house.stop()
    await house.start()
    ann = await house.peer("ann")
    await ann.call(f"sip:bob@{DOMAIN}")
    desk.reply(await desk.arrives("INVITE"), 480)
    await mobile.arrives("INVITE")
