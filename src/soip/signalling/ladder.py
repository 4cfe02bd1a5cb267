"""The ladder: the last calls that crossed this server, message by message, so that one that did not work explains
itself.

Sans-IO but for its clocks, which are injected. It is the endpoint's witness (`received`, `sent`, `sent_again`), and the
server tells it what only a server knows: who has proved to be whom (`proven`), and where an address leads (`leads`).
`take_rows` gives what has changed.

A call is known by its Call-ID. It begins with an INVITE; whatever else has its Call-ID belongs to it, and nothing else
is looked at.

What strangers do is kept apart and counted by source, so that they push out neither a call of somebody known nor each
other's; and once somebody in a call is known, only those are heard in it who have proved to belong there.

Bounded: `KEPT` calls of those we know and `STRANGERS` others, and so many messages of each; the oldest call gives its
place to the newest. A call that fails again and again in the same way (a camera that is off) takes the place of the one
before, and counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from soip.directory.rows import CallTraceRow
from soip.net.exchange import Witness
from soip.signalling.facts import View, opens_dialog, view_of
from soip.signalling.limits import Buckets, Budget
from soip.signalling.trace import Trace
from soip.signalling.tracerow import restored, row_of
from soip.sip.errors import SipParseError
from soip.sip.flow import Address, Flow
from soip.sip.message import Message, Request, Response, parse_message

KEPT, STRANGERS = 900, 100
CALL_ID = 256
"""Longer ones are not traced."""
STRANGER_BUDGET = Budget(rate=1, burst=20)


class _Shelf:
    """Places of the directory and who has them, the oldest first. None: a call of which only the row is left."""

    def __init__(self, slots: range) -> None:
        self._free = list(reversed(slots))
        self.held: OrderedDict[int, Trace | None] = OrderedDict()

    def take(self, trace: Trace) -> Trace | None:
        """Give the trace a place; what had to go for it, if anything."""
        gone = None
        if self._free:
            trace.slot = self._free.pop()
        else:
            trace.slot, gone = self.held.popitem(last=False)
        self.held[trace.slot] = trace
        return gone

    def give_back(self, slot: int) -> None:
        """The place is free again."""
        del self.held[slot]
        self._free.append(slot)

    def take_back(self, slot: int, trace: Trace | None) -> None:
        """The place is taken by a row of an earlier life."""
        self._free.remove(slot)
        self.held[slot] = trace


class Ladder(Witness):
    """See above. `now` is monotonic seconds, `wall_us` the wall clock in µs, `ids` makes ids for traces."""

    ignores = frozenset({"REGISTER", "SUBSCRIBE", "PUBLISH"})

    def __init__(self, now: Callable[[], float], wall_us: Callable[[], int], ids: Callable[[], str]) -> None:
        self._now = now
        self._last: Message | None = None
        self._view: View = {}
        self._wall_us = wall_us
        self._ids = ids
        self._calls: dict[str, Trace] = {}
        self._kept = _Shelf(range(KEPT))
        self._strangers = _Shelf(range(KEPT, KEPT + STRANGERS))
        self._budget = Buckets(STRANGER_BUDGET, 5_000)
        self._failed: dict[tuple[str, str], Trace] = {}
        self._changed: dict[str, Trace] = {}
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def traces(self) -> Iterator[Trace]:
        """Those in memory."""
        return iter(self._calls.values())

    # -- the witness

    def received(self, message: Message, flow: Flow) -> None:
        """A message has come."""
        if isinstance(message, Request) and message.method != "INVITE" and not self._has(message):
            return  # keepalives, for the most part
        view, now = self._view_of(message), self._now()
        trace = self._trace_of(view)
        if trace is None and _begins(message, view):
            trace = self._begin(view, flow.remote, now)
        if trace is not None and trace.knows(flow.remote):
            self._add(trace, message, view, flow.remote, now, sent=False)

    def sent(self, message: Message, flow: Flow) -> None:
        """A message has gone out."""
        if isinstance(message, Response) and message.status < 300 and not self._has(message):
            return
        view, now = self._view_of(message), self._now()
        trace = self._trace_of(view)
        if trace is None and _refuses(message, view):  # an INVITE that could not be read
            trace = self._begin(view, flow.remote, now)
        if trace is not None and trace.knows(flow.remote):
            self._add(trace, message, view, flow.remote, now, sent=True)

    def sent_again(self, data: bytes, request: Request, flow: Flow) -> None:
        """A message has been repeated, which is told of the first one."""
        with suppress(SipParseError):  # what we write can be longer than what we read
            self.sent(parse_message(data), flow)  # the request may be no more than its method by now

    # -- what the server knows

    def proven(self, request: Request, flow: Flow, identity: str, *, serves: bool = False) -> None:
        """The request, which came over this flow, is of `identity`.

        `serves`: it may say which call it is made for (a media server's, by In-Reply-To, RFC 3261 §20.21).
        """
        trace = self._calls.get(request.headers.get("Call-ID") or "")
        if trace is not None and trace.is_named(flow.remote, identity):
            return  # most are: inside a dialog, where it began
        view, now = self._view_of(request), self._now()
        told = trace is not None and trace.knows(flow.remote)
        if trace is None:
            if not _begins(request, view) or not _traceable(view):
                return
            trace = self._open(view, now)
        if not trace.known:
            self._promote(trace)
        trace.name(flow.remote, identity)
        if not told:
            self._add(trace, request, view, flow.remote, now, sent=False)
        self._changed[trace.id] = trace
        if serves and _begins(request, view):
            self._join(trace, request)

    def leads(self, message: Message, address: Address, identity: str) -> None:
        """The message, of a call whose caller is proven, will go to this address, where `identity` is."""
        trace = self._calls.get(message.headers.get("Call-ID") or "")
        if trace is not None and trace.known:
            trace.name(address, identity)

    def _view_of(self, message: Message) -> View:
        """What is looked at of the message; a request is looked at when it comes, and when somebody is proven by it."""
        if message is not self._last:
            self._last, self._view = message, view_of(message)
        return self._view

    # -- rows

    def take_rows(self) -> tuple[list[CallTraceRow], list[CallTraceRow]]:
        """Rows to save and rows to delete (only their places matter) since the last time."""
        saved = [row_of(trace) for trace in self._changed.values()]
        for trace in self._changed.values():
            trace.written = True
        taken = {row.slot for row in saved}
        gone = [CallTraceRow(slot, "", "", 0, 0, "", False, "", "", 0, "", "") for slot in self._gone - taken]
        self._changed.clear()
        self._gone.clear()
        return saved, gone

    def restore(self, rows: Iterable[CallTraceRow]) -> None:
        """Take over what an earlier process has left: calls that were not over go on. Before anything else, once."""
        now, now_us = self._now(), self._wall_us()
        for row in sorted(rows, key=lambda row: row.started_us):
            shelf = self._kept if row.slot < KEPT else self._strangers
            if not 0 <= row.slot < KEPT + STRANGERS:
                self._gone.add(row.slot)
                continue
            trace = restored(row, now, now_us)
            shelf.take_back(row.slot, trace)
            if trace is not None:
                self._calls[trace.call_id] = trace
                if trace.interrupt():
                    self._changed[trace.id] = trace

    # -- inside

    def _has(self, message: Message) -> bool:
        return (message.headers.get("Call-ID") or "") in self._calls

    def _trace_of(self, view: View) -> Trace | None:
        return self._calls.get(view.get("call-id", ""))

    def _begin(self, view: View, address: Address, now: float) -> Trace | None:
        """A call nobody has proved anything about yet."""
        if not _traceable(view) or not self._budget.take(address[0], now):
            return None
        return self._open(view, now)

    def _open(self, view: View, now: float) -> Trace:
        trace = Trace(self._ids(), view["call-id"], now, self._wall_us())
        self._calls[trace.call_id] = trace
        self._forget(self._strangers.take(trace))
        return trace

    def _promote(self, trace: Trace) -> None:
        self._give_back(self._strangers, trace)
        self._forget(self._kept.take(trace))

    def _give_back(self, shelf: _Shelf, trace: Trace) -> None:
        shelf.give_back(trace.slot)
        if trace.written:
            self._gone.add(trace.slot)

    def _add(self, trace: Trace, message: Message, view: View, address: Address, now: float, *, sent: bool) -> None:
        failed = trace.failed
        trace.add(message, view, address, now, sent=sent)
        self._changed[trace.id] = trace
        if trace.failed and not failed:
            self._count(trace)

    def _join(self, trace: Trace, request: Request) -> None:
        """The call is made for another one, if that is known here."""
        other = self._calls.get((request.headers.get("In-Reply-To") or "").partition(",")[0].strip())
        if other is not None and other is not trace:
            trace.group = other.group

    def _count(self, trace: Trace) -> None:
        """A call that has failed as the last one from the same to the same did takes its place."""
        if not trace.proven or trace.group != trace.id or trace.verdict.code == "challenged":
            return
        trace.ends = (trace.caller, trace.callee)
        before = self._failed.get(trace.ends)
        if before is not None and before is not trace and before.failed and before.verdict == trace.verdict:
            trace.times = before.times + 1
            self._give_back(self._kept, before)
            self._forget(before)
        self._failed[trace.ends] = trace

    def _forget(self, trace: Trace | None) -> None:
        """The trace has no place any more."""
        if trace is None:
            return
        self._changed.pop(trace.id, None)
        if self._calls.get(trace.call_id) is trace:
            del self._calls[trace.call_id]
        if self._failed.get(trace.ends) is trace:
            del self._failed[trace.ends]


def _begins(message: Message, view: View) -> bool:
    return isinstance(message, Request) and message.method == "INVITE" and opens_dialog(message, view)


def _refuses(message: Message, view: View) -> bool:
    """Whether this refuses an INVITE, other than by asking for a password."""
    if not isinstance(message, Response) or message.status < 400 or message.status in (401, 407):
        return False
    return view.get("cseq", "").endswith("INVITE")


def _traceable(view: View) -> bool:
    return 0 < len(view.get("call-id", "")) <= CALL_ID
