"""What subscribers are told: documents, what of them is new, and how often the directory is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.control.xml import Element, parse
from soip.directory.directory import Directory
from soip.directory.errors import UnavailableError
from soip.directory.rows import CameraStateRow, EventPositionRow, EventRow
from soip.signalling.alarmfeed import AHEAD, MISSED_US, AlarmTeller, Reader, now_us
from soip.signalling.camerastates import CameraStates, MediaState
from soip.signalling.flows import FlowKey
from soip.signalling.location import Binding
from soip.signalling.presence import PIDF, CameraState, PresenceTeller
from soip.signalling.presence import document as pidf
from soip.signalling.reginfo import NAMESPACE as REGINFO
from soip.signalling.reginfo import RegistrationTeller
from tests.signalling.peer import eventually

HERE = FlowKey("udp", "192.0.2.1", 5060)


# -- presence


def test_the_presence_of_a_camera() -> None:
    root = parse(pidf("cam1", "soip.test", CameraState(True, "recording", 1_795_172_400_123_000)))
    assert (root.name, root.attribute("xmlns"), root.attribute("entity")) == ("presence", PIDF, "sip:cam1@soip.test")
    assert root.get("tuple", "contact") == "sip:cam1@soip.test"
    assert root.get("tuple", "status", "basic") == "open"
    assert root.get("tuple", "status", "media") == "recording"
    assert b'since="2026-11-20T11:00:00.123Z"' in pidf("a", "b", CameraState(False, "idle", 1_795_172_400_123_000))
    assert b"since" not in pidf("a", "b", CameraState(False, "idle"))
    assert b"<basic>closed</basic>" in pidf("a", "b", CameraState(False, "idle"))


async def test_presence_is_told_when_it_is_another() -> None:
    now = [CameraState(False, "offline")]

    async def state(camera: str) -> CameraState:
        assert camera == "cam1"
        return now[0]

    teller = PresenceTeller("cam1", "soip.test", state)
    assert await teller.news(full=False) is not None
    assert await teller.news(full=False) is None
    assert await teller.news(full=True) is not None
    now[0] = CameraState(True, "idle")
    told = await teller.news(full=False)
    assert told is not None
    assert told.content_type == "application/pidf+xml"
    assert not told.more
    teller.acknowledged()


# -- reg


def bound(contact: str, *, instance: str = "", expires: float = 100) -> Binding:
    return Binding("cam1", "cam1", contact, HERE, HERE, "c", 1, expires, instance)


@dataclass
class Bindings:
    """The bindings of one address, and its watcher, who keeps what he is told."""

    now: float = 0.0
    held: list[Binding] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.teller = RegistrationTeller("sip:cam1@soip.test", self.get, lambda: self.now)
        self.version = -1

    def get(self) -> Sequence[Binding]:
        return [each for each in self.held if each.expires_at > self.now]

    async def tell(self, *, full: bool = False) -> Element | None:
        """The registration element of what is told, and what a watcher makes of it (RFC 3680 §5.3)."""
        news = await self.teller.news(full=full)
        if news is None:
            return None
        root = parse(news.body)
        assert root.attribute("xmlns") == REGINFO
        assert int(root.attribute("version") or "-1") == self.version + 1
        self.version += 1
        registration = root.find("registration")
        assert registration is not None
        if root.attribute("state") == "full":
            self.seen.clear()
        for contact in registration.children:
            if contact.attribute("state") == "active":
                self.seen[contact.attribute("id") or ""] = contact.get("uri")
            else:
                del self.seen[contact.attribute("id") or ""]
        assert sorted(self.seen.values()) == sorted(each.contact for each in self.get())
        return registration


async def test_an_address_comes_and_goes() -> None:
    house = Bindings()
    first = await house.tell(full=True)
    assert first is not None
    assert first.attribute("state") == "init"
    house.held = [bound("sip:a@h")]
    second = await house.tell()
    assert second is not None
    assert second.attribute("state") == "active"
    assert await house.tell() is None
    house.held = [replace(house.held[0], expires_at=200.0)]
    assert await house.tell() is None, "a refresh is no news"
    house.now = 200.0
    last = await house.tell()
    assert last is not None
    assert last.attribute("state") == "terminated"
    assert [(each.attribute("state"), each.attribute("event")) for each in last.children] == [("terminated", "expired")]
    house.held = []
    assert await house.tell() is None


async def test_a_contact_no_xml_can_carry() -> None:
    house = Bindings(held=[bound("sip:a@h")])
    news = await RegistrationTeller("sip:a@b", lambda: [bound("sip:\udcff\x01<a>&@h")], lambda: 0.0).news(full=True)
    assert news is not None
    assert parse(news.body).get("registration", "contact", "uri") == "sip:??<a>&@h"
    assert await house.tell(full=True) is not None


_CONTACTS = st.sampled_from(["sip:a@h", "sip:b@h", "sip:c@h"])
_STATES = st.lists(st.tuples(_CONTACTS, st.sampled_from(["", "<i>"])), max_size=4, unique_by=lambda each: each[0])


@given(st.lists(st.tuples(_STATES, st.booleans()), max_size=12))
async def test_a_watcher_always_knows_the_bindings(states: list[tuple[list[tuple[str, str]], bool]]) -> None:
    house = Bindings()
    await house.tell(full=True)
    for contacts, full in states:
        # As in the location table: one instance has one contact.
        by_key = {each.key: each for each in (bound(contact, instance=instance) for contact, instance in contacts)}
        house.held = list(by_key.values())
        await house.tell(full=full)


# -- alarms


def alarm(number: int, camera: str = "cam1", *, age_us: int = 0) -> EventRow:
    return EventRow(f"{camera}-{number}", camera, "alarm", now_us() - age_us, body=f"<a>{number}</a>")


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    async with await Directory.open(f"sqlite+aiosqlite:///{tmp_path / 'soip.db'}") as directory:
        yield directory


async def read(teller: AlarmTeller, saved: list[EventPositionRow]) -> list[str]:
    """All that is told until nothing more is, each acknowledged."""
    told = []
    while (news := await teller.news(full=False)) is not None:
        assert news.more
        told.append(news.body.decode())
        teller.acknowledged()
        assert (saved[-1].user_id, saved[-1].resource) == ("ann", "cam1")
    return told


async def test_alarms_from_the_position_on(directory: Directory) -> None:
    saved = list[EventPositionRow]()
    reader = Reader("ann", "cam1")
    await directory.events.record([alarm(n) for n in range(3)])
    teller = await AlarmTeller.begin(directory.events, reader, saved.append)
    assert await teller.news(full=False) is None
    first = await teller.news(full=True)
    assert first is not None
    assert (first.body, first.content_type) == (b"", "")
    teller.acknowledged()
    assert saved[-1].position == 3, "who has listened once is told what comes when he is away"
    await directory.events.record([alarm(9, "cam2"), *(alarm(n) for n in range(10, 10 + 2 * AHEAD + 1))])
    assert await read(teller, saved) == [f"<a>{n}</a>" for n in range(10, 10 + 2 * AHEAD + 1)]
    await directory.save(saved[-1])
    again = await AlarmTeller.begin(directory.events, reader, saved.append)
    assert await again.news(full=False) is None


async def test_what_is_too_old_is_not_told(directory: Directory) -> None:
    saved = [EventPositionRow("ann", "cam1", 0, 0)]
    await directory.save(*saved)
    await directory.events.record([alarm(1, age_us=MISSED_US + 10_000_000), alarm(2, age_us=MISSED_US - 10_000_000)])
    teller = await AlarmTeller.begin(directory.events, Reader("ann", "cam1"), saved.append)
    assert await read(teller, saved) == ["<a>2</a>"]


async def test_what_was_not_acknowledged_is_not_marked(directory: Directory) -> None:
    saved = list[EventPositionRow]()
    teller = await AlarmTeller.begin(directory.events, Reader("ann", ""), saved.append)
    await directory.events.record([alarm(1), alarm(2)])
    await teller.news(full=False)
    teller.acknowledged()
    await teller.news(full=False)
    assert [row.position for row in saved] == [1]


# -- media states


class Counted:
    """A directory whose camera states are counted when they are read."""

    def __init__(self, directory: Directory) -> None:
        self.media = directory.media
        self.cameras = self
        self.reads = 0
        self.away = False
        self._directory = directory

    async def states(self) -> dict[str, CameraStateRow]:
        self.reads += 1
        if self.away:
            raise UnavailableError("gone")
        return await self._directory.cameras.states()


@dataclass
class Watched:
    """The states, their clock, and which changes were told."""

    directory: Directory
    wanted: bool = True
    now: float = 100.0
    changed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counted = Counted(self.directory)
        counted: Directory = self.counted  # type: ignore[assignment]  # has what is asked for
        self.states = CameraStates(counted, lambda: self.wanted, self.changed.append, lambda: self.now)

    async def says(self, media: str, instance: str, camera: str = "cam1") -> None:
        await self.directory.save(CameraStateRow(camera, media, 7, instance, now_us()))


@pytest.fixture
async def watched(directory: Directory) -> Watched:
    return Watched(directory)


async def worker(watched: Watched) -> str:
    server = await watched.directory.media.create_or_load(
        Path(str(watched.directory._database._file)).with_name("media.json"), "soip.test"
    )
    return (await watched.directory.media.publish(server.id, 0, sip="", http="127.0.0.1:1")).id


async def test_states_are_read_once_a_second_at_most(watched: Watched) -> None:
    instance = await worker(watched)
    await watched.says("recording", instance)
    assert await asyncio.gather(*(watched.states.get("cam1") for _ in range(20))) == [MediaState("recording", 7)] * 20
    assert await watched.states.get("cam2") is None
    assert watched.counted.reads == 1
    await watched.says("live", instance)
    watched.now += 0.5
    assert await watched.states.get("cam1") == MediaState("recording", 7)
    watched.now += 0.5
    assert await watched.states.get("cam1") == MediaState("live", 7)
    assert watched.counted.reads == 2
    assert watched.changed == ["cam1", "cam1"]


async def test_a_dead_worker_is_not_believed(watched: Watched) -> None:
    instance = await worker(watched)
    await watched.says("recording", instance)
    assert await watched.states.get("cam1") is not None
    (row,) = await watched.directory.media.instances()
    await watched.directory.save(replace(row, heartbeat_us=now_us() - 16_000_000))
    watched.now += 1
    assert await watched.states.get("cam1") is None
    assert watched.changed == ["cam1", "cam1"]


async def test_changes_are_told_while_somebody_wants_them(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soip.signalling.camerastates.READ_SECONDS", 0.02)
    monkeypatch.setattr("soip.signalling.camerastates.FRESH_SECONDS", 0.0)
    instance = await worker(watched)
    watched.wanted = False
    task = asyncio.create_task(watched.states.run())
    try:
        await watched.says("live", instance)
        await asyncio.sleep(0.1)
        assert watched.counted.reads == 0

        async def told() -> bool:
            return watched.changed == ["cam1"]

        watched.wanted = True
        await eventually(told)
        watched.counted.away = True
        reads = watched.counted.reads

        async def tried() -> bool:
            return watched.counted.reads > reads + 2

        await eventually(tried)
        with pytest.raises(UnavailableError):
            await watched.states.get("cam1")
        await watched.says("no-media", instance)
        watched.counted.away = False

        async def again() -> bool:
            return watched.changed == ["cam1", "cam1"]

        await eventually(again)
    finally:
        task.cancel()
        await asyncio.wait([task])
