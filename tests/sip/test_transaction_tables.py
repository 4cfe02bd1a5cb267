"""The four tables against a second writing of them, made from the figures of RFC 3261 §17 and RFC 6026 §7–8."""

from __future__ import annotations

import pytest

from soip.sip.timers import Timer
from soip.sip.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    MACHINES,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Action,
    Event,
    Machine,
    Repeat,
    Slow,
    Start,
    State,
    Step,
    Stop,
    response_event,
)

# state, event → next state: steps. "+A" starts timer A, "-A" stops it, "*A" doubles it, "~E" runs it at T2.
# ack, req, rsp: send; up: give to the user; fail, late: report.
FIGURE_INVITE_CLIENT = """
Calling A            Calling      req *A
Calling B            Terminated   late
Calling 1xx          Proceeding   -A -B +C up
Calling 2xx          Accepted     -A -B +M up
Calling 300          Completed    -A -B +D ack up
Calling CANCEL       Unwanted
Calling error        Terminated   fail
Unwanted A           Unwanted     req *A
Unwanted B           Terminated   late
Unwanted 1xx         Cancelling   -A -B -C +CANCELLED cancel up
Unwanted 2xx         Accepted     -A -B +M up
Unwanted 300         Completed    -A -B +D ack up
Unwanted error       Terminated   fail
Proceeding 1xx       Proceeding   +C up
Proceeding 2xx       Accepted     -C +M up
Proceeding 300       Completed    -C +D ack up
Proceeding CANCEL    Cancelling   -C +CANCELLED cancel
Proceeding C         Cancelling   -C +CANCELLED cancel
Proceeding error     Terminated   fail
Cancelling 1xx       Cancelling   up
Cancelling 2xx       Accepted     -CANCELLED +M up
Cancelling 300       Completed    -CANCELLED +D ack up
Cancelling CANCELLED Terminated   late
Cancelling error     Terminated   fail
Completed 300        Completed    ack
Completed D          Terminated
Completed error      Terminated
Accepted 2xx         Accepted     up
Accepted M           Terminated
"""

FIGURE_INVITE_SERVER = """
Proceeding TRYING    Proceeding   trying
Proceeding REQUEST   Proceeding   rsp
Proceeding tu1xx     Proceeding   -TRYING rsp
Proceeding tu2xx     Accepted     -TRYING +L rsp
Proceeding tu300     Completed    -TRYING +G +H rsp
Proceeding error     Proceeding   fail
Completed REQUEST    Completed    rsp
Completed G          Completed    rsp *G
Completed H          Terminated   late
Completed ACK        Confirmed    -G -H +I
Completed error      Completed    fail
Confirmed I          Terminated
Accepted tu2xx       Accepted     rsp
Accepted ACK         Accepted     upack
Accepted error       Accepted     fail
Accepted L           Terminated
"""

FIGURE_NON_INVITE_CLIENT = """
Trying E             Trying       req *E
Trying F             Terminated   late
Trying 1xx           Proceeding   up
Trying 2xx           Completed    -E -F +K up
Trying 300           Completed    -E -F +K up
Trying error         Terminated   fail
Proceeding E         Proceeding   req ~E
Proceeding F         Terminated   late
Proceeding 1xx       Proceeding   up
Proceeding 2xx       Completed    -E -F +K up
Proceeding 300       Completed    -E -F +K up
Proceeding error     Terminated   fail
Completed K          Terminated
"""

FIGURE_NON_INVITE_SERVER = """
Trying tu1xx         Proceeding   rsp
Trying tu2xx         Completed    -F +J rsp
Trying tu300         Completed    -F +J rsp
Trying F             Terminated   late
Proceeding REQUEST   Proceeding   rsp
Proceeding tu1xx     Proceeding   rsp
Proceeding tu2xx     Completed    -F +J rsp
Proceeding tu300     Completed    -F +J rsp
Proceeding F         Terminated   late
Proceeding error     Proceeding   fail
Completed REQUEST    Completed    rsp
Completed error      Completed    fail
Completed J          Terminated
"""

WORDS = {
    Action.SEND_REQUEST: "req",
    Action.SEND_ACK: "ack",
    Action.SEND_RESPONSE: "rsp",
    Action.SEND_TRYING: "trying",
    Action.SEND_CANCEL: "cancel",
    Action.PASS_RESPONSE: "up",
    Action.PASS_ACK: "upack",
    Action.REPORT_TIMEOUT: "late",
    Action.REPORT_FAILURE: "fail",
}
EVENTS = {
    "1xx": Event.RESPONSE_1XX,
    "2xx": Event.RESPONSE_2XX,
    "300": Event.RESPONSE_300,
    "tu1xx": Event.SEND_1XX,
    "tu2xx": Event.SEND_2XX,
    "tu300": Event.SEND_300,
    "error": Event.TRANSPORT_ERROR,
    "REQUEST": Event.REQUEST,
    "ACK": Event.ACK,
    "CANCEL": Event.CANCEL,
}


def words(step: Step) -> list[str]:
    match step:
        case Start(timer):
            return [f"+{timer.name}"]
        case Repeat(timer):
            return [f"*{timer.name}"]
        case Slow(timer):
            return [f"~{timer.name}"]
        case Stop(timers):
            return [f"-{timer.name}" for timer in timers]
    return [WORDS[step]]


def read(figure: str) -> dict[tuple[State, Event | Timer], tuple[State, list[str]]]:
    table: dict[tuple[State, Event | Timer], tuple[State, list[str]]] = {}
    for line in figure.strip().splitlines():
        state, event, after, *steps = line.split()
        key = (State[state.upper()], EVENTS.get(event) or Timer[event])
        assert key not in table
        table[key] = (State[after.upper()], steps)
    return table


@pytest.mark.parametrize(
    ("machine", "figure"),
    [
        (INVITE_CLIENT, FIGURE_INVITE_CLIENT),
        (INVITE_SERVER, FIGURE_INVITE_SERVER),
        (NON_INVITE_CLIENT, FIGURE_NON_INVITE_CLIENT),
        (NON_INVITE_SERVER, FIGURE_NON_INVITE_SERVER),
    ],
    ids=lambda value: value.name if isinstance(value, Machine) else "",
)
def test_table_is_the_figure(machine: Machine, figure: str) -> None:
    ours = {
        key: (state, [word for step in steps for word in words(step)]) for key, (state, steps) in machine.table.items()
    }
    assert ours == read(figure)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_is_reached_and_can_end(machine: Machine) -> None:
    reached = {machine.initial}
    while True:
        further = {after for (state, _), (after, _) in machine.table.items() if state in reached} | reached
        if further == reached:
            break
        reached = further
    assert State.TERMINATED in reached
    assert {state for state, _ in machine.table} == reached - {State.TERMINATED}
    ends = {State.TERMINATED}
    for _ in State:
        ends |= {state for (state, _), (after, _) in machine.table.items() if after in ends}
    assert ends == reached


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_but_a_waiting_users_has_a_timer_that_leads_on(machine: Machine) -> None:
    """Else a silent peer would hold a transaction for ever. An INVITE server waits for its own user."""
    for state in {state for state, _ in machine.table}:
        leaving = [event for (at, event), (after, _) in machine.table.items() if at is state and after is not state]
        waits_for_user = machine is INVITE_SERVER and state is State.PROCEEDING
        assert waits_for_user or any(isinstance(event, Timer) for event in leaving), state


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_timer_with_a_row_is_started_somewhere_and_stopped_where_it_has_none(machine: Machine) -> None:
    """Follow every path: the timers that may run in a state are exactly those it has rows for."""
    begin = frozenset(step.timer for step in machine.begin if isinstance(step, Start))
    seen: set[tuple[State, frozenset[Timer]]] = set()
    todo = [(machine.initial, begin)]
    while todo:
        state, running = todo.pop()
        if (state, running) in seen or state is State.TERMINATED:
            continue
        seen.add((state, running))
        for timer in running:
            assert (state, timer) in machine.table, f"{timer.name} would fire unheard in {state.value}"
        for (at, event), (after, steps) in machine.table.items():
            if at is not state or (isinstance(event, Timer) and event not in running):
                continue
            left = set(running) - ({event} if isinstance(event, Timer) else set())
            for step in steps:
                if isinstance(step, Stop):
                    left -= set(step.timers)
                elif isinstance(step, Start | Repeat | Slow):
                    left.add(step.timer)
            todo.append((after, frozenset(left)))


def test_response_events() -> None:
    assert response_event(100, sending=True) is Event.SEND_1XX
    assert response_event(200, sending=True) is Event.SEND_2XX
    assert response_event(699, sending=True) is Event.SEND_300
    assert response_event(199, sending=False) is Event.RESPONSE_1XX
    assert response_event(299, sending=False) is Event.RESPONSE_2XX
    assert response_event(300, sending=False) is Event.RESPONSE_300
