"""Cameras: added, changed, removed, each seen by the other processes."""

from __future__ import annotations

import pytest

from soip.directory.accounts import ha1
from soip.directory.directory import Directory
from soip.directory.errors import InvalidValueError, NotFoundError
from soip.directory.rows import CameraStateRow

from .samples import REALM, recording


async def test_a_plain_camera_is_a_device_with_one_camera(directory: Directory) -> None:
    row = await directory.cameras.add("cam1", realm=REALM, password="p")
    assert (row.id, row.device_id, row.name, row.plan, row.audio) == ("cam1", "cam1", "cam1", "always", False)
    assert (row.site_id, row.zone_id, row.purpose) == ("default", None, "")
    assert row.created_us > 0
    assert await directory.cameras.get("cam1") == row
    assert await directory.cameras.all() == [row]
    assert await directory.cameras.get("cam2") is None


async def test_what_was_asked_for_is_kept(directory: Directory) -> None:
    row = await directory.cameras.add("c", realm=REALM, password="p", name="Tür 1 ", plan="never", audio=True)
    assert (row.name, row.plan, row.audio) == ("Tür 1 ", "never", True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"plan": "sometimes"}, "no plan 'sometimes': use one of always, never"),
        ({"digest": "SHA-1"}, "no digest 'SHA-1'"),
        ({"password": ""}, "password is empty"),
    ],
)
async def test_nothing_is_left_of_a_camera_that_cannot_be(
    directory: Directory, options: dict[str, str], text: str
) -> None:
    version = await directory.settings.version()
    with pytest.raises(InvalidValueError, match=text):
        await directory.cameras.add("cam1", realm=REALM, **{"password": "p", **options})  # type: ignore[arg-type]
    assert await directory.cameras.all() == []
    assert await directory.settings.version() == version
    await directory.cameras.add("cam1", realm=REALM, password="p")


async def test_every_change_raises_the_version(directory: Directory) -> None:
    seen = [await directory.settings.version()]

    async def raised() -> bool:
        seen.append(await directory.settings.version())
        return seen[-1] == seen[-2] + 1

    await directory.cameras.add("cam1", realm=REALM, password="p")
    assert await raised()
    await directory.cameras.change("cam1", plan="never", purpose="theft")
    assert await raised()
    await directory.cameras.set_password("cam1", realm=REALM, password="q", digest="SHA-512-256")
    assert await raised()
    await directory.cameras.remove("cam1")
    assert await raised()


async def test_changes_are_kept_and_the_rest_stays(directory: Directory) -> None:
    before = await directory.cameras.add("cam1", realm=REALM, password="p", name="Gate")
    after = await directory.cameras.change("cam1", place="north wall", classification="public", audio=True)
    assert (after.place, after.classification, after.audio) == ("north wall", "public", True)
    assert (after.name, after.plan, after.created_us) == ("Gate", "always", before.created_us)
    await directory.cameras.set_password("cam1", realm=REALM, password="q", digest="SHA-512-256")
    account = await directory.accounts.get("cam1")
    assert account is not None
    assert account.ha1 == {"SHA-512-256": ha1("cam1", REALM, "q", "SHA-512-256")}


async def test_a_camera_has_a_sub_stream_where_it_is_said_to(directory: Directory) -> None:
    assert not (await directory.cameras.add("cam1", realm=REALM, password="p")).sub
    assert (await directory.cameras.add("cam2", realm=REALM, password="p", sub=True)).sub
    assert [row.sub for row in await directory.cameras.all()] == [False, True]
    version = await directory.settings.version()
    for there in (True, True, False, False, True):
        assert (await directory.cameras.change("cam1", sub=there)).sub is there
        row = await directory.cameras.get("cam1")
        assert row is not None
        assert (row.sub, row.name) == (there, "cam1")
    assert await directory.settings.version() > version
    assert (await directory.cameras.change("cam1", name="Gate")).sub, "what is not said stays"
    await directory.cameras.remove("cam1")
    assert not (await directory.cameras.add("cam1", realm=REALM, password="p")).sub


async def test_a_camera_that_is_not_there(directory: Directory) -> None:
    version = await directory.settings.version()
    with pytest.raises(NotFoundError, match="no camera 'x'"):
        await directory.cameras.change("x", plan="never")
    with pytest.raises(NotFoundError):
        await directory.cameras.remove("x")
    with pytest.raises(NotFoundError):
        await directory.cameras.set_password("x", realm=REALM, password="p")
    assert await directory.settings.version() == version
    await directory.cameras.add("cam1", realm=REALM, password="p")
    with pytest.raises(InvalidValueError, match="no plan"):
        await directory.cameras.change("cam1", plan="x")


async def test_recordings_outlive_their_camera(directory: Directory) -> None:
    await directory.cameras.add("cam1", realm=REALM, password="p")
    row = recording("a", 0, 10)
    state = CameraStateRow("cam1", "recording", 1, "m-0", 2)
    await directory.save(row, state)
    assert await directory.cameras.states() == {"cam1": state}
    await directory.cameras.remove("cam1")
    assert await directory.catalog.recordings("cam1") == [row]
    assert await directory.cameras.states() == {}
    assert await directory.accounts.get("cam1") is None
