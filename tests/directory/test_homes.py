"""Homes of cameras: what a heartbeat writes, places and finds, in a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from soip.directory.directory import Directory
from soip.directory.errors import NotFoundError
from soip.directory.homes import Judgement, Look
from soip.directory.rows import MediaInstance

from .samples import REALM


async def furnish(directory: Directory, identity: Path, cameras: int = 3) -> list[MediaInstance]:
    """Two workers and some cameras."""
    server = await directory.media.create_or_load(identity, REALM)
    for number in range(cameras):
        await directory.cameras.add(f"cam{number}", realm=REALM, password="p")
    return [await directory.media.publish(server.id, worker, sip="", http="x:1") for worker in range(2)]


async def beat(directory: Directory, instance: MediaInstance, *lapsed: str, place: str = "") -> Look:
    """A heartbeat that calls some lapsed and takes everything that needs a home."""

    def judge(_instances: Sequence[MediaInstance], _counts: Mapping[str, int]) -> Judgement:
        return Judgement(lapsed, lambda cameras: dict.fromkeys(cameras, place or instance.id))

    return await directory.homes.beat(instance, judge)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "media-server.json"


async def test_cameras_without_a_home_are_placed_and_stay(directory: Directory, identity: Path) -> None:
    one, two = await furnish(directory, identity)
    version = await directory.settings.version()
    look = await beat(directory, one)
    assert [row.id for row in look.instances] == [one.id, two.id]
    assert sorted(look.mine) == ["cam0", "cam1", "cam2"]
    assert {row.epoch for row in look.moved} == {await directory.settings.version()} == {version + 1}
    again = await beat(directory, two)
    assert (again.mine, again.moved) == ({}, [])
    assert await directory.settings.version() == version + 1, "a heartbeat alone is no change"
    assert await directory.homes.all() == look.mine
    assert await directory.homes.get("cam1") == look.mine["cam1"]
    assert await directory.homes.get("nobody") is None


async def test_those_of_a_lapsed_instance_move_under_a_higher_epoch(directory: Directory, identity: Path) -> None:
    one, two = await furnish(directory, identity)
    before = (await beat(directory, one)).mine
    look = await beat(directory, two, one.id)
    assert sorted(look.mine) == sorted(before)
    for camera, row in look.mine.items():
        assert (row.previous_id, row.instance_id) == (one.id, two.id)
        assert row.epoch > before[camera].epoch
        assert row.since_us >= before[camera].since_us
    assert (await beat(directory, one)).mine == {}


async def test_the_judge_is_told_who_has_how_many(directory: Directory, identity: Path) -> None:
    one, two = await furnish(directory, identity)
    await beat(directory, one)
    seen: list[Mapping[str, int]] = []

    def judge(_instances: Sequence[MediaInstance], counts: Mapping[str, int]) -> Judgement:
        seen.append(counts)
        return Judgement((), lambda _cameras: {})

    await directory.homes.beat(two, judge)
    assert seen == [{one.id: 3}]


async def test_a_camera_that_nobody_can_take_has_no_home(directory: Directory, identity: Path) -> None:
    one, _ = await furnish(directory, identity)
    look = await directory.homes.beat(one, lambda _i, _c: Judgement((), lambda _cameras: {}))
    assert (look.mine, look.moved) == ({}, [])


async def test_a_camera_that_is_removed_leaves_none_behind_and_returns_as_a_new_one(
    directory: Directory, identity: Path
) -> None:
    one, two = await furnish(directory, identity, 1)
    epoch = (await beat(directory, one)).mine["cam0"].epoch
    await directory.cameras.remove("cam0")
    assert await directory.homes.all() == {}
    await directory.cameras.add("cam0", realm=REALM, password="p")
    row = (await beat(directory, two)).mine["cam0"]
    assert row.epoch > epoch, "who still holds the old one must see that"
    assert row.previous_id == ""


async def test_of_heartbeats_at_once_one_places(url: str, directory: Directory, identity: Path) -> None:
    both = await furnish(directory, identity, 20)
    opened = [await Directory.open(url) for _ in both]
    looks = await asyncio.gather(*(beat(other, row) for other, row in zip(opened, both, strict=True)))
    assert sorted(len(look.moved) for look in looks) == [0, 20]
    assert len({row.instance_id for row in (await directory.homes.all()).values()}) == 1
    for other in opened:
        await other.close()


async def test_a_camera_moves_by_hand(directory: Directory, identity: Path) -> None:
    one, two = await furnish(directory, identity, 1)
    before = (await beat(directory, one)).mine["cam0"]
    row = await directory.homes.move("cam0", two.id)
    assert (row.instance_id, row.previous_id) == (two.id, one.id)
    assert row.epoch > before.epoch
    assert await directory.homes.all() == {"cam0": row}


@pytest.mark.parametrize(("camera", "worker"), [("cam9", None), ("cam0", "nobody-0")])
async def test_what_is_not_there_moves_nowhere(
    directory: Directory, identity: Path, camera: str, worker: str | None
) -> None:
    one, _ = await furnish(directory, identity, 1)
    with pytest.raises(NotFoundError, match="there is no"):
        await directory.homes.move(camera, worker or one.id)


async def test_a_new_worker_is_a_change_and_a_restarted_one_is_none(directory: Directory, identity: Path) -> None:
    server = await directory.media.create_or_load(identity, REALM)
    version = await directory.settings.version()
    await directory.media.publish(server.id, 5, sip="", http="x:1")
    assert await directory.settings.version() == version + 1, "the SIP server is to let it register"
    await directory.media.publish(server.id, 5, sip="", http="x:2")
    assert await directory.settings.version() == version + 1
