"""Devices with several flows: a request that fails over one goes over another, and never over two at a time."""

from __future__ import annotations

import pytest

from soip.sip import headers as h
from soip.sip.message import Request
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer

CAM1 = f"sip:cam1@{DOMAIN}"


async def flow(
    house: ServerHouse, number: int, *, identity: str = "cam1", transport: str = "tcp", device: int = 7
) -> Peer:
    """One of the flows of a device: registered with its instance and a number of its own."""
    peer = await house.peer(identity, transport=transport)
    contact = f'<{peer.contact}>;+sip.instance="<urn:uuid:{device}>";reg-id={number}'
    answer = await peer.register(contact=contact, headers=(("Supported", "outbound, path"),))
    assert (answer.status, answer.headers.get("Require")) == (200, "outbound")
    return peer


async def both(house: ServerHouse, transport: str = "tcp") -> tuple[Peer, Peer]:
    """Two flows of the camera: the first is tried first, because it was refreshed last."""
    second = await flow(house, 2, transport=transport)
    return await flow(house, 1, transport=transport), second


async def test_a_flow_that_has_failed_is_replaced_by_another(house: ServerHouse) -> None:
    worker = await house.worker()
    first, second = await both(house)
    sent = await worker.call(CAM1)
    first.reply(await first.arrives("INVITE"), 430)
    await first.arrives("ACK")
    arrived = await second.arrives("INVITE")
    assert str(arrived.uri) == second.contact
    answer = second.reply(arrived, 200, b"v=0\r\n")
    response = await worker.response(sent)
    assert response.status == 200, "of the 430 the caller learns nothing"
    worker.send(worker.ack(sent, response))
    assert (await second.arrives("ACK")).method == "ACK"
    bye = worker.within("BYE", sent, answer)
    worker.send(bye)
    second.reply(await second.arrives("BYE"), 200)
    assert (await worker.response(bye)).status == 200, "the dialog is on the flow that was taken"
    assert first.inbox.empty()


async def test_a_connection_that_breaks_before_it_has_answered_is_a_flow_that_failed(house: ServerHouse) -> None:
    worker = await house.worker()
    first, second = await both(house)
    sent = await worker.call(CAM1)
    await first.arrives("INVITE")
    first.close()
    second.reply(await second.arrives("INVITE"), 200, b"v=0\r\n")
    assert (await worker.response(sent)).status == 200


async def test_who_has_rung_is_not_called_again_over_another_flow(house: ServerHouse) -> None:
    worker = await house.worker()
    first, second = await both(house)
    sent = await worker.call(CAM1)
    first.reply(await first.arrives("INVITE"), 180)
    assert (await worker.response(sent, provisional=True)).status == 180
    first.close()
    assert (await worker.response(sent)).status == 480
    assert second.inbox.empty()


@pytest.mark.parametrize("status", [404, 486, 503, 603])
async def test_a_device_that_has_answered_is_not_asked_again(house: ServerHouse, status: int) -> None:
    worker = await house.worker()
    first, second = await both(house)
    sent = await worker.call(CAM1)
    first.reply(await first.arrives("INVITE"), status)
    assert (await worker.response(sent)).status == status
    assert second.inbox.empty(), "RFC 5626 §5.3: it has given its answer"


async def test_a_flow_that_says_nothing_is_replaced(hasty: ServerHouse) -> None:
    worker = await hasty.worker()
    first, second = await both(hasty, "udp")
    sent = await worker.call(CAM1)
    assert (await first.arrives("INVITE")).method == "INVITE"
    second.reply(await second.arrives("INVITE", 20), 200, b"v=0\r\n")
    assert (await worker.response(sent)).status == 200


async def test_a_message_goes_over_the_other_flow_as_well(house: ServerHouse) -> None:
    worker = await house.worker()
    first, second = await both(house)
    message = worker.request("MESSAGE", CAM1, body=b"x")
    worker.send(message)
    message = worker.answer_to(message, await worker.response(message))
    worker.send(message)
    first.reply(await first.arrives("MESSAGE"), 430)
    second.reply(await second.arrives("MESSAGE"), 200)
    assert (await worker.response(message)).status == 200


async def test_when_all_have_failed_the_caller_is_told(house: ServerHouse) -> None:
    worker = await house.worker()
    flows = [await flow(house, number) for number in (3, 2, 1)]
    sent = await worker.call(CAM1)
    for peer in reversed(flows):
        peer.reply(await peer.arrives("INVITE"), 430)
        await peer.arrives("ACK")
    assert (await worker.response(sent)).status == 430
    assert all(peer.inbox.empty() for peer in flows), "each once"


async def test_a_call_that_was_given_up_goes_over_no_other_flow(house: ServerHouse) -> None:
    worker = await house.worker()
    first, second = await both(house)
    sent = await worker.call(CAM1)
    arrived = await first.arrives("INVITE")
    first.reply(arrived, 180)
    assert (await worker.response(sent, provisional=True)).status == 180
    cancel = Request("CANCEL", sent.uri, sent.headers.copy())
    cancel.headers.set("CSeq", f"{h.cseq(sent.headers).number} CANCEL")
    worker.send(cancel)
    assert (await worker.response(cancel)).status == 200
    first.reply(await first.arrives("CANCEL"), 200)
    first.reply(arrived, 430)
    assert (await worker.response(sent)).status == 430
    assert second.inbox.empty()


async def test_each_device_has_flows_of_its_own(house: ServerHouse) -> None:
    """A phone whose flow fails goes on over its other one, while another phone rings."""
    ann = await house.peer("ann")
    spare = await flow(house, 2, identity="bob", device=1)
    desk = await flow(house, 1, identity="bob", device=1)
    mobile = await flow(house, 1, identity="bob", device=2)
    sent = await ann.call(f"sip:bob@{DOMAIN}")
    ringing = await mobile.arrives("INVITE")
    mobile.reply(ringing, 180)
    assert (await ann.response(sent, provisional=True)).status == 180
    assert spare.inbox.empty(), "one flow of a device at a time"
    desk.reply(await desk.arrives("INVITE"), 430)
    spare.reply(await spare.arrives("INVITE"), 200, b"v=0\r\n")
    assert (await ann.response(sent)).status == 200
    assert (await mobile.arrives("CANCEL")).method == "CANCEL"


async def test_a_contact_of_no_instance_is_no_other_flow(house: ServerHouse) -> None:
    worker = await house.worker()
    past = await house.peer("cam1", transport="tcp")
    await past.register()
    first = await flow(house, 1)
    sent = await worker.call(CAM1)
    first.reply(await first.arrives("INVITE"), 430)
    assert (await worker.response(sent)).status == 430
    assert past.inbox.empty(), "it may be what the device was before it lost power"
