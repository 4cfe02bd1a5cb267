"""The events agent: SUBSCRIBE in, NOTIFY out (RFC 6665).

    presence         of a camera, for who may watch it (`presence.py`)
    reg              of an address of record, for its owner and administrators (`reginfo.py`)
    vnd.soip.alarm   of a camera, or of the domain: of all; for who may watch (`alarmfeed.py`)

Who asks has been authenticated by `server.py`. Subscriptions live in memory and end with the process: a subscriber that
refreshes after a restart gets 481 and subscribes anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from soip.directory.directory import Directory
from soip.directory.errors import DirectoryError
from soip.directory.rows import Account, AccountKind, EventPositionRow, EventRow
from soip.net.errors import NetError
from soip.net.exchange import IncomingRequest
from soip.net.sip import SipEndpoint
from soip.policy import liveness
from soip.policy.access import Permission, allowed
from soip.signalling import alarmfeed, presence, reginfo
from soip.signalling.accounts import AccountTable
from soip.signalling.alarmfeed import AlarmTeller, Reader
from soip.signalling.answers import Answer, bad_extension, busy
from soip.signalling.camerastates import CameraStates
from soip.signalling.errors import TooManySubscriptionsError
from soip.signalling.flowbook import FlowBook
from soip.signalling.flows import FlowKey, way_back
from soip.signalling.location import Location
from soip.signalling.presence import CameraState, PresenceTeller
from soip.signalling.reginfo import RegistrationTeller
from soip.signalling.subscriptions import (
    DEACTIVATED,
    NO_RESOURCE,
    PACE_SECONDS,
    PROBATION,
    REJECTED,
    TIMEOUT,
    Due,
    Notice,
    Subscription,
    Subscriptions,
)
from soip.sip import headers
from soip.sip.dialog import Dialog, DialogId
from soip.sip.errors import DialogError
from soip.sip.flow import Flow
from soip.sip.message import Request
from soip.sip.uri import NameAddr, Uri

MAX_EXPIRES = 3600
MIN_EXPIRES = 60
RETRY_SECONDS = 60
POSTPONE_SECONDS = 1.0
FAREWELL_SECONDS = 1.0

PACKAGES = {
    presence.PACKAGE: presence.CONTENT_TYPE,
    reginfo.PACKAGE: reginfo.CONTENT_TYPE,
    alarmfeed.PACKAGE: alarmfeed.CONTENT_TYPE,
}
"""The event packages, and the type of the bodies of each."""
ALLOW_EVENTS = ", ".join(PACKAGES)

_log = structlog.get_logger()


class Teller(Protocol):
    """What one subscription is told."""

    async def news(self, *, full: bool) -> Notice | None:
        """What there is to say, None when there is nothing; with `full` all there is. Raises DirectoryError."""

    def acknowledged(self) -> None:
        """The last news have been taken."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the agent reads: who and what there is, where it is registered, and what the directory has."""

    domain: str
    accounts: AccountTable
    location: Location
    directory: Directory
    save: Callable[[EventPositionRow], None]


class Events:
    """Order of calls: `run()` in a task; `subscribe` and `resubscribe` for SUBSCRIBEs; the rest when it happens.

    `now` is the clock of the location table.
    """

    def __init__(self, endpoint: SipEndpoint, book: FlowBook, facts: Facts, now: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._book = book
        self._facts = facts
        self._now = now
        self._subscriptions = Subscriptions()
        self._tellers: dict[Subscription, Teller] = {}
        self._states = CameraStates(facts.directory, self._watched, self._presence_changed, now)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        facts.location.on_change(self._binding_changed)

    async def run(self) -> None:
        """Follow the media states until cancelled; then tell subscribers that it is over for now."""
        try:
            await self._states.run()
        finally:
            await self._close()

    # -- SUBSCRIBE

    def serves(self, request: Request, account: Account, target: str) -> bool:
        """Whether a SUBSCRIBE of an account to an id is the agent's own; else it goes where other requests go: to
        people's phones, and, for media servers, to cameras. Raises SipParseError.
        """
        event = headers.event(request.headers)
        if event is not None and event.package == reginfo.PACKAGE:
            return self._facts.accounts.knows(target)
        return account.kind is not AccountKind.MEDIA_SERVER and self._facts.accounts.device_of(target) is not None

    def find(self, request: Request) -> Subscription | None:
        """The subscription that a SUBSCRIBE in a dialog is about."""
        return self._subscriptions.find(DialogId.of_request(request)) if request.method == "SUBSCRIBE" else None

    async def subscribe(self, incoming: IncomingRequest, account: Account, resource: str) -> Answer | None:
        """Take a SUBSCRIBE that makes a dialog; the answer where it is refused. Raises DirectoryError."""
        request = incoming.request
        event = headers.event(request.headers)
        if event is None or event.package not in PACKAGES:
            return Answer(489, f"the packages are {ALLOW_EVENTS}", (("Allow-Events", ALLOW_EVENTS),))
        if required := headers.option_tags(request.headers, "Require"):
            return bad_extension(required)
        if refused := self._refusal(event.package, account, resource):
            return refused
        kind = PACKAGES[event.package]
        if not headers.accepts(request.headers, kind):
            return Answer(406, f"{event.package} is told in {kind}")
        expires = _expires(request)
        if isinstance(expires, Answer):
            return expires
        try:
            self._subscriptions.check_room(account.id)
            teller = await self._teller(event.package, account.id, resource)
            if not self._endpoint.is_open(incoming.flow):
                incoming.drop()
                return None
            dialog = Dialog.uas(request, incoming.tag, self._contact(incoming.flow))
            # Of states the newest counts, so the others may be left out; alarms are told each.
            pace = 0.0 if event.package == alarmfeed.PACKAGE else PACE_SECONDS
            way = way_back(request, incoming.flow)
            subscription = Subscription(dialog, way, account.id, event, resource, pace)
            self._subscriptions.open(subscription, expires, self._now())
        except TooManySubscriptionsError as error:
            return busy(f"too many subscriptions: {error}", RETRY_SECONDS)
        except DialogError as error:
            return Answer(error.status, error.what)
        self._tellers[subscription] = teller
        self._accept(incoming, subscription, expires)
        return None

    def resubscribe(self, incoming: IncomingRequest, subscription: Subscription) -> Answer | None:
        """Take a SUBSCRIBE in a dialog, from its subscriber; the answer where it is refused. Raises SipParseError."""
        request = incoming.request
        if subscription.ends:
            return Answer(481, "this subscription has ended")
        if headers.event(request.headers) != subscription.event:
            return Answer(403, "one dialog is for one subscription")  # RFC 6665 §4.5.1
        expires = _expires(request)
        if isinstance(expires, Answer):
            return expires
        try:
            subscription.dialog.check(request)
        except DialogError as error:
            return Answer(error.status, error.what)
        self._subscriptions.refresh(subscription, way_back(request, incoming.flow), expires, self._now())
        self._accept(incoming, subscription, expires)
        return None

    def _accept(self, incoming: IncomingRequest, subscription: Subscription, expires: int) -> None:
        lines = [("Record-Route", value) for value in incoming.request.headers.get_all("Record-Route")]
        contact = str(subscription.dialog.contact)
        incoming.reply(200, headers=[*lines, ("Contact", contact), ("Expires", str(expires))])
        self._wake()

    def _contact(self, flow: Flow) -> NameAddr:
        key = FlowKey.of(flow)
        host, port = self._endpoint.address_towards(key.host, key.transport)
        params = (("transport", key.parameter),) if key.parameter else ()
        return NameAddr("", Uri("sip", "", host, port, params))

    def _refusal(self, package: str, account: Account, resource: str) -> Answer | None:
        """Why an account may not be told this, None when it may."""
        accounts = self._facts.accounts
        if package == reginfo.PACKAGE:
            owner = accounts.owner_of(resource)
            if owner is None:
                return Answer(404, "name an address of record")
            if owner.id != account.id and not allowed(account.role, Permission.ADMINISTER):
                return Answer(403, f"{account.id} has no right to know where {resource} is registered")
            return None
        if accounts.device_of(resource) is None and (resource or package == presence.PACKAGE):
            return Answer(404, "name a camera")
        if not allowed(account.role, Permission.WATCH):
            return Answer(403, f"{account.id} has no right to {Permission.WATCH} {resource or 'cameras'}")
        return None

    async def _teller(self, package: str, account: str, resource: str) -> Teller:
        facts = self._facts
        if package == presence.PACKAGE:
            return PresenceTeller(resource, facts.domain, self._camera_state)
        if package == reginfo.PACKAGE:
            address = f"sip:{resource}@{facts.domain}"
            return RegistrationTeller(address, lambda: facts.location.bindings(resource, self._now()), self._now)
        return await AlarmTeller.begin(facts.directory.events, Reader(account, resource), facts.save)

    # -- what happens

    def alarmed(self, rows: Sequence[EventRow]) -> None:
        """Alarms have been written."""
        for resource in {"", *(row.camera_id for row in rows)}:
            self._subscriptions.news(alarmfeed.PACKAGE, resource)
        self._wake()

    def configured(self, changed: set[str]) -> None:
        """The accounts are others now; those in `changed` are gone or have other secrets. Rights that ended end what
        they were needed for.
        """
        accounts = self._facts.accounts
        for subscription in self._subscriptions.all():
            account = accounts.get(subscription.account)
            if account is None:
                self._subscriptions.end(subscription, REJECTED)
            elif subscription.resource and not accounts.knows(subscription.resource):
                self._subscriptions.end(subscription, NO_RESOURCE)
            elif self._refusal(subscription.event.package, account, subscription.resource):
                self._subscriptions.end(subscription, REJECTED)
            elif account.id in changed:
                self._subscriptions.end(subscription, DEACTIVATED)  # to be made again, with the new password
        self._wake()

    def flow_closed(self, flow: Flow) -> None:
        """A connection has ended, and with it what was told over it."""
        for subscription in self._subscriptions.lost(FlowKey.of(flow)):
            self._tellers.pop(subscription, None)

    def _binding_changed(self, aor: str) -> None:
        if not self._tellers:
            return
        self._subscriptions.news(reginfo.PACKAGE, aor)
        account = self._facts.accounts.get(aor)
        for camera in {aor, *(account.cameras if account else ())}:
            self._presence_changed(camera)

    def _presence_changed(self, camera: str) -> None:
        self._subscriptions.news(presence.PACKAGE, camera)
        self._wake()

    def _watched(self) -> bool:
        return any(subscription.event.package == presence.PACKAGE for subscription in self._tellers)

    async def _camera_state(self, camera: str) -> CameraState:
        told = await self._states.get(camera)
        device = self._facts.accounts.device_of(camera) or camera
        now = self._now()
        online = any(self._facts.location.bindings(aor, now) for aor in (camera, device))
        media = liveness.media_state(told.media if told else None, online=online)
        return CameraState(online, media, told.since_us if told else None)

    # -- NOTIFY

    def _wake(self) -> None:
        """Something may be due: look in the loop's next turn, once for all that happens in this one."""
        self._set_timer(self._now())

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - self._now()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        for due in self._subscriptions.due(self._now()):
            task = asyncio.ensure_future(self._tell(due))
            self._tasks.add(task)
            task.add_done_callback(self._told)
        deadline = self._subscriptions.next_deadline()
        if deadline is not None:
            self._set_timer(deadline)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a subscription was not told", exc_info=error)

    async def _tell(self, due: Due) -> None:
        subscription = due.subscription
        teller = self._tellers.get(subscription)
        news = None
        if teller is not None and subscription.ends in ("", TIMEOUT):
            try:
                news = await teller.news(full=due.full)
            except DirectoryError:
                if not subscription.ends:
                    self._subscriptions.postpone(due, self._now() + POSTPONE_SECONDS)
                    self._wake()
                    return
        if news is None and not due.full and not subscription.ends:
            self._subscriptions.silent(subscription)
        else:
            request = self._subscriptions.notify(subscription, news or Notice(), self._now())
            if request is not None:
                taken = await self._send(request, subscription)
                if taken and teller is not None and subscription.ends in ("", TIMEOUT):
                    teller.acknowledged()
                self._subscriptions.answered(subscription, taken=taken)
        if self._subscriptions.find(subscription.dialog.id) is not subscription:
            self._tellers.pop(subscription, None)
        self._wake()

    async def _send(self, request: Request, subscription: Subscription) -> bool:
        """Whether a NOTIFY was taken. One that is challenged was not: who challenges us does not know us."""
        way = self._book.resolve(subscription.way)
        if way is None:
            return False
        try:
            return 200 <= (await self._endpoint.request(request, way)).status < 300
        except NetError:
            return False

    async def _close(self) -> None:
        """Tell everybody that the server stops, without waiting for answers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for subscription in self._subscriptions.all():
            self._subscriptions.silent(subscription)  # whatever was under way
            self._subscriptions.end(subscription, PROBATION)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                for due in self._subscriptions.due(self._now()):
                    await self._farewell(due.subscription)

    async def _farewell(self, subscription: Subscription) -> None:
        way = self._book.resolve(subscription.way)
        request = self._subscriptions.notify(subscription, Notice(), self._now())
        if way is not None and request is not None:
            with suppress(NetError):
                await self._endpoint.send(request, way)


def _expires(request: Request) -> int | Answer:
    """How long is granted, or 423 (RFC 6665 §4.2.1.1)."""
    asked = headers.expires(request.headers)
    expires = MAX_EXPIRES if asked is None else min(asked, MAX_EXPIRES)
    if 0 < expires < MIN_EXPIRES:
        return Answer(423, f"subscribe for {MIN_EXPIRES} s or longer", (("Min-Expires", str(MIN_EXPIRES)),))
    return expires
