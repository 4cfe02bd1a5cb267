"""The accounts in memory: who may register and call, and which id belongs to whom.

Loaded whole when the directory's version changes; a single account is added when an id that nobody knew was
looked up. Reading never waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from soip.directory.rows import Account, AccountKind


class AccountTable:
    """Accounts by id, cameras by id, the media instances there are, and which of them serves which camera."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._devices: dict[str, str] = {}
        self._instances: dict[str, str] = {}
        self._homes: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def replace(
        self,
        accounts: Iterable[Account],
        instances: Iterable[tuple[str, str]],
        homes: Mapping[str, str] = MappingProxyType({}),
    ) -> set[str]:
        """Take a new state of the directory; `instances` are (instance id, media server id), `homes` are the
        instances of cameras.

        Returns the accounts that are gone or have other secrets than before: what they registered with the
        old ones is no longer theirs.
        """
        before = self._accounts
        self._accounts = {account.id: account for account in accounts}
        self._devices = {camera: account.id for account in self._accounts.values() for camera in account.cameras}
        self._instances = dict(instances)
        self._homes = dict(homes)
        return {name for name, old in before.items() if (new := self._accounts.get(name)) is None or new.ha1 != old.ha1}

    def add(self, account: Account) -> None:
        """Take one account that was looked up alone."""
        self._accounts[account.id] = account
        self._devices.update(dict.fromkeys(account.cameras, account.id))

    def rehome(self, camera: str, instance: str) -> None:
        """Take the home of one camera that was looked up alone."""
        self._homes[camera] = instance

    def get(self, account: str) -> Account | None:
        """The account of exactly this id."""
        return self._accounts.get(account)

    def owner_of(self, identity: str) -> Account | None:
        """The account that may register and speak as this id: itself, its camera, or its media instance."""
        name = self._instances.get(identity) or self._devices.get(identity) or identity
        return self._accounts.get(name)

    def knows(self, identity: str) -> bool:
        """Whether the id is anything here."""
        return self.owner_of(identity) is not None

    def kind(self, account: str) -> AccountKind | None:
        """The kind of an account, None when there is none of that id."""
        found = self._accounts.get(account)
        return found.kind if found else None

    def device_of(self, camera: str) -> str | None:
        """The device account a camera belongs to, None when there is no such camera."""
        return self._devices.get(camera)

    def instances(self) -> Mapping[str, str]:
        """The media instances there are, connected or not, and the media server each belongs to."""
        return self._instances

    def home(self, camera: str) -> str | None:
        """The media instance that serves a camera, connected or not; None while it has not been placed."""
        return self._homes.get(camera)

    def server_of(self, instance: str) -> str | None:
        """The media server account of an instance."""
        return self._instances.get(instance)
