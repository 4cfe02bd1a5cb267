"""The location table: which contacts stand behind an address of record (RFC 3261 §10, RFC 5626 §6).

Sans-IO: `now` is monotonic seconds and comes in; what changed is collected for the writer (`take_changes`).
An address of record is the bare id (the user part), because devices put their own address in the host part.

Order of calls: `register`/`unregister`/`clear` for REGISTERs, `expire` when `next_expiry` has come,
`drop_flow` when a connection has ended, `restore` once at the start.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from soip.signalling.errors import StaleRegisterError, TooManyBindingsError
from soip.signalling.flows import FlowKey

MAX_CONTACTS = 8
MAX_BINDINGS = 250_000


@dataclass(frozen=True, slots=True)
class Binding:
    """One contact of one address, and the flow its REGISTER came over.

    `target` is where requests go: the flow itself, or the contact's own address for a peer that answers
    elsewhere than it sends from. `instance` and `reg_id` name the device rather than its contact (RFC 5626
    §4.1); empty and 0 when the device does not say. `path` are the proxies between, as Route values in the order
    in which a request passes them (RFC 3327). `q` is how much the contact is preferred, 0 to 1.
    `registered_at` and `expires_at` are monotonic seconds.
    """

    aor: str
    account: str
    contact: str
    flow: FlowKey
    target: FlowKey
    call_id: str
    cseq: int
    expires_at: float
    instance: str = ""
    reg_id: int = 0
    user_agent: str = ""
    path: tuple[str, ...] = ()
    q: float = 1.0
    registered_at: float = 0.0

    @property
    def key(self) -> tuple[str, int]:
        """What a later REGISTER of the same device replaces: instance and flow number, else the contact."""
        return (self.instance, self.reg_id) if self.instance else (self.contact, 0)


@dataclass(frozen=True, slots=True)
class Changes:
    """What the directory has not been told yet: bindings as they are now, and those that are gone."""

    stored: tuple[Binding, ...]
    gone: tuple[Binding, ...]

    def __bool__(self) -> bool:
        return bool(self.stored or self.gone)


class Location:
    """The bindings in force. Bounded: `per_address` contacts an address, `limit` in all."""

    def __init__(self, *, per_address: int = MAX_CONTACTS, limit: int = MAX_BINDINGS) -> None:
        self._per_address = per_address
        self._limit = limit
        self._by_aor: dict[str, dict[tuple[str, int], Binding]] = {}  # of each the most lately refreshed last
        self._by_flow: dict[FlowKey, dict[str, set[tuple[str, tuple[str, int]]]]] = {}  # then by account
        self._by_target: Counter[tuple[FlowKey, FlowKey]] = Counter()  # flow and target, where they differ
        self._deadlines: list[tuple[float, str, tuple[str, int]]] = []
        self._due: dict[tuple[str, tuple[str, int]], float] = {}  # the one heap entry of a binding that counts
        self._homes: dict[str, str] = {}  # by account, the host it registered from last
        self._stored: dict[tuple[str, str], Binding] = {}  # by address and contact, as the directory has them
        self._gone: dict[tuple[str, str], Binding] = {}
        self._count = 0
        self._changed: Callable[[str], None] = lambda _aor: None

    def on_change(self, changed: Callable[[str], None]) -> None:
        """Who is told, at once, of each address whose bindings change or are refreshed."""
        self._changed = changed

    def __len__(self) -> int:
        return self._count

    def bindings(self, aor: str, now: float) -> tuple[Binding, ...]:
        """The contacts of an address, the most lately refreshed first."""
        held = self._by_aor.get(aor)
        return tuple([b for b in reversed(held.values()) if b.expires_at > now]) if held else ()

    def on_flow(self, flow: FlowKey, account: str, now: float) -> tuple[Binding, ...]:
        """The bindings of one account whose authenticated REGISTER came over this flow.

        A flow may carry thousands of accounts (a bridge, an SBC), so nothing here looks at all of a flow's.
        """
        accounts = self._by_flow.get(flow)
        places = accounts.get(account) if accounts else None
        if not places:
            return ()
        held = [self._by_aor[aor][key] for aor, key in places]
        return tuple([b for b in held if b.expires_at > now])

    def is_used(self, flow: FlowKey) -> bool:
        """Whether anybody is registered over this flow."""
        return flow in self._by_flow

    def is_home(self, account: str, host: str) -> bool:
        """Whether this is where the account registered from last, whatever has become of that registration."""
        return self._homes.get(account) == host

    def was_at(self, account: str, host: str) -> None:
        """An account has registered from there, now or before a restart."""
        self._homes[account] = host
        if len(self._homes) > self._limit:
            del self._homes[next(iter(self._homes))]

    def leads_to(self, flow: FlowKey, target: FlowKey) -> bool:
        """Whether a device that registered over `flow` is reached at `target`."""
        return bool(self._by_target.get((flow, target)))

    def all(self, now: float) -> Iterable[Binding]:
        """Every binding in force."""
        return [b for held in self._by_aor.values() for b in held.values() if b.expires_at > now]

    def register(self, bindings: Iterable[Binding], now: float) -> None:
        """Add or refresh the contacts of one REGISTER, all of one address; all of them or, on an error, none.

        An address that has as many contacts as it may have loses its oldest: a camera that comes back from
        each loss of power with a new contact must never be locked out by its own past. Raises
        StaleRegisterError when a contact is not newer than what it replaces (same Call-ID, lower CSeq), and
        TooManyBindingsError when the whole table is full or one REGISTER names more contacts than an address
        may have.
        """
        fresh = list(bindings)
        if not fresh:
            return
        aor, wanted = fresh[0].aor, {b.key for b in fresh}
        self.check_order(aor, wanted, fresh[0].call_id, fresh[0].cseq, now)
        added = wanted - self._by_aor.get(aor, {}).keys()
        if len(wanted) > self._per_address or self._count + len(added) > self._limit:
            raise TooManyBindingsError(f"{aor}: {len(added)} more, the server has {self._count}")
        for binding in fresh:
            self._put(binding)
        if len(self._by_aor[aor]) > self._per_address:
            for old in self.bindings(aor, now)[self._per_address :]:
                self._remove(aor, old.key)

    def unregister(self, aor: str, keys: Iterable[tuple[str, int]], call_id: str, cseq: int, now: float) -> None:
        """Remove contacts by key; unknown ones are not an error. Raises StaleRegisterError, and then removes
        none.
        """
        found = [key for key in keys if key in self._by_aor.get(aor, {})]
        self.check_order(aor, found, call_id, cseq, now)
        for key in found:
            self._remove(aor, key)

    def check_order(self, aor: str, keys: Iterable[tuple[str, int]], call_id: str, cseq: int, now: float) -> None:
        """Raises StaleRegisterError when a REGISTER with this Call-ID and CSeq is older than one of the
        bindings.
        """
        # RFC 3261 §10.3 step 7: within one Call-ID a lower CSeq is an older request that came late. The same
        # CSeq is the same request again over another transaction, which a restarted server sees as new.
        for key in keys:
            held = self._by_aor.get(aor, {}).get(key)
            if held is not None and held.expires_at > now and held.call_id == call_id and cseq < held.cseq:
                raise StaleRegisterError(f"{aor}: CSeq {cseq} after {held.cseq} in call {call_id}")

    def clear(self, aor: str, call_id: str, cseq: int, now: float) -> None:
        """Remove all contacts of an address (`Contact: *`, RFC 3261 §10.3 step 6)."""
        self.unregister(aor, list(self._by_aor.get(aor, {})), call_id, cseq, now)

    def forget(self, lost: Callable[[Binding], bool]) -> list[Binding]:
        """Remove the bindings for which `lost` says that their account has no right to them any more."""
        found = [b for held in self._by_aor.values() for b in held.values() if lost(b)]
        for binding in found:
            self._homes.pop(binding.account, None)
        return [self._remove(b.aor, b.key) for b in found]

    def drop_flow(self, flow: FlowKey) -> list[Binding]:
        """A connection has ended: its bindings end with it (RFC 5626 §5.3)."""
        places = [place for held in self._by_flow.get(flow, {}).values() for place in held]
        return [self._remove(aor, key) for aor, key in places]

    def next_expiry(self) -> float | None:
        """When `expire` is next worth calling."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now: float) -> list[Binding]:
        """Remove what has run out; returns it."""
        gone = []
        while self._deadlines and self._deadlines[0][0] <= now:
            due, aor, key = heapq.heappop(self._deadlines)
            if self._due.get((aor, key)) != due:
                continue
            held = self._by_aor[aor][key]
            if held.expires_at <= now:
                gone.append(self._remove(aor, key))
            else:  # refreshed since: the entry is moved only when it comes up
                self._schedule(held, (aor, key))
        return gone

    def restore(self, bindings: Iterable[Binding]) -> None:
        """Take back what the directory remembers from before a restart; nothing of it is written again."""
        for binding in bindings:
            if self._count < self._limit:
                self._put(binding)
        self._stored.clear()

    def take_changes(self) -> Changes:
        """What has changed since the last call, each binding once, in its last state."""
        changes = Changes(tuple(self._stored.values()), tuple(self._gone.values()))
        self._stored, self._gone = {}, {}
        return changes

    def _put(self, binding: Binding) -> None:
        key = binding.key
        place = (binding.aor, key)  # one tuple for all tables: there are many bindings
        for twin in list(self._by_aor.get(binding.aor, {}).values()):
            if twin.contact == binding.contact and twin.key != key:
                self._remove(twin.aor, twin.key)  # one contact, named by instance now and not before, or the reverse
        held = self._by_aor.setdefault(binding.aor, {})
        old = held.pop(key, None)
        if old is None:
            self._count += 1
        else:
            self._leave_flow(old)
            self._note_gone(old)
        held[key] = binding  # at the end: the most lately refreshed
        if binding.expires_at < self._due.get(place, math.inf):
            self._schedule(binding, place)
        self._by_flow.setdefault(binding.flow, {}).setdefault(binding.account, set()).add(place)
        self.was_at(binding.account, binding.flow.host)
        if binding.target != binding.flow:
            self._by_target[binding.flow, binding.target] += 1
        self._gone.pop((binding.aor, binding.contact), None)
        self._stored[binding.aor, binding.contact] = binding
        self._changed(binding.aor)

    def _remove(self, aor: str, key: tuple[str, int]) -> Binding:
        binding = self._by_aor[aor].pop(key)
        if not self._by_aor[aor]:
            del self._by_aor[aor]
        self._leave_flow(binding)
        self._count -= 1
        del self._due[(aor, key)]
        self._note_gone(binding)
        self._changed(aor)
        return binding

    def _note_gone(self, binding: Binding) -> None:
        self._stored.pop((binding.aor, binding.contact), None)
        self._gone[binding.aor, binding.contact] = binding

    def _schedule(self, binding: Binding, place: tuple[str, tuple[str, int]]) -> None:
        self._due[place] = binding.expires_at
        heapq.heappush(self._deadlines, (binding.expires_at, *place))
        if len(self._deadlines) > 2 * len(self._due) + 1024:  # entries that no longer count, from re-registering
            self._deadlines = [(due, aor, key) for (aor, key), due in self._due.items()]
            heapq.heapify(self._deadlines)

    def _leave_flow(self, binding: Binding) -> None:
        accounts = self._by_flow[binding.flow]
        accounts[binding.account].discard((binding.aor, binding.key))
        if not accounts[binding.account]:
            del accounts[binding.account]
            if not accounts:
                del self._by_flow[binding.flow]
        if binding.target != binding.flow:
            ways = binding.flow, binding.target
            self._by_target[ways] -= 1
            if not self._by_target[ways]:
                del self._by_target[ways]
