"""Cameras, timelines, grants and health, over real HTTP with a real directory."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from soip.directory.rows import EventRow, RecordingRow
from soip.policy import mediaurl
from soip.policy.liveness import LATELY_US
from soip.web.times import parse, render
from tests.web.system import System, now_us

T = 1_795_172_400_000_000
MINUTE = 60_000_000


async def test_cameras_with_both_states(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam2", title="주차장", media="recording")
    await system.add_camera("cam1", media=None)
    async with system.signed_in("kim") as client:
        answer = await client.get("/api/cameras")
    first, second = answer.json()
    assert first == {
        "id": "cam1",
        "name": "cam1",
        "record": "always",
        "audio": False,
        "transport": "udp",
        "sub": False,
        "signalling": "offline",
        "media": "offline",
        "since": None,
        "instance": system.instance.id,
    }
    assert (second["name"], second["signalling"], second["media"]) == ("주차장", "online", "recording")
    assert parse(second["since"], "since") < now_us()


async def test_a_registered_camera_without_media_is_idle(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam1", media=None)
    await system.bind("cam1", now_us() + MINUTE)
    async with system.signed_in("kim") as client:
        (camera,) = (await client.get("/api/cameras")).json()
    assert (camera["signalling"], camera["media"]) == ("online", "idle")


async def test_what_a_dead_media_worker_said_is_forgotten(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam1", media="recording")
    await system.heartbeat(now_us() - LATELY_US - 20_000_000)
    async with system.signed_in("kim") as client:
        (camera,) = (await client.get("/api/cameras")).json()
        assert (camera["media"], camera["instance"]) == ("idle", None)
        answer = await client.post("/api/cameras/cam1/grants", json={"action": "live"})
    assert (answer.status_code, answer.json()["error"]) == (503, "no_media_server")
    assert "soip media" not in answer.json()["message"], "a second worker of the number would be refused"


async def test_who_watches_goes_on_while_the_directory_takes_no_heartbeats(system: System) -> None:
    """A directory that cannot be written makes every worker look dead; the media worker itself judges the token."""
    await system.add_user("kim", "operator")
    await system.add_camera("cam1", media="recording")
    await system.heartbeat(now_us() - 600_000_000)
    async with system.signed_in("kim") as client:
        (camera,) = (await client.get("/api/cameras")).json()
        assert (camera["media"], camera["instance"]) == ("idle", None), "nobody can say"
        for action in ("live", "playback"):
            answer = await client.post("/api/cameras/cam1/grants", json={"action": action})
            assert answer.json()["url"] == f"/media/{system.instance.id}"
        assert (await client.get(f"/media/{system.instance.id}/odd/x")).status_code == 200


async def test_a_timeline_tells_what_is_there_and_why_the_rest_is_not(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam1")
    rows = [
        RecordingRow(f"r{index}", "cam1", "m", "m-0", "/r", f"{index}.mp4", T + start, T + end, sealed=sealed)
        for index, (start, end, sealed) in enumerate([(0, MINUTE, True), (3 * MINUTE, 4 * MINUTE, False)])
    ]
    stretches = [[T, T + 10, 1, 1], [T + MINUTE // 2, T + MINUTE // 2 + 10, 25, 3]]
    rows[0] = replace(rows[0], damaged=26, lost=4, damage=json.dumps(stretches))
    await system.directory.save(*rows)
    await system.gap("cam1", T + MINUTE, T + 3 * MINUTE, "camera offline")
    query = {"from": render(T + MINUTE // 2), "to": render(T + 10 * MINUTE)}
    async with system.signed_in("kim") as client:
        found = (await client.get("/api/cameras/cam1/timeline", params=query)).json()
        later = {"from": render(T + 20 * MINUTE), "to": render(T + 30 * MINUTE)}
        empty = (await client.get("/api/cameras/cam1/timeline", params=later)).json()
    assert found["camera"] == "cam1"
    assert (found["from"], found["to"]) == (query["from"], query["to"])
    assert abs(parse(found["now"], "now") - now_us()) < 5_000_000
    assert found["damage"] == [
        {"start": render(T + MINUTE // 2), "end": render(T + MINUTE // 2 + 10), "pictures": 25, "packets": 3}
    ], "what lies before the range is not told"
    assert empty["damage"] == []
    assert found["recordings"] == [
        {"start": render(T), "end": render(T + MINUTE), "sealed": True},
        {"start": render(T + 3 * MINUTE), "end": render(T + 4 * MINUTE), "sealed": False},
    ]
    assert found["gaps"] == [{"start": render(T + MINUTE), "end": render(T + 3 * MINUTE), "cause": "camera offline"}]
    assert (empty["recordings"], empty["gaps"]) == ([], [])


async def test_events_of_a_range_by_time(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam1")
    rows = [
        EventRow(f"e{n}", "cam1", "alarm", T + n * MINUTE, detail=f"alarm {n}", priority=2, method=5) for n in range(4)
    ]
    await system.directory.events.record([*rows, EventRow("x", "cam2", "alarm", T)])
    await system.directory.events.handed(["e1"], T)
    query = {"from": render(T + 1000), "to": render(T + 3 * MINUTE)}
    async with system.signed_in("kim") as client:
        found = (await client.get("/api/cameras/cam1/events", params=query)).json()
        monkeypatch.setattr("soip.web.api._MOST_EVENTS", 1)
        fewer = (await client.get("/api/cameras/cam1/events", params=query)).json()
        unknown = await client.get("/api/cameras/nope/events", params=query)
        for bad, status in BAD_RANGES:
            assert (await client.get("/api/cameras/cam1/events", params=bad)).status_code == status
    first = {"id": "e1", "kind": "alarm", "time": render(T + MINUTE), "priority": 2, "method": 5, "detail": "alarm 1"}
    second = {**first, "id": "e2", "time": render(T + 2 * MINUTE), "detail": "alarm 2"}
    assert found["events"] == [{**first, "handed_over": True}, {**second, "handed_over": False}]
    assert found["complete"]
    assert ([row["id"] for row in fewer["events"]], fewer["complete"]) == (["e1"], False)
    assert unknown.status_code == 404


BAD_RANGES: list[tuple[dict[str, str], int]] = [
    ({}, 422),
    ({"from": render(T)}, 422),
    ({"from": "x", "to": render(T)}, 400),
    ({"from": render(T), "to": render(T)}, 400),
    ({"from": render(T + MINUTE), "to": render(T)}, 400),
    ({"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, 400),
    ({"from": "2" * 65, "to": render(T)}, 422),
]


async def test_bad_ranges_get_a_clear_answer(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam1")
    async with system.signed_in("kim") as client:
        for query, status in BAD_RANGES:
            answer = await client.get("/api/cameras/cam1/timeline", params=query)
            assert answer.status_code == status, query
            assert set(answer.json()) == {"error", "message"}


async def test_a_grant_is_a_token_for_one_camera_and_one_action(system: System) -> None:
    await system.add_user("kim", "operator")
    await system.add_camera("cam1")
    async with system.signed_in("kim") as client:
        for action in ("live", "sub", "playback", "export"):
            given = (await client.post("/api/cameras/cam1/grants", json={"action": action})).json()
            assert given["url"] == f"/media/{system.instance.id}"
            assert given["lifetime"] == mediaurl.LIFETIME_S
            grant = mediaurl.verify(system.face.key, given["token"], time.time())
            assert (grant.subject, grant.camera, grant.action) == ("kim", "cam1", action)
            assert abs(grant.expires - time.time() - mediaurl.LIFETIME_S) < 5
            assert abs(parse(given["expires"], "expires") / 1e6 - grant.expires) < 0.01


async def test_a_snapshot_is_where_its_token_leads(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam.1")
    async with system.signed_in("kim") as client:
        answer = await client.get("/api/cameras/cam.1/snapshot.jpg", params={"width": 320})
        assert answer.status_code == 307
        where = urlsplit(answer.headers["location"])
        assert where.path == f"/media/{system.instance.id}/snapshot/cam.1.jpg"
        query = parse_qs(where.query)
        grant = mediaurl.verify(system.face.key, query["token"][0], time.time())
        assert (grant.subject, grant.camera, grant.action) == ("kim", "cam.1", "live")
        assert (query["width"], query["height"]) == (["320"], ["0"])
        for path, status in (
            ("cam.1/snapshot.gif", 422),
            ("cam.1/snapshot.jpg?width=90000", 422),
            ("x/snapshot.jpg", 404),
        ):
            assert (await client.get(f"/api/cameras/{path}")).status_code == status, path
    async with system.client() as client:
        assert (await client.get("/api/cameras/cam.1/snapshot.jpg")).status_code == 401


async def test_viewers_may_not_take_recordings_away(system: System) -> None:
    await system.add_user("kim", "viewer")
    await system.add_camera("cam1")
    async with system.signed_in("kim") as client:
        for action, status in {"live": 200, "playback": 200, "export": 403, "talk": 422}.items():
            answer = await client.post("/api/cameras/cam1/grants", json={"action": action})
            assert answer.status_code == status, action
            if status == 403:
                assert answer.json()["error"] == "not_allowed"
                assert "ask an administrator" in answer.json()["message"]


async def test_unknown_cameras(system: System) -> None:
    await system.add_user("kim", "admin")
    query = {"from": render(T), "to": render(T + 1000)}
    async with system.signed_in("kim") as client:
        for camera in ["nope", "카메라", "%2e%2e", "x" * 300]:
            grant = await client.post(f"/api/cameras/{camera}/grants", json={"action": "live"})
            timeline = await client.get(f"/api/cameras/{camera}/timeline", params=query)
            for answer in (grant, timeline):
                assert (answer.status_code, answer.json()["error"]) == (404, "unknown"), camera


async def test_nothing_without_a_session(system: System) -> None:
    await system.add_camera("cam1")
    async with system.client() as client:
        answers = [
            await client.get("/api/session"),
            await client.get("/api/cameras"),
            await client.get("/api/cameras/cam1/timeline", params={"from": render(T), "to": render(T + 1000)}),
            await client.get("/api/cameras/cam1/events", params={"from": render(T), "to": render(T + 1000)}),
            await client.post("/api/cameras/cam1/grants", json={"action": "live"}),
        ]
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]) == (401, "not_signed_in")


async def test_a_camera_added_while_running_is_there_within_a_moment(system: System) -> None:
    await system.add_user("kim", "admin")
    async with system.signed_in("kim") as client:
        assert (await client.get("/api/cameras")).json() == []
        await system.add_camera("cam1")
        deadline = time.monotonic() + 60
        while not (await client.get("/api/cameras")).json():
            assert time.monotonic() < deadline


async def test_health_needs_no_session(system: System) -> None:
    async with system.client() as client:
        assert (await client.get("/api/health")).json() == {"status": "ok", "media_workers": 1}


async def test_a_directory_that_is_away_is_told_as_such(system: System) -> None:
    await system.add_user("kim", "admin")
    async with system.signed_in("kim") as client:
        file = system.folder / "soip.db"
        file.rename(system.folder / "away.db")
        for path in ("/api/health", "/api/cameras", "/api/session"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (503, "directory_away"), path
        (system.folder / "away.db").rename(file)
        assert (await client.get("/api/cameras")).status_code == 200, "and works again once it is back"


async def test_the_api_describes_itself(system: System) -> None:
    async with system.client() as client:
        described = (await client.get("/api/openapi.json")).json()
        assert (await client.get("/docs")).status_code == 404
    assert set(described["paths"]) == {
        "/api/health",
        "/api/session",
        "/api/cameras",
        "/api/media-workers",
        "/api/cameras/{camera}/timeline",
        "/api/cameras/{camera}/events",
        "/api/cameras/{camera}/grants",
        "/api/cameras/{camera}/holds",
        "/api/holds",
        "/api/holds/{hold}",
        "/api/cameras/{camera}/snapshot.{kind}",
        "/api/sip-token",
        "/api/calls",
        "/api/calls/{call}",
    }


async def test_addresses_that_do_not_exist(system: System) -> None:
    for path in ["/api", "/api/", "/api/nope", "/api/cameras/x/nope"]:
        async with system.client() as client:
            answer = await client.get(path)
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "message"}


async def test_methods_that_do_not_exist(system: System) -> None:
    async with system.client() as client:
        answer = await client.put("/api/session")
    assert answer.status_code == 405
    assert answer.json()["error"] == "refused"


async def test_the_media_workers_with_what_they_carry(system: System) -> None:
    await system.add_user("kim", "operator")
    await system.add_camera("cam1")
    async with system.client() as client:
        assert (await client.get("/api/media-workers")).status_code == 401
    async with system.signed_in("kim") as client:
        (worker,) = (await client.get("/api/media-workers")).json()
    assert (worker["id"], worker["state"], worker["cameras"]) == (system.instance.id, "ready", 1)
    assert worker["heard"].endswith("Z")


async def test_recordings_of_a_camera_without_a_living_home_are_read_by_another(system: System) -> None:
    await system.add_user("kim", "operator")
    await system.add_camera("cam1")
    gone = await system.directory.media.publish(system.instance.server_id, 1, sip="", http="127.0.0.1:1")
    await system.directory.homes.move("cam1", gone.id)
    await system.directory.save(replace(gone, heartbeat_us=0))
    async with system.signed_in("kim") as client:
        played = await client.post("/api/cameras/cam1/grants", json={"action": "playback"})
        assert played.json()["url"] == f"/media/{system.instance.id}"
        live = await client.post("/api/cameras/cam1/grants", json={"action": "live"})
        assert (live.status_code, live.json()["error"]) == (503, "no_media_server")


async def test_recordings_are_held_and_released(system: System) -> None:
    await system.add_camera("cam7")
    await system.add_user("root", "admin")
    await system.add_user("op", "operator")
    await system.add_user("guest", "viewer")
    body = {"from": "2026-11-20T10:00:00Z", "to": "2026-11-20T11:00:00Z", "reason": "case 7", "reference": "A-1"}
    async with system.signed_in("guest") as client:
        assert (await client.get("/api/holds")).status_code == 403
        assert (await client.post("/api/cameras/cam7/holds", json=body)).status_code == 403
    async with system.signed_in("op") as client:
        placed = (await client.post("/api/cameras/cam7/holds", json=body)).json()
        assert placed["by"] == "op"
        assert (await client.delete(f"/api/holds/{placed['id']}")).status_code == 403, "who may place may not release"
    async with system.signed_in("root") as client:
        assert (await client.delete(f"/api/holds/{placed['id']}")).status_code == 200
        for wrong, status in (
            ({"to": body["from"]}, 400),
            ({"from": "yesterday"}, 400),
            ({"reason": ""}, 422),
        ):
            assert (await client.post("/api/cameras/cam7/holds", json=body | wrong)).status_code == status
        assert (await client.post("/api/cameras/nobody/holds", json=body)).status_code == 404
        answer = await client.post("/api/cameras/cam7/holds", json=body)
        assert answer.status_code == 201
        held = answer.json()
        assert (held["camera"], held["from"], held["reason"]) == ("cam7", "2026-11-20T10:00:00.000Z", "case 7")
        assert (await client.get("/api/holds", params={"camera": "cam7"})).json() == [held]
        assert (await client.get("/api/holds", params={"camera": "cam2"})).json() == []
        released = (await client.delete(f"/api/holds/{held['id']}")).json()
        assert released["released"] is not None
        assert (await client.get("/api/holds")).json() == []
        assert released in (await client.get("/api/holds", params={"released": "true"})).json()
        assert (await client.delete(f"/api/holds/{held['id']}")).status_code == 404
