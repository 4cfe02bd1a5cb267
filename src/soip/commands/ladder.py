"""A call drawn for a terminal: who takes part as columns, each message an arrow with its time.

    ms       ann                  SIP server               cam1
       0.0    │─ INVITE cam1 ─────────▶│                     │
       2.1    │◀──────── 407 Proxy Au… ─│                     │

Pure: a call and a width in, lines out. Where the columns would be too narrow to say anything, messages are lines of
text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

if TYPE_CHECKING:
    from soip.web.models import LadderView, MessageView

TIME = 9
"""Columns of the time, and a space."""
WIDEST = 120
_EDGE = 6  # columns beside the outer lifelines, for half a name
_NARROWEST = 13
_INDENT = 2
_FACT = 24  # columns a fact should have beside its arrow, else it begins further left


class Drawing:
    """The ladder of one state of a call. `head` is drawn once, `message` for each."""

    def __init__(self, call: LadderView, width: int) -> None:
        self._names = [participant.name for participant in call.participants]
        self._width = max(40, min(width, WIDEST))
        between = max(1, len(self._names) - 1)
        step = (self._width - TIME - 2 * _EDGE - 1) // between
        self.drawn = step >= _NARROWEST and len(self._names) > 1
        self._step = step
        self._lines = [TIME + _EDGE + at * step for at in range(len(self._names))]

    def head(self) -> Iterator[Text]:
        """The participants."""
        if not self.drawn:
            return
        row = Text("ms".rjust(TIME - 1) + " ")
        for at, name in zip(self._lines, self._names, strict=True):
            short = _short(name, self._step - 1)
            left = min(max(TIME, at - len(short) // 2), self._width - len(short))
            row.append(" " * max(1, left - row.cell_len))
            row.append(short, "bold")
        yield row

    def message(self, message: MessageView) -> Iterator[Text]:
        """One message: an arrow, and a line for each fact."""
        if not self.drawn:
            yield self._plain(message)
        else:
            yield self._arrow(message)
        for fact in message.facts:
            yield from self._fact(message, fact)

    def _plain(self, message: MessageView) -> Text:
        row = Text(_time(message.at))
        row.append(f"{self._names[message.sender]} → {self._names[message.receiver]}: ")
        row.append(message.line + _repeated(message), _style(message.line))
        return row

    def _arrow(self, message: MessageView) -> Text:
        start, end = sorted((self._lines[message.sender], self._lines[message.receiver]))
        rightwards = message.sender < message.receiver
        room = end - start - 1
        if room < 1:  # to itself: it cannot be, but a stored trace could say so
            return self._plain(message)
        label = _fit(message.line, room - 6 - len(_repeated(message))) + _repeated(message)
        dashes = room - 1 - cell_len(label) - 2
        before = 1 if rightwards else dashes - 1
        row = Text(_time(message.at) + self._lifelines(TIME, start))
        row.append("│")
        row.append(("" if rightwards else "◀") + "─" * before + " ")
        row.append(label, _style(message.line))
        row.append(" " + "─" * (dashes - before) + ("▶" if rightwards else ""))
        row.append("│" + self._lifelines(end + 1, self._width))
        row.rstrip()
        return row

    def _fact(self, message: MessageView, fact: str) -> Iterator[Text]:
        start = min(self._lines[message.sender], self._lines[message.receiver]) + _INDENT if self.drawn else TIME + 2
        if self._width - start < _FACT:
            start = TIME + _INDENT
        for part in _wrap(fact, self._width - start):
            row = Text(" " * TIME + self._lifelines(TIME, start))
            row.append(part, "dim")
            row.append(self._lifelines(start + cell_len(part), self._width))
            row.rstrip()
            yield row

    def _lifelines(self, start: int, end: int) -> str:
        """What stands between two columns where no arrow is."""
        if not self.drawn:
            return " " * (end - start)
        return "".join("│" if at in self._lines else " " for at in range(start, end))


def draw(call: LadderView, width: int) -> Iterator[Text]:
    """The whole call."""
    yield from heading(call)
    yield Text("")
    drawing = Drawing(call, width)
    yield from drawing.head()
    for message in call.messages:
        yield from drawing.message(message)
    if call.left_out:
        yield Text(f"… and {call.left_out} more messages between, which were not kept")


def heading(call: LadderView) -> Iterator[Text]:
    """Which call it is, and what became of it."""
    row = Text(f"call {call.id}, {call.started}: ")
    row.append(f"{who(call.caller, call.proven)} → {call.callee}", "bold")
    yield row
    again = f", {call.times} times in a row" if call.times > 1 else ""
    yield Text(call.verdict.text + again, "red" if call.state == "failed" else "green")
    if call.verdict.hint:
        yield Text(call.verdict.hint)


def who(caller: str, proven: bool) -> str:
    """The caller; one that has proved nothing is in doubt."""
    return caller if proven else f"{caller or 'somebody'} (not proven)"


def line(started: str, call: LadderView, message: MessageView) -> Text:
    """A message among those of other calls: when, in which call, from whom to whom, what."""
    names = [participant.name for participant in call.participants]
    row = Text(f"{started} {call.id} {names[message.sender]} → {names[message.receiver]}: ")
    row.append(message.line + _repeated(message), _style(message.line))
    if message.facts:
        row.append("  " + "; ".join(message.facts), "dim")
    return row


def _time(at: float) -> str:
    text = f"{at:.1f}" if at < 100_000 else f"{at / 1000:.0f} s"
    return text.rjust(TIME - 1) + " "


def _repeated(message: MessageView) -> str:
    return f" ×{message.again + 1}" if message.again else ""


def _style(line: str) -> str:
    status = line.partition(" ")[0]
    if not status.isdigit():
        return "bold cyan"
    return "green" if int(status) < 300 else "yellow" if status in ("401", "407") else "red"


def _fit(line: str, room: int) -> str:
    """The line in so many columns: of an INVITE's address the id says most."""
    if cell_len(line) > room and line.startswith("INVITE "):
        line = "INVITE " + line.partition(":")[2].rpartition("@")[0].partition(";")[0]
    return _short(line, room)


def _short(text: str, room: int) -> str:
    return text if cell_len(text) <= room else set_cell_size(text, max(0, room - 1)) + "…"


def _wrap(text: str, room: int) -> Iterator[str]:
    row = ""
    for word in text.split(" "):
        if row and cell_len(row) + 1 + cell_len(word) > room:
            yield row
            row = ""
        row = f"{row} {word}" if row else word
        while cell_len(row) > room:
            part = set_cell_size(row, room)
            yield part
            row = row[len(part.rstrip(" ")) :]
    yield row
