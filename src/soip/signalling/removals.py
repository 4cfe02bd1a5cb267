"""Media servers are told which cameras went to others: one that lost them may not be able to read it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable

from soip.control import moved
from soip.directory.rows import HomeRow
from soip.signalling.flows import InstanceFlow
from soip.signalling.messenger import Messenger
from soip.signalling.tables import Tables
from soip.sip.uri import Uri


class Removals:
    """Who has lost what, and whether it knows. `spawn` runs what is to be awaited."""

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
        self._left: dict[str, dict[str, int]] = {}
        """By media instance, the cameras that it has lost, with the epochs of that."""
        self._known: dict[tuple[str, str], int] = {}
        """Of which loss an instance has said that it knows."""

    def moved(self, homes: Iterable[HomeRow]) -> None:
        """The homes of cameras as they are now."""
        self._left = {}
        for row in homes:
            if row.previous_id and self._known.get((row.previous_id, row.camera_id), 0) < row.epoch:
                self._left.setdefault(row.previous_id, {})[row.camera_id] = row.epoch
        for instance in self._left:
            self.tell(instance)

    def tell(self, instance: str) -> None:
        """Tell one what it has lost; one that is not connected is told when it comes."""
        if self._left.get(instance) and self._tables.bindings(instance):
            self._spawn(self._send(instance, dict(self._left[instance])))

    async def _send(self, instance: str, left: dict[str, int]) -> None:
        uri, way = Uri("sip", instance, self._domain), InstanceFlow(instance)
        names = list(left)
        for first in range(0, len(names), moved.MOST):
            some = {camera: left[camera] for camera in names[first : first + moved.MOST]}
            if await self._messenger.send(uri, way, moved.build(some), moved.CONTENT_TYPE) == 200:
                self._known.update({(instance, camera): epoch for camera, epoch in some.items()})
