"""A viewer's call to a camera that is not recorded: the media server's own call to it belongs to the viewer's."""

from __future__ import annotations

import json

from soip.web.calls import ladder
from tests.media.house import House, until
from tests.media.peers import Camera, Viewer
from tests.media.test_calls import refused


async def states(house: House) -> dict[str, str]:
    """How the calls stand, by caller: of two, the one that came about. A camera that has only just registered by UDP is
    first offered SRTP, which the SIP server refuses.
    """
    rows = sorted(await house.directory.traces.last(), key=lambda row: row.state != "failed")
    return {row.caller: row.state for row in rows}


async def test_the_whole_way_is_one_ladder(house: House) -> None:
    await house.add_camera(plan="never")
    house.start_media()
    await house.base()
    await Camera.make(house)
    viewer = await Viewer.make(house)
    await viewer.dial()
    await viewer.see(3)
    await viewer.call.bye('SIP;cause=200;text="seen enough"')
    await until(lambda: _state(house, "ann"), "ended")
    (row,) = await house.directory.traces.last(party="ann")
    view = ladder(row.id, await house.directory.traces.call(row.id))
    assert view is not None
    assert view.verdict.text == "ann hung up: seen enough"
    names = [participant.name for participant in view.participants]
    assert names[:2] == ["ann", "SIP server"]
    assert names[3] == "cam1"
    arrows = [(names[message.sender], names[message.receiver], message.line.split()[0]) for message in view.messages]
    to_media = arrows.index(("SIP server", names[2], "INVITE"))
    to_camera = arrows.index(("SIP server", "cam1", "INVITE"))
    answered = arrows.index(("cam1", "SIP server", "200"))
    to_viewer = arrows.index(("SIP server", "ann", "200"))
    assert to_media < to_camera < answered < to_viewer
    assert any("video H264" in fact for message in view.messages for fact in message.facts)


async def test_a_camera_that_is_called_for_nobody_s_call_is_alone(house: House) -> None:
    await house.add_camera()
    house.start_media()
    await Camera.make(house)
    await house.until_state("recording")
    media = (await house.directory.media.instances())[0].id
    await until(lambda: _state(house, media), "established")
    rows = [row for row in await house.directory.traces.last() if row.state == "established"]
    assert [(row.caller, row.group_id) for row in rows] == [(media, rows[0].id)]


async def test_a_viewer_of_a_camera_that_is_off_is_told_where_it_failed(house: House) -> None:
    await house.add_camera(plan="never")
    house.start_media()
    await house.base()
    viewer = await Viewer.make(house)

    async def connected() -> bool:
        return (await refused(viewer))[0] == 480

    await until(connected, True)
    await until(lambda: _state(house, "ann"), "failed")
    media = (await house.directory.media.instances())[0].id
    texts = {row.caller: json.loads(row.verdict)["text"] for row in await house.directory.traces.last()}
    assert texts["ann"] == f"cannot be reached: the camera is not registered (480 from {media})"
    assert texts[media] == "cannot be reached: camera cam1 is not registered (480 from the SIP server)"


async def _state(house: House, caller: str) -> str:
    return (await states(house)).get(caller, "")
