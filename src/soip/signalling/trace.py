"""One call as this server saw it: all messages of one Call-ID, who they went between, and what became of it.

Sans-IO: `now` is monotonic seconds. Everything is bounded: a call that talks on for days keeps its beginning and its
end, and how many messages were left out between them.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from soip.signalling.facts import View, clean, facts_of, line_of, opens_dialog, reason_text, warning_text
from soip.signalling.trust import WRONG_PASSWORD
from soip.signalling.verdict import SERVER, Verdict, refusal
from soip.sip.errors import SipParseError
from soip.sip.flow import Address
from soip.sip.message import Message, Request, Response
from soip.sip.uri import NameAddr, format_host

HEAD, TAIL = 60, 40
"""Messages kept of a call: the first and the last so many."""
PARTIES = 20
NAME = 64
_CSEQ = 40

OVER = frozenset({"ended", "cancelled", "failed"})


Told = tuple[float, int, int, str, str, tuple[str, ...]]
"""One message: seconds since the call began, who it came from and went to (numbers of parties; this server is party 0),
its line, its CSeq, and facts. Plain tuples: of those the garbage collector takes no notice, and there may be many.
"""

Key = tuple[int, int, str, str]
"""What a message and its repeats have in common: all but the time and the facts."""


@dataclass(slots=True)
class Party:
    """One end of a message: where it is, and who it has proved to be ("" while that is not known)."""

    address: str
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or self.address


class Trace:
    """See above. `id` is the trace's own; `group` is that of the call it was made for, else its own. `slot` is its
    place in the directory. `caller` and `callee` are ids: who proved to call, or claims to, and who was dialled.
    """

    def __init__(self, identity: str, call_id: str, now: float, started_us: int) -> None:
        self.id = identity
        self.group = identity
        self.call_id = call_id
        self.started = now
        self.started_us = started_us
        self.slot = -1
        self.known = False
        """Whether a party has proved who it is: from then on nobody else is listened to."""
        self.caller = self.callee = ""
        self.state = "calling"
        self.times = 1
        """How often in a row the same call has failed in the same way."""
        self.ends = ("", "")
        """From whom to whom, once it has failed."""
        self.written = False
        """Whether the directory has been told of it."""
        self.changed = now
        self.left_out = 0
        self.caller_at = 0
        self.parties = [Party("", "")]
        self._index: dict[Address, int] = {}
        self._head: list[Told] = []
        self._tail: deque[Told] = deque()
        self._again: dict[Key, int] = {}  # what is kept, and how often it was repeated
        self._cancelled = False
        self._asked = 0  # who the INVITE was sent to last
        self._asked_at = 0.0
        self._provisional = 0
        self._refused: dict[int, int] = {}  # the finals others gave, by status, and who
        self._end: Verdict | None = None

    def __len__(self) -> int:
        return len(self._head) + len(self._tail)

    def resume(self, parties: Iterable[Party], messages: Iterable[tuple[Told, int]]) -> None:
        """Go on where an earlier process has stopped; the attributes are set by the caller."""
        for party in parties:
            host, _, port = party.address.rpartition(":")
            self._index[host.strip("[]"), int(port)] = len(self.parties)
            self.parties.append(party)
        self.known = any(party.name for party in self.parties)
        for told, again in messages:
            self._keep(told, again)

    def interrupt(self) -> bool:
        """This process is a new one: what was not answered yet never will be. Whether that is so of this call."""
        if self.state not in ("calling", "ringing"):
            return False
        self._finish("failed", Verdict("interrupted", self.caller))
        return True

    @property
    def failed(self) -> bool:
        """Whether it has been refused, as it stands."""
        return self.state == "failed"

    @property
    def proven(self) -> bool:
        """Whether the caller has proved to be `caller`."""
        return bool(self.parties[self.caller_at].name)

    @property
    def messages(self) -> Iterator[tuple[Told, int]]:
        """What is kept, in order, and how often each was repeated."""
        for told in itertools.chain(self._head, self._tail):
            yield told, self._again.get(told[1:5], 0)

    # -- who

    def name(self, address: Address, name: str) -> None:
        """Whoever is at this address has proved to be `name`, or is where requests for `name` go."""
        self.known = True
        at = self._party(address)
        if at:
            self.parties[at].name = name[:NAME]
            if at == self.caller_at:
                self.caller = name[:NAME]

    def is_named(self, address: Address, name: str) -> bool:
        """Whether it is known who is at this address, and that it is `name`."""
        at = self._index.get(address, 0)
        return at > 0 and self.parties[at].name == name

    def knows(self, address: Address) -> bool:
        """Whether messages from and to this address belong here."""
        return not self.known or address in self._index

    def _party(self, address: Address) -> int:
        at = self._index.get(address)
        if at is None:
            at = 0 if self.known else self._double(address[0])
            if len(self._index) >= PARTIES:
                return at
            if not at:
                at = len(self.parties)
                self.parties.append(Party(format_host(*address)))
            self._index[address] = at
        return at

    def _double(self, host: str) -> int:
        """The caller's other address: a phone asks by UDP, and then by TCP, since with its password the request is
        longer (RFC 3261 §18.1.1).
        """
        return next((at for other, at in self._index.items() if other[0] == host), 0)

    # -- what

    def add(self, message: Message, view: View, address: Address, now: float, *, sent: bool) -> None:
        """A message came from this address, or was sent to it."""
        at = self._party(address)
        if not at:
            return  # more parties than any call has
        sender, receiver = (0, at) if sent else (at, 0)
        line = line_of(message, view)
        cseq = clean(view.get("cseq", ""), _CSEQ)
        self.changed = now
        key = (sender, receiver, line, cseq)
        if key in self._again:
            self._again[key] += 1
            return
        self._keep((now - self.started, *key, facts_of(message, view)), 0)
        if isinstance(message, Request):
            self._request(message, view, at, now, sent=sent)
        elif cseq.endswith("INVITE"):
            self._response(message, view, at, now, sent=sent)

    def _keep(self, told: Told, again: int) -> None:
        if len(self._head) < HEAD:
            self._head.append(told)
        else:
            if len(self._tail) == TAIL:
                self.left_out += 1
                self._again.pop(self._tail.popleft()[1:5], None)
            self._tail.append(told)
        self._again[told[1:5]] = again

    # -- what became of it

    def _request(self, request: Request, view: View, at: int, now: float, *, sent: bool) -> None:
        if request.method == "INVITE":
            if opens_dialog(request, view):
                self._invite(request, view, at, now, sent=sent)
        elif request.method == "CANCEL" and at == self.caller_at:
            self._cancelled = True
        elif request.method == "BYE" and not sent and self.state == "established":
            self._finish("ended", Verdict("ended", self.parties[at].label, reason=reason_text(view)))

    def _invite(self, request: Request, view: View, at: int, now: float, *, sent: bool) -> None:
        if sent:
            self._asked, self._asked_at = at, now
            return
        if self.state in ("established", "ended"):
            return
        if not self.proven:
            self.caller_at = at
            self.caller = self.parties[at].name or _user(view.get("from", ""))
        self.callee = clean(request.uri.user.partition(";")[0], NAME)
        self.state, self._end = "calling", None
        self._cancelled = False
        self._asked = self._provisional = 0
        self._refused.clear()

    def _response(self, response: Response, view: View, at: int, now: float, *, sent: bool) -> None:
        status = response.status
        if not sent:
            if 100 < status < 200:
                self._provisional = at
            elif status >= 300:
                self._refused[status] = at
            return
        if not self.caller_at:  # of an INVITE that could not be read
            self.caller_at, self.caller, self.callee = at, _user(view.get("from", "")), _user(view.get("to", ""))
        if at == self.caller_at and self.state in ("calling", "ringing"):
            if 100 < status < 200:
                self.state = "ringing"
            elif 200 <= status < 300:
                self.state = "established"
            elif status >= 300:
                self._refuse(response, view, now)

    def _refuse(self, response: Response, view: View, now: float) -> None:
        status, reason = response.status, warning_text(view)
        origin = self._refused.get(status, 0)
        code = refusal(status, by_server=not origin, wrong_password=not origin and reason == WRONG_PASSWORD)
        if code == "gave-up" and not self._cancelled:
            code = "no-answer"  # nobody took back the call: it had rung for as long as this server lets it (timer C)
        who, seconds = self.caller, 0
        if code == "no-answer":
            who, seconds = self.parties[self._asked].label or self.callee, round(now - self._asked_at)
        elif code in ("busy", "declined"):
            who = self.callee
        if code == "refused" or (code == "unavailable" and not reason):
            reason = reason or clean(response.reason, NAME)
        named = SERVER if not origin else self.parties[origin].label
        own = code in ("gave-up", "no-answer", "challenged")  # the status says nothing more
        verdict = Verdict(code, who, "" if own else named, 0 if own else status, "" if own else reason, seconds)
        self._finish("cancelled" if code == "gave-up" else "failed", verdict)

    def _finish(self, state: str, verdict: Verdict) -> None:
        self.state, self._end = state, verdict

    @property
    def verdict(self) -> Verdict:
        """How it stands."""
        if self._end is not None:
            return self._end
        if self.state == "ringing":
            return Verdict("ringing", self.parties[self._provisional].name or self.callee)
        return Verdict(self.state, self.callee)


def _user(value: str) -> str:
    """The id in a From, which may be anybody's, or in a To."""
    try:
        return clean(NameAddr.parse(value).uri.user.partition(";")[0], NAME)
    except SipParseError:
        return ""
