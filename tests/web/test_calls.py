"""Calls over the API: who may see them, what is told, and that one ladder is made of calls that belong together."""

from __future__ import annotations

import itertools
import json

from soip.directory.rows import CallTraceRow
from soip.signalling.tracerow import row_of
from soip.web.calls import MOST_MESSAGES, ladder
from soip.web.times import render
from tests.signalling.wire import ANN, CAM, MEDIA, START_US, Site, refusal, request
from tests.web.system import System


def _rows() -> list[CallTraceRow]:
    """Ann's call to cam1, and the media server's call to the camera for it; and one that failed."""
    site = Site()
    invite = request("INVITE")
    site.proves(invite, ANN, "ann")
    site.forwards(invite, MEDIA, "media-0")
    inner = request("INVITE", call_id="c2", sender="media-0", headers=(("In-Reply-To", "c1"),))
    site.proves(inner, MEDIA, "media-0", serves=True)
    site.forwards(inner, CAM, "cam1")
    site.gets(refusal(inner, 486, "in use"), CAM)
    site.sends(refusal(inner, 486, "in use"), MEDIA)
    site.gets(refusal(invite, 480, "the camera is busy"), MEDIA)
    site.sends(refusal(invite, 480, "the camera is busy"), ANN)
    site.clock.pass_ms(1000)
    lost = request("INVITE", call_id="c3", uri="sip:nobody@soip.test")
    site.proves(lost, ANN, "ann")
    return site.rows()


async def test_the_last_calls_newest_first(system: System) -> None:
    await system.add_user("kim", "operator")
    await system.directory.save(*_rows())
    async with system.signed_in("kim") as client:
        answer = await client.get("/api/calls")
        of_media = (await client.get("/api/calls", params={"party": "media-0"})).json()
        one = (await client.get("/api/calls", params={"limit": 1})).json()
    found = answer.json()
    assert [(call["caller"], call["callee"], call["state"]) for call in found] == [
        ("ann", "nobody", "calling"),
        ("media-0", "cam1", "failed"),
        ("ann", "cam1", "failed"),
    ]
    assert found[2] == {
        "id": "t1",
        "started": render(START_US),
        "ended": render(START_US + 7000),
        "caller": "ann",
        "proven": True,
        "callee": "cam1",
        "state": "failed",
        "times": 1,
        "verdict": {
            "code": "unreachable",
            "who": "ann",
            "origin": "media-0",
            "status": 480,
            "reason": "the camera is busy",
            "seconds": 0,
            "text": "cannot be reached: the camera is busy (480 from media-0)",
            "hint": found[2]["verdict"]["hint"],
        },
    }
    assert found[0]["ended"] is None
    assert [call["id"] for call in of_media] == ["t2"]
    assert [call["id"] for call in one] == ["t3"]


async def test_a_call_with_those_that_belong_to_it(system: System) -> None:
    await system.add_user("kim", "admin")
    await system.directory.save(*_rows())
    async with system.signed_in("kim") as client:
        outer = (await client.get("/api/calls/t1")).json()
        inner = (await client.get("/api/calls/t2")).json()
    names = [participant["name"] for participant in outer["participants"]]
    assert names == ["ann", "SIP server", "media-0", "cam1"]
    assert [participant["server"] for participant in outer["participants"]] == [False, True, False, False]
    said = [(names[m["from"]], names[m["to"]], m["line"]) for m in outer["messages"]]
    assert said == [
        ("ann", "SIP server", "INVITE sip:cam1@soip.test"),
        ("SIP server", "media-0", "INVITE sip:cam1@soip.test"),
        ("media-0", "SIP server", "INVITE sip:cam1@soip.test"),
        ("SIP server", "cam1", "INVITE sip:cam1@soip.test"),
        ("cam1", "SIP server", "486 Busy Here"),
        ("SIP server", "media-0", "486 Busy Here"),
        ("media-0", "SIP server", "480 Temporarily Unavailable"),
        ("SIP server", "ann", "480 Temporarily Unavailable"),
    ]
    assert [m["at"] for m in outer["messages"]] == [float(at) for at in range(8)]
    assert outer["messages"][4]["facts"] == ["Warning: in use"]
    assert (outer["id"], inner["id"]) == ("t1", "t2")
    assert (outer["verdict"]["code"], inner["verdict"]["code"]) == ("unreachable", "busy")
    assert outer["messages"] == inner["messages"]
    assert [call["id"] for call in outer["calls"]] == ["t1", "t2"]


async def test_who_may_and_what_is_not_there(system: System) -> None:
    for name, role in (("vera", "viewer"), ("otto", "operator")):
        await system.add_user(name, role)
    async with system.client() as client:
        assert (await client.get("/api/calls")).status_code == 401
        assert (await client.get("/api/calls/t1")).status_code == 401
    async with system.signed_in("vera") as client:
        for path in ("/api/calls", "/api/calls/t1"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (403, "not_allowed")
    async with system.signed_in("otto") as client:
        gone = await client.get("/api/calls/t1")
        assert (gone.status_code, gone.json()["error"]) == (404, "unknown")
        assert "only the last 1000" in gone.json()["message"]
        for query in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"party": "x" * 65}):
            assert (await client.get("/api/calls", params=query)).status_code == 422, query
        assert (await client.get("/api/calls", params={"party": "' OR ''='"})).json() == []


def test_a_ladder_is_bounded() -> None:
    """A viewer that waits for a camera which is called again and again."""
    numbers = itertools.count(2)
    site = Site()
    site.proves(request("INVITE"), ANN, "ann")
    rows = []
    for _ in range(30):
        call_id = f"c{next(numbers)}"
        inner = request("INVITE", call_id=call_id, sender="media-0", headers=(("In-Reply-To", "c1"),))
        site.proves(inner, MEDIA, "media-0", serves=True)
        for cseq in range(2, 80):
            site.gets(request("INFO", call_id=call_id, cseq=cseq, to_tag="b"), MEDIA)
    rows = [row_of(trace) for trace in site.traces]
    view = ladder("t1", rows)
    assert view is not None
    assert len(view.messages) == MOST_MESSAGES
    assert view.left_out == 1 + 30 * 79 - MOST_MESSAGES
    assert ladder("other", rows) is None
    assert ladder("t1", []) is None


def test_one_name_at_two_addresses_is_one_participant() -> None:
    site = Site()
    site.established()
    (row,) = site.rows()
    told = json.loads(row.ladder)
    told["parties"].append(["198.51.100.9:5060", "cam1"])
    told["messages"].append([9_000_000, 3, 0, "BYE", "2 BYE", [], 0])
    moved = CallTraceRow(**{name: getattr(row, name) for name in row.__slots__} | {"ladder": json.dumps(told)})
    view = ladder("t1", [moved])
    assert view is not None
    assert [participant.name for participant in view.participants] == ["ann", "SIP server", "cam1"]
    assert view.messages[-1].sender == 2
