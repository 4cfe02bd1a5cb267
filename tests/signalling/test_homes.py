"""Cameras that change their home: calls follow, and whoever has lost one is told."""

from __future__ import annotations

import asyncio

from soip.control import moved
from soip.directory.rows import HomeRow, MediaInstance
from soip.signalling.removals import elsewhere
from soip.sip.message import Request
from tests.homes import place_all
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer, eventually
from tests.signalling.test_proxy import established


async def second(house: ServerHouse) -> MediaInstance:
    """One more worker of this media server."""
    return await house.directory.media.publish(house.media.id, 1, sip="", http="127.0.0.1:2")


async def worker(house: ServerHouse, number: int) -> Peer:
    """A worker, registered once the SIP server knows it."""
    peer = await house.peer(house.media.instance(number), house.media.secret, "tcp")
    peer.username = house.media.id

    async def registered() -> bool:
        return (await peer.register(contact=f"<sip:{peer.id}@{DOMAIN};gr>")).status == 200

    await eventually(registered, 20)
    return peer


async def told(peer: Peer) -> dict[str, int]:
    """What the next MESSAGE to a worker says."""
    request = await peer.arrives("MESSAGE", 20)
    assert request.headers.get("Content-Type") == moved.CONTENT_TYPE
    peer.reply(request, 200)
    return moved.parse(request.body)


async def test_who_has_lost_a_camera_is_told_once(house: ServerHouse) -> None:
    old = await house.worker()
    other = await second(house)
    row = await house.directory.homes.move("cam1", other.id)
    assert await told(old) == {"cam1": row.epoch}
    later = await house.directory.homes.move("cam2", other.id)
    assert await told(old) == {"cam2": later.epoch}, "and of the first no more"


async def test_who_was_away_is_told_when_it_comes(house: ServerHouse) -> None:
    other = await second(house)
    row = await house.directory.homes.move("cam1", other.id)
    await asyncio.sleep(1.5)  # the SIP server has seen it, and has found nobody to tell
    assert await told(await house.worker()) == {"cam1": row.epoch}


async def test_who_was_away_is_told_also_of_what_has_gone_on_to_a_third(house: ServerHouse) -> None:
    other = await second(house)
    third = await house.directory.media.publish(house.media.id, 2, sip="", http="127.0.0.1:3")
    await house.directory.homes.move("cam1", other.id)
    row = await house.directory.homes.move("cam1", third.id)
    assert row.previous_id == other.id
    old, epoch = await house.worker(), 0
    while epoch < row.epoch:  # the SIP server may have read the first move before the second was made
        epoch = (await told(old))["cam1"]
    assert epoch == row.epoch


async def test_who_does_not_say_that_it_knows_is_told_again(house: ServerHouse) -> None:
    old = await house.worker()
    other = await second(house)
    first = await house.directory.homes.move("cam1", other.id)
    old.reply(await old.arrives("MESSAGE", 20), 503)
    later = await house.directory.homes.move("cam2", other.id)
    assert await told(old) == {"cam1": first.epoch, "cam2": later.epoch}


def test_what_is_elsewhere_is_told_up_to_what_is_known() -> None:
    ways = [("cam1", "a-0", 3, "b-0"), ("cam2", "b-0", 4, "c-0"), ("cam3", "c-0", 7, "b-0")]
    homes = [HomeRow(camera, home, epoch, 0, before) for camera, home, epoch, before in ways]
    assert elsewhere("a-0", homes, 0) == {"cam2": 4, "cam3": 7}
    assert elsewhere("b-0", homes, 0) == {"cam1": 3, "cam3": 7}
    assert elsewhere("b-0", homes, 3) == {"cam3": 7}
    assert elsewhere("b-0", homes, 7) == {}
    assert elsewhere("a-0", [HomeRow("cam4", "b-0", 9, 0)], 0) == {}, "it was never anybody else's"


async def test_a_new_worker_may_register_and_calls_go_to_it(house: ServerHouse) -> None:
    other = await second(house)
    await house.directory.homes.move("cam1", other.id)
    peer, ann = await worker(house, 1), await house.peer("ann")

    async def reached() -> bool:
        """The SIP server may have read who is there before it reads who is where."""
        while not ann.inbox.empty():  # what a call before this one was refused with
            ann.inbox.get_nowait()
        await ann.call(f"sip:cam1@{DOMAIN}")
        try:
            return (await peer.arrives("INVITE", 2)).uri.user == "cam1"
        except TimeoutError:
            return False

    await eventually(reached, 30)


async def test_the_home_of_a_camera_ends_the_call_of_the_one_before(house: ServerHouse) -> None:
    old, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    sent, _, answer = await established(old, camera)
    other = await second(house)
    heir = await worker(house, 1)

    def left(method: str) -> Request:
        """What the heir writes in the name of the other."""
        request = heir.within(method, sent, answer)
        old.cseq = heir.cseq = max(old.cseq, heir.cseq)
        return request

    early = left("BYE")
    heir.send(early)
    assert (await heir.response(early)).status == 407, "it is not at home with it"
    await house.directory.homes.move("cam1", other.id)
    assert await told(old)
    info = left("INFO")
    heir.send(info)
    assert (await heir.response(info)).status == 407, "nothing but an end"
    bye = left("BYE")
    heir.send(bye)
    ended = await camera.arrives("BYE")
    assert ended.headers.get("Call-ID") == sent.headers.get("Call-ID")
    assert (str(ended.uri), "Route" in ended.headers) == (camera.contact, False)
    camera.reply(ended, 200)
    assert (await heir.response(bye)).status == 200


async def test_nobody_else_ends_the_call_to_a_camera(house: ServerHouse) -> None:
    old, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    sent, _, answer = await established(old, camera)
    other = await second(house)
    await house.directory.homes.move("cam1", other.id)
    assert await told(old)
    stranger = await house.peer("cam2")
    assert (await stranger.ask(stranger.within("BYE", sent, answer))).status == 481
    bye = old.within("BYE", sent, answer)
    old.send(bye)
    camera.reply(await camera.arrives("BYE"), 200)
    assert (await old.response(bye)).status == 200, "who made it still may"


async def test_cameras_placed_a_moment_ago_can_be_called(house: ServerHouse) -> None:
    peer, ann = await house.worker(), await house.peer("ann")
    instance = await house.directory.media.instance(house.media.instance(0))
    assert instance is not None
    for camera in ("cam7", "cam8", "cam9"):
        await house.directory.cameras.add(camera, realm=DOMAIN, password="p")
        await place_all(house.directory, instance)
        await ann.call(f"sip:{camera}@{DOMAIN}")
        assert (await peer.arrives("INVITE")).uri.user == camera
