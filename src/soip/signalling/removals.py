"""Media servers are told which cameras are with others: one that lost them may not be able to read it.

Whoever is told hears of every camera that has moved and is elsewhere, not only of those that it is known to have lost:
a camera may have gone on to a third one before the first could be reached, and then its home names the second as the
one before.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

from soip.control import moved
from soip.directory.rows import HomeRow
from soip.signalling.flows import InstanceFlow
from soip.signalling.messenger import Messenger
from soip.signalling.tables import Tables
from soip.sip.uri import Uri


class Removals:
    """Who is to be told what, and up to where it knows. `spawn` runs what is to be awaited."""

    def __init__(
        self,
        messenger: Messenger,
        tables: Tables,
        domain: str,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self._messenger = messenger
        self._tables = tables
        self._domain = domain
        self._spawn = spawn
        self._homes: Sequence[HomeRow] = ()
        self._known: dict[str, int] = {}
        """By media instance, the epoch up to which it has said that it knows all homes."""

    def moved(self, homes: Iterable[HomeRow]) -> None:
        """The homes of cameras as they are now."""
        self._homes = tuple(homes)
        for instance in self._tables.instances():
            self.tell(instance)

    def tell(self, instance: str) -> None:
        """Tell one what is elsewhere; one that is not connected is told when it comes."""
        left = elsewhere(instance, self._homes, self._known.get(instance, 0))
        if left and self._tables.bindings(instance):
            self._spawn(self._send(instance, left))

    async def _send(self, instance: str, left: Mapping[str, int]) -> None:
        uri, way = Uri("sip", instance, self._domain), InstanceFlow(instance)
        names = list(left)
        for first in range(0, len(names), moved.MOST):
            some = {camera: left[camera] for camera in names[first : first + moved.MOST]}
            if await self._messenger.send(uri, way, moved.build(some), moved.CONTENT_TYPE) != 200:
                return
        self._known[instance] = max(self._known.get(instance, 0), *left.values())


def elsewhere(instance: str, homes: Iterable[HomeRow], known: int) -> dict[str, int]:
    """The cameras that have moved and are not at home at an instance, and since which epoch, as far as that is later
    than `known`: of two homes the later has the higher epoch, whichever the camera.
    """
    moves = (row for row in homes if row.previous_id and row.epoch > known)
    return {row.camera_id: row.epoch for row in moves if row.instance_id != instance}
