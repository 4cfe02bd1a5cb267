"""Calls over real sockets as the directory keeps them: hop by hop, with a verdict, over restarts and absences."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from soip.sip import headers as h
from soip.sip.message import Request
from soip.sip.timers import Timers
from soip.web.calls import ladder
from soip.web.models import LadderView
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer, eventually
from tests.signalling.test_proxy import CAM1, established
from tests.signalling.wire import SDP

SDP_HEADER = (("Content-Type", "application/sdp"),)


async def traced(house: ServerHouse, state: str, **wanted: str) -> LadderView:
    """The newest call in this state (and of this caller or callee), once the directory has it, with its group."""
    found: list[str] = []

    async def there() -> bool:
        rows = await house.directory.traces.last()
        fits = [r for r in rows if r.state == state and all(getattr(r, name) == v for name, v in wanted.items())]
        found[:] = [row.id for row in fits]
        return bool(fits)

    await eventually(there)
    view = ladder(found[0], await house.directory.traces.call(found[0]))
    assert view is not None
    return view


def spoken(view: LadderView) -> list[str]:
    names = [participant.name for participant in view.participants]
    return [f"{names[message.sender]} > {names[message.receiver]}: {message.line}" for message in view.messages]


async def test_a_call_from_the_viewer_to_the_camera_in_order(house: ServerHouse) -> None:
    worker, ann, camera = await house.worker(), await house.peer("ann"), await house.peer("cam1")
    await camera.register()
    invite = await ann.call(CAM1, body=SDP, headers=SDP_HEADER)
    arrived = await worker.arrives("INVITE")
    reply_to = (("In-Reply-To", h.call_id(arrived.headers)),)
    to_camera = await worker.call(CAM1, headers=reply_to)
    at_camera = await camera.arrives("INVITE")
    camera.reply(at_camera, 200, b"v=0\r\n")
    answer = await worker.response(to_camera)
    worker.send(worker.ack(to_camera, answer))
    await camera.arrives("ACK")
    worker.reply(arrived, 200, b"v=0\r\n")
    response = await ann.response(invite)
    ann.send(ann.ack(invite, response))
    await worker.arrives("ACK")
    bye = ann.within("BYE", invite, response)
    bye.headers.add("Reason", 'SIP;cause=200;text="seen enough"')
    ann.send(bye)
    worker.reply(await worker.arrives("BYE"), 200)
    await ann.response(bye)
    view = await traced(house, "ended", caller="ann")
    m = worker.id
    assert spoken(view) == [
        "ann > SIP server: INVITE sip:cam1@soip.test",
        "SIP server > ann: 407 Proxy Authentication Required",
        "ann > SIP server: ACK",
        "ann > SIP server: INVITE sip:cam1@soip.test",
        "SIP server > ann: 100 Trying",
        f"SIP server > {m}: INVITE sip:cam1@soip.test",
        f"{m} > SIP server: INVITE sip:cam1@soip.test",
        f"SIP server > {m}: 407 Proxy Authentication Required",
        f"{m} > SIP server: ACK",
        f"{m} > SIP server: INVITE sip:cam1@soip.test",
        f"SIP server > {m}: 100 Trying",
        "SIP server > cam1: INVITE sip:cam1@127.0.0.1",
        "cam1 > SIP server: 200 OK",
        f"SIP server > {m}: 200 OK",
        f"{m} > SIP server: ACK",
        "SIP server > cam1: ACK",
        f"{m} > SIP server: 200 OK",
        "SIP server > ann: 200 OK",
        "ann > SIP server: ACK",
        f"SIP server > {m}: ACK",
        "ann > SIP server: BYE",
        f"SIP server > {m}: BYE",
        f"{m} > SIP server: 200 OK",
        "SIP server > ann: 200 OK",
    ]
    times = [message.at for message in view.messages]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < 60_000
    assert view.messages[0].facts == ["SDP: video H264 20000 recvonly"]
    assert view.verdict.text == "ann hung up: seen enough"
    assert [(call.caller, call.callee, call.state) for call in view.calls] == [
        ("ann", "cam1", "ended"),
        (m, "cam1", "established"),
    ]
    assert all(participant.proven != participant.server for participant in view.participants)
    text = json.dumps(view.model_dump())
    assert "nonce" not in text
    assert "Digest" not in text


async def _wrong_password(house: ServerHouse, worker: Peer) -> str:
    eve = await house.peer("ann", "guessed")
    await eve.ask(eve.invite(CAM1))
    return "ann was refused: wrong password or unknown id (403 from the SIP server)"


async def _no_password(house: ServerHouse, worker: Peer) -> str:
    ann = await house.peer("ann")
    await ann.ask(ann.invite(CAM1), challenged=False)
    return "ann was asked for a password and gave none"


async def _not_registered(house: ServerHouse, worker: Peer) -> str:
    await worker.ask(worker.invite(CAM1))
    return "cannot be reached: camera cam1 is not registered (480 from the SIP server)"


async def _no_such_camera(house: ServerHouse, worker: Peer) -> str:
    ann = await house.peer("ann")
    await ann.ask(ann.invite(f"sip:nobody@{DOMAIN}"))
    return "there is no such address: there is no nobody here (404 from the SIP server)"


async def _not_allowed(house: ServerHouse, worker: Peer) -> str:
    camera = await house.peer("cam2")
    await camera.ask(camera.invite(CAM1))
    return "cam2 may not call there: the device cam2 may not call cameras (403 from the SIP server)"


async def _media_away(house: ServerHouse, worker: Peer) -> str:
    ann = await house.peer("ann")
    worker.close()
    await worker_gone(house)
    await ann.ask(ann.invite(CAM1))
    return f"not available now: media server {worker.id} is not connected (503 from the SIP server)"


async def worker_gone(house: ServerHouse) -> None:
    async def gone() -> bool:
        return not await house.directory.calls.bindings()

    await eventually(gone)


async def _no_codec(house: ServerHouse, worker: Peer) -> str:
    ann = await house.peer("ann")
    invite = await ann.call(CAM1)
    refused = worker.reply(await worker.arrives("INVITE"), 488)
    assert refused.status == (await ann.response(invite)).status
    return f"no common codec (488 from {worker.id})"


async def _given_up(house: ServerHouse, worker: Peer) -> str:
    ann = await house.peer("ann")
    invite = await ann.call(CAM1)
    arrived = await worker.arrives("INVITE")
    worker.reply(arrived, 180)
    await ann.response(invite, provisional=True)
    cancel = Request("CANCEL", invite.uri, invite.headers.copy())
    cancel.headers.set("CSeq", f"{h.cseq(invite.headers).number} CANCEL")
    ann.send(cancel)
    worker.reply(await worker.arrives("CANCEL"), 200)
    worker.reply(arrived, 487)
    return "ann gave up before there was an answer"


async def _unreadable(house: ServerHouse, worker: Peer) -> str:
    ann = await house.peer("ann")
    invite = ann.invite(CAM1)
    ann.send(invite.to_bytes().replace(b"Max-Forwards: 70", b"Max-Forwards: many"))
    await ann.receive()
    return "refused: Bad Request - malformed Max-Forwards (400 from the SIP server)"


WAYS = [
    _wrong_password,
    _no_password,
    _not_registered,
    _no_such_camera,
    _not_allowed,
    _media_away,
    _no_codec,
    _given_up,
    _unreadable,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_every_way_to_fail_has_its_verdict(house: ServerHouse, way: Any) -> None:
    text = await way(house, await house.worker())

    async def told() -> bool:
        return any(json.loads(row.verdict)["text"] == text for row in await house.directory.traces.last())

    try:
        await eventually(told)
    except TimeoutError:
        rows = await house.directory.traces.last()
        raise AssertionError([json.loads(row.verdict)["text"] for row in rows]) from None


async def test_registrations_leave_no_trace(house: ServerHouse) -> None:
    worker, camera, eve = await house.worker(), await house.peer("cam1"), await house.peer("cam2", "wrong")
    await camera.register()
    await eve.register()
    await camera.ask(camera.request("OPTIONS", f"sip:{DOMAIN}"), challenged=False)
    await worker.ask(worker.invite(f"sip:cam3@{DOMAIN}"))
    await traced(house, "failed")
    assert [row.callee for row in await house.directory.traces.last()] == ["cam3"]


async def test_traces_survive_a_restart_and_so_do_calls(house: ServerHouse) -> None:
    worker, camera, ann = await house.worker(), await house.peer("cam1"), await house.peer("ann")
    await camera.register()
    _, arrived, answer = await established(worker, camera)
    await ann.ask(ann.invite(f"sip:nobody@{DOMAIN}"))
    await house.stop()
    before = {row.id: row.state for row in await house.directory.traces.last()}
    assert sorted(before.values()) == ["established", "failed"]
    await house.start()
    worker = await house.worker()
    hangup = camera.back("BYE", arrived, answer)
    camera.send(hangup)
    worker.reply(await worker.arrives("BYE"), 200)
    assert (await camera.response(hangup)).status == 200
    view = await traced(house, "ended")
    assert view.id in before
    assert view.verdict.text == "cam1 hung up"
    said = spoken(view)
    assert said[0] == f"{worker.id} > SIP server: INVITE sip:cam1@soip.test"
    assert said[-4:] == [
        "cam1 > SIP server: BYE",
        f"SIP server > {worker.id}: BYE",
        f"{worker.id} > SIP server: 200 OK",
        "SIP server > cam1: 200 OK",
    ]


async def test_without_the_directory_nothing_is_lost(house: ServerHouse) -> None:
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    await established(worker, camera)
    file = house.settings.data / "soip.db"
    await asyncio.to_thread(file.rename, file.with_suffix(".away"))
    ann, bob = await house.peer("ann"), await house.peer("bob")
    assert (await bob.ask(bob.invite("sip:ann@x"))).status == 480
    await asyncio.sleep(1.2)  # it is tried meanwhile
    assert (await ann.ask(ann.invite("sip:bob@x"))).status == 480
    await asyncio.to_thread(file.with_suffix(".away").rename, file)
    view = await traced(house, "failed", callee="bob")
    assert view.verdict.text == "cannot be reached: bob is not registered (480 from the SIP server)"
    states = {row.callee: row.state for row in await house.directory.traces.last()}
    assert states == {"cam1": "established", "ann": "failed", "bob": "failed"}


async def test_a_call_without_an_answer_says_who_was_silent(house: ServerHouse) -> None:
    """The camera is there and says nothing; its repeats are counted."""
    await house.stop()
    house.timers = Timers()
    await house.start()
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    await worker.call(CAM1)
    for _ in range(3):
        await camera.arrives("INVITE")
    view = await traced(house, "calling")
    (sent,) = [message for message in view.messages if view.participants[message.receiver].name == "cam1"]
    assert sent.again >= 1
    assert view.verdict.text == "cam1 is being called"
