"""Subscriptions over real sockets: who is told what, in which order, and why it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from soip.control import manscdp
from soip.control.manscdp import Alarm
from soip.control.xml import parse
from soip.directory.rows import CameraStateRow, EventPositionRow, EventRow
from soip.signalling import events as events_module
from soip.signalling import subscriptions as subscriptions_module
from soip.signalling.alarmfeed import now_us
from soip.signalling.presence import NAMESPACE
from soip.sip import headers as h
from soip.sip.message import Request, Response
from soip.sip.reply import make_response
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN, Peer, eventually

CAM1 = f"sip:cam1@{DOMAIN}"
KIND = ("Content-Type", manscdp.CONTENT_TYPE)


@dataclass
class Watch:
    """One subscription as its subscriber sees it: the SUBSCRIBE that made it, and its 200."""

    peer: Peer
    sent: Request
    answer: Response

    async def notified(self, *, status: int = 200) -> Request:
        """The next NOTIFY, answered."""
        notify = await self.peer.arrives("NOTIFY")
        self.peer.reply(notify, status)
        assert h.call_id(notify.headers) == h.call_id(self.sent.headers)
        return notify

    async def again(self, expires: int, **changes: str) -> Response:
        """SUBSCRIBE in the dialog; the next message must be its answer."""
        request = self.peer.within("SUBSCRIBE", self.sent, self.answer)
        request.headers.add("Contact", f"<{self.peer.contact}>")
        request.headers.add("Event", changes.get("event") or self.sent.headers.get("Event") or "")
        request.headers.add("Expires", str(expires))
        self.peer.send(request)
        return await self.peer.response(request)


def subscribe(peer: Peer, uri: str, event: str, *lines: tuple[str, str], expires: int | None = 600) -> Request:
    own = [("Contact", f"<{peer.contact}>"), ("Event", event)]
    if expires is not None:
        own.append(("Expires", str(expires)))
    return peer.request("SUBSCRIBE", uri, headers=(*own, *lines))


async def ask(peer: Peer, uri: str, event: str, *lines: tuple[str, str], expires: int | None = 600) -> Watch:
    """Subscribe, answering the challenge; whatever the answer is."""
    request = subscribe(peer, uri, event, *lines, expires=expires)
    peer.send(request)
    challenge = await peer.response(request)
    assert challenge.status in (401, 407)
    request = peer.answer_to(request, challenge)
    peer.send(request)
    return Watch(peer, request, await peer.response(request))


async def watch(
    house: ServerHouse, who: str, event: str, uri: str = CAM1, expires: int = 600, transport: str = "udp"
) -> Watch:
    """A subscription that was taken, before its first NOTIFY."""
    found = await ask(await house.peer(who, transport=transport), uri, event, expires=expires)
    assert found.answer.status == 200, found.answer
    assert found.answer.headers.get("Expires") == str(expires)
    return found


def state(notify: Request) -> str:
    return notify.headers.get("Subscription-State") or ""


def presence(notify: Request) -> tuple[str, str]:
    """Both states of a PIDF document."""
    root = parse(notify.body)
    assert root.attribute("entity") == CAM1
    status = root.find("tuple")
    assert status is not None
    media = status.find("status")
    assert media is not None
    told = media.find("media")
    assert told is not None
    assert told.attribute("xmlns") == NAMESPACE
    return media.get("basic"), told.text


async def media_says(house: ServerHouse, media: str, camera: str = "cam1") -> None:
    """The media server of the house writes the state of a camera."""
    instance = await house.directory.media.publish(house.media.id, 0, sip="", http="127.0.0.1:1")
    await house.directory.save(CameraStateRow(camera, media, now_us(), instance.id, now_us()))


# -- presence


async def test_presence_of_a_camera_at_each_change(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence")
    first = await ann.notified()
    assert h.content_type(first.headers) == "application/pidf+xml"
    assert first.headers.get("Event") == "presence"
    assert state(first) == "active;expires=600"
    assert str(first.uri) == ann.peer.contact
    assert h.to(first.headers).tag == h.from_(ann.sent.headers).tag
    assert h.from_(first.headers).tag == h.to(ann.answer.headers).tag
    assert presence(first) == ("closed", "offline")
    camera = await house.peer("cam1")
    await camera.register()
    assert presence(await ann.notified()) == ("open", "idle")
    await media_says(house, "recording")
    assert presence(await ann.notified()) == ("open", "recording")
    await camera.register()  # a refresh is no change
    await camera.register(expires=0)
    last = await ann.notified()
    assert presence(last) == ("closed", "recording")
    assert h.cseq(last.headers).number == h.cseq(first.headers).number + 3


async def test_a_camera_that_loses_its_connection_is_told_at_once(house: ServerHouse) -> None:
    camera = await house.peer("cam1", transport="tcp")
    await camera.register()
    bob = await watch(house, "bob", "presence;id=4", transport="tcp")
    assert presence(await bob.notified()) == ("open", "idle")
    await asyncio.sleep(1.0)  # the pace
    camera.close()
    notify = await bob.notified()
    assert presence(notify) == ("closed", "offline")
    assert notify.headers.get("Event") == "presence;id=4"


async def test_what_a_dead_media_server_said_counts_no_longer(house: ServerHouse) -> None:
    instance = await house.directory.media.publish(house.media.id, 0, sip="", http="127.0.0.1:1")
    await house.directory.save(CameraStateRow("cam1", "recording", 0, "another-0", 0))
    assert instance.id != "another-0"
    ann = await watch(house, "ann", "presence")
    assert presence(await ann.notified()) == ("closed", "offline")


async def test_news_come_at_most_once_a_second_and_the_newest_wins(house: ServerHouse) -> None:
    ann, camera = await watch(house, "ann", "presence"), await house.peer("cam1")
    loop = asyncio.get_running_loop()
    await ann.notified()
    began = loop.time()
    for _ in range(4):
        await camera.register()
        await camera.register(expires=0)
    await camera.register()
    told = [presence(await ann.notified())]
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(2.0):
                told.append(presence(await ann.notified()))
    assert told[-1] == ("open", "idle")
    assert len(told) <= 2 + (loop.time() - began - 2.0), "nine changes, and one is told where nothing stalls"


async def test_a_subscription_is_refreshed_and_ended_by_its_subscriber(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence")
    await ann.notified()
    answer = await ann.again(1200)
    assert (answer.status, answer.headers.get("Expires")) == (200, "1200")
    assert state(await ann.notified()).startswith("active;expires=1")
    assert (await ann.again(0)).status == 200
    last = await ann.notified()
    assert state(last) == "terminated;reason=timeout"
    assert presence(last) == ("closed", "offline")
    assert (await ann.again(600)).status == 407, "there is no such dialog any more"


async def test_a_poll_is_told_once(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence", expires=0)
    notify = await ann.notified()
    assert state(notify) == "terminated;reason=timeout"
    assert presence(notify) == ("closed", "offline")


async def test_its_time_runs_out(house: ServerHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MIN_EXPIRES", 1)
    ann = await watch(house, "ann", "presence", expires=1)
    await ann.notified()
    assert state(await ann.notified()) == "terminated;reason=timeout"


@pytest.mark.parametrize(
    ("event", "lines", "uri", "expires", "status", "header"),
    [
        ("dialog", (), CAM1, 600, 489, ("Allow-Events", "presence, reg, vnd.soip.alarm")),
        ("presence", (), CAM1, 30, 423, ("Min-Expires", "60")),
        ("presence", (("Accept", "application/xpidf+xml"),), CAM1, 600, 406, None),
        ("presence", (("Accept", "application/pidf+xml;q=0, text/plain"),), CAM1, 600, 406, None),
        ("presence", (("Accept", "text/plain, application/*"),), CAM1, 600, 200, None),
        ("presence", (("Require", "eventlist"),), CAM1, 600, 420, ("Unsupported", "eventlist")),
        ("presence", (), f"sip:{DOMAIN}", 600, 404, None),
        ("presence", (), f"sip:nobody@{DOMAIN}", 600, 404, None),
        ("reg", (), CAM1, 600, 403, None),
        ("reg", (), f"sip:{DOMAIN}", 600, 404, None),
        ("vnd.soip.alarm", (), f"sip:nobody@{DOMAIN}", 600, 404, None),
        ("a b", (), CAM1, 600, 400, None),
        ("presence", (("Contact", "<sip:two@192.0.2.1>"),), CAM1, 600, 400, None),
    ],
)
async def test_what_is_not_told(
    house: ServerHouse,
    event: str,
    lines: tuple[tuple[str, str], ...],
    uri: str,
    expires: int,
    status: int,
    header: tuple[str, str] | None,
) -> None:
    answer = (await ask(await house.peer("ann"), uri, event, *lines, expires=expires)).answer
    assert answer.status == status
    if header:
        assert answer.headers.get(header[0]) == header[1]


async def test_without_an_event_and_without_expires(house: ServerHouse) -> None:
    ann = await house.peer("ann")
    bare = ann.request("SUBSCRIBE", CAM1, headers=(("Contact", f"<{ann.contact}>"),))
    assert (await ann.ask(bare)).status == 489
    found = await ask(ann, CAM1, "presence", expires=None)
    assert found.answer.headers.get("Expires") == "3600"
    assert (await ask(await house.peer("bob"), CAM1, "presence", expires=10**9)).answer.headers.get("Expires") == "3600"


async def test_cameras_watch_nobody(house: ServerHouse) -> None:
    camera = await house.peer("cam2")
    await camera.register()
    for event, uri in (("presence", CAM1), ("vnd.soip.alarm", CAM1), ("vnd.soip.alarm", f"sip:{DOMAIN}")):
        assert (await ask(camera, uri, event)).answer.status == 403


async def test_other_subscriptions_go_where_they_went(house: ServerHouse) -> None:
    ann, bob = await house.peer("ann"), await house.peer("bob")
    await bob.register()
    request = subscribe(ann, f"sip:bob@{DOMAIN}", "presence")
    ann.send(request)
    ann.send(ann.answer_to(request, await ann.response(request)))
    assert (await bob.arrives("SUBSCRIBE")).headers.get("Event") == "presence"
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    request = subscribe(worker, CAM1, "Catalog;id=1")
    worker.send(request)
    worker.send(worker.answer_to(request, await worker.response(request)))
    assert (await camera.arrives("SUBSCRIBE")).headers.get("Event") == "Catalog;id=1"


# -- how it ends


async def test_a_subscriber_that_knows_nothing_of_it_is_told_no_more(house: ServerHouse) -> None:
    ann, camera = await watch(house, "ann", "presence"), await house.peer("cam1")
    await ann.notified(status=481)
    await camera.register()
    with pytest.raises(TimeoutError):
        await ann.peer.receive(1.3)
    assert len(house.role._server._events._subscriptions) == 0  # type: ignore[union-attr]  # it runs
    assert house.role._server._events._tellers == {}  # type: ignore[union-attr]


async def test_a_right_that_ends_ends_the_subscription(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence")
    alarms = await watch(house, "bob", "vnd.soip.alarm", f"sip:{DOMAIN}")
    await ann.notified()
    await alarms.notified()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await house.directory.users.remove("ann")
    notify = await ann.notified()
    assert state(notify) == "terminated;reason=rejected"
    assert notify.body == b""
    assert loop.time() - began < 10, "two seconds, and what a busy machine needs"
    with pytest.raises(TimeoutError):
        await alarms.peer.receive(0.2)


async def test_a_camera_that_is_removed_and_a_password_that_changes(house: ServerHouse) -> None:
    ann, reg = await watch(house, "ann", "presence"), await watch(house, "cam2", "reg", f"sip:cam2@{DOMAIN}")
    await ann.notified()
    await reg.notified()
    await house.directory.cameras.remove("cam1")
    assert state(await ann.notified()) == "terminated;reason=noresource"
    await house.directory.cameras.set_password("cam2", realm=DOMAIN, password="another")
    assert state(await reg.notified()) == "terminated;reason=deactivated"


async def test_a_connection_that_ends_ends_its_subscriptions(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence", transport="tcp")
    await ann.notified()
    ann.peer.close()

    async def forgotten() -> bool:
        server = house.role._server
        assert server is not None
        return len(server._events._subscriptions) == 0 and not server._events._tellers

    await eventually(forgotten)


async def test_a_server_that_stops_says_so_and_knows_nothing_afterwards(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence")
    await ann.notified()
    await house.stop()
    assert state(await ann.peer.arrives("NOTIFY")) == "terminated;reason=probation;retry-after=5"
    await house.start()
    gone = ann.peer.within("SUBSCRIBE", ann.sent, ann.answer)
    assert (await ann.peer.ask(gone)).status == 481


async def test_it_can_be_refreshed_from_elsewhere_by_its_subscriber_only(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence")
    await ann.notified()
    for who, status in (("bob", 403), ("ann", 200)):
        peer = await house.peer(who)
        moved = Watch(peer, ann.sent, ann.answer)
        refresh = peer.within("SUBSCRIBE", ann.sent, ann.answer)
        peer.cseq += 10
        refresh.headers.set("CSeq", f"{peer.cseq} SUBSCRIBE")
        for line in (("Contact", f"<{peer.contact}>"), ("Event", "presence"), ("Expires", "600")):
            refresh.headers.add(*line)
        assert (await peer.ask(refresh, challenged=False)).status == 401
        assert (await peer.ask(refresh)).status == status
        if status == 200:
            assert str((await moved.notified()).uri) == peer.contact


async def test_what_is_wrong_inside_a_dialog(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "presence")
    await ann.notified()
    assert (await ann.again(30)).status == 423
    assert (await ann.again(600, event="reg")).status == 403
    ann.peer.cseq = 0
    assert (await ann.again(600)).status == 500, "an older one came after a newer one"


async def test_subscriptions_are_bounded_for_each_account(house: ServerHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    server = house.role._server
    assert server is not None
    monkeypatch.setattr(server._events, "_subscriptions", subscriptions_module.Subscriptions(per_account=2))
    for status in (200, 200, 503):
        assert (await ask(await house.peer("ann"), CAM1, "presence")).answer.status == status
    assert (await ask(await house.peer("bob"), CAM1, "presence")).answer.status == 200


async def test_without_the_directory_what_needs_it_waits(house: ServerHouse) -> None:
    ann, bob = await house.peer("ann"), await house.peer("bob")
    file = house.settings.data / "soip.db"
    await asyncio.to_thread(file.rename, file.with_suffix(".away"))
    refused = (await ask(bob, CAM1, "vnd.soip.alarm")).answer
    assert (refused.status, refused.headers.get("Retry-After")) == (503, "5")
    waiting = await ask(ann, CAM1, "presence")
    assert waiting.answer.status == 200
    with pytest.raises(TimeoutError):
        await ann.receive(0.5)
    await asyncio.to_thread(file.with_suffix(".away").rename, file)
    assert presence(await waiting.notified()) == ("closed", "offline")


# -- reg


def contacts(notify: Request) -> tuple[str, str, list[tuple[str | None, str | None, str]]]:
    """The version, whether it is full, and each contact with its state and event."""
    root = parse(notify.body)
    registration = root.find("registration")
    assert registration is not None
    found = [(each.attribute("state"), each.attribute("event"), each.get("uri")) for each in registration.children]
    return root.attribute("version") or "", root.attribute("state") or "", found


async def test_registrations_full_first_and_then_what_changes(house: ServerHouse) -> None:
    camera = await house.peer("cam1")
    await camera.register()
    reg = await watch(house, "cam1", "reg", expires=600)
    first = await reg.notified()
    assert h.content_type(first.headers) == "application/reginfo+xml"
    assert contacts(first) == ("0", "full", [("active", "registered", camera.contact)])
    second = await house.peer("cam1")
    await second.register()
    assert contacts(await reg.notified()) == ("1", "partial", [("active", "registered", second.contact)])
    await camera.register(expires=0)
    assert contacts(await reg.notified()) == ("2", "partial", [("terminated", "unregistered", camera.contact)])
    assert (await reg.again(600)).status == 200
    assert contacts(await reg.notified()) == ("3", "full", [("active", "registered", second.contact)])


async def test_administrators_see_all_registrations(house: ServerHouse) -> None:
    await house.directory.users.add("eve", password="x", role="admin", realm=DOMAIN, sip_password="eve-sip")
    eve = await house.peer("eve", "eve-sip")
    found = await ask(eve, f"sip:bob@{DOMAIN}", "reg")
    assert found.answer.status == 200
    root = parse((await found.notified()).body)
    registration = root.find("registration")
    assert registration is not None
    assert (registration.attribute("aor"), registration.attribute("state")) == (f"sip:bob@{DOMAIN}", "init")


# -- alarms


async def raise_alarm(house: ServerHouse, sn: int, camera: str = "cam1", times: int = 1) -> list[Alarm]:
    """Alarms as if they had come from a camera."""
    alarms = [Alarm(camera, sn + n, "2026-11-20T10:00:00", description=f"alarm {sn + n}") for n in range(times)]
    server = house.role._server
    assert server is not None
    rows = [EventRow(alarm.event_id, camera, "alarm", now_us(), body=manscdp.build(alarm).decode()) for alarm in alarms]
    server._alarms_taken(await house.directory.events.record(rows))
    return alarms


async def until_position(house: ServerHouse, holds: Callable[[int], bool], user: str = "ann") -> None:
    async def so() -> bool:
        return holds(await house.directory.events.start(user, "cam1", newest=1000, since_us=0))

    await eventually(so)


async def test_an_alarm_reaches_those_who_may_watch(house: ServerHouse) -> None:
    camera = await house.peer("cam1")
    await camera.register()
    one, every = (
        await watch(house, "ann", "vnd.soip.alarm"),
        await watch(house, "bob", "vnd.soip.alarm", f"sip:{DOMAIN}"),
    )
    other = await watch(house, "bob", "vnd.soip.alarm", f"sip:cam2@{DOMAIN}")
    for each in (one, every, other):
        assert (await each.notified()).body == b"", "nothing was missed"
    alarm = Alarm("cam1", 7, "2026-11-20T10:00:00", 1, 5, "침입", type=6)
    camera.script = lambda request: make_response(request, 200, to_tag="c")
    sent = camera.request("MESSAGE", f"sip:{DOMAIN}", headers=(KIND,), body=manscdp.build(alarm, "GB18030"))
    camera.send(sent)
    for each in (one, every):
        notify = await each.notified()
        assert h.content_type(notify.headers) == "application/manscdp+xml"
        assert notify.headers.get("Event") == "vnd.soip.alarm"
        assert manscdp.parse(notify.body) == alarm
    with pytest.raises(TimeoutError):
        await other.peer.receive(0.3)


async def test_alarms_come_each_and_in_order(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "vnd.soip.alarm")
    await ann.notified()
    expected = await raise_alarm(house, 1, times=25)
    assert [manscdp.parse((await ann.notified()).body) for _ in expected] == expected


async def test_who_was_away_is_told_what_was_missed(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "vnd.soip.alarm")
    await ann.notified()
    (seen,) = await raise_alarm(house, 1)
    assert manscdp.parse((await ann.notified()).body) == seen
    (unheard,) = await raise_alarm(house, 2)
    await ann.notified(status=481)  # came, but was not acknowledged
    await raise_alarm(house, 50, "cam2")
    missed = await raise_alarm(house, 3, times=3)
    await until_position(house, lambda position: position == 1)
    await house.stop()
    await house.start()
    back = await watch(house, "ann", "vnd.soip.alarm")
    told = [manscdp.parse((await back.notified()).body) for _ in range(4)]
    assert told == [unheard, *missed]
    (fresh,) = await raise_alarm(house, 9)
    assert manscdp.parse((await back.notified()).body) == fresh
    await until_position(house, lambda position: position == 7)
    assert (await back.again(0)).status == 200
    assert (await back.notified()).body == b""
    again = await watch(house, "ann", "vnd.soip.alarm")
    assert (await again.notified()).body == b"", "nothing is told twice"


async def test_what_was_missed_is_bounded(house: ServerHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soip.signalling.alarmfeed.MISSED_NEWEST", 3)
    await house.directory.save(EventPositionRow("ann", "cam1", 0, 0))
    alarms = await raise_alarm(house, 1, times=10)
    ann = await watch(house, "ann", "vnd.soip.alarm")
    assert [manscdp.parse((await ann.notified()).body) for _ in range(3)] == alarms[-3:]
    with pytest.raises(TimeoutError):
        await ann.peer.receive(0.3)


async def test_a_right_that_ends_holds_back_what_waits(house: ServerHouse) -> None:
    ann = await watch(house, "ann", "vnd.soip.alarm")
    await ann.notified()
    await raise_alarm(house, 1, times=3)
    waiting = await ann.peer.arrives("NOTIFY")  # not answered yet
    await house.directory.users.remove("ann")
    bob = await house.peer("bob")

    async def gone() -> bool:
        return (await bob.ask(bob.request("MESSAGE", f"sip:ann@{DOMAIN}"))).status == 404

    await eventually(gone)
    ann.peer.reply(waiting, 200)
    while True:
        notify = await ann.peer.arrives("NOTIFY")
        if h.cseq(notify.headers) != h.cseq(waiting.headers):
            break  # the other was sent again, unanswered
    assert state(notify) == "terminated;reason=rejected"
    assert notify.body == b""
