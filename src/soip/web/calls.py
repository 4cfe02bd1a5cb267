"""Traced calls as people see them: one ladder of all calls that belong together, its participants in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from soip.directory.rows import CallTraceRow
from soip.web.models import CallView, LadderView, MessageView, ParticipantView, VerdictView
from soip.web.times import render

OVER = frozenset({"ended", "cancelled", "failed"})
SERVER = "SIP server"
MOST_MESSAGES = 1000
"""Messages of one ladder; it names how many are left out."""


def summary(row: CallTraceRow) -> CallView:
    """A call in a list."""
    return CallView(**_summary(row))


def ladder(identity: str, rows: Sequence[CallTraceRow]) -> LadderView | None:
    """The call of this id with its messages, and those of the other `rows` of its group; None when it is not there."""
    asked = next((row for row in rows if row.id == identity), None)
    if asked is None:
        return None
    start_us = min(row.started_us for row in rows)
    table = _Participants()
    messages = []
    left_out = 0
    for row in rows:
        told = json.loads(row.ladder)
        numbers = table.take(told["parties"])
        left_out += told["left_out"]
        for at_us, sender, receiver, line, cseq, facts, again in told["messages"]:
            at = (row.started_us - start_us + at_us) / 1000
            pair = (numbers[sender], numbers[receiver])
            messages.append(
                MessageView(at=at, sender=pair[0], receiver=pair[1], line=line, cseq=cseq, facts=facts, again=again)
            )
    messages.sort(key=lambda message: message.at)
    left_out += max(0, len(messages) - MOST_MESSAGES)
    return LadderView(
        **_summary(asked) | {"started": render(start_us)},
        participants=table.all,
        messages=messages[:MOST_MESSAGES],
        left_out=left_out,
        calls=[summary(row) for row in rows],
    )


def _summary(row: CallTraceRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "started": render(row.started_us),
        "ended": render(row.updated_us) if row.state in OVER else None,
        "caller": row.caller,
        "proven": row.proven,
        "callee": row.callee,
        "state": row.state,
        "times": row.times,
        "verdict": VerdictView(**json.loads(row.verdict)),
    }


class _Participants:
    """Who takes part in any of the calls: the first caller, the server, then the others as they came in."""

    def __init__(self) -> None:
        self.all: list[ParticipantView] = []
        self._numbers: dict[str, int] = {}

    def take(self, parties: Sequence[Sequence[str]]) -> list[int]:
        """The numbers of one call's parties; that of the server is 0 there."""
        for at in (*range(1, len(parties))[:1], *range(len(parties))):
            address, name = parties[at]
            key = name or address if at else ""
            if key not in self._numbers:
                self._numbers[key] = len(self.all)
                view = ParticipantView(
                    name=(name or address) if at else SERVER, address=address, proven=bool(name), server=not at
                )
                self.all.append(view)
        return [self._numbers[(name or address) if at else ""] for at, (address, name) in enumerate(parties)]
