"""Who may see what, as the directory says now: asked at the start of each view and again at each change."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from soip.directory.directory import Directory
from soip.directory.errors import UnavailableError
from soip.policy import access
from soip.policy.access import Permission


@dataclass(frozen=True, slots=True)
class View:
    """Somebody who is watching: `end` is called once when the right is gone."""

    subject: str
    permission: Permission
    end: Callable[[], None]


class Rights:
    """The roles of users, and the views that depend on them."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._views: set[View] = set()

    async def may(self, subject: str, permission: Permission) -> bool:
        """Whether a user has a right now. Raises UnavailableError when the directory is away."""
        user = await self._directory.users.get(subject)
        return user is not None and access.allowed(user.role, permission)

    async def begin(self, view: View) -> None:
        """Watch over a view that has been allowed. A right that ended in the meantime ends it at once."""
        self._views.add(view)
        with suppress(UnavailableError):  # Then it is asked again when the directory is back.
            if not await self.may(view.subject, view.permission):
                self._end(view)

    def finish(self, view: View) -> None:
        self._views.discard(view)

    async def check_again(self) -> None:
        """The directory has changed: end the views whose right is gone."""
        if not self._views:
            return
        roles = {user.id: user.role for user in await self._directory.users.all()}
        for view in [view for view in self._views if not access.allowed(roles.get(view.subject), view.permission)]:
            self._end(view)

    def _end(self, view: View) -> None:
        if view in self._views:
            self._views.discard(view)
            view.end()
