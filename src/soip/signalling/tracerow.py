"""Traces as rows of the directory, and back after a restart: a call outlives the server that carries its signalling."""

from __future__ import annotations

import json

from soip.directory.rows import CallTraceRow
from soip.signalling.facts import clean
from soip.signalling.trace import OVER, Party, Trace

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def row_of(trace: Trace) -> CallTraceRow:
    """The row of a trace as it stands."""
    since_us = round((trace.changed - trace.started) * 1e6)
    ladder = {
        "call_id": clean(trace.call_id, 256),
        "caller": trace.caller_at,
        "left_out": trace.left_out,
        "parties": [[party.address, party.name] for party in trace.parties],
        "messages": [[round(told[0] * 1e6), *told[1:], again] for told, again in trace.messages],
    }
    return CallTraceRow(
        slot=trace.slot,
        id=trace.id,
        group_id=trace.group,
        started_us=trace.started_us,
        updated_us=trace.started_us + since_us,
        caller=trace.caller,
        proven=trace.proven,
        callee=trace.callee,
        state=trace.state,
        times=trace.times,
        verdict=_write(trace.verdict.facts()),
        ladder=_write(ladder),
    )


def restored(row: CallTraceRow, now: float, now_us: int) -> Trace | None:
    """The trace of a call that was not over, to be gone on with; None for one that was, or that cannot be read."""
    if row.state in OVER:
        return None
    try:
        ladder = json.loads(row.ladder)
        trace = Trace(row.id, str(ladder["call_id"]), now - (now_us - row.started_us) / 1e6, row.started_us)
        trace.group, trace.slot, trace.times = row.group_id, row.slot, row.times
        trace.written = True
        trace.caller, trace.callee, trace.state = row.caller, row.callee, row.state
        trace.caller_at = int(ladder["caller"])
        trace.left_out = int(ladder["left_out"])
        trace.resume(
            [Party(str(address), str(name)) for address, name in ladder["parties"][1:]],
            [
                ((at / 1e6, int(sender), int(receiver), str(line), str(cseq), tuple(facts)), int(again))
                for at, sender, receiver, line, cseq, facts, again in ladder["messages"]
            ],
        )
        return trace if 0 <= trace.caller_at < len(trace.parties) else None
    except (ValueError, TypeError, LookupError):
        return None
