"""Branches that end without an answer, with short timers: 408, a call nobody takes, a connection that breaks."""

from __future__ import annotations

import asyncio

from soip.sip import headers as h
from soip.sip.message import Request, Response
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN

CAM1 = f"sip:cam1@{DOMAIN}"


async def test_a_camera_that_says_nothing_is_408(hasty: ServerHouse) -> None:
    worker, camera = await hasty.worker(), await hasty.peer("cam1")
    await camera.register()
    invite = await worker.call(CAM1)
    response = await worker.response(invite)
    assert response.status == 408
    repeats = camera.inbox.qsize()
    assert repeats > 3, "over UDP it was asked again"


async def test_a_phone_that_rings_for_ever_is_cancelled(hasty: ServerHouse) -> None:
    bob, ann = await hasty.peer("bob"), await hasty.peer("ann")
    await ann.register()
    invite = await bob.call(f"sip:ann@{DOMAIN}")
    arrived = await ann.arrives("INVITE")
    ann.reply(arrived, 180)
    while True:
        message = await ann.receive()
        if isinstance(message, Request) and message.method == "CANCEL":
            break
    ann.reply(message, 200)
    ann.reply(arrived, 487)
    assert (await bob.response(invite)).status == 487


async def test_a_cancelled_call_that_nobody_answers_is_487(hasty: ServerHouse) -> None:
    worker, camera = await hasty.worker(), await hasty.peer("cam1")
    await camera.register()
    invite = await worker.call(CAM1)
    cancel = Request("CANCEL", invite.uri, invite.headers.copy())
    cancel.headers.set("CSeq", f"{h.cseq(invite.headers).number} CANCEL")
    worker.send(cancel)
    assert (await worker.response(cancel)).status == 200
    assert (await worker.response(invite)).status == 487


async def test_a_message_nobody_answers_ends_in_silence(hasty: ServerHouse) -> None:
    worker, camera = await hasty.worker(), await hasty.peer("cam1")
    await camera.register()
    message = worker.request("MESSAGE", CAM1, body=b"x")
    worker.send(message)
    challenge = await worker.response(message)
    worker.send(worker.answer_to(message, challenge))
    await camera.arrives("MESSAGE")
    await asyncio.sleep(64 * hasty.timers.t1 + 0.3)
    assert worker.inbox.empty(), "408 to a non-INVITE only makes storms (RFC 4320)"


async def test_a_camera_whose_connection_breaks_is_480(hasty: ServerHouse) -> None:
    worker, camera = await hasty.worker(), await hasty.peer("cam1", transport="tcp")
    await camera.register()
    invite = await worker.call(CAM1)
    await camera.arrives("INVITE")
    camera.close()
    response = await worker.response(invite)
    assert isinstance(response, Response)
    assert response.status == 480
    assert "register again" in (response.headers.get("Warning") or "")
    assert (await worker.ask(worker.invite(CAM1))).status == 480
