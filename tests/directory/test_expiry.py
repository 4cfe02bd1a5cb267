"""Holds, and recordings that expire: step by step, and never one that is held."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from soip.directory.directory import Directory
from soip.directory.errors import InvalidValueError, NotFoundError
from soip.directory.expiry import BATCH
from soip.directory.rows import RecordingRow
from tests.directory.samples import REALM, SECOND, gap, recording

ROOT = "/srv/media"
DAY = 86_400


def everything(rows: Sequence[RecordingRow]) -> Sequence[RecordingRow]:
    return rows


async def hold(directory: Directory, start: float, end: float, camera: str = "cam1") -> str:
    span = (int(start * SECOND), int(end * SECOND))
    return (await directory.holds.add(camera, *span, reason="case 7", by="ann")).id


async def gaps(directory: Directory) -> list[tuple[float, float, str]]:
    return [(row.start_us / SECOND, row.end_us / SECOND, row.cause) for row in await directory.catalog.gaps("cam1")]


async def test_the_steps_of_a_recording_that_expires(directory: Directory) -> None:
    await directory.save(recording("a", 0, 600), recording("b", 600, 1200))
    gone = await directory.expiry.condemn("m", ROOT, lambda rows: rows[:1])
    assert [each.row.id for each in gone] == ["a"]
    assert [row.id for row in await directory.catalog.recordings("cam1")] == ["b"]
    assert await directory.catalog.recording("a") is None
    assert [row.id for row in await directory.catalog.of_server("m")] == ["b"]
    assert await gaps(directory) == [(0, 600, "expired")]
    assert await directory.expiry.passing("m") == {(ROOT, "cam1/a.mp4")}
    assert await directory.expiry.pending("m", ROOT) == gone, "this is what a start after a crash finds"
    await directory.expiry.forget(["a"])
    assert await directory.expiry.pending("m", ROOT) == []
    assert await directory.expiry.passing("m") == set()
    assert await directory.catalog.explained_until("cam1") == 1200 * SECOND


async def test_gaps_of_one_day_that_follow_one_another_are_one(directory: Directory) -> None:
    later = (DAY - 600, DAY + 10, DAY + 610, DAY + 1210)
    await directory.save(recording("x", 0, 10), recording("y", 20, 30), gap("g", 10, 20))
    await directory.save(*(recording(f"r{number}", start, start + 600) for number, start in enumerate(later)))
    await directory.expiry.condemn("m", ROOT, everything)
    assert await gaps(directory) == [
        (0, 10, "expired"),
        (10, 20, "camera offline"),
        (20, 30, "expired"),
        (DAY - 600, DAY, "expired"),
        (DAY + 10, DAY + 1810, "expired"),
    ]


async def test_only_what_is_sealed_and_of_this_root_and_server_goes(directory: Directory) -> None:
    await directory.save(recording("open", 0, 10, sealed=False), recording("mine", 10, 20))
    assert await directory.expiry.condemn("m", "/elsewhere", everything) == []
    assert await directory.expiry.condemn("other", ROOT, everything) == []
    assert [each.row.id for each in await directory.expiry.condemn("m", ROOT, everything)] == ["mine"]


async def test_a_row_that_is_saved_late_brings_nothing_back(directory: Directory) -> None:
    await directory.save(row := recording("a", 0, 600))
    await directory.expiry.condemn("m", ROOT, everything)
    await directory.save(row)
    assert await directory.catalog.recordings("cam1") == []


async def test_what_a_hold_touches_stays(directory: Directory) -> None:
    await directory.save(*(recording(f"r{number}", number * 600, number * 600 + 600) for number in range(5)))
    await directory.save(recording("other", 0, 600, camera="cam2"))
    identity = await hold(directory, 700, 1800.5)
    gone = {each.row.id for each in await directory.expiry.condemn("m", ROOT, everything)}
    assert gone == {"r0", "r4", "other"}, "a hold that ends with a file's first instants keeps it too"
    await directory.holds.release(identity)
    assert {each.row.id for each in await directory.expiry.condemn("m", ROOT, everything)} == {"r1", "r2", "r3"}


async def test_a_hold_keeps_the_file_of_what_was_condemned_and_not_removed_yet(directory: Directory) -> None:
    await directory.save(recording("a", 0, 600))
    await directory.expiry.condemn("m", ROOT, everything)
    await hold(directory, 0, 10)
    assert await directory.expiry.pending("m", ROOT) == []


async def test_many_go_by_and_by(directory: Directory) -> None:
    await directory.save(*(recording(f"r{number:03}", number, number + 1) for number in range(BATCH + 5)))
    for expected in (BATCH, 5, 0):
        gone = await directory.expiry.condemn("m", ROOT, everything)
        assert len(gone) == expected
        assert [each.row.start_us for each in gone] == sorted(each.row.start_us for each in gone)
        await directory.expiry.forget([each.row.id for each in gone])
    assert len(await gaps(directory)) == 1


async def test_a_rebuilt_catalog_knows_what_was_on_its_way_out(directory: Directory) -> None:
    await directory.save(recording("a", 0, 600), recording("b", 600, 1200))
    await directory.expiry.mark(["a"])
    assert [each.row.id for each in await directory.expiry.pending("m", ROOT)] == ["a"]


# -- holds


async def test_holds_are_listed_and_released(directory: Directory) -> None:
    await directory.cameras.add("cam1", realm=REALM, password="p")
    before = await directory.settings.version()
    identity = await hold(directory, 0, 10)
    assert await directory.settings.version() == before + 1, "media servers are told"
    (row,) = await directory.holds.all("cam1")
    assert (row.id, row.reason, row.created_by, row.released_us) == (identity, "case 7", "ann", None)
    assert await directory.holds.all("cam2") == []
    released = await directory.holds.release(identity)
    assert await directory.holds.all() == []
    assert await directory.holds.all(released=True) == [released]
    with pytest.raises(NotFoundError):
        await directory.holds.release(identity)


async def test_a_hold_of_nothing_is_refused(directory: Directory) -> None:
    with pytest.raises(NotFoundError, match="no camera 'cam1'"):
        await hold(directory, 0, 10)
    await directory.save(recording("a", 0, 600))
    await hold(directory, 0, 10)  # its camera is gone, its recordings are not
    with pytest.raises(InvalidValueError, match="after it begins"):
        await hold(directory, 10, 10)
    with pytest.raises(InvalidValueError, match="reason"):
        await directory.holds.add("cam1", 0, 1, reason=" ")


async def test_holds_that_are_found_again_do_not_undo_a_release(directory: Directory) -> None:
    await directory.save(recording("a", 0, 600))
    await hold(directory, 0, 10)
    (known,) = await directory.holds.all()
    await directory.holds.release(known.id)
    assert await directory.holds.restore([known]) == 0
    assert await directory.holds.all() == []


async def test_a_priority_is_a_digit(directory: Directory) -> None:
    with pytest.raises(InvalidValueError, match="no priority"):
        await directory.cameras.add("cam1", realm=REALM, password="p", priority=10)
    assert (await directory.cameras.add("cam1", realm=REALM, password="p")).priority == 5
    assert (await directory.cameras.change("cam1", priority=0)).priority == 0
    with pytest.raises(InvalidValueError, match="no priority"):
        await directory.cameras.change("cam1", priority=-1)
