"""Holds as lines beside the recordings they keep: with the database lost, the folders still say what is not to go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from soip.directory.rows import HoldRow
from soip.media.disks import Disk, Disks
from soip.store import journal
from soip.store.journal import Entry
from soip.store.layout import parse_timestamp, timestamp


class HoldNotes:
    """Has each hold written to every disk, in the journal of the day in which it begins, and again when released."""

    def __init__(self, disks: Disks) -> None:
        self._disks = disks
        self._noted: dict[tuple[str, str], Entry] = {}

    async def follow(self, holds: Iterable[HoldRow]) -> None:
        """These are the holds of the cameras that this worker looks after."""
        for hold in holds:
            entry = entry_of(hold)
            for disk in self._disks.all:
                if self._noted.get((disk.path, hold.id)) != entry:
                    await asyncio.to_thread(self._note, disk, hold.camera_id, entry)

    def _note(self, disk: Disk, camera: str, entry: Entry) -> None:
        """In a thread: the line may stand there since an earlier run."""
        if entry not in journal.read(disk.root, camera, entry.start_us):
            disk.place.disk.journal(camera, entry)
        self._noted[disk.path, entry.id] = entry


def entry_of(hold: HoldRow) -> Entry:
    """The line of a hold."""
    facts: dict[str, object] = {"by": hold.created_by, "created": timestamp(hold.created_us)}
    if hold.reference:
        facts["reference"] = hold.reference
    if hold.released_us is not None:
        facts["released"] = timestamp(hold.released_us)
    return Entry("hold", hold.id, hold.start_us, hold.end_us, hold.reason, facts=facts)


def hold_of(camera: str, entry: Entry) -> HoldRow:
    """The reverse of `entry_of`. Raises ValueError for a line that is none."""
    facts = {name: str(value) for name, value in entry.facts.items()}
    if entry.kind != "hold" or entry.end_us is None:
        raise ValueError("not the line of a hold")
    return HoldRow(
        entry.id,
        camera,
        entry.start_us,
        entry.end_us,
        entry.cause,
        facts.get("reference", ""),
        facts.get("by", ""),
        parse_timestamp(facts["created"]) if "created" in facts else entry.start_us,
        parse_timestamp(facts["released"]) if "released" in facts else None,
    )
