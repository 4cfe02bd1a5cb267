"""The four transaction machines of SIP, as tables (RFC 3261 §17, RFC 6026, RFC 4320).

A transaction is one request and all responses to it, between two neighbours. It makes requests arrive over a
transport that loses, doubles and reorders datagrams, and it hides the repeats from its user (the user agent
core or the proxy core; the RFC's "TU"). Each side of a transaction is a small machine. There are four,
because INVITE is not like the others: a person answers it, minutes later.

**INVITE, client.** The request is repeated after T1, 2·T1, 4·T1 … (timer A) until *any* response comes; 64·T1
without one is a timeout (B). A provisional response stops the repeats: now the call may ring, up to timer C
(§16.6). A final response of 300 and above is acknowledged here, hop by hop, with an ACK of the same branch;
its repeats are acknowledged again until timer D. A 2xx is different: it is the user's to acknowledge, end to
end, so every copy of it is passed up. RFC 6026 gives that a state of its own, Accepted, which lasts 64·T1
(M), so that 2xx of several forks and repeated ones still find the transaction.

**INVITE, server.** The user is given the request; if it is slower than 200 ms, 100 Trying goes out so that
the client stops repeating. A final response of 300 and above is repeated (G) until the ACK comes, or 64·T1
have passed (H); then Confirmed absorbs late ACKs (I). After a 2xx the machine is Accepted for 64·T1 (L): it
absorbs INVITEs, passes ACKs up, and sends every 2xx the user repeats. It never repeats a 2xx by itself: that
is the user's, end to end, too.

**Non-INVITE, client.** Repeated (E, at most every T2) until a final response or 64·T1 (F). A provisional
response only slows the repeats to T2. Completed absorbs repeated responses (K).

**Non-INVITE, server.** The last response is sent again for each repeated request. Completed ends after 64·T1
(J). RFC 4320: the client has given up after its timer F, so a later answer helps nobody and makes a storm:
our side keeps its own F and ends silently. It never says 408, and no provisional but 100.

On a reliable transport nothing is repeated (A, E, G do not run) and nothing needs absorbing (D, I, J, K are
zero).

**Cancelling** (§9.1). CANCEL is a transaction of its own with the branch of the INVITE. It may only be sent
once a provisional response has come. Before, the INVITE is Unwanted, and CANCEL goes out with the first one;
then it is Cancelling. It still gets its final response, usually 487; if none comes in 64·T1 it is given up.
Timer C cancels by itself.

A transport error ends a client transaction. A server transaction stays (RFC 6026 §7.1 corrects §17.2.4): the
response may get through when the request is repeated.

How to read the tables: a row says, for a state and an event, the next state and what to do, in order. An
event without a row is ignored. Entering Terminated drops all timers; any other timer is stopped by a row or
fires.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from soip.sip.timers import Timer


class State(Enum):
    """States by their names in RFC 3261 §17 and RFC 6026; Unwanted and Cancelling are §9.1 written as
    states.
    """

    CALLING = "Calling"
    UNWANTED = "Calling, cancelled, nothing heard yet"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    CANCELLING = "Proceeding, CANCEL sent"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    TERMINATED = "Terminated"

    __hash__ = object.__hash__


class Event(Enum):
    """What can happen, besides a Timer that fires."""

    RESPONSE_1XX = "1xx from the network"
    RESPONSE_2XX = "2xx from the network"
    RESPONSE_300 = "300-699 from the network"
    REQUEST = "the request again"
    ACK = "ACK"
    SEND_1XX = "1xx from the user"
    SEND_2XX = "2xx from the user"
    SEND_300 = "300-699 from the user"
    CANCEL = "CANCEL from the user"
    TRANSPORT_ERROR = "sending failed, or the connection is gone"

    __hash__ = object.__hash__


class Action(Enum):
    """What to do, besides starting and stopping timers."""

    SEND_REQUEST = "send the request (again)"
    SEND_ACK = "acknowledge the final response, hop by hop"
    SEND_RESPONSE = "send the last response (again)"
    SEND_TRYING = "send 100 Trying"
    SEND_CANCEL = "send CANCEL"
    PASS_RESPONSE = "give the response to the user"  # noqa: S105  # not a password
    PASS_ACK = "give the ACK to the user"  # noqa: S105  # not a password
    REPORT_TIMEOUT = "tell the user: no answer"
    REPORT_FAILURE = "tell the user: cannot be sent"


@dataclass(frozen=True, slots=True)
class Start:
    """Start a timer at its first length; not at all where it does not run on this transport."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Repeat:
    """Start a timer again, at twice its last length; E and G at most T2."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Slow:
    """Start a timer again at T2 (timer E in Proceeding, §17.1.2.2)."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop timers."""

    timers: tuple[Timer, ...]


Step = Action | Start | Repeat | Slow | Stop
Row = tuple[State, tuple[Step, ...]]
Table = dict[tuple[State, Event | Timer], Row]


@dataclass(frozen=True, slots=True)
class Machine:
    """One of the four: where it begins, and its table."""

    name: str
    initial: State
    begin: tuple[Step, ...]
    table: Table


def _stop(*timers: Timer) -> Stop:
    return Stop(timers)


_CALLING = _stop(Timer.A, Timer.B)
_ACCEPT = (Start(Timer.M), Action.PASS_RESPONSE)
_COMPLETE = (Start(Timer.D), Action.SEND_ACK, Action.PASS_RESPONSE)
_CANCEL = (_stop(Timer.C), Start(Timer.CANCELLED), Action.SEND_CANCEL)

# RFC 3261 §17.1.1.2 as corrected by RFC 6026 §8.4
INVITE_CLIENT = Machine(
    "INVITE client",
    State.CALLING,
    (Action.SEND_REQUEST, Start(Timer.A), Start(Timer.B)),
    {
        (State.CALLING, Timer.A): (State.CALLING, (Action.SEND_REQUEST, Repeat(Timer.A))),
        (State.CALLING, Timer.B): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.CALLING, Event.RESPONSE_1XX): (
            State.PROCEEDING,
            (_CALLING, Start(Timer.C), Action.PASS_RESPONSE),
        ),
        (State.CALLING, Event.RESPONSE_2XX): (State.ACCEPTED, (_CALLING, *_ACCEPT)),
        (State.CALLING, Event.RESPONSE_300): (State.COMPLETED, (_CALLING, *_COMPLETE)),
        (State.CALLING, Event.CANCEL): (State.UNWANTED, ()),
        (State.CALLING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_FAILURE,)),
        (State.UNWANTED, Timer.A): (State.UNWANTED, (Action.SEND_REQUEST, Repeat(Timer.A))),
        (State.UNWANTED, Timer.B): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.UNWANTED, Event.RESPONSE_1XX): (
            State.CANCELLING,
            (_CALLING, *_CANCEL, Action.PASS_RESPONSE),
        ),
        (State.UNWANTED, Event.RESPONSE_2XX): (State.ACCEPTED, (_CALLING, *_ACCEPT)),
        (State.UNWANTED, Event.RESPONSE_300): (State.COMPLETED, (_CALLING, *_COMPLETE)),
        (State.UNWANTED, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_FAILURE,)),
        # §16.7 step 2: each provisional response gives the call more time
        (State.PROCEEDING, Event.RESPONSE_1XX): (
            State.PROCEEDING,
            (Start(Timer.C), Action.PASS_RESPONSE),
        ),
        (State.PROCEEDING, Event.RESPONSE_2XX): (State.ACCEPTED, (_stop(Timer.C), *_ACCEPT)),
        (State.PROCEEDING, Event.RESPONSE_300): (State.COMPLETED, (_stop(Timer.C), *_COMPLETE)),
        (State.PROCEEDING, Event.CANCEL): (State.CANCELLING, _CANCEL),
        (State.PROCEEDING, Timer.C): (State.CANCELLING, _CANCEL),  # §16.8
        (State.PROCEEDING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_FAILURE,)),
        (State.CANCELLING, Event.RESPONSE_1XX): (State.CANCELLING, (Action.PASS_RESPONSE,)),
        (State.CANCELLING, Event.RESPONSE_2XX): (State.ACCEPTED, (_stop(Timer.CANCELLED), *_ACCEPT)),
        (State.CANCELLING, Event.RESPONSE_300): (State.COMPLETED, (_stop(Timer.CANCELLED), *_COMPLETE)),
        (State.CANCELLING, Timer.CANCELLED): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.CANCELLING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_FAILURE,)),
        (State.COMPLETED, Event.RESPONSE_300): (State.COMPLETED, (Action.SEND_ACK,)),
        (State.COMPLETED, Timer.D): (State.TERMINATED, ()),
        # only an ACK is lost: the user has its answer
        (State.COMPLETED, Event.TRANSPORT_ERROR): (State.TERMINATED, ()),
        (State.ACCEPTED, Event.RESPONSE_2XX): (State.ACCEPTED, (Action.PASS_RESPONSE,)),
        (State.ACCEPTED, Timer.M): (State.TERMINATED, ()),
    },
)

# RFC 3261 §17.2.1 as corrected by RFC 6026 §8.5
INVITE_SERVER = Machine(
    "INVITE server",
    State.PROCEEDING,
    (Start(Timer.TRYING),),
    {
        (State.PROCEEDING, Timer.TRYING): (State.PROCEEDING, (Action.SEND_TRYING,)),
        (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Action.SEND_RESPONSE,)),
        (State.PROCEEDING, Event.SEND_1XX): (
            State.PROCEEDING,
            (_stop(Timer.TRYING), Action.SEND_RESPONSE),
        ),
        (State.PROCEEDING, Event.SEND_2XX): (
            State.ACCEPTED,
            (_stop(Timer.TRYING), Start(Timer.L), Action.SEND_RESPONSE),
        ),
        (State.PROCEEDING, Event.SEND_300): (
            State.COMPLETED,
            (_stop(Timer.TRYING), Start(Timer.G), Start(Timer.H), Action.SEND_RESPONSE),
        ),
        (State.PROCEEDING, Event.TRANSPORT_ERROR): (State.PROCEEDING, (Action.REPORT_FAILURE,)),
        (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Action.SEND_RESPONSE,)),
        (State.COMPLETED, Timer.G): (State.COMPLETED, (Action.SEND_RESPONSE, Repeat(Timer.G))),
        (State.COMPLETED, Timer.H): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.COMPLETED, Event.ACK): (
            State.CONFIRMED,
            (_stop(Timer.G, Timer.H), Start(Timer.I)),
        ),
        (State.COMPLETED, Event.TRANSPORT_ERROR): (State.COMPLETED, (Action.REPORT_FAILURE,)),
        (State.CONFIRMED, Timer.I): (State.TERMINATED, ()),
        (State.ACCEPTED, Event.SEND_2XX): (State.ACCEPTED, (Action.SEND_RESPONSE,)),
        (State.ACCEPTED, Event.ACK): (State.ACCEPTED, (Action.PASS_ACK,)),
        (State.ACCEPTED, Event.TRANSPORT_ERROR): (State.ACCEPTED, (Action.REPORT_FAILURE,)),
        (State.ACCEPTED, Timer.L): (State.TERMINATED, ()),
    },
)

_ANSWERED = (_stop(Timer.E, Timer.F), Start(Timer.K), Action.PASS_RESPONSE)

# RFC 3261 §17.1.2.2
NON_INVITE_CLIENT = Machine(
    "non-INVITE client",
    State.TRYING,
    (Action.SEND_REQUEST, Start(Timer.E), Start(Timer.F)),
    {
        (State.TRYING, Timer.E): (State.TRYING, (Action.SEND_REQUEST, Repeat(Timer.E))),
        (State.TRYING, Timer.F): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.TRYING, Event.RESPONSE_1XX): (State.PROCEEDING, (Action.PASS_RESPONSE,)),
        (State.TRYING, Event.RESPONSE_2XX): (State.COMPLETED, _ANSWERED),
        (State.TRYING, Event.RESPONSE_300): (State.COMPLETED, _ANSWERED),
        (State.TRYING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_FAILURE,)),
        (State.PROCEEDING, Timer.E): (State.PROCEEDING, (Action.SEND_REQUEST, Slow(Timer.E))),
        (State.PROCEEDING, Timer.F): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.PROCEEDING, Event.RESPONSE_1XX): (State.PROCEEDING, (Action.PASS_RESPONSE,)),
        (State.PROCEEDING, Event.RESPONSE_2XX): (State.COMPLETED, _ANSWERED),
        (State.PROCEEDING, Event.RESPONSE_300): (State.COMPLETED, _ANSWERED),
        (State.PROCEEDING, Event.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_FAILURE,)),
        (State.COMPLETED, Timer.K): (State.TERMINATED, ()),
    },
)

_ANSWER = (_stop(Timer.F), Start(Timer.J), Action.SEND_RESPONSE)

# RFC 3261 §17.2.2 with RFC 4320 §4.2
NON_INVITE_SERVER = Machine(
    "non-INVITE server",
    State.TRYING,
    (Start(Timer.F),),
    {
        (State.TRYING, Event.SEND_1XX): (State.PROCEEDING, (Action.SEND_RESPONSE,)),
        (State.TRYING, Event.SEND_2XX): (State.COMPLETED, _ANSWER),
        (State.TRYING, Event.SEND_300): (State.COMPLETED, _ANSWER),
        (State.TRYING, Timer.F): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, (Action.SEND_RESPONSE,)),
        (State.PROCEEDING, Event.SEND_1XX): (State.PROCEEDING, (Action.SEND_RESPONSE,)),
        (State.PROCEEDING, Event.SEND_2XX): (State.COMPLETED, _ANSWER),
        (State.PROCEEDING, Event.SEND_300): (State.COMPLETED, _ANSWER),
        (State.PROCEEDING, Timer.F): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
        (State.PROCEEDING, Event.TRANSPORT_ERROR): (State.PROCEEDING, (Action.REPORT_FAILURE,)),
        (State.COMPLETED, Event.REQUEST): (State.COMPLETED, (Action.SEND_RESPONSE,)),
        (State.COMPLETED, Event.TRANSPORT_ERROR): (State.COMPLETED, (Action.REPORT_FAILURE,)),
        (State.COMPLETED, Timer.J): (State.TERMINATED, ()),
    },
)

MACHINES = (INVITE_CLIENT, INVITE_SERVER, NON_INVITE_CLIENT, NON_INVITE_SERVER)


def response_event(status: int, *, sending: bool) -> Event:
    """The event a response is, to the side that sends it or to the side that gets it."""
    if sending:
        return Event.SEND_1XX if status < 200 else Event.SEND_2XX if status < 300 else Event.SEND_300
    return Event.RESPONSE_1XX if status < 200 else Event.RESPONSE_2XX if status < 300 else Event.RESPONSE_300
