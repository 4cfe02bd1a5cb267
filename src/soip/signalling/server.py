"""The SIP server's shell: takes what the endpoint hands up and lets the pure parts decide.

REGISTER                 trusted by 401 → registrar
in a dialog (To tag)     over a flow of its token → the other flow; from elsewhere challenged first; a
                         camera's home ends the call of the one before
to the server itself     on a registered flow → answered; else trusted by 401; alarms → `alarms.py`
SUBSCRIBE                to a camera or the domain, trusted by 407 or 401 → `events.py`
anything else            trusted by 407 → id looked up → routing → forwarded
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import structlog

from soip.control import manscdp
from soip.control.manscdp import Alarm, AlarmResponse
from soip.directory.directory import Directory
from soip.directory.errors import DirectoryError, UnavailableError
from soip.directory.rows import Account, AccountKind, EventRow, HomeRow
from soip.directory.writebehind import WriteBehind
from soip.net.errors import NetError
from soip.net.exchange import IncomingRequest
from soip.net.sip import SipEndpoint
from soip.policy import siptoken
from soip.signalling import local
from soip.signalling.accounts import AccountTable
from soip.signalling.alarms import Alarms
from soip.signalling.answers import Answer, bad_extension, busy
from soip.signalling.blocklist import Blocklist
from soip.signalling.events import Events, Facts
from soip.signalling.finder import Finder
from soip.signalling.flowbook import FlowBook
from soip.signalling.flows import FlowKey, InstanceFlow, TrunkFlow, way_back
from soip.signalling.flowtoken import End, Path
from soip.signalling.forward import Forwarder, from_path
from soip.signalling.handover import Handover
from soip.signalling.ladder import Ladder
from soip.signalling.limits import Buckets, Budget, Gate
from soip.signalling.location import Location
from soip.signalling.messenger import Messenger
from soip.signalling.news import News
from soip.signalling.registrar import Lifetimes, Registrar
from soip.signalling.removals import Removals
from soip.signalling.routing import Caller, Refuse, route
from soip.signalling.subscriptions import Subscription
from soip.signalling.tables import Tables
from soip.signalling.trunks import Trunks
from soip.signalling.trust import Challenger, House, Refused, Sender, foreign_identity
from soip.sip import headers
from soip.sip.digest import NonceIssuer
from soip.sip.errors import SipParseError
from soip.sip.flow import Flow
from soip.sip.message import Request
from soip.sip.reply import make_response
from soip.sip.uri import Uri, split_user

DIRECTORY_RETRY_SECONDS = 5
# Methods that exist in a dialog only (RFC 3261 §15, RFC 3262, RFC 3311; wire.md of INFO).
DIALOG_ONLY = frozenset({"BYE", "PRACK", "UPDATE", "INFO"})
LOG_BUDGET = Budget(rate=0.1, burst=20)
LOG_TOTAL = Budget(rate=2, burst=500)
TASKS = 1000
"""ACKs and messages of our own under way at once; more are not sent."""
HOME_LOOKS = Budget(rate=10, burst=50)
"""Looks, for one caller, for the home of a camera that has none yet."""
# The server itself asks for a camera as a media server does: it reaches the device.
OURSELVES = Caller("", AccountKind.MEDIA_SERVER, "")

Step = Callable[[IncomingRequest], Coroutine[Any, Any, None] | None]
"""What is done with a request once everybody in it is known: now, or what is still to be awaited."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of the server: `tokens` signs flow tokens and outlives a restart, `nonces` need not, `bearer` signs what
    the web server gives to those who have signed in.
    """

    tokens: bytes
    nonces: bytes
    bearer: bytes


class Server:
    """Registrar and proxy on one endpoint. `now` is monotonic seconds, the clock of all its tables; `wall` is UNIX
    seconds, the web server's clock.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        house: House,
        keys: Keys,
        accounts: AccountTable,
        location: Location,
        finder: Finder,
        gate: Gate,
        blocklist: Blocklist,
        lifetimes: Lifetimes,
        ladder: Ladder,
        trunks: Trunks,
        news: News,
        directory: Directory,
        later: WriteBehind,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._house = house
        self._accounts = accounts
        self._location = location
        self._finder = finder
        self._gate = gate
        self._blocklist = blocklist
        self._ladder = ladder
        self._trunks = trunks
        self._news = news
        self._now = now
        self._book = FlowBook(location, now, trunks)
        self._registrar = Registrar(accounts, location, lifetimes)
        nonces = NonceIssuer(keys.nonces, started=now())
        self._challenger = Challenger(
            house, accounts, location, nonces, gate, lambda token: siptoken.verify(keys.bearer, token, wall())
        )
        self._forwarder = Forwarder(endpoint, self._book, trunks, keys.tokens, house, ladder)
        self._tables = Tables(accounts, location, trunks, house.domain, now)
        self._log_budget = Buckets(LOG_BUDGET)
        self._log_total = Buckets(LOG_TOTAL)
        self._messenger = Messenger(endpoint, self._book, house.domain)
        self._alarms = Alarms(directory.events, self._alarms_taken, now)
        self._handover = Handover(directory.events, self._home_of, self._hand_over)
        self._events = Events(endpoint, self._book, Facts(house.domain, accounts, location, directory, later.save), now)
        self._removals = Removals(self._messenger, self._tables, house.domain, self._spawn)
        self._directory = directory
        self._home_looks = Buckets(HOME_LOOKS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked_about: tuple[IncomingRequest | None, Sender] = None, Sender(FlowKey("", "", 0))
        """Who sent the request that was looked at last: most are asked about twice."""

    async def run(self) -> None:
        """What goes on beside requests, until cancelled: alarms go to the media servers, subscribers are told, routes
        are kept.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._handover.run())
            tasks.create_task(self._events.run())
            tasks.create_task(self._trunks.run())

    def moved(self, homes: Iterable[HomeRow]) -> None:
        """The homes of cameras as they are now."""
        self._removals.moved(homes)

    def configured(self, changed: set[str]) -> None:
        """The account table is another; the accounts in `changed` are gone or have other secrets."""
        self._events.configured(changed)

    async def close(self) -> None:
        """Wait for what reads or writes the directory."""
        await self._alarms.close()

    def request(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        """A new request; always ends in an answer, except where a flood is left unanswered.

        What memory can answer is answered here and now: REGISTERs and keepalives make no task.
        """
        if not self._endpoint.is_open(incoming.flow):
            incoming.drop()
            return None
        self._book.seen(incoming.flow)
        try:
            rest = self._dispatch(incoming)
        except SipParseError as error:
            self._reject(incoming, Answer(error.status, error.what))
            return None
        return None if rest is None else self._finish(incoming, rest)

    async def _finish(self, incoming: IncomingRequest, rest: Coroutine[Any, Any, None]) -> None:
        try:
            await rest
        except SipParseError as error:
            self._reject(incoming, Answer(error.status, error.what))
        except DirectoryError as error:
            self._note(incoming, "directory away", reason=str(error))
            self._answer(incoming, busy("the directory is not available", DIRECTORY_RETRY_SECONDS))

    def ack(self, request: Request, flow: Flow) -> None:
        """The ACK of a 2xx: over a flow of its token it goes to the other; it can be neither asked nor
        answered.
        """
        try:
            path = self._forwarder.path_of(request)
            far = from_path(path, FlowKey.of(flow), self._book) if path is not None else None
        except SipParseError:
            return
        if path is not None and far is not None and headers.max_forwards(request.headers) != 0:
            self._ladder.proven(request, flow, path.other(far).name)
            self._spawn(self._pass_ack(request, far))

    def flow_closed(self, flow: Flow) -> None:
        """A connection has ended, and with it what was registered over it."""
        self._book.closed(flow)
        self._trunks.flow_closed(flow)
        self._events.flow_closed(flow)
        for binding in self._location.drop_flow(FlowKey.of(flow)):
            self._news.tell("unregistered", id=binding.aor, source=str(binding.flow), reason="connection closed")

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        if len(self._tasks) >= TASKS:
            work.close()
            return
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_ack(self, request: Request, far: End) -> None:
        try:
            await self._forwarder.ack(request, far)
        except (NetError, SipParseError) as error:
            _log.debug("ACK not passed on", way=str(far.way), reason=str(error))

    def _dispatch(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        request = incoming.request
        if request.method == "REGISTER":
            return self._knowing(incoming, self._register, self._registrar.address_of(request), proxy=False)
        if refused := self._unfit(incoming):
            self._reject(incoming, refused)
        elif headers.to(request.headers).tag:
            return self._in_dialog(incoming)
        elif request.method in DIALOG_ONLY:
            self._reject(incoming, Answer(481, f"{request.method} belongs into a dialog"))
        elif request.uri.is_sip and (not request.uri.user or self._is_for_nobody_else(request)):
            return self._for_us(incoming)
        else:
            return self._knowing(incoming, self._out_of_dialog, split_user(request.uri.user)[0], proxy=True)
        return None

    def _knowing(
        self, incoming: IncomingRequest, then: Step, *ids: str, proxy: bool
    ) -> Coroutine[Any, Any, None] | None:
        """Go on with `then` once it is known who claims to ask, and what else is named."""
        ids = (self._challenger.claimed(incoming.request, self._sender(incoming), proxy=proxy), *ids)
        if all(self._finder.is_settled(identity) for identity in ids):
            return then(incoming)
        return self._look_up(incoming, then, ids)

    async def _look_up(self, incoming: IncomingRequest, then: Step, ids: tuple[str, ...]) -> None:
        for identity in ids:
            await self._finder.find(identity)
        if not self._endpoint.is_open(incoming.flow):
            incoming.drop()  # closed while we looked: a binding to it would never end before its time
            return
        rest = then(incoming)
        if rest is not None:
            await rest

    def _unfit(self, incoming: IncomingRequest) -> Answer | None:
        """What no proxy passes on (RFC 3261 §16.3)."""
        request = incoming.request
        if headers.max_forwards(request.headers) == 0:
            return Answer(483)
        if required := headers.option_tags(request.headers, "Proxy-Require"):
            return bad_extension(required)
        # A contact or a route leads back to us (RFC 3261 §16.3 step 4).
        if self._endpoint.has_looped(request):
            return Answer(482, "the request has been here before")
        return None

    def _is_for_nobody_else(self, request: Request) -> bool:
        return not self._accounts.knows(split_user(request.uri.user)[0]) and local.is_notice(request)

    def _register(self, incoming: IncomingRequest) -> None:
        account = self._trusted(incoming, proxy=False)
        if account is None:
            return
        request, now = incoming.request, self._now()
        aor = self._registrar.address_of(request)
        before = self._location.bindings(aor, now)
        answer = self._registrar.register(request, account, incoming.flow, now)
        after = self._location.bindings(aor, now)
        self._answer(incoming, answer)
        if answer.status >= 300:
            self._note(incoming, "registration refused", id=aor, status=answer.status, reason=answer.text)
            return
        flow = self._sender(incoming).flow
        if mine := [b.expires_at for b in after if b.flow == flow]:
            self._endpoint.keep(incoming.flow, max(mine) - now)
        if {b.target for b in after} != {b.target for b in before}:
            if aor in self._accounts.instances():
                self._handover.retry()
                self._removals.tell(aor)
            event = "registered" if after else "unregistered"
            self._news.tell(event, id=aor, account=account.id, source=str(incoming.flow), contacts=len(after))

    def _in_dialog(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        flow = FlowKey.of(incoming.flow)
        if (subscription := self._events.find(incoming.request)) is not None:
            if self._book.matches(subscription.way, flow):
                self._refresh(incoming, subscription)
                return None
            return self._knowing(incoming, self._subscriber_moved, proxy=False)
        path = self._forwarder.path_of(incoming.request)
        far = from_path(path, flow, self._book) if path is not None else None
        if path is None or far is None:
            heir = self._heir(path, flow) if path is not None and incoming.request.method == "BYE" else None
            if path is not None and heir is not None:
                self._ladder.proven(incoming.request, incoming.flow, heir.name)
                return self._forwarder.in_dialog(incoming, heir, path.callee)
            return self._knowing(incoming, self._moved, proxy=True)
        return self._pass_on(incoming, path, far)

    def _heir(self, path: Path, flow: FlowKey) -> End | None:
        """The media instance that a request comes from, if it is at home where another called a camera before."""
        gone, home = path.caller.way, self._tables.home(path.callee.identity)
        if not isinstance(gone, InstanceFlow) or home is None or home == gone.instance:
            return None
        return End(InstanceFlow(home), home) if self._book.matches(InstanceFlow(home), flow) else None

    def _pass_on(self, incoming: IncomingRequest, path: Path, far: End) -> Coroutine[Any, Any, None]:
        """A request in a dialog, whose sender is known, goes to the other end."""
        near = path.other(far)
        self._ladder.proven(incoming.request, incoming.flow, near.name)
        return self._forwarder.in_dialog(incoming, near, far)

    def _moved(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        account = self._trusted(incoming, proxy=True)
        if account is None:
            return None
        path = self._forwarder.path_of(incoming.request)
        far = self._far_side(path, account) if path is not None else None
        if path is not None and far is not None:
            return self._pass_on(incoming, path, far)
        self._answer(incoming, Answer(481, "no dialog of yours passes here; keep the Route of its start"))
        return None

    def _refresh(self, incoming: IncomingRequest, subscription: Subscription) -> None:
        """A SUBSCRIBE in its dialog, over the flow of that: it is counted, as it would be where it is challenged."""
        if self._gate.account(subscription.account, self._now()):
            self._resubscribe(incoming, subscription)
        else:
            self._answer(incoming, busy(f"too many requests of {subscription.account}", DIRECTORY_RETRY_SECONDS))

    def _resubscribe(self, incoming: IncomingRequest, subscription: Subscription) -> None:
        """A SUBSCRIBE in its dialog, from its subscriber."""
        if (refused := self._events.resubscribe(incoming, subscription)) is not None:
            self._answer(incoming, refused)

    def _subscriber_moved(self, incoming: IncomingRequest) -> None:
        """A SUBSCRIBE in its dialog from elsewhere: of who has proved to be the subscriber."""
        account = self._trusted(incoming, proxy=False)
        if account is None:
            return
        subscription = self._events.find(incoming.request)
        if subscription is None:
            self._answer(incoming, Answer(481, "this subscription has ended"))
        elif account.id != subscription.account:
            self._answer(incoming, Answer(403, "this is the subscription of somebody else"))
        else:
            self._resubscribe(incoming, subscription)

    async def _subscribe(self, incoming: IncomingRequest, account: Account, resource: str) -> None:
        refused = await self._events.subscribe(incoming, account, resource)
        if refused is not None:
            self._note(incoming, "subscription refused", account=account.id, reason=refused.text)
            self._answer(incoming, refused)

    def _far_side(self, path: Path, account: Account) -> End | None:
        """Where a request in a dialog goes whose sender has moved, and has proved to be one of the two ends."""
        for near, far in ((path.caller, path.callee), (path.callee, path.caller)):
            owner = self._accounts.owner_of(near.identity)
            if owner is not None and owner.id == account.id:
                return far
        return None

    def _for_us(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        request, now = incoming.request, self._now()
        flow = FlowKey.of(incoming.flow)
        if request.method == "SUBSCRIBE":  # what is told to a flow alone would be told to whoever forges its address
            return self._knowing(incoming, self._subscribe_to_all, proxy=False)
        speaker = local.speaks_for(request, lambda account: self._location.on_flow(flow, account, now), self._accounts)
        account = self._accounts.get(speaker) if speaker else None
        if account is None:
            return self._knowing(incoming, self._from_elsewhere, proxy=False)
        if not self._gate.account(speaker, now):
            self._answer(incoming, busy(f"too many requests of {speaker}", DIRECTORY_RETRY_SECONDS))
            return None
        return self._told(incoming, account, registered=True)

    def _subscribe_to_all(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        account = self._trusted(incoming, proxy=False)
        return None if account is None else self._subscribe(incoming, account, "")

    def _from_elsewhere(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        account = self._trusted(incoming, proxy=False)
        if account is None:
            return None
        # A person's or a server's OPTIONS asks what we can do; a device's asks whether it is registered.
        curious = account.kind is not AccountKind.DEVICE and incoming.request.method == "OPTIONS"
        return self._told(incoming, account, registered=curious)

    def _told(
        self, incoming: IncomingRequest, account: Account, *, registered: bool
    ) -> Coroutine[Any, Any, None] | None:
        """Something for the server itself: an alarm waits for the directory, everything else is answered now."""
        answer = local.answer(incoming.request, registered=registered)
        if isinstance(answer, Alarm):
            return self._alarm(incoming, answer, account)
        self._answer(incoming, answer)
        return None

    async def _alarm(self, incoming: IncomingRequest, alarm: Alarm, account: Account) -> None:
        answer = await self._alarms.take(alarm, account)
        self._answer(incoming, answer)
        if answer.status == 200:
            self._spawn(self._respond(alarm))
        else:
            self._note(incoming, "alarm refused", id=alarm.device, status=answer.status, reason=answer.text)

    async def _respond(self, alarm: Alarm) -> None:
        """Tell the device that its alarm was taken: the 200 alone does not, by GB/T 28181 §9.4."""
        verdict = route(OURSELVES, "MESSAGE", Uri("sip", alarm.device, self._house.domain), self._tables)
        if not isinstance(verdict, Refuse):
            (leg,) = verdict.legs
            body = manscdp.build(AlarmResponse(alarm.device, alarm.sn))
            await self._messenger.send(Uri.parse(leg.uri), leg.way, body, manscdp.CONTENT_TYPE)

    def _alarms_taken(self, rows: Sequence[EventRow]) -> None:
        self._handover.wake()
        self._events.alarmed(rows)

    def _home_of(self, camera: str) -> str | None:
        instance = self._tables.home(camera)
        return instance if instance is not None and self._tables.bindings(instance) else None

    async def _hand_over(self, row: EventRow, instance: str) -> bool:
        uri = Uri("sip", row.camera_id, self._house.domain)
        when = (("Date", formatdate(row.start_us // 1_000_000, usegmt=True)),)  # RFC 3261 §20.17
        way, body = InstanceFlow(instance), row.body.encode()
        return await self._messenger.send(uri, way, body, manscdp.CONTENT_TYPE, when) == 200

    def _out_of_dialog(self, incoming: IncomingRequest) -> Coroutine[Any, Any, None] | None:
        account = self._trusted(incoming, proxy=True)
        if account is None:
            return None
        request = incoming.request
        target = split_user(request.uri.user)[0]
        if request.method == "SUBSCRIBE" and self._events.serves(request, account, target):
            return self._subscribe(incoming, account, target)
        caller = self._caller(incoming, account)
        serves = account.kind is AccountKind.MEDIA_SERVER
        self._ladder.proven(request, incoming.flow, caller.origin or caller.identity, serves=serves)
        camera = split_user(self._asked_for(request, caller).user)[0]
        homeless = self._tables.device_of(camera) is not None and self._tables.home(camera) is None
        # It may have been placed since homes were read.
        if homeless and not serves and self._home_looks.take(account.id, self._now()):
            return self._look_for_home(camera, incoming, account, caller)
        return self._route(incoming, account, caller)

    async def _look_for_home(self, camera: str, incoming: IncomingRequest, account: Account, caller: Caller) -> None:
        with suppress(UnavailableError):
            row = await self._directory.homes.get(camera)
            if row is not None:
                self._accounts.rehome(camera, row.instance_id)
        rest = self._route(incoming, account, caller)
        if rest is not None:
            await rest

    def _route(self, incoming: IncomingRequest, account: Account, caller: Caller) -> Coroutine[Any, Any, None] | None:
        request = incoming.request
        replaces = request.method == "INVITE" and "Replaces" in request.headers
        verdict = route(caller, request.method, self._asked_for(request, caller), self._tables, replaces=replaces)
        if isinstance(verdict, Refuse):
            retry = (("Retry-After", str(verdict.retry_after)),) if verdict.retry_after else ()
            self._note(incoming, "request refused", caller=caller.identity, reason=verdict.text)
            self._answer(incoming, Answer(verdict.status, verdict.text, retry))
            return None
        if caller.origin:
            end = End(TrunkFlow(caller.origin), "")
        else:
            way = self._book.name(way_back(request, incoming.flow), account.id, self._accounts.server_of)
            end = End(way, caller.identity)
        return self._forwarder.out_of_dialog(incoming, verdict, end, caller.identity, caller.asserted)

    def _caller(self, incoming: IncomingRequest, account: Account) -> Caller:
        by = self._sender(incoming).route
        if by is None or by.account != account.id:
            return Caller(account.id, account.kind, self._identity(incoming.request, account), account.role)
        asserted = foreign_identity(incoming.request, by)
        return Caller(account.id, account.kind, account.id, account.role, by.name, asserted)

    def _asked_for(self, request: Request, caller: Caller) -> Uri:
        """Who is asked for: of a call to our registration at another server, whom its route names."""
        trunk = self._trunks.get(caller.origin) if caller.origin else None
        if trunk is not None and trunk.route.target and request.uri.user == caller.origin:
            return Uri("sip", trunk.route.target, self._house.domain)
        return request.uri

    def _identity(self, request: Request, account: Account) -> str:
        """Who is asserted: the id in From where it is one of the account's, else the account."""
        claimed = split_user(headers.from_(request.headers).uri.user)[0]
        owner = self._accounts.owner_of(claimed)
        return claimed if owner is not None and owner.id == account.id else account.id

    def _trusted(self, incoming: IncomingRequest, *, proxy: bool) -> Account | None:
        """The account behind a request, or None when it has been answered."""
        request = incoming.request
        verdict = self._challenger.judge(request, self._sender(incoming), self._now(), proxy=proxy)
        if not isinstance(verdict, Refused):
            if incoming.flow.reliable:
                self._endpoint.trust(incoming.flow)
            return verdict
        if verdict.wrong:
            self._note(incoming, "wrong password or unknown id", id=verdict.wrong)
        self._turn_away(incoming, verdict.answer)
        if verdict.wrong or verdict.early:
            self._guessed(incoming.flow, verdict.wrong)
        return None

    def _guessed(self, flow: Flow, account: str) -> None:
        """A wrong password for an account, or ("") an attempt that came too early: what guesses on is shut out."""
        key, now = FlowKey.of(flow), self._now()
        if account:
            seconds = self._blocklist.wrong(key.host, key, account, now)
        else:
            seconds = self._blocklist.insists(key.host, key, now)
        if seconds > 0 and not self._location.is_used(key):
            self._endpoint.shut_out(flow, seconds)

    def _sender(self, incoming: IncomingRequest) -> Sender:
        if incoming is not self._asked_about[0]:
            names = self._endpoint.certified(incoming.flow)
            sender = Sender(FlowKey.of(incoming.flow), names, self._trunks.behind(incoming.flow, names))
            self._asked_about = incoming, sender
        return self._asked_about[1]

    def _reject(self, incoming: IncomingRequest, answer: Answer) -> None:
        """Answer a request that is refused before anybody asked whose it is."""
        self._turn_away(incoming, self._challenger.reject(answer, incoming.flow.remote[0], self._now()))

    def _turn_away(self, incoming: IncomingRequest, answer: Answer) -> None:
        """Answer a stranger statelessly: of a flood nothing is kept, and no answer is repeated to a forged source."""
        if answer.silent:
            self._note(incoming, "a flood of requests without credentials is left unanswered")
            incoming.drop()
            return
        response = make_response(incoming.request, answer.status, to_tag=incoming.tag)
        for name, value in answer.lines(self._house.domain):
            response.headers.add(name, value)
        incoming.drop(response)

    def _answer(self, incoming: IncomingRequest, answer: Answer) -> None:
        incoming.reply(answer.status, headers=answer.lines(self._house.domain))

    def _note(self, incoming: IncomingRequest, event: str, **facts: object) -> None:
        """A line in the log, a limited number for each source and in all: a flood must not fill the disk."""
        source, now = incoming.flow.remote[0], self._now()
        if self._log_budget.take(source, now) and self._log_total.take("", now):
            request = incoming.request
            _log.warning(event, source=str(incoming.flow), method=request.method, **facts)
