"""What became of a call, in plain words: its state, who is meant, and what to do about it.

A verdict has a code for programs and pages that speak other languages, and the English words for everybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SERVER = "the SIP server"

WORDS = {
    "calling": "{who} is being called",
    "ringing": "{who} has been reached and has not answered yet",
    "established": "in a call",
    "ended": "{who} hung up",
    "gave-up": "{who} gave up before there was an answer",
    "challenged": "{who} was asked for a password and gave none",
    "wrong-password": "{who} was refused",
    "not-allowed": "{who} may not call there",
    "unknown": "there is no such address",
    "unreachable": "cannot be reached",
    "no-answer": "no answer from {who} for {seconds} s",
    "busy": "{who} is busy",
    "declined": "{who} declined",
    "no-codec": "no common codec",
    "unavailable": "not available now",
    "refused": "refused",
    "interrupted": "the SIP server was restarted before there was an answer",
}

HINTS = {
    "challenged": "Set the account's SIP id and password in the phone.",
    "wrong-password": "Check the SIP id and the SIP password of the account: it is not the one for the console.",
    "not-allowed": "Give the user a role that may, with `soip user add`, or call somebody else.",
    "unknown": "Check the id that was dialled; `soip camera list` shows the cameras.",
    "unreachable": "Check its power, its network, and that it registers at this server with the right password.",
    "no-answer": "Check that it is on, and that its way to this server lets SIP through both ways.",
    "no-codec": "Set the camera to H.264, and let the phone offer H.264 video.",
    "unavailable": "Look into the server's log for why; `soip serve` starts again what has ended.",
}
"""What a person can do about a failure, where anything can be said."""

FAILED = frozenset(WORDS) - {"calling", "ringing", "established", "ended", "gave-up"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`who` is the party that is meant, `origin` the one that gave the final answer `status`, `reason` what was said
    with it. `seconds` is how long nobody answered.
    """

    code: str
    who: str
    origin: str = ""
    status: int = 0
    reason: str = ""
    seconds: int = 0

    @property
    def failed(self) -> bool:
        """Whether the call did not come about."""
        return self.code in FAILED

    @property
    def text(self) -> str:
        """The verdict in English."""
        words = WORDS[self.code].format(who=self.who, seconds=self.seconds)
        told = f"{words}: {self.reason}" if self.reason else words
        return f"{told} ({self.status} from {self.origin})" if self.status else told

    @property
    def hint(self) -> str:
        """What to do, in English; "" where there is nothing to do."""
        return HINTS.get(self.code, "")

    def facts(self) -> dict[str, Any]:
        """As it is stored and shown."""
        return {
            "code": self.code,
            "who": self.who,
            "origin": self.origin,
            "status": self.status,
            "reason": self.reason,
            "seconds": self.seconds,
            "text": self.text,
            "hint": self.hint,
        }


def refusal(status: int, *, by_server: bool, wrong_password: bool) -> str:
    """The code of a final answer of 300 and above. `by_server`: this server's own, nobody else's."""
    if status in (401, 407):
        return "challenged"
    if status == 403:
        return "wrong-password" if wrong_password else "not-allowed"
    if status == 408 and by_server:
        return "no-answer"
    return _CODES.get(status, "refused")


_CODES = {
    404: "unknown",
    604: "unknown",
    480: "unreachable",
    408: "unreachable",
    406: "no-codec",
    415: "no-codec",
    488: "no-codec",
    606: "no-codec",
    486: "busy",
    600: "busy",
    603: "declined",
    500: "unavailable",
    503: "unavailable",
    504: "unavailable",
    487: "gave-up",
}
