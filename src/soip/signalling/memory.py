"""What the server remembers across a restart: bindings, written behind and read back.

In memory a binding runs out by the monotonic clock; in the directory it is written with the wall clock's
time, so both clocks are read here and nowhere else. A TCP binding is its connection and ends with the
process; a UDP one is an address and goes on, so that cameras are online again without a new REGISTER.
"""

from __future__ import annotations

from collections.abc import Iterable

from soip.directory.rows import BindingRow
from soip.signalling.flows import FlowKey
from soip.signalling.location import Binding, Changes
from soip.sip.errors import SipParseError
from soip.sip.grammar import split_list


def row_of(binding: Binding, now: float, now_us: int) -> BindingRow:
    """The row of a binding; `now` and `now_us` are one moment, on the two clocks."""
    return BindingRow(
        aor=binding.aor,
        contact=binding.contact,
        account_id=binding.account,
        flow=f"{binding.flow} {binding.target}",
        call_id=binding.call_id,
        cseq=binding.cseq,
        # When the device registered, not when there was time to write it: whoever waits for a camera looks at this.
        registered_us=now_us - int((now - binding.registered_at) * 1_000_000),
        expires_us=now_us + int((binding.expires_at - now) * 1_000_000),
        instance_id=binding.instance,
        reg_id=binding.reg_id,
        user_agent=binding.user_agent,
        path=", ".join(binding.path),
        q=binding.q,
    )


def rows_of(changes: Changes, now: float, now_us: int) -> tuple[list[BindingRow], list[BindingRow]]:
    """Rows to save and rows to delete."""
    saved = [row_of(binding, now, now_us) for binding in changes.stored]
    return saved, [row_of(binding, now, now_us) for binding in changes.gone]


def binding_of(row: BindingRow, now: float, now_us: int, longest: float) -> Binding | None:
    """The binding of a row, None when it has run out or its flow did not outlive the restart.

    A wall clock that was set back must not make a binding last longer than any may, which is `longest` seconds.
    """
    left = min((row.expires_us - now_us) / 1_000_000, longest)
    flow, _, target = row.flow.partition(" ")
    try:
        keys = FlowKey.parse(flow), FlowKey.parse(target)
        path = tuple(split_list(row.path)) if row.path else ()
    except (ValueError, SipParseError):
        return None
    if left <= 0 or not all(key.datagram for key in keys):
        return None
    return Binding(
        aor=row.aor,
        account=row.account_id,
        contact=row.contact,
        flow=keys[0],
        target=keys[1],
        call_id=row.call_id,
        cseq=row.cseq,
        expires_at=now + left,
        instance=row.instance_id,
        reg_id=row.reg_id,
        user_agent=row.user_agent,
        path=path,
        q=row.q,
        registered_at=now - (now_us - row.registered_us) / 1_000_000,
    )


def home_of(row: BindingRow) -> str:
    """The host that the binding of a row was made from, "" when the row does not tell."""
    try:
        return FlowKey.parse(row.flow.partition(" ")[0]).host
    except ValueError:
        return ""


def restored(
    rows: Iterable[BindingRow], now: float, now_us: int, longest: float
) -> tuple[list[Binding], list[BindingRow]]:
    """The bindings still in force, the longest registered first, and the rows that are void."""
    good, void = [], []
    for row in sorted(rows, key=lambda row: row.registered_us):
        binding = binding_of(row, now, now_us, longest)
        if binding is None:
            void.append(row)
        else:
            good.append(binding)
    return good, void
