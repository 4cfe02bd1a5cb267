"""`UserAgent`: one address of record that registers, calls and is called, through one outbound proxy.

Order of calls: `await endpoint.start()`, `await ua.start()`, `await ua.register()`, calls both ways, `await
ua.close()`.

What a user agent core does beyond transactions is here and in its neighbours: 2xx until their ACK (`sip.accept`),
challenges (`auth`), dialogs (`call`), outgoing INVITEs (`inviting`), the REGISTER (`registration`), the flow
(`flowkeeper`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from soip.net.auth import Authenticator
from soip.net.backoff import Backoff, Jitter, default_jitter
from soip.net.call import SDP, Call, IncomingCall, OfferHandler
from soip.net.errors import NetError
from soip.net.exchange import IncomingRequest
from soip.net.flowkeeper import FlowKeeper
from soip.net.inviting import Inviting
from soip.net.limits import Pace
from soip.net.referral import Referral
from soip.net.registration import Registration
from soip.net.sip import SipEndpoint, Way
from soip.net.target import Target, resolve
from soip.sip import headers as h
from soip.sip.accept import Again, InviteId, SentAcks, Unacknowledged
from soip.sip.dialog import Dialog, DialogId
from soip.sip.digest import Credentials
from soip.sip.flow import Flow
from soip.sip.message import Headers, Request, Response
from soip.sip.reply import make_response
from soip.sip.session import Policy, Session
from soip.sip.uri import NameAddr, Uri

log = logging.getLogger(__name__)

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE"
SUPPORTED = ("timer", "replaces")
"""Option tags of extensions that every agent has: RFC 4028, RFC 3891."""

STANDARD = Policy()
_FLOW_WITHIN = 5.0  # how long a request waits for a persistent flow that is being opened again
_CLOSE_WITHIN = 2.0
REFERRALS = 64
"""REFERs of which an agent tells at a time; more are refused 503."""


class UserAgent:
    """A SIP user agent.

    `aor`: our address, `sip:cam1@soip.local`. `outbound`: the proxy and registrar; everything goes there, and requests
    are taken only from there (others get 403). `persistent`: one TCP connection, kept alive by CRLF
    and opened again after `backoff` (media workers: `Backoff(0.2, 2.0)`); else UDP or what `outbound` says. `contact`:
    default `sip:<user>@<endpoint address>`. `catch_all`: take requests for any user, not only our own. `jitter`: a
    number in [0, 1) by chance. `session`: how long sessions last without a refresh.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        aor: Uri,
        credentials: Credentials | None,
        outbound: Target,
        *,
        contact: Uri | None = None,
        persistent: bool = False,
        catch_all: bool = False,
        backoff: Backoff | None = None,
        user_agent: str = "SoIP",
        jitter: Jitter | None = None,
        session: Policy = STANDARD,
    ) -> None:
        self.endpoint = endpoint
        self.session = session
        self.aor = aor
        self.outbound = outbound
        self.contact = NameAddr("", contact) if contact is not None else NameAddr("", aor)
        self._own_contact = contact is None
        self._persistent = persistent
        self._user = None if catch_all else aor.user
        self._backoff = backoff or Backoff()
        self._user_agent = user_agent
        self._jitter = jitter or default_jitter
        self._auth = Authenticator(credentials)
        self._calls: dict[DialogId, Call] = {}
        self._unacknowledged = Unacknowledged(endpoint.timers)
        self._acks: SentAcks[Dialog] = SentAcks(endpoint.timers)
        self._accept_timer: asyncio.TimerHandle | None = None
        self._refusals = Pace()
        self._ringing: dict[tuple[str, str, int], IncomingRequest] = {}
        self._on_invite: Callable[[IncomingCall], Awaitable[None]] | None = None
        self._on_message: Callable[[IncomingRequest], Awaitable[None]] | None = None
        self._on_refer: Callable[[Referral], Awaitable[None]] | None = None
        self._may_replace: Callable[[IncomingCall], Awaitable[bool]] | None = None
        self._early: dict[DialogId, IncomingCall] = {}
        self._referrals: dict[tuple[DialogId, str], Referral] = {}
        self._on_registration: Callable[[bool, str], None] | None = None
        self._keeper: FlowKeeper | None = None
        self._registration: Registration | None = None
        self._source_host = ""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started = self._closed = False

    # -- life

    async def start(self) -> None:
        """Attach to the endpoint, which must be started. A persistent flow is opened in the background.

        Raises FlowError when the outbound proxy's name cannot be resolved.
        """
        family = self.endpoint.family
        self._source_host, _ = await resolve(self.outbound.host, self.outbound.port, family, _FLOW_WITHIN)
        if self._own_contact:
            host, port = self.endpoint.address_towards(self._source_host)
            transport = self.outbound.transport
            if self._persistent and transport == "udp":
                transport = "tcp"
            params = () if transport == "udp" else (("transport", transport),)
            self.contact = NameAddr("", Uri("sip", self.aor.user, host, port, params))
        self.endpoint.serve(_Inbox(self), self._user)
        self._started = True
        if self._persistent:
            self._keeper = FlowKeeper(self.endpoint, self.outbound, self._backoff, self._jitter, self._flow_opened)
            self._spawn(self._keeper.run())

    async def close(self) -> None:
        """End all calls, unregister (2 s at most), detach. Idempotent."""
        if self._closed or not self._started:
            return
        self._closed = True
        farewells: list[Coroutine[Any, Any, None]] = [call.bye() for call in self.calls]
        if self._registration is not None:
            farewells.append(self._registration.unregister())
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN):
                await asyncio.gather(*farewells, return_exceptions=True)
        self.endpoint.unserve(self._user)
        if self._accept_timer is not None:
            self._accept_timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A persistent connection stays with the endpoint: other agents of this endpoint may use it.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something to its end, or to ours."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of %s failed", self.aor, exc_info=error)

    # -- registration

    async def register(self, expires: int = 3600) -> None:
        """Register, and keep it fresh until `close`. Returns after the first success.

        Raises AuthError or RequestRefusedError if the first answer is a refusal that waiting does not cure (401 again,
        403, 404). Timeouts and 5xx are retried with back-off, also before the first success.
        """
        registration = Registration(
            self.aor, self.contact, self._exchange, self._backoff, self._jitter, self._registration_changed
        )
        self._registration = registration
        task = self._spawn(registration.run(expires))
        try:
            error = await asyncio.shield(registration.first)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if error is not None:
            raise error

    @property
    def registered(self) -> bool:
        """Whether a binding is in force by our clock."""
        return self._registration is not None and self._registration.registered

    @property
    def connected(self) -> bool:
        """Whether it is registered, and the connection stands over which it is reached (a persistent one)."""
        return self.registered and self._keeper is not None and self._keeper.flow is not None

    def on_registration(self, callback: Callable[[bool, str], None]) -> None:
        """Told at each change: registered or not, and why."""
        self._on_registration = callback

    def _registration_changed(self, registered: bool, why: str) -> None:
        log.info("%s %s: %s", self.aor, "registered" if registered else "is not registered", why)
        if self._on_registration is not None:
            self._on_registration(registered, why)

    def _flow_opened(self, flow: Flow) -> None:
        if self._registration is not None:
            self._registration.renew()  # the binding is the flow: a new one must be told (RFC 5626 §4.2)

    # -- sending

    async def invite(
        self,
        uri: Uri,
        offer: bytes,
        *,
        headers: Iterable[tuple[str, str]] = (),
        within: float = 30.0,
        on_provisional: Callable[[Response], None] | None = None,
        answerer: OfferHandler | None = None,
    ) -> Call:
        """Call `uri`. Answers one challenge. With an empty `offer` the peer's offer goes to `answerer` and its result
        into the ACK.

        Raises RequestRefusedError (a final response that is not 2xx; AuthError for 401 and 407), RequestTimeoutError
        (no answer; cancelled after `within` seconds), FlowError. Cancelling the task cancels the call.
        """
        request = self._new_request("INVITE", uri, offer, "application/sdp" if offer else "", headers)
        return await Inviting(self, request, on_provisional, answerer).call(within)

    async def request(
        self,
        method: str,
        uri: Uri,
        body: bytes = b"",
        content_type: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Send a request outside a dialog; challenges answered. Gives the final response, whatever its status.

        Raises RequestTimeoutError, FlowError.
        """
        return await self._exchange(self._new_request(method, uri, body, content_type, headers))

    def _new_request(
        self, method: str, uri: Uri, body: bytes, content_type: str, headers: Iterable[tuple[str, str]]
    ) -> Request:
        lines = Headers(
            [
                ("Max-Forwards", "70"),
                ("From", f"<{self.aor.address_only()}>;tag={secrets.token_hex(6)}"),
                ("To", f"<{uri}>"),
                ("Call-ID", secrets.token_hex(12)),
                ("CSeq", f"1 {method}"),
            ]
        )
        if method == "INVITE":
            for line in (("Contact", str(self.contact)), *self._capabilities()):
                lines.add(*line)
        if content_type:
            lines.add("Content-Type", content_type)
        for name, value in headers:
            lines.add(name, value)
        return Request(method, uri, lines, body)

    async def _exchange(self, request: Request) -> Response:
        """A request outside a dialog, to its final response; `request` is changed when a challenge is answered."""
        self._auth.prepare(request)
        number = h.cseq(request.headers).number

        def next_cseq() -> int:
            nonlocal number
            number += 1
            return number

        return await self._answering(request, next_cseq, self._way_out, None)

    async def _exchange_in(self, dialog: Dialog, request: Request) -> Response:
        """A request inside a dialog, to its final response; 2xx to a re-INVITE are acknowledged."""

        def next_cseq() -> int:
            dialog.local_cseq += 1
            return dialog.local_cseq

        def accepted(response: Response) -> None:
            if request.method == "INVITE" and 200 <= response.status < 300:
                invite = (dialog.id, h.cseq(response.headers).number)
                if not self._ack_again(invite):
                    dialog.update(response, "INVITE")
                    self._acknowledge(invite, dialog, dialog.ack(invite[1]))

        return await self._answering(request, next_cseq, lambda: self._way_in(dialog), accepted)

    async def _answering(
        self,
        request: Request,
        next_cseq: Callable[[], int],
        way: Callable[[], Awaitable[Way]],
        on_response: Callable[[Response], None] | None,
    ) -> Response:
        request.headers.set("User-Agent", self._user_agent)
        attempt = self._auth.attempt()
        while True:
            outgoing = await self.endpoint.send(request, await way(), on_response=on_response)
            response = await outgoing.final()
            if not attempt.answer(request, response):
                return response
            request.headers.set("CSeq", f"{next_cseq()} {request.method}")

    async def _way_out(self) -> Way:
        if self._keeper is not None:
            return await self._keeper.ready(_FLOW_WITHIN)
        return self.outbound

    async def _way_in(self, dialog: Dialog) -> Way:
        if self._keeper is not None:
            return await self._way_out()
        if not dialog.route_set:
            return Target.of(dialog.target)
        # The first hop is the proxy we always use: its own host name need not be resolvable for us. But the INVITE may
        # have gone by another transport than small requests do, and the dialog's flow is what the proxy trusts.
        transport = dialog.route_set[0].uri.param("transport") or "udp"
        return replace(self.outbound, transport=transport.lower())

    # -- between a 2xx and its ACK

    def _acknowledge(self, invite: InviteId, dialog: Dialog, ack: Request) -> None:
        """Send the ACK for a 2xx, and remember it for the 2xx's repeats."""
        self._acks.sent(invite, ack, dialog, asyncio.get_running_loop().time())
        self._spawn(self._send_ack(dialog, ack))

    def _ack_again(self, invite: InviteId) -> bool:
        """Send the ACK again if this 2xx is a repeated one."""
        known = self._acks.again(invite, asyncio.get_running_loop().time())
        if known is None:
            return False
        self._spawn(self._send_ack(known[1], known[0]))
        return True

    async def _send_ack(self, dialog: Dialog, ack: Request) -> None:
        try:
            await self.endpoint.send_stateless(ack, await self._way_in(dialog))
        except NetError as error:
            log.info("ACK not sent: %s", error)  # the 2xx will be repeated

    def _await_ack(self, call: Call, incoming: IncomingRequest, response: Response) -> None:
        number = h.cseq(response.headers).number
        call._unacknowledged = number
        now = asyncio.get_running_loop().time()
        self._unacknowledged.sent((call.dialog.id, number), incoming.transaction, response, now)
        self._schedule()

    def _schedule(self) -> None:
        if self._accept_timer is not None:
            self._accept_timer.cancel()
        deadline = self._unacknowledged.next_deadline()
        loop = asyncio.get_running_loop()
        self._accept_timer = None if deadline is None else loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        for due in self._unacknowledged.advance(asyncio.get_running_loop().time()):
            if isinstance(due, Again):
                self.endpoint.respond(due.transaction, due.response)
            elif (call := self._calls.get(due.invite[0])) is not None:
                call._never_acknowledged()
        self._schedule()

    # -- what arrives

    def on_invite(self, handler: Callable[[IncomingCall], Awaitable[None]]) -> None:
        """Who takes calls; without: 480. Runs in a task of its own; if it raises, the call is rejected 500."""
        self._on_invite = handler

    def on_message(self, handler: Callable[[IncomingRequest], Awaitable[None]]) -> None:
        """Out-of-dialog requests other than INVITE and OPTIONS (MESSAGE, NOTIFY …); without: 405."""
        self._on_message = handler

    def on_refer(self, handler: Callable[[Referral], Awaitable[None]]) -> None:
        """Who takes REFERs, in and outside of calls; without: 405. If it raises, the REFER is answered 500."""
        self._on_refer = handler

    def on_replace(self, may: Callable[[IncomingCall], Awaitable[bool]]) -> None:
        """Who but its own user may put a call in the place of another (RFC 3891 §3); without: nobody."""
        self._may_replace = may

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that are up."""
        return tuple(call for call in self._calls.values() if call.end is None)

    async def _request_arrived(self, incoming: IncomingRequest) -> None:
        request = incoming.request
        if not self._trusted(incoming.flow) and not self._direct(request):
            if self._refusals.due(asyncio.get_running_loop().time()):
                log.warning("%s from %s refused: not our proxy", request.method, incoming.flow)
            incoming.drop(make_response(request, 403, to_tag=incoming.tag))
        elif h.to(request.headers).tag:
            await self._in_dialog(incoming)
        elif self._unacceptable(incoming):
            pass
        elif request.method == "INVITE":
            await self._invite_arrived(incoming)
        elif request.method == "REFER" and self._on_refer is not None:
            await self._refer_arrived(incoming, None)
        elif request.method != "OPTIONS" and self._on_message is not None:
            await self._on_message(incoming)
        else:
            self._reply_default(incoming)

    async def _in_dialog(self, incoming: IncomingRequest) -> None:
        request = incoming.request
        name = DialogId.of_request(request)
        call, early = self._calls.get(name), self._early.get(name)
        if early is not None and early.answered:
            early = None  # its handler has not returned yet
        subscribed = [referral for (dialog, _), referral in self._referrals.items() if dialog == name]
        if call is None and early is None and not subscribed:
            incoming.reply(481)
        elif self._unacceptable(incoming):
            pass
        elif request.method == "SUBSCRIBE" and subscribed:
            event = h.event(request.headers)
            referral = self._referrals.get((name, event.id if event is not None else ""))
            if referral is None or event is None or event.package != "refer":
                incoming.reply(481 if event is not None else 489)
            else:
                referral.subscribe(incoming)
        elif call is not None:
            await call._request_arrived(incoming)
        elif early is not None and request.method == "BYE":
            early._hung_up(incoming)
        else:
            self._reply_default(incoming)

    def _unacceptable(self, incoming: IncomingRequest) -> bool:
        """Refuse what requires an extension that we do not have (§8.2.2.3), inside a dialog and outside, and a Replaces
        where there is nothing to replace with (RFC 3891 §3).
        """
        request = incoming.request
        unsupported = [tag for tag in h.option_tags(request.headers, "Require") if tag not in SUPPORTED]
        misplaced = "Replaces" in request.headers and (request.method != "INVITE" or h.to(request.headers).tag != "")
        if unsupported:
            incoming.reply(420, headers=[("Unsupported", ", ".join(unsupported)[:1000])])
        elif misplaced:
            incoming.reply(400, "Bad Request - Replaces belongs into an INVITE that begins a call")
        return bool(unsupported) or misplaced

    def _unfit(self, incoming: IncomingRequest) -> bool:
        """Refuse an INVITE or re-INVITE that no offer or session can be read from. Raises SipParseError."""
        request = incoming.request
        if request.body and h.content_type(request.headers) != SDP:
            incoming.reply(415, headers=[("Accept", SDP)])  # §8.2.3
            return True
        if (least := Session(self.session).refusal(request)) is not None:
            incoming.reply(422, headers=[("Min-SE", str(least))])  # RFC 4028 §9
            return True
        return False

    def _trusted(self, flow: Flow) -> bool:
        """Whether a request came from our proxy: over our flow, or from its address (a UDP source port included)."""
        if self._keeper is not None:
            return flow == self._keeper.flow
        if (flow.transport == "tls") != (self.outbound.transport == "tls"):
            return False  # who asked for TLS believes no address
        same_port = flow.transport != "udp" or flow.remote[1] == self.outbound.port
        return flow.remote[0] == self._source_host and same_port

    def _direct(self, request: Request) -> bool:
        """Whether a request belongs to a dialog that the proxy has left to its two ends (no Record-Route).

        In any other dialog the proxy is asked for as well: who has seen its tags on the wire is not the peer.
        """
        call = self._calls.get(DialogId.of_request(request)) if h.to(request.headers).tag else None
        return call is not None and not call.dialog.route_set and self._keeper is None

    async def _invite_arrived(self, incoming: IncomingRequest) -> None:
        headers = incoming.request.headers
        merge = (h.call_id(headers), h.from_(headers).tag, h.cseq(headers).number)
        if merge in self._ringing:
            incoming.reply(482)  # §8.2.2.2: the same request by two ways
        elif self._on_invite is None or self._closed:
            incoming.reply(480)
        else:
            self._ringing[merge] = incoming
            # A call nobody ever answers must end as well; after a final response this does nothing.
            asyncio.get_running_loop().call_later(self.endpoint.timers.c, incoming.reply, 480)
            early = DialogId(merge[0], incoming.tag, merge[1])
            try:
                call = await self._fit(incoming)
                if call is not None:
                    self._early[early] = call
                    await self._on_invite(call)
            finally:
                self._early.pop(early, None)
                del self._ringing[merge]

    async def _fit(self, incoming: IncomingRequest) -> IncomingCall | None:
        """The call of an INVITE; None when it has been refused. Raises SipParseError."""
        if self._unfit(incoming):
            return None
        replaces = h.replaces(incoming.request.headers)
        if replaces is None:
            return IncomingCall(self, incoming)
        call = self._calls.get(DialogId(replaces.call_id, replaces.to_tag, replaces.from_tag))
        if call is None:
            incoming.reply(481)
        elif call.end is not None:
            incoming.reply(603)  # RFC 3891 §3: it has just ended
        elif replaces.early_only:
            incoming.reply(486)
        else:
            made = IncomingCall(self, incoming, call)
            if made.same_caller(call) or (self._may_replace is not None and await self._may_replace(made)):
                return made
            incoming.reply(403, headers=[("Warning", h.warning(399, self.aor.host, "the call is somebody else's"))])
        return None

    async def _refer_arrived(self, incoming: IncomingRequest, call: Call | None) -> None:
        assert self._on_refer is not None
        if len(self._referrals) >= REFERRALS:
            incoming.reply(503, headers=[("Retry-After", "30")])
            return
        await self._on_refer(Referral(self, incoming, call))

    def _reply_default(self, incoming: IncomingRequest) -> None:
        if incoming.request.method == "OPTIONS":
            incoming.reply(200, headers=[*self._capabilities(), ("Accept", SDP)])
        else:
            incoming.reply(405, headers=[("Allow", self.allow)])

    def _ack_arrived(self, request: Request, flow: Flow) -> None:
        if not self._trusted(flow) and not self._direct(request):
            return
        dialog_id = DialogId.of_request(request)
        if self._unacknowledged.acknowledged((dialog_id, h.cseq(request.headers).number)):
            self._schedule()
            if (call := self._calls.get(dialog_id)) is not None:
                call._ack_arrived(request)

    def _flow_closed(self, flow: Flow) -> None:
        if self._keeper is not None:
            self._keeper.closed(flow)

    # -- for calls

    def _dialog_headers(self, request: Request | None = None) -> list[tuple[str, str]]:
        """What a response that makes or changes a dialog says (§12.1.1): the way back, and us."""
        routes = request.headers.get_all("Record-Route") if request is not None else []
        ours = [("Contact", str(self.contact)), *self._capabilities()]
        return [*(("Record-Route", value) for value in routes), *ours]

    @property
    def allow(self) -> str:
        """The methods we take (§20.5)."""
        return ALLOW if self._on_refer is None else f"{ALLOW}, REFER"

    def _capabilities(self) -> list[tuple[str, str]]:
        return [("Allow", self.allow), ("Supported", ", ".join(SUPPORTED))]

    def _remember(self, call: Call) -> None:
        self._calls[call.dialog.id] = call

    def _forget(self, call: Call) -> None:
        if call._unacknowledged is not None:
            self._unacknowledged.acknowledged((call.dialog.id, call._unacknowledged))
        self._calls.pop(call.dialog.id, None)


class _Inbox:
    """The `net.sip.Handler` of a user agent."""

    def __init__(self, ua: UserAgent) -> None:
        self._ua = ua

    async def request(self, incoming: IncomingRequest) -> None:
        await self._ua._request_arrived(incoming)

    def ack(self, request: Request, flow: Flow) -> None:
        self._ua._ack_arrived(request, flow)

    def flow_closed(self, flow: Flow) -> None:
        self._ua._flow_closed(flow)
