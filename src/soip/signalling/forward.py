"""Forwarding: a copy of the request for each branch, its answers back upstream (RFC 3261 §16.6, §16.7).

What is ours to add is decided here: Max-Forwards, Record-Route with the flow token, who is asserted. The
branch's Via, its transaction and timer C are the endpoint's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from soip.net.errors import FlowError, NetError, RequestTimeoutError
from soip.net.exchange import IncomingRequest, Outgoing
from soip.net.sip import SipEndpoint
from soip.net.sip import Way as NetWay
from soip.net.target import Target
from soip.signalling import flowtoken
from soip.signalling.flowbook import FlowBook
from soip.signalling.flows import FlowKey, InstanceFlow, TrunkFlow, Way
from soip.signalling.flowtoken import End, Path
from soip.signalling.forking import Fork, shares
from soip.signalling.ladder import Ladder
from soip.signalling.routing import Forward, Leg
from soip.signalling.srtpkeys import exposed
from soip.signalling.trunk import Watch
from soip.signalling.trunks import Trunks
from soip.signalling.trust import House, strip_credentials
from soip.sip import headers
from soip.sip.flow import Address, Flow
from soip.sip.message import Request, Response
from soip.sip.reply import make_response
from soip.sip.uri import Uri, format_host

DEFAULT_MAX_FORWARDS = 70
GROUP_SECONDS = 20.0
"""How long contacts may ring before those preferred less are called. Timer C would let them ring for three minutes."""
FLOW_FAILED = 430
"""A proxy between says that the flow it keeps for a device has ended (RFC 5626 §11.5)."""
IDENTITY_HEADERS = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")
# Requests that make a dialog, whose later requests must pass here too (RFC 3261 §16.6 step 4).
DIALOG_METHODS = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})


class Forwarder:
    """Sends requests on. `key` signs flow tokens; it must outlive a restart, as dialogs do."""

    def __init__(
        self, endpoint: SipEndpoint, book: FlowBook, trunks: Trunks, key: bytes, house: House, ladder: Ladder
    ) -> None:
        self._endpoint = endpoint
        self._book = book
        self._trunks = trunks
        self._key = key
        self._house = house
        self._ladder = ladder
        self._retries: set[asyncio.Task[None]] = set()

    async def out_of_dialog(
        self, incoming: IncomingRequest, forward: Forward, caller: End, identity: str, asserted: str = ""
    ) -> None:
        """Forward a request of an authenticated caller to its legs, one group after the other. `identity` is the
        caller's id here, `asserted` the address by which another server has named him.
        """
        legs = forward.legs
        breadths = shares(headers.max_breadth(incoming.request.headers), len(legs))
        if not breadths:
            incoming.reply(440)
            return
        near = FlowKey.of(incoming.flow) if isinstance(caller.way, TrunkFlow) else self._book.key(caller.way)

        def copy_for(leg: Leg, breadth: int) -> _Copy:
            copy = self._copy(incoming.request)
            copy.headers.set("Max-Breadth", str(breadth))
            copy.uri = Uri.parse(leg.uri)
            copy.headers.set_all("Route", leg.routes)  # RFC 3327 §5.5
            if name := self._named(leg.way, identity, asserted):
                copy.headers.add("P-Asserted-Identity", f"<{name}>")
            end = End(leg.way, leg.identity)
            path = Path(caller, end) if copy.method in DIALOG_METHODS else None
            if path is not None and not isinstance(leg.way, TrunkFlow):
                self._record_route(copy, path, near, self._book.key(leg.way))
            others = tuple(copy_for(other, breadth) for other in leg.others)
            return _Copy(copy, end, caller.way, leg.identity, path, near, others)

        copies = [copy_for(leg, breadth) for leg, breadth in zip(legs, breadths, strict=True)]
        await self._send(incoming, copies, [len(group) for group in forward.groups])

    def _named(self, way: Way, identity: str, asserted: str) -> str:
        """The address asserted to who is at the end of a way (RFC 3325): media servers know our ids alone, people want
        to know who calls, and other servers learn it where we trust them with it (§5).
        """
        ours = f"sip:{identity}@{self._house.domain}"
        if isinstance(way, TrunkFlow):
            trunk = self._trunks.get(way.route)
            return ours if trunk is not None and trunk.route.assert_identity else ""
        return ours if isinstance(way, InstanceFlow) else asserted or ours

    async def in_dialog(self, incoming: IncomingRequest, near: End, far: End) -> None:
        """Forward a request of a dialog whose path is known; its Request-URI is the remote target, unchanged."""
        copy = self._copy(incoming.request)
        self.pop_routes(copy)
        await self._send(incoming, [_Copy(copy, far, near.way)], [1])

    async def ack(self, request: Request, far: End) -> None:
        """Pass the ACK of a 2xx on, statelessly (RFC 3261 §16.11). Raises FlowError."""
        copy = self._copy(request)
        self.pop_routes(copy)
        if isinstance(far.way, TrunkFlow) and (trunk := self._trunks.get(far.way.route)) is not None:
            resolved: NetWay | None = await trunk.hop(copy)
        else:
            resolved = self._book.resolve(far.way)
        if resolved is None:
            raise FlowError(f"the way {far.way} is closed")
        self._ladder.leads(copy, _address(resolved), far.name)
        await self._endpoint.send_stateless(copy, resolved)

    def path_of(self, request: Request) -> Path | None:
        """The path in the topmost Route, if we wrote it."""
        found = headers.routes(request.headers)
        return flowtoken.read(self._key, found[0].uri.user) if found else None

    def pop_routes(self, request: Request) -> None:
        """Remove our own Route elements from the top: one, or two where the transport changes (RFC 5658)."""
        path = self.path_of(request)
        while path is not None and self.path_of(request) == path:
            headers.pop_first(request.headers, "Route")

    def _copy(self, request: Request) -> Request:
        copy = request.copy()
        hops = headers.max_forwards(copy.headers)
        copy.headers.set("Max-Forwards", str(DEFAULT_MAX_FORWARDS if hops is None else hops - 1))
        for name in IDENTITY_HEADERS:  # RFC 3325 §5: from outside the trust domain it says nothing
            copy.headers.remove(name)
        strip_credentials(copy, self._house.realm)
        copy.trail = self._endpoint.trail_of(request)
        return copy

    def _record_route(self, copy: Request, path: Path, near: FlowKey | None, far: FlowKey | None) -> None:
        """Put us on the dialog's path: once, or once for each side where the sides see different addresses or
        transports of ours (RFC 5658 §5).
        """
        token = flowtoken.issue(self._key, path)
        for side in dict.fromkeys((self._our_side(near), self._our_side(far))):
            copy.headers.prepend("Record-Route", f"<sip:{token}@{side};lr>")

    def _our_side(self, key: FlowKey | None) -> str:
        """Our address as the peer at the end of a way reaches it, with the transport where it is not the default."""
        if key is None:  # a media instance that has just gone; it will come back over TCP
            return f"{format_host(*self._endpoint.address)};transport=tcp"
        address = format_host(*self._endpoint.address_towards(key.host, key.transport))
        return f"{address};transport={key.parameter}" if key.parameter else address

    async def _send(self, incoming: IncomingRequest, copies: Sequence[_Copy], groups: Sequence[int]) -> None:
        """`groups`: how many of the copies go at once, then how many of those that are left, and so on."""
        branches = _Branches(incoming, len(copies), groups[0], self._house.domain)
        if incoming.request.method == "INVITE":
            incoming.reply(100)  # at once: the caller's repeats stop, whatever the branches do (§16.2)
        incoming.on_cancel(branches.fork.cancel)
        number = 0
        for group in groups:
            if number and not await branches.next_group(group):
                return
            for copy in copies[number : number + group]:
                if branches.fork.done:
                    return
                if isinstance(copy.end.way, TrunkFlow):
                    await self._abroad(branches, number, copy)
                else:
                    await self._start(branches, number, incoming.flow, copy)
                number += 1

    async def _abroad(self, branches: _Branches, number: int, copy: _Copy) -> None:
        """A branch over a route, until it has ended: only then is it known whether another hop is to be tried."""
        way = copy.end.way
        assert isinstance(way, TrunkFlow)
        trunk = self._trunks.get(way.route)

        def prepare(request: Request, target: Target) -> None:
            if copy.path is not None:
                far = FlowKey(target.transport, target.host, target.port)
                self._record_route(request, copy.path, copy.near, far)
            self._ladder.leads(request, _address(target), copy.end.name)

        watch = Watch(
            prepare,
            started=lambda outgoing: branches.started(number, outgoing),
            passing=lambda response: branches.answered(number, "", response),
            wanted=lambda: not branches.is_unwanted(number),
        )
        try:
            if trunk is None:
                raise FlowError("there is no such route any more")
            final = await trunk.send(copy.request, watch)
        except NetError as error:
            branches.failed(number, way, error)
            return
        if final.status >= 300:
            branches.answered(number, "", final)

    async def _start(self, branches: _Branches, number: int, source: Flow, copy: _Copy) -> None:
        """A branch over one flow, and while that fails over the other flows of the device, one after the other."""
        way = copy.end.way
        latest = 0

        def answered(response: Response) -> None:
            nonlocal latest
            latest = response.status
            if latest != FLOW_FAILED or not self._start_other(branches, number, source, copy):
                branches.answered(number, copy.identity, response)

        def failed(error: NetError) -> None:
            flow_failed = _is_of_the_flow(error, copy.request, latest)
            if not flow_failed or not self._start_other(branches, number, source, copy):
                branches.failed(number, way, error)

        resolved = self._book.resolve(way)
        if resolved is None:
            failed(FlowError("it is closed"))
            return
        if why := exposed(copy.request, copy.sender, source, way, resolved):
            branches.refused(number, why)
            return
        self._ladder.leads(copy.request, _address(resolved), copy.end.name)
        try:
            outgoing = await self._endpoint.send(copy.request, resolved, on_response=answered, on_failure=failed)
        except NetError as error:
            failed(error)
            return
        branches.started(number, outgoing)

    def _start_other(self, branches: _Branches, number: int, source: Flow, copy: _Copy) -> bool:
        """Whether the branch goes on over another flow of the device: the first that is left (RFC 5626 §5.3)."""
        if not copy.others or branches.is_unwanted(number) or branches.fork.done:
            return False
        other = replace(copy.others[0], others=copy.others[1:])
        task = asyncio.ensure_future(self._start(branches, number, source, other))
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)
        return True


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy of a request for one end, from who is at the end of the way `sender`. `identity` answers there, if that is
    known. With a `path` the request makes a dialog, whose other end is reached on `near`. `others` are for the other
    flows of the same device.
    """

    request: Request
    end: End
    sender: Way
    identity: str = ""
    path: Path | None = None
    near: FlowKey | None = None
    others: tuple[_Copy, ...] = ()


class _Branches:
    """The branches of one request, and the glue between `Fork` and the endpoint."""

    def __init__(self, incoming: IncomingRequest, count: int, begun: int, domain: str) -> None:
        self._incoming = incoming
        self._domain = domain
        self._outgoing: dict[int, Outgoing] = {}
        self._unwanted: set[int] = set()
        self._over = asyncio.Event()
        self.fork = Fork(count, incoming.respond, self._cancel, begun=begun, exhausted=self._over.set)

    async def next_group(self, count: int) -> bool:
        """Wait until those that run have ended in vain or rung for long enough; whether the next `count` are wanted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GROUP_SECONDS):
                await self._over.wait()
        if not self.fork.more:
            return False
        self._over.clear()
        self.fork.begin(count)
        return True

    def started(self, number: int, outgoing: Outgoing) -> None:
        """The branch has a transaction; a CANCEL may have come while it was made."""
        self._outgoing[number] = outgoing
        if number in self._unwanted:
            outgoing.cancel()

    def is_unwanted(self, number: int) -> bool:
        """Whether the branch has been cancelled."""
        return number in self._unwanted

    def answered(self, number: int, identity: str, response: Response) -> None:
        """A response of the branch, our Via already removed."""
        for name in IDENTITY_HEADERS:
            response.headers.remove(name)
        if identity and response.status > 100:
            # The callee was reached by its authenticated binding: that is who answers (RFC 3325 §5).
            response.headers.add("P-Asserted-Identity", f"<sip:{identity}@{self._domain}>")
        self.fork.response(number, response)

    def failed(self, number: int, way: Way, error: NetError) -> None:
        """The branch ended without an answer: the response that stands for it (§16.8, §16.9)."""
        request = self._incoming.request
        if isinstance(error, RequestTimeoutError):
            status = 487 if self.fork.cancelled else 408
            response = make_response(request, status, to_tag="timeout")
        elif isinstance(way, InstanceFlow):
            response = make_response(request, 503, to_tag="closed")
            response.headers.add("Retry-After", "3")
            self._explain(response, f"the way to media server {way.instance} failed")
        elif isinstance(way, TrunkFlow):
            response = make_response(request, 503, to_tag="closed")
            self._explain(response, f"the route {way.route} failed: {error}")
        else:
            response = make_response(request, 480, to_tag="closed")
            self._explain(response, "the way to the device failed; it must register again")
        self.fork.response(number, response)

    def refused(self, number: int, why: str) -> None:
        """The branch may not be: its description is not for that way."""
        response = make_response(self._incoming.request, 488, to_tag="exposed")
        self._explain(response, why)
        self.fork.response(number, response)

    def _explain(self, response: Response, text: str) -> None:
        response.headers.add("Warning", headers.warning(399, self._domain, text))

    def _cancel(self, number: int) -> None:
        self._unwanted.add(number)
        if number in self._outgoing:
            self._outgoing[number].cancel()


def _is_of_the_flow(error: NetError, request: Request, latest: int) -> bool:
    """Whether a branch has failed for its flow's sake, by the status it was answered `latest`, 0 for none. A device
    that has rung has the request. Who waits for anything but an INVITE has given up when that times out (RFC 4320).
    """
    if isinstance(error, RequestTimeoutError):
        return latest == 0 and request.method == "INVITE"
    return latest <= 100


def _address(way: NetWay) -> Address:
    return way.remote if isinstance(way, Flow) else (way.host, way.port)


def from_path(path: Path, source: FlowKey, book: FlowBook) -> End | None:
    """The other end of a path, for a request that came over one of its two flows; None from anywhere else."""
    ends = (path.caller, path.callee)
    # A route is matched by an address alone, behind which there may be others: so the end that is one flow comes first.
    for end in sorted(ends, key=lambda end: isinstance(end.way, TrunkFlow)):
        if book.matches(end.way, source):
            return path.other(end)
    return None
