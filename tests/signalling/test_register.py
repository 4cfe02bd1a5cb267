"""REGISTER over real sockets: digest, whose address it is, lifetimes, leaving, and what a wrong password costs."""

from __future__ import annotations

import asyncio

import pytest

from soip.net.limits import Limits
from soip.sip import headers as h
from soip.sip.digest import NonceIssuer
from soip.sip.headers import Challenge
from soip.sip.message import Response
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, WAIT, Peer, eventually


def contacts(response: Response) -> dict[str, int]:
    """The contacts of a 200 and their lifetimes."""
    return {str(c.uri): int(c.param("expires") or 0) for c in h.contacts(response.headers)}


@pytest.mark.parametrize(("camera", "algorithm"), [("cam1", "MD5"), ("cam2", "SHA-256"), ("cam3", "SHA-512-256")])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_camera_registers_with_the_digest_of_its_account(
    house: ServerHouse, camera: str, algorithm: str, transport: str
) -> None:
    peer = await house.peer(camera, transport=transport)
    request = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:{camera}@{DOMAIN}>")
    peer.send(request)
    response = await peer.response(request)
    assert response.status == 401
    challenges = h.challenges(response.headers)
    assert [c.algorithm for c in challenges] == [algorithm]
    assert challenges[0].qop == ("auth",)
    assert challenges[0].realm == DOMAIN
    response = await peer.register()
    assert response.status == 200
    assert contacts(response) == {peer.contact: 3600}


async def test_lifetimes_are_capped_and_not_too_brief(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    assert contacts(await peer.register(expires=100_000)) == {peer.contact: 3600}
    assert contacts(await peer.register(expires=60)) == {peer.contact: 60}
    response = await peer.register(expires=59)
    assert response.status == 423
    assert response.headers.get("Min-Expires") == "60"


async def test_a_query_lists_what_is_bound(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    await peer.register()
    query = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>")
    response = await peer.ask(query)
    assert response.status == 200
    assert list(contacts(response)) == [peer.contact]


async def test_leaving_by_expires_0_and_by_star(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    await peer.register()
    response = await peer.register(expires=0)
    assert (response.status, contacts(response)) == (200, {})
    await peer.register()
    response = await peer.register(contact="*", expires=0)
    assert (response.status, contacts(response)) == (200, {})
    response = await peer.register(contact="*", expires=60)
    assert response.status == 400


async def test_only_its_own_address(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    for aor in ("cam2", "ann", "nobody", house.media.instance(0)):
        response = await peer.register(aor=aor)
        assert response.status == 403, aor
    assert await house.directory.calls.bindings() == []


async def test_a_device_registers_its_other_cameras_too(house: ServerHouse) -> None:
    worker = await house.worker()
    assert contacts(await worker.register()) != {}
    stranger = await house.peer("cam1")
    stranger.username = "cam2"
    stranger.password = "secret2"
    response = await stranger.register()
    assert response.status == 403, "cam2's password is good, but To is cam1"


async def test_a_required_extension_is_refused_by_name(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    response = await peer.register(headers=(("Require", "path, gruu"),))
    assert response.status == 420
    assert response.headers.get("Unsupported") == "gruu"


async def test_an_older_register_of_the_same_call_is_refused(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    line = ("Contact", f"<{peer.contact}>")
    first = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>", headers=(line,), call_id="boot")
    peer.cseq = 50
    assert (await peer.ask(first)).status == 200
    late = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>", headers=(line,), call_id="boot")
    peer.cseq = 9
    assert (await peer.ask(late)).status == 500


async def test_a_wrong_password_is_refused_and_soon_not_even_looked_at(
    house: ServerHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = await house.peer("cam1", "guess")
    seen = [(await peer.register()).status for _ in range(12)]
    assert seen[:10] == [403] * 10
    assert set(seen[10:]) == {503}
    peer.password = "secret1"
    response = await peer.register()
    assert response.status == 503, "the right one tells nothing while the limit holds"
    assert (h.retry_after(response.headers) or 0) >= 1
    lines = capsys.readouterr().out
    assert "wrong password" in lines
    assert "id=cam1" in lines
    assert "udp:127.0.0.1" in lines
    elsewhere = await house.peer("cam1", host="127.0.0.2")
    assert (await elsewhere.register()).status == 200, "nobody can lock a camera out from afar"


async def test_guesses_with_a_nonce_that_is_not_ours_lock_nobody_out(house: ServerHouse) -> None:
    """Such as somebody sends who forges the camera's address, and so never sees our challenge."""
    camera = await house.peer("cam1")
    assert (await camera.register()).status == 200
    line = 'Digest username="cam1", realm="soip.test", nonce="{}", uri="x", response="0", qop=auth, nc=1, cnonce="c"'
    elsewhere = NonceIssuer(b"somebody else's key").issue(0.0, "127.0.0.1")
    for nonce in ("x", "", elsewhere) * 5:
        forged = camera.request("REGISTER", f"sip:{DOMAIN}", headers=(("Authorization", line.format(nonce)),))
        response = await camera.ask(forged, challenged=False)
        assert response.status == 401, "asked again, not refused"
    assert (await camera.register()).status == 200


async def test_who_is_behind_one_flow_with_others_is_found_among_them(house: ServerHouse) -> None:
    """A bridge registers its cameras over one socket, each by its own account."""
    bridge = await house.peer("cam1")
    for name, secret in (("cam1", "secret1"), ("cam2", "secret2"), ("cam3", "secret3")):
        bridge.id = bridge.username = name
        bridge.password = secret
        assert (await bridge.register()).status == 200
        probe = bridge.request("OPTIONS", f"sip:{DOMAIN}")
        assert (await bridge.ask(probe, challenged=False)).status == 200


async def test_a_header_in_another_charset_does_not_stop_the_writing(house: ServerHouse) -> None:
    camera, other = await house.peer("cam1"), await house.peer("cam2")
    assert (await camera.register(headers=(("User-Agent", "Cam\udcb0\udca1"),))).status == 200

    async def both() -> bool:
        return len(await house.directory.calls.bindings()) == 2

    await asyncio.sleep(1)
    assert (await other.register()).status == 200
    await eventually(both)


async def test_a_camera_on_tcp_may_be_silent_until_its_refresh(
    house: ServerHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.role.endpoint._transport.streams, "limits", Limits(idle_seconds=0.1))
    camera, stranger = await house.peer("cam1", transport="tcp"), await house.peer("x", transport="tcp")
    assert (await camera.register()).status == 200
    await stranger.ask(stranger.request("OPTIONS", f"sip:{DOMAIN}"), challenged=False)
    streams = house.role.endpoint._transport.streams
    async with asyncio.timeout(WAIT):
        while len(streams) > 1:
            streams._sweep()
            await asyncio.sleep(0.05)
    worker = await house.worker()
    await worker.call(f"sip:cam1@{DOMAIN}")
    await camera.arrives("INVITE")


async def test_a_registered_camera_is_not_closed_out_by_its_neighbours(house: ServerHouse) -> None:
    camera = await house.peer("cam1")
    assert (await camera.register()).status == 200

    async def guess(identity: str) -> int:
        thief = await house.peer(identity, "guess")  # by a new port, or it is soon shut out
        status = (await thief.register()).status
        thief.close()
        return status

    for n in range(400):
        if await guess(f"guess{n}") == 503:
            break
    else:
        pytest.fail("400 guesses and no end")
    seen = [await guess("cam1") for _ in range(15)]
    assert seen[-1] == 503
    assert (await camera.register()).status == 200


async def test_an_unknown_id_looks_like_a_wrong_password(house: ServerHouse) -> None:
    peer = await house.peer("nobody", "x")
    assert (await peer.register()).status == 403


async def test_an_old_nonce_is_stale_and_a_count_is_used_once(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    request = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>")
    peer.send(request)
    challenge = await peer.response(request)
    first = peer.answer_to(request, challenge)
    peer.send(first)
    assert (await peer.response(first)).status == 200
    again = peer.answer_to(request, challenge)
    peer.send(again)
    replayed = await peer.response(again)
    assert replayed.status == 401
    assert h.challenges(replayed.headers)[0].stale
    counted = peer.answer_to(request, challenge, nc=2)
    peer.send(counted)
    assert (await peer.response(counted)).status == 200


async def test_a_repeated_register_gets_the_same_answer_once_more(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    request = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>")
    peer.send(request)
    answered = peer.answer_to(request, await peer.response(request))
    peer.send(answered)
    peer.send(answered)
    first, second = await peer.response(answered), await peer.response(answered)
    assert first.status == 200, "the same request again is no replay"
    assert first.to_bytes() == second.to_bytes()


async def test_a_phone_that_knows_no_qop(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    request = peer.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>")
    peer.send(request)
    challenge = h.challenges((await peer.response(request)).headers)[0]
    old = Challenge("Digest", tuple((name, value) for name, value in challenge.params if name in ("realm", "nonce")))
    answered = peer.authorised(request, old, proxy=False)
    assert "qop" not in (answered.headers.get("Authorization") or "")
    peer.send(answered)
    assert (await peer.response(answered)).status == 200
    elsewhere = await house.peer("cam1", host="127.0.0.2")
    stolen = elsewhere.authorised(
        elsewhere.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>"), old, proxy=False
    )
    elsewhere.send(stolen)
    refused = await elsewhere.response(stolen)
    assert refused.status == 401, "without qop a nonce is good for its source only"
    assert h.challenges(refused.headers)[0].stale


async def test_who_answers_elsewhere_than_it_sends_from(house: ServerHouse) -> None:
    camera, worker = await house.peer("cam1"), await house.worker()
    listener = await house.peer("cam1")
    source, camera.local = camera.local, listener.local
    request = camera.request("REGISTER", f"sip:{DOMAIN}", headers=(("Contact", f"<{listener.contact}>"),), rport=False)
    request.headers.set("To", f"<sip:cam1@{DOMAIN}>")
    camera.send(request)
    challenge = await listener.response(request)
    camera.send(camera.answer_to(request, challenge))
    registered = await listener.receive()
    assert isinstance(registered, Response)
    assert registered.status == 200
    invite = await worker.call(f"sip:cam1@{DOMAIN}")
    assert (await listener.arrives("INVITE")).uri.user == "cam1"
    assert source != listener.local
    assert h.call_id(invite.headers)


async def test_keepalives_say_whether_the_camera_is_registered(house: ServerHouse) -> None:
    camera = await house.peer("cam1")
    body = b'<?xml version="1.0"?><Notify><CmdType>Keepalive</CmdType><SN>1</SN></Notify>'
    kind = (("Content-Type", "Application/MANSCDP+xml"),)

    async def keepalive(peer: Peer) -> int:
        return (await peer.ask(peer.request("MESSAGE", f"sip:{DOMAIN}", headers=kind, body=body))).status

    assert await keepalive(camera) == 403
    coded = camera.request("MESSAGE", f"sip:34020000002000000001@{DOMAIN}", headers=kind, body=body)
    assert (await camera.ask(coded, challenged=False)).status == 401
    assert (await camera.ask(camera.request("OPTIONS", f"sip:{DOMAIN}"))).status == 403
    await camera.register()
    unchallenged = camera.request("MESSAGE", f"sip:{DOMAIN}", headers=kind, body=body)
    assert (await camera.ask(unchallenged, challenged=False)).status == 200
    coded = camera.request("MESSAGE", f"sip:34020000002000000001@{DOMAIN}", headers=kind, body=body)
    assert (await camera.ask(coded, challenged=False)).status == 200, "devices write the server's code there"
    assert (await camera.ask(camera.request("OPTIONS", f"sip:{DOMAIN}"), challenged=False)).status == 200
    neighbour = await house.peer("cam1")
    probe = neighbour.request("OPTIONS", f"sip:{DOMAIN}")
    assert (await neighbour.ask(probe, challenged=False)).status == 401, "another socket is another flow"
    camera.id = "cam2"
    other = camera.request("OPTIONS", f"sip:{DOMAIN}")
    assert (await camera.ask(other, challenged=False)).status == 401, "the flow is cam1's, not cam2's"


@pytest.mark.parametrize(
    ("method", "kind", "body", "status"),
    [
        ("MESSAGE", "text/plain", b"hello", 415),
        ("MESSAGE", "Application/MANSCDP+xml", b"<CmdType>Alarm</CmdType>", 488),
        ("SUBSCRIBE", "", b"", 489),
        ("PUBLISH", "", b"", 405),
    ],
)
async def test_what_the_server_itself_does_not_take(
    house: ServerHouse, method: str, kind: str, body: bytes, status: int
) -> None:
    camera = await house.peer("cam1")
    await camera.register()
    lines = (("Content-Type", kind),) if kind else ()
    response = await camera.ask(camera.request(method, f"sip:{DOMAIN}", headers=lines, body=body))
    assert response.status == status
    assert response.headers.get("Warning")


async def test_options_of_a_person_tell_what_the_server_can(house: ServerHouse) -> None:
    ann = await house.peer("ann")
    response = await ann.ask(ann.request("OPTIONS", f"sip:{DOMAIN}"))
    assert response.status == 200
    assert "REGISTER" in (response.headers.get("Allow") or "")


async def test_a_new_camera_registers_at_once_and_a_removed_one_is_offline(house: ServerHouse) -> None:
    await house.directory.cameras.add("fresh", realm=DOMAIN, password="pw")
    peer = await house.peer("fresh", "pw")
    assert (await peer.register()).status == 200
    await house.directory.cameras.remove("fresh")

    async def refused() -> bool:
        return (await peer.register()).status == 403

    async def forgotten() -> bool:
        return all(b.aor != "fresh" for b in await house.directory.calls.bindings())

    await eventually(refused)
    await eventually(forgotten)


async def test_a_changed_password_is_in_force(house: ServerHouse) -> None:
    peer = await house.peer("cam1")
    await peer.register()

    async def written() -> bool:
        return len(await house.directory.calls.bindings()) == 1

    await eventually(written)
    await house.directory.cameras.set_password("cam1", realm=DOMAIN, password="new", digest="SHA-256")
    peer.password = "new"

    async def forgotten() -> bool:
        return await house.directory.calls.bindings() == []

    await eventually(forgotten)
    assert (await peer.register()).status == 200
